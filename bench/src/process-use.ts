import { readFileSync } from "node:fs";
import { descendantsOf } from "../../test/support/process-tree.ts";

/** Ticks of `/proc/<pid>/stat` in a second: USER_HZ, which is 100 on every architecture that Node runs on. */
const TICKS_PER_S = 100;

/** Processor time that these processes and everything below them have used so far, seconds. Linux only. */
export function cpuSecondsOf(pids: readonly number[]): number {
  return withDescendants(pids).reduce((sum, pid) => sum + (readStat(pid)?.cpuS ?? 0), 0);
}

/** Processor time of children of this process that have ended, seconds: what wrk used shows here once it is gone. */
export function cpuSecondsOfEndedChildren(): number {
  return readStat(process.pid)?.endedChildrenCpuS ?? 0;
}

/** Resident memory of these processes and everything below them, MiB. Pages that they share count for each. */
export function residentMiBOf(pids: readonly number[]): number {
  return withDescendants(pids).reduce((sum, pid) => sum + (memoryOf(pid)["rss"] ?? 0), 0);
}

/** Resident memory, and where this kernel tells it the proportional share too, which counts shared pages once. */
export function memoryOf(pid: number): Record<string, number> {
  try {
    const text = readFileSync(`/proc/${pid}/smaps_rollup`, "utf8");
    return { rss: mebibytes(text, /^Rss:\s+(\d+) kB/m), pss: mebibytes(text, /^Pss:\s+(\d+) kB/m) };
  } catch {
    return { rss: mebibytes(readFileSync(`/proc/${pid}/status`, "utf8"), /^VmRSS:\s+(\d+) kB/m) };
  }
}

function mebibytes(text: string, pattern: RegExp): number {
  return Number(text.match(pattern)?.[1]) / 1024;
}

/** These processes and everything below them. */
export function withDescendants(pids: readonly number[]): number[] {
  return [...pids, ...pids.flatMap(descendantsOf).map(({ pid }) => pid)];
}

interface Stat {
  readonly cpuS: number;
  readonly endedChildrenCpuS: number;
}

function readStat(pid: number): Stat | undefined {
  try {
    return parseStat(readFileSync(`/proc/${pid}/stat`, "utf8"));
  } catch {
    return undefined;
  }
}

/** proc_pid_stat(5). The name in parentheses may itself hold spaces and parentheses. */
export function parseStat(line: string): Stat {
  const fields = line.slice(line.lastIndexOf(")") + 2).split(" ");
  const field = (number: number) => Number(fields[number - 3]);
  return {
    cpuS: (field(14) + field(15)) / TICKS_PER_S,
    endedChildrenCpuS: (field(16) + field(17)) / TICKS_PER_S,
  };
}
