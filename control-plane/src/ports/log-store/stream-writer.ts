import { mkdir, rm, stat, unlink, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { LineSplitter, MAX_LINE_BYTES } from "./line-splitter.ts";
import {
  appendToSegment,
  listSegments,
  recordHead,
  recoverSegment,
  type Segment,
  segmentPath,
} from "./segment.ts";

export interface StreamLimits {
  /** Stored bytes that are kept from the beginning, and up to the end. */
  readonly headBytes: number;
  readonly tailBytes: number;
}

/** What all writers of a store share. */
export interface WriterPool {
  readonly now: () => number;
  /** Memory that all streams together may hold what is not written yet in. */
  readonly maxPendingBytes: number;
  pendingBytes: number;
  diskErrors: number;
  /** Calls `flush` soon, once however often it is asked before. */
  schedule(writer: StreamWriter): void;
  onChange(writer: StreamWriter): void;
}

/** Records that wait for the disk; positions count from where the writer began. */
interface Block {
  readonly start: number;
  end: number;
  readonly bytes: Buffer;
  used: number;
  /** Belongs to what the head of the stream may keep: dropped only when the whole store is out of memory. */
  readonly head: boolean;
}

const BLOCK_BYTES = 64 * 1024;
const MAX_HEAD_OF_RECORD = 512;
/**
 * What one stream may hold for the disk beyond its head, next to what its tail keeps: blocks are never quite full, and what
 * waits must outweigh the tail on disk, so that a flood leaves one gap and not several.
 */
const PENDING_PER_TAIL = 1.4;
/** The most of that, for streams with a long tail. */
const MAX_PENDING_TAIL = 5 * 1024 * 1024;
const SEGMENTS_IN_TAIL = 48;

/** File whose presence says that a stream has ended. */
export const ENDED = "ended";

/**
 * Appends to one stream. Memory holds blocks of whole records until the disk has taken them; where the disk is too slow
 * the oldest of them are dropped, which is what the end of a log would lose anyway.
 */
export class StreamWriter {
  readonly key: string;
  readonly folder: string;
  readonly #limits: StreamLimits;
  readonly #pool: WriterPool;
  readonly #splitter: LineSplitter;
  readonly #segmentBytes: number;
  #pending: Block[] = [];
  #position = 0;
  #appendedBytes = 0;
  #at = 0;
  #head = { at: -1, source: "", whole: false, text: "" };
  /** What is on disk; `undefined` until the first flush has looked. */
  #stored: { base: number; segments: Segment[] } | undefined;
  #failure: string | undefined;
  #flushing: Promise<void> = Promise.resolve();
  #closed = false;

  constructor(key: string, folder: string, limits: StreamLimits, pool: WriterPool) {
    this.key = key;
    this.folder = folder;
    this.#limits = limits;
    this.#pool = pool;
    this.#segmentBytes = Math.ceil(limits.tailBytes / SEGMENTS_IN_TAIL);
    this.#splitter = new LineSplitter((source, bytes, whole) => this.#append(source, bytes, whole));
  }

  write(source: string, data: Buffer): void {
    if (this.#closed) return;
    this.#at = this.#pool.now();
    if (this.#failure !== undefined) {
      const text = `Output was lost because the log could not be written (${this.#failure}).`;
      this.#failure = undefined;
      this.#append("platform", Buffer.from(text), true);
    }
    this.#splitter.write(source, data);
    if (this.#pending.length > 0) this.#pool.schedule(this);
  }

  /** Takes nothing more, and hands the disk what is left. */
  async close(): Promise<void> {
    if (!this.#closed) {
      this.#closed = true;
      this.#at = this.#pool.now();
      this.#splitter.finish();
    }
    await this.flush();
  }

  async markEnded(): Promise<void> {
    try {
      await mkdir(this.folder, { recursive: true, mode: 0o700 });
      await writeFile(join(this.folder, ENDED), "", { mode: 0o600 });
    } catch {
      this.#pool.diskErrors += 1;
    }
  }

  /** Resolves when all that was written before the call is readable, or lost and counted. */
  flush(): Promise<void> {
    this.#flushing = this.#flushing.then(() => this.#writePending());
    return this.#flushing;
  }

  /** Forgets what waits for the disk. */
  discard(): void {
    this.#closed = true;
    for (const block of this.#pending.splice(0)) this.#pool.pendingBytes -= block.bytes.length;
  }

  #append(source: string, text: Uint8Array, whole: boolean): void {
    const head = this.#headOf(source, whole);
    const length = MAX_HEAD_OF_RECORD + text.length + 1;
    let block = this.#pending.at(-1);
    if (block === undefined || block.used + length > block.bytes.length) block = this.#addBlock(length);
    const before = block.used;
    block.used += block.bytes.write(head, block.used, "utf8");
    block.bytes.set(text, block.used);
    block.used += text.length;
    block.bytes[block.used] = 10;
    block.used += 1;
    this.#appendedBytes += block.used - before;
    this.#position += text.length + (whole ? 1 : 0);
    block.end = this.#position;
  }

  #headOf(source: string, whole: boolean): string {
    const last = this.#head;
    if (last.at !== this.#at || last.source !== source || last.whole !== whole) {
      this.#head = { at: this.#at, source, whole, text: recordHead(this.#at, source, whole) };
    }
    return this.#head.text;
  }

  #addBlock(needed: number): Block {
    const last = this.#pending.at(-1);
    // The first lines of a quiet stream need little; a stream that fills blocks gets large ones.
    const bytes = Buffer.allocUnsafe(last === undefined ? Math.max(4096, needed) : BLOCK_BYTES);
    const head = this.#appendedBytes < this.#limits.headBytes;
    const block: Block = { start: this.#position, end: this.#position, bytes, used: 0, head };
    this.#pending.push(block);
    this.#pool.pendingBytes += bytes.length;
    this.#dropExcess(block);
    return block;
  }

  #dropExcess(newest: Block): void {
    let tail = 0;
    for (const block of this.#pending) if (!block.head) tail += block.bytes.length;
    const most = Math.min(this.#limits.tailBytes * PENDING_PER_TAIL, MAX_PENDING_TAIL);
    while (tail > most || this.#pool.pendingBytes > this.#pool.maxPendingBytes) {
      const oldestOfTail = this.#pending.findIndex((block) => !block.head);
      const index = oldestOfTail === -1 ? 0 : oldestOfTail;
      const oldest = this.#pending[index];
      if (oldest === undefined || oldest === newest) return;
      this.#pending.splice(index, 1);
      this.#pool.pendingBytes -= oldest.bytes.length;
      if (!oldest.head) tail -= oldest.bytes.length;
    }
  }

  async #writePending(): Promise<void> {
    const blocks = this.#pending.splice(0);
    if (blocks.length === 0) return;
    try {
      this.#stored ??= await this.#takeUp();
      for (const block of blocks) await this.#writeBlock(this.#stored, block);
      await this.#dropOldest(this.#stored);
    } catch (error) {
      this.#pool.diskErrors += 1;
      this.#failure = (error as NodeJS.ErrnoException).code ?? "unknown";
    } finally {
      for (const block of blocks) this.#pool.pendingBytes -= block.bytes.length;
    }
    this.#pool.onChange(this);
  }

  async #takeUp(): Promise<{ base: number; segments: Segment[] }> {
    await mkdir(this.folder, { recursive: true, mode: 0o700 });
    await rm(join(this.folder, ENDED), { force: true });
    const starts = await listSegments(this.folder);
    const segments: Segment[] = [];
    for (const [index, start] of starts.entries()) {
      if (index === starts.length - 1) segments.push(await recoverSegment(this.folder, start));
      else segments.push({ start, end: start, bytes: (await stat(segmentPath(this.folder, start))).size });
    }
    return { base: segments.at(-1)?.end ?? 0, segments };
  }

  async #writeBlock(stored: { base: number; segments: Segment[] }, block: Block): Promise<void> {
    const start = stored.base + block.start;
    const last = stored.segments.at(-1);
    // A segment goes on only where nothing is missing between, and a failed append may have left it torn.
    const goesOn =
      last !== undefined &&
      last.end === start &&
      last.bytes + block.used <= Math.max(this.#segmentBytes, MAX_LINE_BYTES + MAX_HEAD_OF_RECORD);
    const segment = goesOn ? last : { start, end: start, bytes: 0 };
    if (goesOn) stored.segments.pop();
    await appendToSegment(this.folder, segment.start, [block.bytes.subarray(0, block.used)]);
    stored.segments.push({
      start: segment.start,
      end: stored.base + block.end,
      bytes: segment.bytes + block.used,
    });
  }

  async #dropOldest({ segments }: { segments: Segment[] }): Promise<void> {
    let head = 0;
    let kept = 0;
    for (const segment of segments) {
      if (head >= this.#limits.headBytes) break;
      head += segment.bytes;
      kept += 1;
    }
    let tail = segments.slice(kept).reduce((sum, segment) => sum + segment.bytes, 0);
    while (head + tail > this.#limits.headBytes + this.#limits.tailBytes && segments.length > kept + 1) {
      const [oldest] = segments.splice(kept, 1);
      if (oldest === undefined) return;
      tail -= oldest.bytes;
      await unlink(segmentPath(this.folder, oldest.start));
    }
  }
}
