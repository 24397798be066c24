import { access, rm } from "node:fs/promises";
import { join } from "node:path";
import type { LogLine, LogPage, LogSink, LogStore, LogStream } from "./log-store.ts";
import { listSegments, readSegment } from "./segment.ts";
import { ENDED, type StreamLimits, StreamWriter, type WriterPool } from "./stream-writer.ts";

const MiB = 1024 * 1024;

export interface FsLogLimits {
  readonly run: StreamLimits;
  readonly function: StreamLimits;
  /** Memory for what the disk has not taken yet, over all streams. */
  readonly maxPendingBytes: number;
}

const DEFAULT_LIMITS: FsLogLimits = {
  run: { headBytes: MiB, tailBytes: 3 * MiB },
  function: { headBytes: 0, tailBytes: 16 * MiB },
  maxPendingBytes: 32 * MiB,
};

const MAX_PAGE_LINES = 1000;
/** A page ends with the line that takes it over this many characters. */
const MAX_PAGE_CHARS = MiB;
/** Streams written to disk at once, and so the files that are open for it. */
const MAX_FLUSHES = 8;
/** Longest part of a string that is encoded at once. */
const MAX_ENCODED = MiB;

export interface FsLogStore extends LogStore {
  /** Failed writes since the start; the lines they held are counted in the streams' own markers. */
  readonly diskErrors: number;
}

/** Logs as files below `dataDir`: a folder for each stream, a file for each piece of it. */
export function openFsLogStore(options: {
  readonly dataDir: string;
  readonly now?: () => number;
  readonly limits?: Partial<FsLogLimits>;
}): FsLogStore {
  return new FileLogs(options.dataDir, options.now ?? Date.now, {
    ...DEFAULT_LIMITS,
    ...options.limits,
  });
}

class FileLogs implements FsLogStore {
  readonly #root: string;
  readonly #limits: FsLogLimits;
  readonly #pool: WriterPool;
  readonly #writers = new Map<string, StreamWriter>();
  readonly #listeners = new Map<string, Set<() => void>>();
  readonly #waiting = new Set<StreamWriter>();
  #flushes = 0;
  #disposed = false;

