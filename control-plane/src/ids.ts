import { createHash, randomBytes } from "node:crypto";

const ALPHABET = "0123456789abcdefghjkmnpqrstvwxyz";

/** A new id that sorts by the time it was made (ULID's idea: 48 bits of milliseconds, 60 bits of chance; 22 characters). */
export function newId(now = Date.now()): string {
  let time = "";
  for (let rest = now, i = 0; i < 10; i++, rest = Math.floor(rest / 32)) time = ALPHABET[rest % 32] + time;
  return time + [...randomBytes(12)].map((byte) => ALPHABET[byte % 32]).join("");
}

/** An id that follows from what it identifies, so that doing a thing twice finds the first one. */
export function derivedId(...parts: readonly string[]): string {
  return createHash("sha256").update(JSON.stringify(parts)).digest("hex").slice(0, 24);
}

export function sha256(text: string | Uint8Array): string {
  return createHash("sha256").update(text).digest("hex");
}
