import { randomUUID } from "node:crypto";
import type { Logger } from "../logger.ts";
import { HEARTBEAT_MS, type Queue, type Run } from "../ports/queue/queue.ts";
import type { RunFeed } from "../run-feed.ts";
import { LeaseLost, PlatformStopping, RunStopped } from "./execute-run.ts";

/** How often the queue is looked at although nothing said so: finds leases that ran out. */
const POLL_MS = 1_000;

interface Active {
  readonly abort: AbortController;
  readonly done: Promise<void>;
}

/** Takes runs from the queue, a few at a time, keeps their leases, and stops those that are asked to stop. */
export class Worker implements AsyncDisposable {
  readonly holder = randomUUID();
  readonly #queue: Queue;
  readonly #execute: (run: Run, holder: string, signal: AbortSignal) => Promise<void>;
  readonly #logger: Logger;
  readonly #concurrency: number;
  readonly #active = new Map<string, Active>();
  readonly #subscription: Disposable;
  readonly #timers: readonly NodeJS.Timeout[];
  #claiming: Promise<void> | undefined;
  #again = false;
  #stopped = false;

  constructor(options: {
    readonly queue: Queue;
    readonly feed: RunFeed;
    readonly execute: (run: Run, holder: string, signal: AbortSignal) => Promise<void>;
    /** Does what is left to do for a run that the queue ended by itself. Neither of the two rejects. */
    readonly closeEnded: (runId: string) => Promise<void>;
    readonly logger: Logger;
    readonly concurrency: number;
  }) {
    this.#queue = options.queue;
    this.#execute = options.execute;
    this.#logger = options.logger;
    this.#concurrency = options.concurrency;
    this.#subscription = options.feed.onChange((runId, news) => {
      if (news === "stop" && this.#active.has(runId)) void this.#heartbeat(runId);
      if (news === "ended") void options.closeEnded(runId);
      if (!this.#active.has(runId)) this.#claimSoon();
    });
    this.#timers = [
      setInterval(() => this.#claimSoon(), POLL_MS),
      setInterval(() => {
        for (const runId of this.#active.keys()) void this.#heartbeat(runId);
      }, HEARTBEAT_MS),
    ];
    this.#claimSoon();
  }

  /** Stops taking runs, gives those under way back to the queue, and resolves when their processes have ended. */
  async [Symbol.asyncDispose](): Promise<void> {
    this.#stopped = true;
    this.#subscription[Symbol.dispose]();
    for (const timer of this.#timers) clearInterval(timer);
    await this.#claiming;
    for (const { abort } of this.#active.values())
      abort.abort(new PlatformStopping("the platform is stopping"));
    await Promise.all([...this.#active.values()].map(({ done }) => done));
  }

  #claimSoon(): void {
    this.#again = true;
    this.#claiming ??= this.#claimAll().finally(() => {
      this.#claiming = undefined;
      if (this.#again && !this.#stopped) this.#claimSoon();
    });
  }

  async #claimAll(): Promise<void> {
    try {
      while (!this.#stopped && this.#active.size < this.#concurrency) {
        this.#again = false;
        const run = await this.#queue.claim(this.holder, this.#active.keys());
        if (!run) break;
        this.#start(run);
      }
      if (this.#active.size >= this.#concurrency) this.#again = false;
    } catch (error) {
      this.#again = false;
      this.#logger.error({ err: error }, "the queue could not be read; trying again");
    }
  }

  #start(run: Run): void {
    const abort = new AbortController();
    const done = this.#execute(run, this.holder, abort.signal).finally(() => {
      this.#active.delete(run.id);
      if (!this.#stopped) this.#claimSoon();
    });
    this.#active.set(run.id, { abort, done });
  }

  async #heartbeat(runId: string): Promise<void> {
    try {
      const answer = await this.#queue.heartbeat(runId, this.holder);
      const active = this.#active.get(runId);
      if (answer === "lost") active?.abort.abort(new LeaseLost("the lease of this run was lost"));
      else if (answer) active?.abort.abort(new RunStopped(answer));
    } catch (error) {
      this.#logger.error(
        { err: error, run: runId },
        "the lease of a run could not be extended; trying again",
      );
    }
  }
}