  constructor(root: string, now: () => number, limits: FsLogLimits) {
    this.#root = root;
    this.#limits = limits;
    this.#pool = {
      now,
      maxPendingBytes: limits.maxPendingBytes,
      pendingBytes: 0,
      diskErrors: 0,
      schedule: (writer) => this.#schedule(writer),
      onChange: (writer) => this.#announce(writer.key),
    };
  }

  get diskErrors(): number {
    return this.#pool.diskErrors;
  }

  open(stream: LogStream): LogSink {
    const key = keyOf(stream);
    let writer = this.#writers.get(key);
    if (writer === undefined) {
      writer = new StreamWriter(key, this.#folderOf(key), this.#limits[stream.kind], this.#pool);
      this.#writers.set(key, writer);
    }
    const sink = writer;
    return {
      write(source, text) {
        if (typeof text === "string") writeString(sink, source, text);
        else sink.write(source, Buffer.from(text.buffer, text.byteOffset, text.byteLength));
      },
    };
  }

  async end(stream: LogStream): Promise<void> {
    const key = keyOf(stream);
    const writer =
      this.#writers.get(key) ??
      new StreamWriter(key, this.#folderOf(key), this.#limits[stream.kind], this.#pool);
    await writer.close();
    await writer.markEnded();
    if (this.#writers.get(key) === writer) this.#writers.delete(key);
    this.#announce(key);
  }

  async read(
    stream: LogStream,
    options: { readonly cursor?: string; readonly tailLines?: number; readonly maxLines?: number } = {},
  ): Promise<LogPage> {
    const key = keyOf(stream);
    const folder = this.#folderOf(key);
    await this.#writers.get(key)?.flush();
    const ended = await hasEnded(folder);
    const maxLines = Math.min(options.maxLines ?? MAX_PAGE_LINES, MAX_PAGE_LINES);
    const starts = await listSegments(folder);
    const from =
      options.tailLines === undefined
        ? parseCursor(options.cursor)
        : await findTail(folder, starts, Math.min(options.tailLines, maxLines));
    const page = await readPage(folder, starts, from, maxLines);
    return { lines: page.lines, cursor: String(page.position), ended: ended && page.complete };
  }

  async *follow(
    stream: LogStream,
    options: { readonly cursor?: string; readonly tailLines?: number; readonly signal: AbortSignal },
  ): AsyncGenerator<LogPage, void> {
    const { signal, ...first } = options;
    const changes = this.#listen(keyOf(stream), signal);
    try {
      let next: { cursor?: string; tailLines?: number } = first;
      while (!signal.aborted && !this.#disposed) {
        const changed = changes.next();
        const page = await this.read(stream, next);
        next = { cursor: page.cursor };
        if (signal.aborted) return;
        if (page.lines.length > 0) yield page;
        if (page.ended) return;
        // A full page has more behind it.
        if (page.lines.length === 0) await changed;
      }
    } finally {
      changes.stop();
    }
  }

  async remove(stream: LogStream): Promise<void> {
    const key = keyOf(stream);
    const writer = this.#writers.get(key);
    this.#writers.delete(key);
    writer?.discard();
    await writer?.flush();
    await rm(this.#folderOf(key), { recursive: true, force: true });
    this.#announce(key);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#disposed = true;
    await Promise.all([...this.#writers.values()].map((writer) => writer.close()));
    for (const key of this.#listeners.keys()) this.#announce(key);
  }

  #folderOf(key: string): string {
    return join(this.#root, key);
  }

  #schedule(writer: StreamWriter): void {
    if (this.#waiting.has(writer)) return;
    this.#waiting.add(writer);
    setImmediate(() => this.#flushWaiting());
  }

  #flushWaiting(): void {
    for (const writer of this.#waiting) {
      if (this.#flushes >= MAX_FLUSHES) return;
      this.#waiting.delete(writer);
      this.#flushes += 1;
      void writer.flush().finally(() => {
        this.#flushes -= 1;
        this.#flushWaiting();
      });
    }
  }

  #announce(key: string): void {
    for (const listener of this.#listeners.get(key) ?? []) listener();
  }

  /** Promises of the next change after each call, so that none between a read and the wait for it is missed. */
  #listen(key: string, signal: AbortSignal): { next(): Promise<void>; stop(): void } {
    let change = Promise.withResolvers<void>();
    const notify = () => change.resolve();
    const listeners = this.#listeners.get(key) ?? new Set();
    this.#listeners.set(key, listeners.add(notify));
    signal.addEventListener("abort", notify);
    return {
      next() {
        change = Promise.withResolvers();
        return change.promise;
      },
      stop: () => {
        signal.removeEventListener("abort", notify);
        listeners.delete(notify);
        if (listeners.size === 0 && this.#listeners.get(key) === listeners) this.#listeners.delete(key);
      },
    };
  }
}

function keyOf(stream: LogStream): string {
  const [folder, id] = stream.kind === "run" ? ["runs", stream.runId] : ["functions", stream.functionId];
  if (!/^[\w-]{1,100}$/.test(id)) throw new Error(`not a log stream's id: ${id}`);
  return join(folder, id);
}

function writeString(writer: StreamWriter, source: string, text: string): void {
  for (let from = 0; from < text.length; ) {
    let end = Math.min(from + MAX_ENCODED, text.length);
    // Both halves of a surrogate pair go together.
    if (end < text.length && (text.charCodeAt(end - 1) & 0xfc00) === 0xd800) end += 1;
    writer.write(source, Buffer.from(from === 0 && end === text.length ? text : text.slice(from, end)));
    from = end;
  }
}

async function hasEnded(folder: string): Promise<boolean> {
  return access(join(folder, ENDED)).then(
    () => true,
    () => false,
  );
}

function parseCursor(cursor: string | undefined): number {
  return cursor !== undefined && /^\d{1,15}$/.test(cursor) ? Number(cursor) : 0;
}

/** Position of the last so many lines. */
async function findTail(folder: string, starts: readonly number[], lines: number): Promise<number> {
  let missing = lines;
  for (const start of starts.toReversed()) {
    const stored = (await readSegment(folder, start)) ?? [];
    if (missing === 0 && stored.length > 0) return stored.at(-1)?.end ?? start;
    if (stored.length > missing) return stored.at(-missing - 1)?.end ?? start;
    missing -= stored.length;
    if (missing === 0) return start;
  }
  return starts[0] ?? 0;
}

async function readPage(
  folder: string,
  starts: readonly number[],
  from: number,
  maxLines: number,
): Promise<{ lines: LogLine[]; position: number; complete: boolean }> {
  const lines: LogLine[] = [];
  let position = from;
  let chars = 0;
  const first = Math.max(
    0,
    starts.findLastIndex((start) => start <= from),
  );
  for (const start of starts.slice(first)) {
    const stored = await readSegment(folder, start);
    for (const { line, end } of stored ?? []) {
      if (end <= position) continue;
      if (lines.length >= maxLines || chars > MAX_PAGE_CHARS) return { lines, position, complete: false };
      if (start > position) {
        lines.push(droppedMarker(start - position, line.at));
        position = start;
        if (lines.length >= maxLines) return { lines, position, complete: false };
      }
      lines.push(line);
      chars += line.text.length;
      position = end;
    }
  }
  return { lines, position, complete: true };
}

function droppedMarker(bytes: number, at: number): LogLine {
  return { at, source: "platform", text: `[${bytes} bytes of output were dropped here]` };
}
