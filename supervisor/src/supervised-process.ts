import { type ChildProcess, spawn } from "node:child_process";
import { setTimeout as sleep } from "node:timers/promises";
import { KnownError } from "@openfaas-cloud/shared/known-error.ts";
import type { ReadyMessage, SupervisorReply } from "@openfaas-cloud/shared/process-message.ts";
import type { ProcessLog } from "./process-log.ts";

const BACK_OFF_MS = { least: 50, most: 5_000 } as const;
/** After so long a life the next end counts as the first one again. */
const STEADY_MS = 30_000;
/** One that ends so often before it ever was ready does so for a reason that starting it again does not mend. */
const FIRST_START_ATTEMPTS = 3;
const READY_MS = 60_000;
const REPLY_MS = 20_000;
const TAIL_LINES = 12;

export interface ProcessPlan {
  /** For people: "edge", "control plane". */
  readonly name: string;
  /** Arguments of `node`: flags, then the program. */
  readonly arguments: readonly string[];
  /** Given to it from descriptor 3 on, as systemd hands over sockets (sd_listen_fds(3)). */
  readonly descriptors?: readonly number[];
  readonly log: ProcessLog;
  /** The whole environment, asked for before each start. */
  environment(): Readonly<Record<string, string>>;
  /** Tells a person what happened. */
  say(line: string): void;
  /** A process was started. */
  started(): void;
}

/** One program kept running: started, started again with growing pauses when it ends, and ended at last. */
export class SupervisedProcess {
  readonly #plan: ProcessPlan;
  readonly #stop = new AbortController();
  readonly #replies = new Map<number, PromiseWithResolvers<SupervisorReply>>();
  #child: ChildProcess | undefined;
  #running: Promise<void> | undefined;
  #lastId = 0;

  constructor(plan: ProcessPlan) {
    this.#plan = plan;
  }

  /** `undefined` while it is between two lives. */
  get pid(): number | undefined {
    return this.#child?.pid;
  }

  /**
   * Resolves when it is ready for the first time; from then on it is kept running until `stop`.
   * @throws KnownError `start-failed` where it ended repeatedly before
   */
  start(): Promise<ReadyMessage> {
    const ready = Promise.withResolvers<ReadyMessage>();
    this.#running = this.#keepRunning(ready);
    return ready.promise;
  }

  async request<Kind extends SupervisorReply["kind"]>(
    kind: Kind,
  ): Promise<Extract<SupervisorReply, { kind: Kind }>> {
    const id = ++this.#lastId;
    const reply = Promise.withResolvers<SupervisorReply>();
    this.#replies.set(id, reply);
    const timer = setTimeout(
      () =>
        reply.reject(
          new KnownError(
            "no-reply",
            `The ${this.#plan.name} did not answer (${kind}, ${REPLY_MS / 1000} s).`,
          ),
        ),
      REPLY_MS,
    );
    try {
      const child = this.#child;
      if (!child?.connected)
        throw new KnownError("no-reply", `The ${this.#plan.name} is being started again.`);
      child.send({ kind, id }, (error) => error && reply.reject(error));
      return (await reply.promise) as Extract<SupervisorReply, { kind: Kind }>;
    } finally {
      clearTimeout(timer);
      this.#replies.delete(id);
    }
  }

  /** SIGTERM, and SIGKILL after `graceMs`. Resolves when it has ended. */
  async stop(graceMs: number): Promise<void> {
    this.#stop.abort();
    this.#child?.kill("SIGTERM");
    const timer = setTimeout(() => this.kill(), graceMs);
    await this.#running;
    clearTimeout(timer);
  }

  /** Ends it at once; it does not come back. */
  kill(): void {
    this.#stop.abort();
    this.#child?.kill("SIGKILL");
  }

  async #keepRunning(ready: PromiseWithResolvers<ReadyMessage>): Promise<void> {
    const { name, log, say } = this.#plan;
    let wasReady = false;
    let failures = 0;
    ready.promise.then(
      () => {
        wasReady = true;
      },
      () => undefined,
    );
    while (!this.#stop.signal.aborted) {
      const startedAt = performance.now();
      const how = await this.#live(ready.resolve);
      if (this.#stop.signal.aborted) break;
      failures = performance.now() - startedAt > STEADY_MS ? 1 : failures + 1;
      const said = log.tail(TAIL_LINES).map((line) => `\n    ${line}`);
      if (!wasReady && failures === FIRST_START_ATTEMPTS) {
        ready.reject(
          new KnownError(
            "start-failed",
            `The ${name} does not start (${how}). The end of ${log.path}:${said.join("")}`,
          ),
        );
        return;
      }
      const pauseMs = Math.min(BACK_OFF_MS.least * 2 ** (failures - 1), BACK_OFF_MS.most);
      if (wasReady)
        say(`The ${name} ended (${how}); starting it again in ${pauseMs} ms.${said.slice(-3).join("")}`);
      await sleep(pauseMs, undefined, { signal: this.#stop.signal }).catch(() => undefined);
    }
    ready.reject(new KnownError("stopped", `The ${name} was stopped before it was ready.`));
  }

  /** One life, from start to end. */
  async #live(ready: (message: ReadyMessage) => void): Promise<string> {
    const child = this.#plan.log.lend((descriptor) =>
      // A process group of its own: Ctrl-C reaches the supervisor alone, which ends the planes in their order.
      spawn(process.execPath, this.#plan.arguments, {
        detached: true,
        env: { ...this.#plan.environment() },
        stdio: ["ignore", descriptor, descriptor, ...(this.#plan.descriptors ?? []), "ipc"],
      }),
    );
    this.#child = child;
    const tooLate = setTimeout(() => child.kill("SIGKILL"), READY_MS);
    child.on("message", (message: ReadyMessage | SupervisorReply) => {
      if (message.kind !== "ready") return this.#replies.get(message.id)?.resolve(message);
      clearTimeout(tooLate);
      ready(message);
    });
    const ended = new Promise<string>((resolve) => {
      child.once("exit", (code, signal) =>
        resolve(signal === null ? `exit code ${code}` : `signal ${signal}`),
      );
      // Only one that was never started ends by an error; a message that could not be sent is none of its life.
      child.on("error", (error) => child.pid === undefined && resolve(String(error)));
    });
    this.#plan.started();
    const how = await ended;
    clearTimeout(tooLate);
    this.#child = undefined;
    for (const reply of this.#replies.values()) {
      reply.reject(new KnownError("no-reply", `The ${this.#plan.name} ended (${how}) and did not answer.`));
    }
    return how;
  }
}
