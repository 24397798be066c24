/* biome-ignore-all lint/suspicious/noControlCharactersInRegex: control characters are what this file is about. */

/**
 * OSC, DCS, SOS, PM and APC strings up to their terminator (or to the end where it never comes), CSI sequences, other
 * escapes. Every alternative consumes at least its introducer and none backtracks over another's text.
 */
const ESCAPES =
  /(?:\x1b[\]PX^_]|[\x9d\x90\x98\x9e\x9f])[^\x07\x1b\x9c]*(?:\x07|\x9c|\x1b\\|\x1b|$)|(?:\x1b\[|\x9b)[\x30-\x3f]*[\x20-\x2f]*[\x40-\x7e]?|\x1b[\x20-\x2f]*[\x30-\x7e]?/g;

/** C0 but tab, DEL, C1, and what reorders or hides text: bidirectional controls, line and paragraph separators. */
const CONTROLS = /[\x00-\x08\x0a-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ufeff]/g;

/**
 * One line of output as text that cannot act on whoever shows it: no escape sequences, control characters or bidirectional
 * controls. Progress that was drawn over itself (`\r`) is shown as it stood at the end.
 */
export function sanitiseLogText(text: string): string {
  const visible = text.replace(ESCAPES, "");
  // Not by `/\r+$/`, which looks anew from each of them where something follows: a second for 30,000, and the square for more.
  let end = visible.length;
  while (visible[end - 1] === "\r") end--;
  return visible
    .slice(visible.lastIndexOf("\r", end - 1) + 1, end)
    .replace(CONTROLS, "")
    .replace(/\p{Surrogate}/gu, "");
}
