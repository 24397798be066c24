import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { closeSync, constants, existsSync, openSync, readFileSync, writeFileSync } from "node:fs";
import { constants as os } from "node:os";
import type { Readable } from "node:stream";
import { setTimeout as delay } from "node:timers/promises";
import { must } from "@openfaas-cloud/shared/must.ts";
import { type Cgroups, makeCgroup, pidsInCgroup, ranOutOfMemory, removeCgroup } from "./cgroup.ts";
import type { Confinement } from "./confinement.ts";
import type { Ending } from "./ending.ts";
import {
  childrenOf,
  descendantsOf,
  findMarked,
  identify,
  isAlive,
  isEndingNamespace,
  isMarked,
  residentBytes,
  signalProcess,
} from "./process-table.ts";
import type { Command, Limits, Output, ProcessRecord, Sandbox, SandboxedProcess } from "./sandbox.ts";

interface Context {
  readonly confinement: Confinement;
  readonly cgroups: Cgroups | undefined;
  readonly scope: string;
  readonly killDeadlineMs: number;
}

/** In the environment of the outermost process: finds it whatever became of its parents and of our records. */
const MARK = "OPENFAAS_CLOUD_PROCESS";
const ENTER_GROUPS = 'while [ "$1" != -- ]; do echo $$ > "$1" || exit 125; shift; done; shift; exec "$@"';
const ADOPTED_POLL_MS = 250;
const WATCH_MS = 1000;
const DRAIN_MS = 500;

/** Starts, finds and ends processes with the means of one sandbox. */
export function processesIn(context: Context): Pick<Sandbox, "start" | "adopt" | "endStrays"> {
  return {
    start: (command) => start(context, command),
    adopt: (record) => adopt(context, record),
    endStrays: (kind, known) => endStrays(context, kind, known),
  };
}

function start(context: Context, command: Command): SandboxedProcess {
  const { cgroups, confinement } = context;
  const { memoryBytes, processes, background } = command.limits;
  const limits = { memoryBytes, processes, cpuWeight: background ? 5 : 100 };
  const cgroup = cgroups === undefined ? [] : makeCgroup(cgroups, command.id, limits);
  const child = launchOrCleanUp(context, command, cgroup);
  const outer = child.pid === undefined ? undefined : identify(child.pid);
  const record: ProcessRecord = {
    id: command.id,
    kind: command.kind,
    outer: outer ?? { pid: child.pid ?? 0, startedAt: "ended at once" },
    statusFile: command.statusFile,
    cgroup,
    memoryBytes,
    processes,
  };
  if (command.kind === "function") child.unref();
  return supervise(context, record, endOfChild(child, confinement, command.output), () => drain(child));
}

function launchOrCleanUp(context: Context, command: Command, cgroup: readonly string[]): ChildProcess {
  try {
    writeFileSync(command.statusFile, "");
    return launch(context, command, cgroup);
  } catch (error) {
    void removeCgroup(cgroup);
    throw error;
  }
}

function launch(context: Context, command: Command, cgroup: readonly string[]): ChildProcess {
  const { file, args, environment, settings } = context.confinement.wrap(command);
  const argv = [...enterGroups(cgroup), ...(command.limits.background ? yieldToOthers() : []), file, ...args];
  const output = command.output.kind === "file" ? command.output.fd : "pipe";
  const status = openSync(command.statusFile, constants.O_WRONLY | constants.O_APPEND);
  try {
    const child = spawn(must(argv[0], "a program to start"), argv.slice(1), {
      // The sandbox sets the working folder itself; on this side it would only have to exist.
      ...(settings === undefined ? { cwd: command.cwd } : {}),
      env: { ...environment, [MARK]: markOf(context, command) },
      detached: true,
      stdio: ["ignore", output, output, ...(settings === undefined ? [] : (["pipe", status] as const))],
    });
    const pipe = child.stdio[3];
    if (settings !== undefined && pipe !== null && pipe !== undefined && "end" in pipe) {
      // It may have ended before it read them; its ending says so.
      pipe.on("error", () => undefined);
      pipe.end(settings);
    }
    return child;
  } finally {
    closeSync(status);
  }
}

/** A shell enters the groups and then becomes the command, so that no process is ever outside of them. */
function enterGroups(cgroup: readonly string[]): string[] {
  const files = cgroup.map((folder) => `${folder}/cgroup.procs`);
  return files.length === 0 ? [] : ["/bin/sh", "-c", ENTER_GROUPS, "sh", ...files, "--"];
}

