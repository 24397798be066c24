/** The beginning of a text that is no longer than this in UTF-8, marked where it is not all. */
export function withinBytes(text: string, most: number): string {
  if (Buffer.byteLength(text) <= most) return text;
  const mark = "…";
  const head = Buffer.from(text)
    .subarray(0, most - Buffer.byteLength(mark))
    .toString();
  return `${withoutBroken(head)}${mark}`;
}

/** The beginning of a text that is no longer than this in characters, marked where it is not all. */
export function withinCharacters(text: string, most: number): string {
  return text.length <= most ? text : `${text.slice(0, most - 1).replace(/[\ud800-\udbff]$/, "")}…`;
}

/** The last part of a text, of whole lines where it has any, no longer than this in UTF-8. */
export function linesOf(text: string, most: number): string {
  const bytes = Buffer.from(text);
  if (bytes.length <= most) return text;
  const tail = withoutBroken(bytes.subarray(bytes.length - most).toString());
  const lineEnd = tail.indexOf("\n");
  return lineEnd === -1 || lineEnd === tail.length - 1 ? tail : tail.slice(lineEnd + 1);
}

/** Without what is left of a character that was cut in two. */
function withoutBroken(text: string): string {
  return text.replace(/^\ufffd{1,3}|\ufffd{1,3}$/g, "");
}
