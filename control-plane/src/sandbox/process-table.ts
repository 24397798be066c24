import { spawnSync } from "node:child_process";
import { existsSync, readdirSync, readFileSync, readlinkSync } from "node:fs";

/**
 * What the operating system says of processes. All of it is read synchronously: these are files in memory, and the answer
 * is acted on at once (a signal is sent), before anything else can happen.
 */

const HAS_PROC = existsSync("/proc/self/stat");
const PAGE_BYTES = 4096;

/** A process and not merely its number, which the kernel hands out again. */
export interface ProcessIdentity {
  readonly pid: number;
  /** When it started, in a form that no later process, and no process after a reboot, shares. */
  readonly startedAt: string;
}

export function identify(pid: number): ProcessIdentity | undefined {
  const startedAt = HAS_PROC ? procStart(pid) : psStart(pid);
  return startedAt === undefined ? undefined : { pid, startedAt };
}

/** Whether it still runs. A process that ended and was not waited for yet does not. */
export function isAlive(identity: ProcessIdentity): boolean {
  return identify(identity.pid)?.startedAt === identity.startedAt;
}

/** Sends a signal; a process that is gone already is what was wanted. */
export function signalProcess(pid: number, signal: NodeJS.Signals): void {
  try {
    process.kill(pid, signal);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== "ESRCH") throw error;
  }
}

export function childrenOf(pid: number): number[] {
  if (!HAS_PROC) return psChildren(pid);
  const tasks = list(`/proc/${pid}/task`);
  return tasks.flatMap((task) => numbers(read(`/proc/${pid}/task/${task}/children`) ?? ""));
}

/** All processes below `pid`, without itself. */
export function descendantsOf(pid: number): number[] {
  return childrenOf(pid).flatMap((child) => [child, ...descendantsOf(child)]);
}

/** Processes that were started with the environment variable `name`, and its value. Empty where there is no /proc. */
export function findMarked(name: string): { readonly pid: number; readonly mark: string }[] {
  const prefix = `${name}=`;
  return pids().flatMap((pid) => {
    const entry = environmentOf(pid).find((variable) => variable.startsWith(prefix));
    return entry === undefined || isZombie(pid) ? [] : [{ pid, mark: entry.slice(prefix.length) }];
  });
}

export function isMarked(pid: number, name: string, mark: string): boolean {
  return environmentOf(pid).includes(`${name}=${mark}`) && !isZombie(pid);
}

/**
 * Whether it is the first process of a process namespace and on its way out: its memory, and with it its environment, is
 * gone (no size in statm), and the kernel ends the others of the namespace before it goes too.
 */
export function isEndingNamespace(pid: number): boolean {
  const isFirst = /^NSpid:.*\t1$/m.test(read(`/proc/${pid}/status`) ?? "");
  return isFirst && numbers(read(`/proc/${pid}/statm`) ?? "")[0] === 0 && !isZombie(pid);
}

/** Resident memory of the processes together; what they share counts once for each. 0 where there is no /proc. */
export function residentBytes(of: readonly number[]): number {
  let pages = 0;
  for (const pid of of) pages += numbers(read(`/proc/${pid}/statm`) ?? "")[1] ?? 0;
  return pages * PAGE_BYTES;
}

/** TCP ports that any of the processes listens on; `undefined` where that cannot be known. */
export function listeningPorts(of: readonly number[]): ReadonlySet<number> | undefined {
  if (!HAS_PROC) return undefined;
  const portOfSocket = listeningSockets();
  const ports = new Set<number>();
  for (const pid of of) {
    for (const fd of list(`/proc/${pid}/fd`)) {
      const port = portOfSocket.get(readLink(`/proc/${pid}/fd/${fd}`) ?? "");
      if (port !== undefined) ports.add(port);
    }
  }
  return ports;
}

function listeningSockets(): Map<string, number> {
  const LISTEN = "0A";
  const sockets = new Map<string, number>();
  for (const table of ["/proc/net/tcp", "/proc/net/tcp6"]) {
    for (const line of (read(table) ?? "").split("\n").slice(1)) {
      const [, local, , state, , , , , , inode] = line.trim().split(/\s+/);
      if (state !== LISTEN || local === undefined) continue;
      sockets.set(`socket:[${inode}]`, Number.parseInt(local.slice(local.lastIndexOf(":") + 1), 16));
    }
  }
  return sockets;
}

function procStart(pid: number): string | undefined {
  const fields = statFields(pid);
  if (fields === undefined || fields[0] === "Z" || fields[0] === "X") return undefined;
  return `${bootId()}:${fields[19]}`;
}

/** Fields of /proc/<pid>/stat from the third (state) on: the second, a name in parentheses, may hold anything. */
function statFields(pid: number): string[] | undefined {
  const stat = read(`/proc/${pid}/stat`);
  return stat?.slice(stat.lastIndexOf(")") + 2).split(" ");
}

function isZombie(pid: number): boolean {
  return statFields(pid)?.[0] === "Z";
}

function bootId(): string {
  return (read("/proc/sys/kernel/random/boot_id") ?? "").trim();
}

function environmentOf(pid: number): string[] {
  return (read(`/proc/${pid}/environ`) ?? "").split("\0");
}

function pids(): number[] {
  return HAS_PROC
    ? list("/proc")
        .filter((name) => /^\d+$/.test(name))
        .map(Number)
    : [];
}

function psStart(pid: number): string | undefined {
  const shown = ps(["-o", "stat=,lstart=", "-p", String(pid)]).trim();
  return shown === "" || shown.startsWith("Z") ? undefined : shown.replace(/^\S+\s+/, "");
}

function psChildren(pid: number): number[] {
  return ps(["-axo", "pid=,ppid="])
    .split("\n")
    .map(numbers)
    .flatMap(([child, parent]) => (parent === pid && child !== undefined ? [child] : []));
}

function ps(args: readonly string[]): string {
  return spawnSync("ps", args, { encoding: "utf8" }).stdout ?? "";
}

function numbers(text: string): number[] {
  return text.trim() === "" ? [] : text.trim().split(/\s+/).map(Number);
}

/** The processes looked at come and go: a file that is not there, or no longer readable, says nothing. */
function read(path: string): string | undefined {
  try {
    return readFileSync(path, "utf8");
  } catch {
    return undefined;
  }
}

function list(path: string): string[] {
  try {
    return readdirSync(path);
  } catch {
    return [];
  }
}

function readLink(path: string): string | undefined {
  try {
    return readlinkSync(path);
  } catch {
    return undefined;
  }
}
