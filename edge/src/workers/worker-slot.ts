import { setTimeout as sleep } from "node:timers/promises";
import { KnownError } from "@openfaas-cloud/shared/known-error.ts";
import type { ReadyMessage } from "@openfaas-cloud/shared/process-message.ts";
import type { Logger } from "../logger.ts";
import type { ChildEdge } from "./child-edge.ts";

/** As the supervisor does with the planes; what else it does for them is different, so that only the numbers are alike. */
const BACK_OFF_MS = { least: 50, most: 5_000 } as const;
/** After so long a life the next end counts as the first one again. */
const STEADY_MS = 30_000;
/** One that ends so often before it ever was ready does so for a reason that starting it again does not mend. */
const FIRST_START_ATTEMPTS = 3;

export interface WorkerSlotPlan {
  readonly slot: number;
  /** Starts a worker for this slot. */
  readonly launch: () => ChildEdge;
  /** How long a worker may take until it accepts; one that is to replace another, until it serves. */
  readonly readyMs: number;
  /** From being told to go to being killed. */
  readonly graceMs: number;
  readonly logger: Logger;
  /** A worker is ready, or serves, or is gone. */
  readonly onChanged: () => void;
  /** A worker ended that nobody had told to. */
  readonly onRestart: () => void;
}

/** One of an edge's workers, whichever process it is at the moment: started again when it ends, and replaced when asked to. */
export class WorkerSlot {
  readonly #plan: WorkerSlotPlan;
  readonly #stop = new AbortController();
  readonly #leaving = new Set<ChildEdge>();
  #worker: ChildEdge | undefined;
  /** To replace `#worker`, once it serves. */
  #next: ChildEdge | undefined;
  #replaced = Promise.withResolvers<void>();
  #running: Promise<void> | undefined;

  constructor(plan: WorkerSlotPlan) {
    this.#plan = plan;
  }

  /** `undefined` while there is none, or none that is ready. */
  get ready(): ChildEdge | undefined {
    return this.#worker?.adminPort === undefined ? undefined : this.#worker;
  }

  /**
   * Resolves when it is ready for the first time; from then on it is kept running until `stop`.
   * @throws KnownError `start-failed` where it ended repeatedly before
   */
  start(): Promise<ReadyMessage> {
    const first = Promise.withResolvers<ReadyMessage>();
    this.#running = this.#keepRunning(first);
    return first.promise;
  }

  /**
   * Puts a new process in the place of the one that serves, which goes once the new one serves. Resolves when it has gone.
   * @throws KnownError `not-replaced` where the new one does not serve in time: then the old one stays
   */
  async replace(): Promise<void> {
    const { readyMs, graceMs } = this.#plan;
    const next = this.#launch();
    this.#next = next;
    const tooLate = setTimeout(() => next.kill(), readyMs);
    try {
      await next.serving;
    } catch (error) {
      const message = `worker ${this.#plan.slot} stays as it is: its successor has no routes after ${readyMs} ms or ended before`;
      throw new KnownError("not-replaced", message, { cause: error });
    } finally {
      clearTimeout(tooLate);
      this.#next = undefined;
    }
    const previous = this.#worker;
    this.#worker = next;
    this.#replaced.resolve();
    this.#plan.onChanged();
    if (previous === undefined) return;
    this.#leaving.add(previous);
    await previous.drain(graceMs);
    this.#leaving.delete(previous);
  }

  /** Drains what runs. Resolves when all of it has ended. */
  async stop(): Promise<void> {
    this.#stop.abort();
    await Promise.all(this.#processes().map((worker) => worker.drain(this.#plan.graceMs)));
    await this.#running;
  }

  /** Ends it at once; it does not come back. */
  kill(): void {
    this.#stop.abort();
    for (const worker of this.#processes()) worker.kill();
  }

  #processes(): ChildEdge[] {
    return [this.#worker, this.#next, ...this.#leaving].filter((worker) => worker !== undefined);
  }

  #launch(): ChildEdge {
    const { slot, launch, logger, onChanged } = this.#plan;
    const worker = launch();
    worker.ready.then(
      () => {
        logger.info({ worker: slot, pid: worker.pid }, "worker ready");
        onChanged();
      },
      () => undefined,
    );
    worker.serving.then(onChanged, () => undefined);
    return worker;
  }

  async #keepRunning(first: PromiseWithResolvers<ReadyMessage>): Promise<void> {
    const { slot, logger, onRestart } = this.#plan;
    let failures = 0;
    let wasReady = false;
    first.promise.then(
      () => {
        wasReady = true;
      },
      () => undefined,
    );
    while (!this.#stop.signal.aborted) {
      const startedAt = performance.now();
      this.#replaced = Promise.withResolvers();
      // During a pause it may have been replaced.
      const worker = this.#worker ?? this.#launch();
      this.#worker = worker;
      worker.ready.then(first.resolve, () => undefined);
      const how = await this.#watch(worker);
      if (how === "replaced") {
        failures = 0;
        continue;
      }
      this.#worker = undefined;
      this.#plan.onChanged();
      if (this.#stop.signal.aborted) break;
      failures = performance.now() - startedAt > STEADY_MS ? 1 : failures + 1;
      if (!wasReady && failures === FIRST_START_ATTEMPTS) {
        const message = `worker ${slot} does not start (${how}); what it wrote before says why`;
        first.reject(new KnownError("start-failed", message));
        return;
      }
      onRestart();
      const pauseMs = Math.min(BACK_OFF_MS.least * 2 ** (failures - 1), BACK_OFF_MS.most);
      logger.error({ worker: slot, how, pauseMs }, "worker ended, starting it again");
      await sleep(pauseMs, undefined, { signal: this.#stop.signal }).catch(() => undefined);
    }
    first.reject(new KnownError("stopped", `worker ${slot} was stopped before it was ready`));
  }

  /** How it ended, or that another one is in its place. */
  async #watch(worker: ChildEdge): Promise<string> {
    const tooLate = setTimeout(() => worker.kill(), this.#plan.readyMs);
    worker.ready.then(
      () => clearTimeout(tooLate),
      () => undefined,
    );
    const how = await Promise.race([worker.ended, this.#replaced.promise.then(() => "replaced")]);
    clearTimeout(tooLate);
    return how;
  }
}
