import { fstatSync, write, writeSync } from "node:fs";
import { Socket } from "node:net";
import { setTimeout as sleep } from "node:timers/promises";

/** What is worth a system call and a thread's waking. */
const PAGE_BYTES = 128 * 1024;
/** UTF-8 has no more bytes for one character of a string. */
const MAX_BYTES_A_CHARACTER = 3;
/** How long a line may wait for others, and how soon a full disk is tried again. */
const FLUSH_EVERY_MS = 500;
const TRY_AGAIN_MS = 50;
/** What waits while nobody reads: about half a second of the lines of a busy edge, a good reason to drop the rest. */
const MAX_WAITING_BYTES = 4 * 1024 * 1024;
/** Of that for lines of which one more or less does not matter: they leave room for what the edge itself has to say. */
const MAX_OFFERED_BYTES = 3 * 1024 * 1024;
/** What is written to a pipe at once and is no longer does not mix with what other processes write (PIPE_BUF). */
const UNMIXED_BYTES = 4_096;
const NEWLINE = 0x0a;
/** For the last lines, at the end. */
const FINISH_MS = 1_000;

export interface LineOutputOptions {
  /** As the field of the same name. */
  readonly shared?: boolean;
}

interface Page {
  readonly bytes: Buffer;
  readonly lines: number;
}

const NOTHING = Buffer.alloc(0);

type OnWritten = (error: NodeJS.ErrnoException | null, bytesWritten: number) => void;
type Write = (bytes: Buffer, onWritten: OnWritten) => void;

/**
 * Lines to a file descriptor that stays open, in pages, by one asynchronous write at a time. A line becomes bytes at once: as
 * strings, thousands of them would be carried along by the garbage collector until they are written. Never waited for and never
 * large: whoever reads too slowly, or whose disk is full, gets the older lines later and misses the newer ones, which are
 * counted. (pino's own destination has no bound that counts lines, ends the process when a write fails, and where the disk is
 * full never lets it end.)
 */
export class LineOutput implements AsyncDisposable {
  /** Whether other processes write to it meanwhile: then only whole lines are written at once, few enough to stay whole. */
  shared: boolean;
  readonly #descriptor: number;
  readonly #write: Write;
  readonly #timer: NodeJS.Timeout;
  /** What is being filled, and how far. */
  #page: Buffer | undefined;
  #used = 0;
  #lines = 0;
  #full: Page[] = [];
  /** Of what is being written, what is not written yet. */
  #rest: { bytes: Buffer; readonly lines: number } | undefined;
  /** Of full pages: what they hold of memory, not only what is written in it. */
  #waitingBytes = 0;
  #writing = false;
  /** Nobody will ever read on. */
  #gone = false;
  #droppedLines = 0;
  #whenIdle: (() => void) | undefined;

  constructor(descriptor: number, { shared = false }: LineOutputOptions = {}) {
    this.#descriptor = descriptor;
    this.shared = shared;
    this.#write = writerTo(descriptor, () => this.shared);
    this.#timer = setInterval(() => this.#flushWhereNothingWaits(), FLUSH_EVERY_MS).unref();
    process.on("exit", this.#onExit);
  }

  get droppedLines(): number {
    return this.#droppedLines;
  }

  /** One line, with its newline. */
  write(line: string): void {
    this.#take(line, MAX_WAITING_BYTES);
  }

  /** As `write`, for lines that may be missed before others are. */
  offer(line: string): void {
    this.#take(line, MAX_OFFERED_BYTES);
  }

  /** Writes what is left, if that can be done soon. */
  async [Symbol.asyncDispose](): Promise<void> {
    clearInterval(this.#timer);
    const idle = new Promise<void>((resolve) => {
      this.#whenIdle = resolve;
    });
    this.#flush();
    const waited = new AbortController();
    await Promise.race([idle, sleep(FINISH_MS, undefined, { signal: waited.signal }).catch(ignore)]);
    waited.abort();
    this.#giveUp();
    process.off("exit", this.#onExit);
  }

  #take(line: string, maxWaiting: number): void {
    if (this.#gone || this.#waitingBytes + this.#used + line.length > maxWaiting) {
      this.#droppedLines += 1;
      return;
    }
    if (this.#used + line.length * MAX_BYTES_A_CHARACTER > PAGE_BYTES) this.#flush();
    if (line.length * MAX_BYTES_A_CHARACTER > PAGE_BYTES) {
      this.#enqueue({ bytes: Buffer.from(line), lines: 1 });
      return;
    }
    this.#page ??= Buffer.allocUnsafeSlow(PAGE_BYTES);
    this.#used += this.#page.write(line, this.#used);
    this.#lines += 1;
  }

  /** Behind what waits a page fills up first: one for each look would be memory that hardly a line is in. */
  #flushWhereNothingWaits(): void {
    if (this.#rest === undefined) this.#flush();
    else this.#writeNext();
  }

  #flush(): void {
    const page = this.#page;
    if (page !== undefined && this.#lines > 0) {
      const bytes = page.subarray(0, this.#used);
      const lines = this.#lines;
      this.#page = undefined;
      this.#used = 0;
      this.#lines = 0;
      this.#enqueue({ bytes, lines });
      return;
    }
    this.#writeNext();
  }

  #enqueue(page: Page): void {
    this.#full.push(page);
    this.#waitingBytes += page.bytes.buffer.byteLength;
    this.#writeNext();
  }

  #writeNext(): void {
    if (this.#writing) return;
    this.#rest ??= this.#takePage();
    if (this.#rest === undefined) {
      this.#whenIdle?.();
      return;
    }
    this.#writing = true;
    this.#write(this.#rest.bytes, this.#onWritten);
  }

  #takePage(): { bytes: Buffer; readonly lines: number } | undefined {
    const page = this.#full.shift();
    if (page === undefined) return undefined;
    this.#waitingBytes -= page.bytes.buffer.byteLength;
    return { ...page };
  }

  readonly #onWritten: OnWritten = (error, bytesWritten) => {
    this.#writing = false;
    if (error === null) this.#written(bytesWritten);
    else this.#failed(error.code);
  };

