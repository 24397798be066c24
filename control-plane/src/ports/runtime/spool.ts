import { closeSync, constants, fstatSync, ftruncateSync, openSync, readSync } from "node:fs";
import { LastLines } from "../../sandbox/last-lines.ts";
import type { LogSink } from "../log-store/log-store.ts";

const READ_BYTES = 1024 * 1024;
const TRUNCATE_ABOVE_BYTES = 1024 * 1024;
const NEWLINE = 0x0a;

/**
 * The file that a replica prints to, read on behind it into the log. A pipe would end with the platform, and with it every
 * function that prints.
 *
 * What was read is cut off once the replica is quiet or the file large, so that the disk holds little. A flood that is
 * faster than the reader is cut off unread, and its size is logged.
 */
export class Spool implements Disposable {
  /** What the replica printed last. */
  readonly lastLines = new LastLines();
  readonly #fd: number;
  readonly #log: LogSink;
  readonly #source: string;
  readonly #floodBytes: number;
  readonly #buffer: Buffer;
  #read = 0;
  #sizeBefore = 0;
  #endsLine = true;

  constructor(options: {
    readonly path: string;
    readonly log: LogSink;
    readonly source: string;
    readonly buffer: Buffer;
    readonly floodBytes: number;
  }) {
    this.#fd = openSync(options.path, constants.O_RDWR | constants.O_CREAT, 0o600);
    this.#log = options.log;
    this.#source = options.source;
    this.#buffer = options.buffer;
    this.#floodBytes = options.floodBytes;
  }

  /** Reads some of what is new. Called again and again; one call never takes long. */
  drain(): void {
    const { size } = fstatSync(this.#fd);
    if (size - this.#read > this.#floodBytes) {
      this.#write(
        Buffer.from(
          `\n[${size - this.#read} bytes were printed faster than they could be read, and are lost]\n`,
        ),
      );
      this.#cut();
      return;
    }
    this.#readOn();
    const isQuiet = size === this.#sizeBefore;
    this.#sizeBefore = size;
    if (this.#read > 0 && this.#read >= size && (isQuiet || size > TRUNCATE_ABOVE_BYTES)) this.#cut();
  }

  /** Reads all there is, and ends the last line: what comes after it is another process's. */
  finish(): void {
    while (this.#readOn() > 0);
    if (!this.#endsLine) this.#write(Buffer.of(NEWLINE));
    this.#cut();
  }

  [Symbol.dispose](): void {
    closeSync(this.#fd);
  }

  #readOn(): number {
    const count = readSync(this.#fd, this.#buffer, 0, READ_BYTES, this.#read);
    if (count > 0) this.#write(Buffer.from(this.#buffer.subarray(0, count)));
    this.#read += count;
    return count;
  }

  #write(chunk: Buffer): void {
    this.#endsLine = chunk.at(-1) === NEWLINE;
    this.lastLines.add(chunk);
    this.#log.write(this.#source, chunk);
  }

  #cut(): void {
    ftruncateSync(this.#fd, 0);
    this.#read = 0;
    this.#sizeBefore = 0;
  }
}

/** One buffer serves all spools, as they are read one after the other. */
export function spoolBuffer(): Buffer {
  return Buffer.allocUnsafe(READ_BYTES);
}