function yieldToOthers(): string[] {
  const ionice = existsSync("/usr/bin/ionice") ? ["/usr/bin/ionice", "-c", "3"] : [];
  return ["/usr/bin/nice", "-n", "19", ...ionice];
}

function markOf({ scope }: Context, { kind, id }: Pick<Command, "kind" | "id">): string {
  return `${kind}:${scope}:${id}`;
}

function endOfChild(child: ChildProcess, confinement: Confinement, output: Output): Promise<Ending> {
  const { promise, resolve } = Promise.withResolvers<Ending>();
  if (output.kind === "stream") {
    for (const stream of [child.stdout, child.stderr]) stream?.on("data", output.write);
  }
  child.once("error", (error) => {
    if (child.pid === undefined) resolve({ code: undefined, signal: undefined, because: error.message });
  });
  child.once("exit", (code, signal) =>
    resolve(
      confinement.isolation.kind === "sandboxed" && code !== null
        ? fromShellCode(code)
        : { code: code ?? undefined, signal: signal ?? undefined, because: undefined },
    ),
  );
  return promise;
}

/** All that was printed has been read. Whoever is left with the pipe open was ended, or cannot be seen and is not waited for. */
async function drain(child: ChildProcess): Promise<void> {
  await Promise.all([child.stdout, child.stderr].map((stream) => drainStream(stream)));
}

async function drainStream(stream: Readable | null): Promise<void> {
  if (stream === null || stream.closed) return;
  const over = new AbortController();
  await Promise.race([
    once(stream, "close"),
    delay(DRAIN_MS, undefined, { signal: over.signal }).catch(() => undefined),
  ]);
  over.abort();
  stream.destroy();
}

/** The sandbox tells that a signal ended the command the way shells do: 128 and the signal's number. */
function fromShellCode(code: number): Ending {
  const signal = Object.entries(os.signals).find(([, number]) => number === code - 128)?.[0];
  return signal === undefined
    ? { code, signal: undefined, because: undefined }
    : { code: undefined, signal, because: undefined };
}

function adopt(context: Context, record: ProcessRecord): SandboxedProcess | undefined {
  const inner = innerOf(context, record);
  if (!isAlive(record.outer)) {
    // Without its outermost process nothing reports how it ends, so that it is better started again.
    if (inner !== undefined) trySignal(inner);
    return undefined;
  }
  return supervise(context, record, endOfAdopted(record), async () => undefined);
}

async function endOfAdopted(record: ProcessRecord): Promise<Ending> {
  while (isAlive(record.outer)) await delay(ADOPTED_POLL_MS, undefined, { ref: false });
  const code = statusOf(record)["exit-code"];
  return code === undefined ? { code, signal: undefined, because: undefined } : fromShellCode(code);
}

function supervise(
  context: Context,
  record: ProcessRecord,
  exited: Promise<Ending>,
  drained: () => Promise<void>,
): SandboxedProcess {
  let because: string | undefined;
  const kill = async (reason?: string): Promise<void> => {
    because ??= reason;
    await killAll(context, record);
    await ended;
  };
  let killing = false;
  const watch = setInterval(() => {
    const excess = killing ? undefined : findExcess(record, pidsOf(context, record));
    if (excess === undefined) return;
    killing = true;
    // What cannot be ended now is tried again; whoever waits for its end is told otherwise.
    kill(excess)
      .catch((error: Error) => process.emitWarning(error))
      .finally(() => {
        killing = false;
      });
  }, WATCH_MS).unref();
  const ended = exited.then(async (ending): Promise<Ending> => {
    clearInterval(watch);
    await killAll(context, record);
    await drained();
    const starved = ranOutOfMemory(record.cgroup) ? overMemory(record) : undefined;
    await removeCgroup(record.cgroup);
    return { ...ending, because: because ?? starved ?? ending.because };
  });
  // A rejection is for those who wait; where nobody does it must not end the platform.
  ended.catch(() => undefined);
  return {
    record,
    ended,
    pids: () => pidsOf(context, record),
    terminate: () => terminate(context, record),
    kill,
  };
}

/** Groups bound a process exactly; without them it is looked at each second. */
function findExcess(record: ProcessRecord, pids: readonly number[]): string | undefined {
  if (record.cgroup.length > 0) return undefined;
  if (residentBytes(pids) > record.memoryBytes) return overMemory(record);
  return pids.length > record.processes ? `over its limit of ${record.processes} processes` : undefined;
}

function overMemory({ memoryBytes }: Pick<Limits, "memoryBytes">): string {
  return `over its memory limit of ${Math.round(memoryBytes / 1024 / 1024)} MiB`;
}