  #written(bytesWritten: number): void {
    if (this.#rest === undefined) return;
    const bytes = this.#rest.bytes.subarray(bytesWritten);
    if (bytes.length === 0) this.#rest = undefined;
    else this.#rest.bytes = bytes;
    this.#writeNext();
  }

  #failed(code: string | undefined): void {
    switch (code) {
      case "EAGAIN":
      case "EBUSY":
        setTimeout(() => this.#writeNext(), TRY_AGAIN_MS).unref();
        return;
      case "ENOSPC":
      case "EDQUOT":
      case "EIO":
        // The next flush tries again.
        if (this.#whenIdle !== undefined) this.#giveUp();
        return;
      default:
        this.#giveUp();
    }
  }

  #giveUp(): void {
    this.#gone = true;
    this.#droppedLines += this.#lines + (this.#rest?.lines ?? 0);
    for (const { lines } of this.#full) this.#droppedLines += lines;
    this.#page = undefined;
    this.#used = 0;
    this.#lines = 0;
    this.#full = [];
    this.#rest = undefined;
    this.#waitingBytes = 0;
    this.#whenIdle?.();
  }

  /** Where the process ends without disposing of this. What follows a write under way must not come before it. */
  readonly #onExit = (): void => {
    if (this.#writing || this.#gone) return;
    const left = Buffer.concat([
      this.#rest?.bytes ?? NOTHING,
      ...this.#full.map(({ bytes }) => bytes),
      this.#page?.subarray(0, this.#used) ?? NOTHING,
    ]);
    try {
      writeSync(this.#descriptor, left);
    } catch {
      // There is nobody left to tell.
    }
  };
}

/**
 * A write to a pipe that nobody reads would hold a thread, and a thread that is held keeps the process from ending: pipes are
 * written to without one.
 */
function writerTo(descriptor: number, isShared: () => boolean): Write {
  const kind = fstatSync(descriptor);
  if (!kind.isFIFO() && !kind.isSocket()) return (bytes, onWritten) => write(descriptor, bytes, onWritten);
  const pipe = new Socket({ fd: descriptor, readable: false }).on("error", ignore).unref();
  return (bytes, onWritten) => {
    const piece = isShared() ? unmixed(bytes) : bytes;
    pipe.write(piece, (error) => onWritten(error ?? null, piece.length));
  };
}

/** The first of these lines that together stay whole; where the first is too long for that, it alone. */
function unmixed(bytes: Buffer): Buffer {
  if (bytes.length <= UNMIXED_BYTES) return bytes;
  const last = bytes.lastIndexOf(NEWLINE, UNMIXED_BYTES - 1);
  return bytes.subarray(0, (last === -1 ? bytes.indexOf(NEWLINE, UNMIXED_BYTES) : last) + 1);
}

function ignore(): void {
  // An abort only ends the wait early, and a failed write is told to who asked for it.
}
