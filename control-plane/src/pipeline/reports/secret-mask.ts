import { setImmediate as turn } from "node:timers/promises";
import { sanitiseLogText } from "../../ports/log-store/sanitise.ts";
import type { SecretStore } from "../../ports/secret-store/secret-store.ts";

const MASK = "[secret]";
const LEFT_OUT = "[left out: there are too many secrets to look for]";
/** Lines of a secret that are shorter stand in every text. */
const MIN_LINE_CHARACTERS = 8;
/** A longer value stands in no text as a whole, since no line of a log is as long; its lines may. */
const MAX_WHOLE_CHARACTERS = 16 * 1024;
/** Of all values. Measured: the forms of these take 0.7 s and 35 MB for each report, and eight times as many 6 s and 260 MB. */
const MAX_CHARACTERS = 512 * 1024;
const NAMES_AT_ONCE = 10;
/** Forms that are longer are looked for in pieces of this length, side by side. */
const PIECE_CHARACTERS = 16;
/** The fewest that the shortest secret has, of four bytes each. */
const MIN_CHARACTERS = 4;

export type SecretMask = (text: string) => string;

/**
 * Takes an owner's secrets out of what leaves the platform: what a function printed before it ended, and a reason may quote,
 * is shown to everybody who may see the commit. Where there are too many to look for, nothing of the text is left.
 */
export async function openSecretMask(secrets: SecretStore, ownerId: string): Promise<SecretMask> {
  const names = (await secrets.list(ownerId)).map(({ name }) => name);
  const forms = new Forms();
  let characters = 0;
  for (let from = 0; from < names.length; from += NAMES_AT_ONCE) {
    const revealed = await secrets.reveal(ownerId, names.slice(from, from + NAMES_AT_ONCE));
    for (const value of Object.values(revealed)) {
      characters += value.length;
      for (const form of formsOf(value)) forms.add(form);
    }
    if (characters > MAX_CHARACTERS) return () => LEFT_OUT;
    await turn();
  }
  return (text) => forms.maskIn(text);
}

/**
 * How secrets may be written, found in one pass over a text, however many there are and whatever they share. What is like a
 * piece of a long one is taken for it.
 */
class Forms {
  /** By their length. */
  readonly #pieces = new Map<number, Set<string>>();

  add(form: string): void {
    if (form.length < MIN_CHARACTERS) return;
    for (let at = 0; at + PIECE_CHARACTERS < form.length; at += PIECE_CHARACTERS) {
      this.#addPiece(form.slice(at, at + PIECE_CHARACTERS));
    }
    this.#addPiece(form.slice(-PIECE_CHARACTERS));
  }

  maskIn(text: string): string {
    let masked = "";
    let from = 0;
    /** End of the secret that was found last. */
    let end = -1;
    for (let at = 0; at < text.length; at++) {
      const length = this.#lengthAt(text, at);
      if (length === 0) continue;
      if (at > end) masked += text.slice(from, at) + MASK;
      end = Math.max(end, at + length);
      from = end;
    }
    return masked + text.slice(from);
  }

  #addPiece(piece: string): void {
    const same = this.#pieces.get(piece.length) ?? new Set();
    this.#pieces.set(piece.length, same.add(piece));
  }

  /** Of the longest piece that begins here; 0 where none does. */
  #lengthAt(text: string, at: number): number {
    let longest = 0;
    for (const [length, pieces] of this.#pieces) {
      if (length > longest && pieces.has(text.slice(at, at + length))) longest = length;
    }
    return longest;
  }
}

/** A value as it may stand in a line of text, and as the usual encodings write it. */
function formsOf(value: string): string[] {
  const lines = value
    .split(/\r\n|\r|\n/)
    .map((line) => sanitiseLogText(line).trim())
    .filter((line) => line.length >= MIN_LINE_CHARACTERS);
  if (value.length > MAX_WHOLE_CHARACTERS) return lines;
  const bytes = Buffer.from(value);
  return [
    ...lines,
    sanitiseLogText(value).trim(),
    ...[0, 1, 2].flatMap((offset) => base64At(bytes, offset)),
    bytes.toString("hex"),
    bytes.toString("hex").toUpperCase(),
    encodeURIComponent(value.toWellFormed()),
    JSON.stringify(value).slice(1, -1),
  ];
}

/** What base64 and base64url make of the bytes wherever they stand in a longer text: all but what neighbours have a part in. */
function base64At(bytes: Buffer, offset: number): string[] {
  const shifted = Buffer.concat([Buffer.alloc(offset), bytes]);
  const whole = shifted.subarray(0, shifted.length - (shifted.length % 3));
  const skipped = offset === 0 ? 0 : offset + 1;
  return (["base64", "base64url"] as const).map((form) => whole.toString(form).slice(skipped));
}
