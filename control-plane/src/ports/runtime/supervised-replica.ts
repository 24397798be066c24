import { randomUUID } from "node:crypto";
import { closeSync, constants, openSync } from "node:fs";
import { errorMessage } from "@openfaas-cloud/shared/known-error.ts";
import type { Upstream } from "@openfaas-cloud/shared/route.ts";
import { describeEnding } from "../../sandbox/ending.ts";
import { listeningPorts } from "../../sandbox/process-table.ts";
import type { Command, Sandbox, SandboxedProcess } from "../../sandbox/sandbox.ts";
import { pause, type Sight, untilHealthy } from "./health.ts";
import { isPortFree, type PortLeases } from "./port-lease.ts";
import type { RevisionFiles, StoredReplica } from "./revision-files.ts";
import type { Replica, ReplicaState, RevisionSpec } from "./runtime.ts";
import type { Spool } from "./spool.ts";

export interface BackOff {
  readonly firstMs: number;
  readonly longestMs: number;
  /** Up for so long, the next end counts as the first one again. */
  readonly forgottenAfterMs: number;
}

export interface ReplicaOptions {
  readonly number: number;
  readonly spec: RevisionSpec;
  readonly files: RevisionFiles;
  readonly sandbox: Sandbox;
  readonly ports: PortLeases;
  readonly spool: Spool;
  readonly backOff: BackOff;
  readonly healthDeadlineMs: number;
  /** The replica's command but for what changes from start to start. */
  readonly command: (port: number) => Omit<Command, "id" | "output" | "statusFile">;
  readonly onChange: () => void;
  /** Told of what the platform could not do for the replica, in words for the function's author. */
  readonly onProblem: (problem: string) => void;
}

