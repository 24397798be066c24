import { closeSync, constants, fstatSync, ftruncateSync, openSync, readSync } from "node:fs";
import { setImmediate as turn } from "node:timers/promises";
import { LastLines } from "../../sandbox/last-lines.ts";
import type { LogSink } from "../log-store/log-store.ts";

const READ_BYTES = 1024 * 1024;
const TRUNCATE_ABOVE_BYTES = 1024 * 1024;
const NEWLINE = 0x0a;

/**
 * The file that a replica prints to, read on behind it into the log. A pipe would end with the platform, and with it every
 * function that prints.
 *
 * What was read is cut off once the replica is quiet or the file large, so that the disk holds little. Of a flood that is
 * faster than the reader, or of a file that the replica made large without printing, only the end is read, and the size
 * of the rest is logged. Once disposed it does nothing more.
 */
export class Spool implements Disposable {
  /** What the replica printed last, since it was started last. */
  readonly lastLines = new LastLines();
  readonly #fd: number;
  readonly #log: LogSink;
  readonly #source: string;
  readonly #floodBytes: number;
  readonly #buffer: Buffer;
  #read = 0;
  #sizeBefore = 0;
  #endsLine = true;
  #closed = false;

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
    if (this.#closed) return;
    const { size } = fstatSync(this.#fd);
    const isFlood = this.#skipFlood(size);
    this.#readOn();
    if (isFlood) {
      this.#cut();
      return;
    }
    const isQuiet = size === this.#sizeBefore;
    this.#sizeBefore = size;
    if (this.#read > 0 && this.#read >= size && (isQuiet || size > TRUNCATE_ABOVE_BYTES)) this.#cut();
  }

  /**
   * Reads what is left of a process that has ended, and ends the last line: what comes after it is another process's. Others
   * get their turn between two reads.
   */
  async finish(): Promise<void> {
    if (this.#closed) return;
    this.#skipFlood(fstatSync(this.#fd).size);
    while (!this.#closed && this.#readOn() > 0) await turn();
    if (this.#closed) return;
    if (!this.#endsLine) this.#write(Buffer.of(NEWLINE));
    this.#cut();
  }

  [Symbol.dispose](): void {
    if (this.#closed) return;
    this.#closed = true;
    closeSync(this.#fd);
  }

  /** Whether so much is unread that all but its end is given up. */
  #skipFlood(size: number): boolean {
    const unread = size - this.#read;
    if (unread <= this.#floodBytes) return false;
    const kept = Math.min(READ_BYTES, this.#floodBytes);
    const marker = `\n[${unread - kept} bytes were printed faster than they could be read, and are lost]\n`;
    this.#write(Buffer.from(marker));
    this.#read = size - kept;
    return true;
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
