import { fstatSync, write, writeSync } from "node:fs";
import { Socket } from "node:net";
import { setTimeout as sleep } from "node:timers/promises";

/** What is worth a system call; where more has come by the time of one, it takes up to half a megabyte. */
const BATCH_CHARACTERS = 32 * 1024;
const MAX_BATCHES_AT_ONCE = 16;
/** How long a line may wait for others, and how soon a full disk is tried again. */
const FLUSH_EVERY_MS = 500;
const TRY_AGAIN_MS = 50;
/** What waits while nobody reads: about half a second of the lines of a busy edge, a good reason to drop the rest. */
const MAX_WAITING_CHARACTERS = 4 * 1024 * 1024;
/** Of that for lines of which one more or less does not matter: they leave room for what the edge itself has to say. */
const MAX_OFFERED_CHARACTERS = 3 * 1024 * 1024;
/** What is written to a pipe at once and is no longer does not mix with what other processes write (PIPE_BUF). */
const UNMIXED_BYTES = 4_096;
const NEWLINE = 0x0a;
/** For the last lines, at the end. */
const FINISH_MS = 1_000;

export interface LineOutputOptions {
  /** Whether other processes write to it meanwhile: then only whole lines are written at once, few enough to stay whole. */
  readonly shared?: boolean;
}

interface Batch {
  readonly text: string;
  readonly lines: number;
}

type OnWritten = (error: NodeJS.ErrnoException | null, bytesWritten: number) => void;
type Write = (bytes: Buffer, onWritten: OnWritten) => void;

/**
 * Lines to a file descriptor that stays open, in batches, by one asynchronous write at a time. Never waited for and never
 * large: whoever reads too slowly, or whose disk is full, gets the older lines later and misses the newer ones, which are
 * counted. (pino's own destination has no bound that counts lines, ends the process when a write fails, and where the disk is
 * full never lets it end.)
 */
export class LineOutput implements AsyncDisposable {
  readonly #descriptor: number;
  readonly #write: Write;
  readonly #timer: NodeJS.Timeout;
  #text = "";
  #lines = 0;
  #full: Batch[] = [];
  /** Of what is being written, what is not written yet. */
  #rest: { bytes: Buffer; readonly lines: number } | undefined;
  #waitingCharacters = 0;
  #writing = false;
  /** Nobody will ever read on. */
  #gone = false;
  #droppedLines = 0;
  #whenIdle: (() => void) | undefined;

  constructor(descriptor: number, { shared = false }: LineOutputOptions = {}) {
    this.#descriptor = descriptor;
    this.#write = writerTo(descriptor, shared);
    this.#timer = setInterval(() => this.#flush(), FLUSH_EVERY_MS).unref();
    process.on("exit", this.#onExit);
  }

  get droppedLines(): number {
    return this.#droppedLines;
  }

  /** One line, with its newline. */
  write(line: string): void {
    this.#take(line, MAX_WAITING_CHARACTERS);
  }

  /** As `write`, for lines that may be missed before others are. */
  offer(line: string): void {
    this.#take(line, MAX_OFFERED_CHARACTERS);
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
    if (this.#gone || this.#waitingCharacters + line.length > maxWaiting) {
      this.#droppedLines += 1;
      return;
    }
    this.#waitingCharacters += line.length;
    this.#text += line;
    this.#lines += 1;
    if (this.#text.length >= BATCH_CHARACTERS) this.#flush();
  }

  #flush(): void {
    if (this.#lines > 0) this.#full.push({ text: this.#text, lines: this.#lines });
    this.#text = "";
    this.#lines = 0;
    this.#writeNext();
  }

  #writeNext(): void {
    if (this.#writing) return;
    this.#rest ??= this.#takeBatches();
    if (this.#rest === undefined) {
      this.#whenIdle?.();
      return;
    }
    this.#writing = true;
    this.#write(this.#rest.bytes, this.#onWritten);
  }

  #takeBatches(): { bytes: Buffer; readonly lines: number } | undefined {
    const batches = this.#full.splice(0, MAX_BATCHES_AT_ONCE);
    if (batches.length === 0) return undefined;
    const text = batches.map((batch) => batch.text).join("");
    this.#waitingCharacters -= text.length;
    return { bytes: Buffer.from(text), lines: batches.reduce((sum, { lines }) => sum + lines, 0) };
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
    this.#text = "";
    this.#lines = 0;
    this.#full = [];
    this.#rest = undefined;
    this.#waitingCharacters = 0;
    this.#whenIdle?.();
  }

  /** Where the process ends without disposing of this. What follows a write under way must not come before it. */
  readonly #onExit = (): void => {
    if (this.#writing || this.#gone) return;
    const full = this.#full.map(({ text }) => text).join("");
    const left = Buffer.concat([this.#rest?.bytes ?? Buffer.alloc(0), Buffer.from(full + this.#text)]);
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
function writerTo(descriptor: number, shared: boolean): Write {
  const kind = fstatSync(descriptor);
  if (!kind.isFIFO() && !kind.isSocket()) return (bytes, onWritten) => write(descriptor, bytes, onWritten);
  const pipe = new Socket({ fd: descriptor, readable: false }).on("error", ignore).unref();
  return (bytes, onWritten) => {
    const piece = shared ? unmixed(bytes) : bytes;
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
