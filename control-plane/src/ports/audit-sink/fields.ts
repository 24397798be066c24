const MAX_FIELD_BYTES = 4096;
/** What is left of each text in details that are too long, tried one after the other. */
const SHORTER = [1024, 256, 64];
const ELLIPSIS = "…";

/**
 * Text of an event, so that it is one line whoever shows it: control characters, line separators, what changes the direction
 * of text, and what is invisible become escapes, and so does the backslash, so that no other text looks the same. At most
 * 4 KiB of UTF-8.
 */
export function auditField(text: string): string {
  // What is cut off here is far beyond the bound, and need not be looked at for it.
  return cut(text.slice(0, MAX_FIELD_BYTES).toWellFormed().replaceAll(UNSAFE, escaped), MAX_FIELD_BYTES);
}

/** Details as JSON of at most 4 KiB: where they are longer, the texts in them are cut, and left out where that is not enough. */
export function auditDetails(details: Readonly<Record<string, unknown>>): string {
  for (const most of [MAX_FIELD_BYTES, ...SHORTER]) {
    const json = JSON.stringify(details, (_key, value: unknown) =>
      typeof value === "string" ? cut(value.toWellFormed(), most) : value,
    ).replaceAll(UNSAFE_IN_JSON, jsonEscaped);
    if (Buffer.byteLength(json) <= MAX_FIELD_BYTES) return json;
  }
  return JSON.stringify({ omitted: "These details are too long to be kept." });
}

/** Backslash, controls, format characters (bidirectional, zero width), line and paragraph separators. */
const UNSAFE = /[\\\p{Cc}\p{Cf}\p{Zl}\p{Zp}]/gu;
/** JSON escapes the rest by itself. */
const UNSAFE_IN_JSON = /[\p{Cc}\p{Cf}\p{Zl}\p{Zp}]/gu;

function escaped(character: string): string {
  if (character === "\\") return "\\\\";
  if (character === "\n") return "\\n";
  return `\\u{${(character.codePointAt(0) ?? 0).toString(16)}}`;
}

function jsonEscaped(character: string): string {
  return Array.from({ length: character.length }, (_, i) => {
    return `\\u${character.charCodeAt(i).toString(16).padStart(4, "0")}`;
  }).join("");
}

function cut(text: string, mostBytes: number): string {
  if (Buffer.byteLength(text) <= mostBytes) return text;
  const kept = Buffer.from(text).subarray(0, mostBytes - Buffer.byteLength(ELLIPSIS));
  // The last character may have been cut in two, which decodes to replacement characters.
  return kept.toString("utf8").replace(/\uFFFD+$/, "") + ELLIPSIS;
}