/** Of a replica's output, for a message that says why it is not healthy. */
const LINES_READ = 60;
const LINES_SHOWN = 15;
/** A stack frame inside Node itself: ten of them push the error and the author's own line out of sight. */
const RUNTIME_FRAME = /^\s*at .*\(?node:internal\//;

/**
 * Keeps one replica running: starts it, waits until it is healthy, notices its end, starts it again with back-off. An error
 * of the platform's own counts as an end too.
 *
 * It keeps its port, so that the upstream stays what it is, unless another process took that while the replica did not
 * listen on it. All functions share the machine's network: whoever wants to answer in the replica's name waits for that.
 */
export class SupervisedReplica {
  readonly #options: ReplicaOptions;
  readonly #stopping = new AbortController();
  /** Aborts when the process was given time enough to end. */
  readonly #grace = new AbortController();
  readonly #supervision: Promise<void>;
  #port: number;
  #process: SandboxedProcess | undefined;
  #state: ReplicaState = "starting";
  #restarts: number;
  #wasReady: boolean;
  #lastExit: string | undefined;
  /** The port answered as somebody else's, or the replica ended before it was seen to listen on it. */
  #isPortDoubtful = false;
  #sight: Sight = { kind: "silent" };

  private constructor(
    options: ReplicaOptions,
    found: Pick<StoredReplica, "port" | "restarts" | "ready" | "wasReady"> & {
      readonly process: SandboxedProcess | undefined;
    },
  ) {
    this.#options = options;
    this.#port = found.port;
    this.#restarts = found.restarts;
    this.#wasReady = found.wasReady;
    this.#process = found.process;
    if (found.ready && found.process !== undefined) this.#state = "ready";
    this.#supervision = this.#supervise();
  }

  /** Starts a replica, or goes on with the one that a former platform started. */
  static async open(options: ReplicaOptions): Promise<SupervisedReplica> {
    const stored = options.files.readReplica(options.number);
    if (stored === undefined) {
      const port = await options.ports.lease();
      return new SupervisedReplica(options, {
        port,
        restarts: 0,
        ready: false,
        wasReady: false,
        process: undefined,
      });
    }
    options.ports.take(stored.port);
    const process = stored.process === undefined ? undefined : options.sandbox.adopt(stored.process);
    const restarts = stored.restarts + (process === undefined ? 1 : 0);
    return new SupervisedReplica(options, { ...stored, restarts, process });
  }

  get replica(): Replica {
    return {
      id: this.#upstream.id,
      state: this.#state,
      restarts: this.#restarts,
      lastExit: this.#lastExit,
      upstream: this.#upstream,
    };
  }

  /** Whether it was healthy at any time: others may know its upstream. */
  get wasReady(): boolean {
    return this.#wasReady;
  }

  get #upstream(): Upstream {
    const { number, spec } = this.#options;
    return { id: `${spec.function}-${number}`, url: `http://127.0.0.1:${this.#port}` };
  }

  /** Ends the replica with all its processes; it is not started again. */
  async stop(graceMs: number): Promise<void> {
    this.#stopping.abort();
    const process = this.#process;
    if (process !== undefined) {
      process.terminate();
      await Promise.race([process.ended, pause(graceMs, this.#grace.signal)]);
      this.#grace.abort();
      await process.kill();
    }
    await this.#supervision;
    this.#options.ports.release(this.#port);
  }

  /** Cuts the grace of a `stop` that is under way. */
  hurry(graceMs: number): void {
    setTimeout(() => this.#grace.abort(), graceMs).unref();
  }

  /** Lets go of it: it goes on running. */
  async leave(): Promise<void> {
    this.#stopping.abort();
    await this.#supervision;
  }

  /** Why it is not healthy, in words for the function's author. */
  diagnose(): string {
    this.#options.spool.drain();
    const lines = this.#options.spool.lastLines
      .last(LINES_READ)
      .filter((line) => !RUNTIME_FRAME.test(line))
      .slice(-LINES_SHOWN);
    return `${this.#symptom()}${lines.length === 0 ? "" : `\nIts last output:\n${lines.join("\n")}`}`;
  }

  #symptom(): string {
    if (this.#lastExit !== undefined) {
      const ended = this.#lastExit
        .replace(/^exit code (\d+)$/, "it exited with code $1")
        .replace(/^killed/, "it was killed");
      return `${ended} (restarted ${this.#restarts} times)`;
    }
    const { spec } = this.#options;
    if (this.#sight.kind === "status")
      return `its health path ${spec.healthPath} answered ${this.#sight.code}`;
    const others = [...(listeningPorts(this.#process?.pids() ?? []) ?? [])].filter(
      (port) => port !== this.#port,
    );
    if (others.length > 0)
      return `it listens on port ${others.join(", ")} but was told ${this.#port} in PORT`;
    if (this.#sight.kind === "foreign")
      return `another process of the machine answers on its port ${this.#port}`;
    return `it did not answer ${spec.healthPath} on port ${this.#port}, which it was told in PORT`;
  }

  /** Never rejects: nobody would be there to hear it. */
  async #supervise(): Promise<void> {
    const { signal } = this.#stopping;
    let soon = 0;
    while (!signal.aborted) {
      const startedAt = Date.now();
      try {
        this.#process ??= this.#launch();
        await this.#watch(this.#process);
      } catch (error) {
        await this.#giveUp(error);
      }
      if (signal.aborted) return;
      soon = Date.now() - startedAt > this.#options.backOff.forgottenAfterMs ? 0 : soon;
      await this.#backOff(soon++);
    }
  }

  /** What the platform cannot keep track of does not go on running. */
  async #giveUp(error: unknown): Promise<void> {
    this.#lastExit = `could not be kept running: ${reasonOf(error)}`;
    this.#report(this.#lastExit);
    const process = this.#process;
    if (process === undefined) return;
    await this.#attempt("it could not be ended", () => process.kill());
    this.#process = undefined;
    await this.#attempt("its output could not be read", () => this.#options.spool.finish());
  }

  /** Whether it worked; reports why it did not. */
  async #attempt(problem: string, act: () => unknown): Promise<boolean> {
    try {
      await act();
      return true;
    } catch (error) {
      this.#report(`${problem}: ${reasonOf(error)}`);
      return false;
    }
  }

  #report(problem: string): void {
    this.#options.onProblem(`${this.#upstream.id}: ${problem}`);
  }

  #launch(): SandboxedProcess {
    const { files, number, sandbox, command, spool } = this.#options;
    spool.drain();
    spool.lastLines.clear();
    const fd = openSync(
      files.spoolOf(number),
      constants.O_WRONLY | constants.O_APPEND | constants.O_CREAT,
      0o600,
    );
    try {
      const process = sandbox.start({
        ...command(this.#port),
        id: randomUUID(),
        output: { kind: "file", fd },
        statusFile: files.statusOf(number),
      });
      // Held before it is recorded, so that whoever finds that it cannot be knows what to end.
      this.#process = process;
      this.#store(process, false);
      return process;
    } finally {
      closeSync(fd);
    }
  }

  /** Until the process has ended. One that does not become healthy in time is ended. */
  async #watch(process: SandboxedProcess): Promise<void> {
    const over = new AbortController();
    const signal = AbortSignal.any([over.signal, this.#stopping.signal]);
    const becoming = this.#state === "ready" ? Promise.resolve() : this.#becomeHealthy(process, signal);
    const left = new Promise<void>((resolve) =>
      signal.addEventListener("abort", () => resolve(), { once: true }),
    );
    const ending = await Promise.race([process.ended, left, becoming.then(() => left)]).finally(() =>
      over.abort(),
    );
    await becoming;
    if (ending === undefined || this.#stopping.signal.aborted) return;
    this.#process = undefined;
    this.#isPortDoubtful ||= this.#state !== "ready";
    this.#lastExit = describeEnding(ending);
    await this.#options.spool.finish();
  }

  async #becomeHealthy(process: SandboxedProcess, signal: AbortSignal): Promise<void> {
    const { spec, healthDeadlineMs } = this.#options;
    await pause(spec.healthInitialDelayMs, signal);
    // The first time it is `start` that gives up, and tells its caller why.
    const overdue = `it did not answer ${spec.healthPath} within ${healthDeadlineMs / 1000} s`;
    const deadline = this.#wasReady
      ? setTimeout(() => this.#kill(process, overdue), healthDeadlineMs)
      : undefined;
    const target = { process, port: this.#port, path: spec.healthPath };
    let isForeign = false;
    try {
      await untilHealthy(target, {
        signal,
        onSight: (sight) => {
          this.#sight = sight;
          if (sight.kind === "healthy") this.#becomeReady(process);
          if (sight.kind !== "foreign" || isForeign) return;
          isForeign = true;
          this.#kill(process, `another process of the machine answers on its port ${this.#port}`);
        },
      });
    } finally {
      clearTimeout(deadline);
    }
  }

  /** Its end is noticed as any other. */
  #kill(process: SandboxedProcess, because: string): void {
    void this.#attempt("it could not be ended", () => process.kill(because));
  }

  #becomeReady(process: SandboxedProcess): void {
    this.#wasReady = true;
    this.#isPortDoubtful = false;
    // Without this record it is merely looked at anew by the next platform.
    void this.#attempt("its state could not be recorded", () => this.#store(process, true));
    this.#enter("ready");
  }

  async #backOff(ends: number): Promise<void> {
    const { firstMs, longestMs } = this.#options.backOff;
    this.#restarts++;
    // A record that stays as it was names a process that is gone, which the next platform sees.
    await this.#attempt("its state could not be recorded", () => this.#store(undefined, false));
    this.#enter("backing-off");
    await pause(Math.min(firstMs * 2 ** ends, longestMs), this.#stopping.signal);
    if (this.#stopping.signal.aborted) return;
    if (this.#isPortDoubtful || !(await isPortFree(this.#port))) {
      await this.#attempt("it keeps its port", () => this.#changePort());
    }
    this.#sight = { kind: "silent" };
    this.#enter("starting");
  }

  /** A new one before the old one is given back, lest that is handed out again at once. */
  async #changePort(): Promise<void> {
    const { ports } = this.#options;
    const port = await ports.lease();
    ports.release(this.#port);
    this.#port = port;
    this.#isPortDoubtful = false;
  }

  #store(process: SandboxedProcess | undefined, ready: boolean): void {
    this.#options.files.writeReplica(this.#options.number, {
      port: this.#port,
      restarts: this.#restarts,
      ready,
      wasReady: this.#wasReady,
      ...(process === undefined
        ? {}
        : { process: { ...process.record, kind: "function", cgroup: [...process.record.cgroup] } }),
    });
  }

  #enter(state: ReplicaState): void {
    this.#state = state;
    this.#options.onChange();
  }
}

/** Messages of the system name files of this machine, which are nothing for a function's author: its codes do not. */
function reasonOf(error: unknown): string {
  const code = error instanceof Error && "code" in error ? error.code : undefined;
  return typeof code === "string" ? code : errorMessage(error);
}
