/** Longest text of a commit that is kept, in UTF-16 units. */
const MAX_TEXT = 2_000;

export function messageOf(message: string): string {
  return message.slice(0, MAX_TEXT);
}

/** `Alice <alice@example.com>` without the address, which is nobody's business here. */
export function authorOf(raw: string): string {
  // Cut before it is looked into: how long that takes is the square of the spaces in it.
  return raw
    .slice(0, 2 * MAX_TEXT)
    .replace(/\s*<[^<>]*>\s*$/, "")
    .slice(0, MAX_TEXT);
}

/** At most so many characters, without half of one at the end. */
export function cut(text: string, most: number): string {
  const characters = [...text];
  return characters.length <= most ? text : `${characters.slice(0, most - 1).join("")}…`;
}
