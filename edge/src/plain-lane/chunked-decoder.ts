import { TOKEN, trimBlanks } from "./header-lines.ts";

/** What is allowed of one chunk's size line, extensions included, and of all trailer lines together. */
const MAX_SIZE_LINE_BYTES = 1_024;
const MAX_TRAILER_BYTES = 16 * 1024;

const TRAILER = new RegExp(`^(${TOKEN}+):([\\t\\x20-\\x7e\\x80-\\xff]*)$`);
const SIZE = /^([0-9A-Fa-f]{1,12})(?:[\t ]*;[\t\x20-\x7e\x80-\xff]*)?$/;

type State = "size" | "data" | "data-end" | "trailer" | "done" | "broken";

/**
 * Reads a chunked body (RFC 9112 §7.1) piece by piece. Strict where readers could part ways: lines end in CRLF, a size is
 * hexadecimal digits; extensions are dropped.
 */
export class ChunkedDecoder {
  #state: State = "size";
  #dataLeft = 0;
  /** A line that has begun. */
  #line = "";
  #trailerBytes = 0;
  /** Name, value, name, value. */
  readonly trailers: string[] = [];

  get done(): boolean {
    return this.#state === "done";
  }

  get broken(): boolean {
    return this.#state === "broken";
  }

  /**
   * @param onData told where data is in `bytes`
   * @returns where the body ends in `bytes`, or its length where it goes on
   */
  decode(bytes: Buffer, onData: (start: number, end: number) => void): number {
    let at = 0;
    while (at < bytes.length && !this.done && !this.broken) {
      if (this.#state === "data") {
        const end = Math.min(bytes.length, at + this.#dataLeft);
        onData(at, end);
        this.#dataLeft -= end - at;
        if (this.#dataLeft === 0) this.#state = "data-end";
        at = end;
      } else {
        at = this.#readLine(bytes, at);
      }
    }
    return at;
  }

  #readLine(bytes: Buffer, from: number): number {
    const newline = bytes.indexOf(10, from);
    const end = newline === -1 ? bytes.length : newline + 1;
    const limit = this.#state === "trailer" ? MAX_TRAILER_BYTES : MAX_SIZE_LINE_BYTES;
    if (this.#line.length + end - from > limit) {
      this.#state = "broken";
      return end;
    }
    this.#line += bytes.toString("latin1", from, end);
    if (newline === -1) return end;
    const line = this.#line;
    this.#line = "";
    if (line.endsWith("\r\n")) this.#onLine(line.slice(0, -2));
    else this.#state = "broken";
    return end;
  }

  #onLine(line: string): void {
    switch (this.#state) {
      case "size":
        this.#onSize(SIZE.exec(line)?.[1]);
        break;
      case "data-end":
        this.#state = line === "" ? "size" : "broken";
        break;
      default:
        this.#onTrailer(line);
    }
  }

  #onSize(digits: string | undefined): void {
    if (digits === undefined) {
      this.#state = "broken";
      return;
    }
    this.#dataLeft = Number.parseInt(digits, 16);
    this.#state = this.#dataLeft === 0 ? "trailer" : "data";
  }

  #onTrailer(line: string): void {
    if (line === "") {
      this.#state = "done";
      return;
    }
    this.#trailerBytes += line.length;
    const [, name, value] = TRAILER.exec(line) ?? [];
    if (name === undefined || value === undefined || this.#trailerBytes > MAX_TRAILER_BYTES) {
      this.#state = "broken";
      return;
    }
    this.trailers.push(name, trimBlanks(value));
  }
}