function terminate(context: Context, record: ProcessRecord): void {
  if (context.confinement.isolation.kind === "none") {
    if (isAlive(record.outer)) trySignal(record.outer.pid, "SIGTERM");
    return;
  }
  // The sandbox's first process does not pass signals on; its children are the command, and what outlived its parent.
  const inner = innerOf(context, record);
  for (const pid of inner === undefined ? [] : childrenOf(inner)) trySignal(pid, "SIGTERM");
}

/** Signals until nothing is left: a process may start another one between being seen and being ended. */
async function killAll(context: Context, record: ProcessRecord): Promise<void> {
  const deadline = performance.now() + context.killDeadlineMs;
  let looksEmpty = 0;
  for (let wait = 1; ; wait = Math.min(wait * 2, 50)) {
    const left = everythingOf(context, record);
    // A process that is just becoming another program shows no mark for that moment.
    if (left.length === 0 && ++looksEmpty >= (isTraceable(record) ? 1 : 3)) return;
    const refused = left.flatMap((pid) => trySignal(pid));
    if (performance.now() > deadline) throw stillRunning(left, refused);
    await delay(wait);
  }
}

/** One process that may not be signalled does not spare the others. */
function trySignal(pid: number, signal: NodeJS.Signals = "SIGKILL"): unknown[] {
  try {
    signalProcess(pid, signal);
    return [];
  } catch (error) {
    return [error];
  }
}

function stillRunning(pids: readonly number[], [cause]: readonly unknown[]): Error {
  const message = `processes ${pids.join(", ")} were told to end and go on running`;
  return new Error(message, cause === undefined ? {} : { cause });
}

function everythingOf(context: Context, record: ProcessRecord): number[] {
  const outer = isAlive(record.outer) ? [record.outer.pid] : [];
  const inside = pidsInCgroup(record.cgroup).filter((pid) => identify(pid) !== undefined);
  // Descendants first: once their parents are gone nothing tells whose they were.
  const below = outer.flatMap(descendantsOf);
  const inner = innerOf(context, record);
  const known = new Set([...inside, ...below, ...(inner === undefined ? [] : [inner]), ...outer]);
  if (known.size > 0) return [...known];
  if (isTraceable(record)) return [];
  const mark = markOf(context, record);
  return findMarked(MARK).flatMap((process) => (process.mark === mark ? [process.pid] : []));
}

/** Groups tell all that is left, and the kernel ends a sandbox with its first process: nothing else needs to be looked for. */
function isTraceable(record: ProcessRecord): boolean {
  return record.cgroup.length > 0 || statusOf(record)["child-pid"] !== undefined;
}

function pidsOf(context: Context, record: ProcessRecord): number[] {
  if (context.confinement.isolation.kind === "none") {
    return isAlive(record.outer) ? [record.outer.pid, ...descendantsOf(record.outer.pid)] : [];
  }
  const inner = innerOf(context, record);
  return inner === undefined ? [] : descendantsOf(inner);
}

/** First process of the sandbox's own process namespace; the kernel ends the others with it. */
function innerOf(context: Context, record: ProcessRecord): number | undefined {
  const pid = statusOf(record)["child-pid"];
  if (pid === undefined) return undefined;
  return isMarked(pid, MARK, markOf(context, record)) || isEndingNamespace(pid) ? pid : undefined;
}

interface SandboxStatus {
  readonly "child-pid"?: number;
  readonly "exit-code"?: number;
}

/** What bubblewrap wrote so far: JSON documents, one a line. The last line may be half written. */
function statusOf(record: ProcessRecord): SandboxStatus {
  let text = "";
  try {
    text = readFileSync(record.statusFile, "utf8");
  } catch {
    return {};
  }
  const lines = text.split("\n").slice(0, -1);
  return Object.assign({}, ...lines.filter(Boolean).map((line) => JSON.parse(line) as SandboxStatus));
}

async function endStrays(context: Context, kind: Command["kind"], known: ReadonlySet<string>): Promise<void> {
  const prefix = `${kind}:${context.scope}:`;
  const isStray = ({ mark }: { mark: string }) =>
    mark.startsWith(prefix) && !known.has(mark.slice(prefix.length));
  const deadline = performance.now() + context.killDeadlineMs;
  for (;;) {
    const strays = findMarked(MARK).filter(isStray);
    if (strays.length === 0) return;
    const refused = strays.flatMap(({ pid }) => trySignal(pid));
    if (performance.now() > deadline) {
      const pids = strays.map(({ pid }) => pid);
      // They hold nothing that is needed, and the platform must start.
      process.emitWarning(stillRunning(pids, refused));
      return;
    }
    await delay(5);
  }
}
