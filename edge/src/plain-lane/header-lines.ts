/** A field name's characters (RFC 9110 §5.6.2), as a class of a regular expression. */
export const TOKEN = "[!#$%&'*+\\-.^_`|~0-9A-Za-z]";

/**
 * Of a head that is kept, since the next one on its connection is often the same: to keep longer ones would cost more memory
 * than it saves time.
 */
export const MAX_RECENT_CHARACTERS = 2 * 1024;

/**
 * The field lines of a head that matches its grammar, as name, value, name, value.
 * @param text the whole head, its empty line included
 * @param from where the first field line begins
 */
export function fieldLines(text: string, from: number): string[] {
  const lines: string[] = [];
  for (let at = from; at < text.length - 2; ) {
    const colon = text.indexOf(":", at);
    const end = text.indexOf("\r\n", colon);
    lines.push(text.slice(at, colon), trimBlanks(text, colon + 1, end));
    at = end + 2;
  }
  return lines;
}

const CR = 0x0d;
const LF = 0x0a;

/** Whether a line ends in a way that is not that of HTTP/1.1 (RFC 9112 §2.2): the head's end would be waited for in vain. */
export function hasBareLineFeed(bytes: Buffer): boolean {
  for (let at = bytes.indexOf(LF); at !== -1; at = bytes.indexOf(LF, at + 1)) {
    if (bytes[at - 1] !== CR) return true;
  }
  return false;
}

/** Without the spaces and tabs around it (RFC 9112 §5.1), and with whatever else may look blank to Unicode. */
export function trimBlanks(text: string, from = 0, to = text.length): string {
  let start = from;
  let end = to;
  while (start < end && isBlank(text.charCodeAt(start))) start++;
  while (end > start && isBlank(text.charCodeAt(end - 1))) end--;
  return text.slice(start, end);
}

function isBlank(code: number): boolean {
  return code === 0x20 || code === 0x09;
}
