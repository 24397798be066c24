/** Longest line, bytes; longer ones are stored in pieces. */
export const MAX_LINE_BYTES = 16 * 1024;

/** Sources with an unfinished line at once in one stream; the oldest of more is taken as finished. */
const MAX_UNFINISHED = 100;

/** Takes a line, or a piece of one (`whole` false) that the next one of the same source goes on from. */
export type TakeLine = (source: string, bytes: Uint8Array, whole: boolean) => void;

/** Makes lines of what sources print in pieces of any size. What it hands on is valid only during the call. */
export class LineSplitter {
  readonly #take: TakeLine;
  readonly #unfinished = new Map<string, { bytes: Buffer; length: number }>();

  constructor(take: TakeLine) {
    this.#take = take;
  }

  write(source: string, data: Buffer): void {
    let from = 0;
    for (let end = data.indexOf(10, from); end !== -1; end = data.indexOf(10, from)) {
      this.#add(source, data, from, end, true);
      from = end + 1;
    }
    if (from < data.length) this.#add(source, data, from, data.length, false);
  }

  /** Hands on what is unfinished: nothing more comes. */
  finish(): void {
    for (const [source, { bytes, length }] of this.#unfinished) {
      this.#take(source, bytes.subarray(0, length), false);
    }
    this.#unfinished.clear();
  }

  #add(source: string, data: Buffer, from: number, end: number, whole: boolean): void {
    const held = this.#unfinished.get(source);
    if (held !== undefined) {
      const joined = Math.min(end - from, MAX_LINE_BYTES - held.length);
      this.#hold(source, data.subarray(from, from + joined));
      if (from + joined === end && whole) this.#takeHeld(source, held, held.length, true);
      else if (held.length === MAX_LINE_BYTES) {
        this.#takeHeld(source, held, cutAt(held.bytes, 0, held.length), false);
        if (from + joined < end) this.#add(source, data, from + joined, end, whole);
      }
      return;
    }
    let start = from;
    while (end - start > MAX_LINE_BYTES || (!whole && end - start === MAX_LINE_BYTES)) {
      const length = cutAt(data, start, MAX_LINE_BYTES);
      this.#take(source, data.subarray(start, start + length), false);
      start += length;
    }
    if (whole) this.#take(source, data.subarray(start, end), true);
    else if (start < end) this.#hold(source, data.subarray(start, end));
  }

  /** Hands on the first `length` bytes of what is held; the rest is the beginning of a character and goes before what comes. */
  #takeHeld(source: string, held: { bytes: Buffer; length: number }, length: number, whole: boolean): void {
    this.#unfinished.delete(source);
    this.#take(source, held.bytes.subarray(0, length), whole);
    if (length < held.length) this.#hold(source, held.bytes.subarray(length, held.length));
  }

  #hold(source: string, data: Uint8Array): void {
    let held = this.#unfinished.get(source);
    if (held === undefined) {
      if (this.#unfinished.size >= MAX_UNFINISHED) this.finish();
      held = { bytes: Buffer.allocUnsafe(Math.max(256, data.length)), length: 0 };
      this.#unfinished.set(source, held);
    }
    const needed = held.length + data.length;
    if (needed > held.bytes.length) {
      const larger = Buffer.allocUnsafe(Math.min(MAX_LINE_BYTES, Math.max(needed, held.bytes.length * 2)));
      held.bytes.copy(larger, 0, 0, held.length);
      held.bytes = larger;
    }
    held.bytes.set(data, held.length);
    held.length = needed;
  }
}

/** As much of `length` bytes from `start` as ends with a whole UTF-8 character, if there is any. */
function cutAt(bytes: Uint8Array, start: number, length: number): number {
  for (let back = 1; back <= Math.min(4, length); back++) {
    const byte = bytes[start + length - back] ?? 0;
    if ((byte & 0xc0) === 0x80) continue;
    const size = byte < 0x80 ? 1 : byte >= 0xf0 ? 4 : byte >= 0xe0 ? 3 : 2;
    return size > back && length > back ? length - back : length;
  }
  return length;
}
