import { open, readdir, readFile, truncate } from "node:fs/promises";
import { join } from "node:path";
import type { LogLine } from "./log-store.ts";

/**
 * A piece of a stream in a file of its own. Positions count what was printed, line ends included, so that the distance
 * between a segment's end and the start of the one after it is exactly what was dropped between them.
 *
 * A record is `<milliseconds>[+]TAB<source>TAB<text>LF`, the text as it was printed; `+` says that no line end was printed.
 */
export interface Segment {
  readonly start: number;
  /** Position after its last record. */
  readonly end: number;
  /** Size of the file. */
  readonly bytes: number;
}

export interface StoredLine {
  readonly line: LogLine;
  /** Position after it. */
  readonly end: number;
}

const NAME = /^(\d{16})\.log$/;
const [TAB, LF, PLUS] = [9, 10, 43];

export function segmentPath(folder: string, start: number): string {
  return join(folder, `${String(start).padStart(16, "0")}.log`);
}

/** The head of a record; `source` goes into a field, so it loses what ends one. */
export function recordHead(at: number, source: string, whole: boolean): string {
  return `${at}${whole ? "" : "+"}\t${source.slice(0, 100).replaceAll(/[\t\n\r]/g, " ")}\t`;
}

/** Start positions of a stream's segments, in order; none where there is no such stream. */
export async function listSegments(folder: string): Promise<number[]> {
  const names = await readdir(folder).catch((error: NodeJS.ErrnoException) => {
    if (error.code === "ENOENT") return [];
    throw error;
  });
  return names
    .flatMap((name) => (NAME.test(name) ? [Number(name.slice(0, 16))] : []))
    .toSorted((a, b) => a - b);
}

/** A segment's lines; `undefined` where it was dropped meanwhile. A line that a crash tore is left out. */
export async function readSegment(folder: string, start: number): Promise<StoredLine[] | undefined> {
  try {
    return [...parseRecords(await readFile(segmentPath(folder, start)), start)];
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "ENOENT") return undefined;
    throw error;
  }
}

/** Takes up a segment where a process left it: what a crash tore is cut off. */
export async function recoverSegment(folder: string, start: number): Promise<Segment> {
  const path = segmentPath(folder, start);
  const content = await readFile(path);
  const bytes = content.lastIndexOf(LF) + 1;
  if (bytes < content.length) await truncate(path, bytes);
  let end = start;
  for (const record of parseRecords(content, start)) end = record.end;
  return { start, end, bytes };
}

export async function appendToSegment(
  folder: string,
  start: number,
  blocks: readonly Uint8Array[],
): Promise<void> {
  await using file = await open(segmentPath(folder, start), "a", 0o600);
  for (const block of blocks) await file.appendFile(block);
}

function* parseRecords(content: Buffer, start: number): Generator<StoredLine> {
  let position = start;
  let from = 0;
  for (let end = content.indexOf(LF, from); end !== -1; end = content.indexOf(LF, from)) {
    const atEnd = content.indexOf(TAB, from);
    const sourceEnd = content.indexOf(TAB, atEnd + 1);
    if (atEnd !== -1 && atEnd < end && sourceEnd !== -1 && sourceEnd < end) {
      const whole = content[atEnd - 1] !== PLUS;
      position += end - sourceEnd - 1 + (whole ? 1 : 0);
      yield {
        end: position,
        line: {
          at: Number.parseInt(content.toString("latin1", from, atEnd), 10),
          source: content.toString("utf8", atEnd + 1, sourceEnd),
          text: content.toString("utf8", sourceEnd + 1, end),
        },
      };
    }
    from = end + 1;
  }
}
