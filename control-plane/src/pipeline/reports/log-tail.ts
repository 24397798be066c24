import type { LogLine, LogStore } from "../../ports/log-store/log-store.ts";
import { sanitiseLogText } from "../../ports/log-store/sanitise.ts";

/** GitHub takes 65,535 characters of a check's text, and a host puts something around it. */
const MAX_TAIL_CHARACTERS = 60_000;
const TAIL_LINES = 1_000;
/** A log that goes on being written is not read for ever. */
const MAX_PAGES = 32;

/** The end of a run's log. */
export interface LogTail {
  /** Whole lines, sanitised, no more than fit: of everybody, or of one function where it has any. */
  textOf(functionName?: string): string;
}

/** @param mask what is done to each line before it is shown. */
export async function readLogTail(
  logs: LogStore,
  runId: string,
  mask: (text: string) => string,
): Promise<LogTail> {
  const lines = await readLast(logs, runId);
  const shown = new Map<LogLine, string>();
  const show = (line: LogLine): string => {
    const known = shown.get(line);
    if (known !== undefined) return known;
    const text = mask(sanitiseLogText(line.text));
    const made = line.source === "platform" ? text : `[${line.source}] ${text}`;
    shown.set(line, made);
    return made;
  };
  return {
    textOf(functionName) {
      const own = functionName === undefined ? [] : lines.filter(({ source }) => isOf(source, functionName));
      return lastOf(own.length === 0 ? lines : own, show);
    },
  };
}

async function readLast(logs: LogStore, runId: string): Promise<readonly LogLine[]> {
  const stream = { kind: "run", runId } as const;
  let page = await logs.read(stream, { tailLines: TAIL_LINES });
  let lines = page.lines;
  // A page has room for so many characters, and these lines may have more.
  for (let pages = 1; page.lines.length > 0 && !page.ended && pages < MAX_PAGES; pages++) {
    page = await logs.read(stream, { cursor: page.cursor });
    lines = [...lines, ...page.lines].slice(-TAIL_LINES);
  }
  return lines;
}

function isOf(source: string, functionName: string): boolean {
  return source === functionName || source.endsWith(` ${functionName}`);
}

function lastOf(lines: readonly LogLine[], show: (line: LogLine) => string): string {
  const kept: string[] = [];
  let room = MAX_TAIL_CHARACTERS;
  for (const line of lines.toReversed()) {
    const shown = show(line);
    room -= shown.length + 1;
    if (room < 0) break;
    kept.push(shown);
  }
  return kept.toReversed().join("\n");
}
