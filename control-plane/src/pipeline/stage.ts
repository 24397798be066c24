import { KnownError } from "@openfaas-cloud/shared/known-error.ts";
import type { FunctionName } from "@openfaas-cloud/shared/names.ts";
import type { Logger } from "../logger.ts";
import { stageDuration } from "../metrics.ts";
import type { LogSink } from "../ports/log-store/log-store.ts";
import type { Run } from "../ports/queue/queue.ts";
import type { StageRow } from "../ports/store/schema.ts";
import type { Store } from "../ports/store/store.ts";
import type { RunFeed } from "../run-feed.ts";

/** Progress may reach the store this much late; its commits would otherwise cost more than the stages. */
const FLUSH_MS = 50;

export type StageName = StageRow["name"];

/** Runs the stages of one run and records of each when it began, how long it took and what came of it. */
export class StageFrame implements AsyncDisposable {
  readonly run: Run;
  readonly signal: AbortSignal;
  readonly log: LogSink;
  readonly #store: Store;
  readonly #feed: RunFeed;
  readonly #logger: Logger;
  readonly #dirty = new Map<string, StageRow>();
  #flushing = Promise.resolve();
  #committed = false;
  #timer: NodeJS.Timeout | undefined;

  constructor(options: {
    readonly run: Run;
    readonly signal: AbortSignal;
    readonly log: LogSink;
    readonly store: Store;
    readonly feed: RunFeed;
    readonly logger: Logger;
  }) {
    this.run = options.run;
    this.signal = options.signal;
    this.log = options.log;
    this.#store = options.store;
    this.#feed = options.feed;
    this.#logger = options.logger;
  }

  /**
   * What the run did is live: from here it goes to its end whoever asks it to stop, since half of the rest would leave
   * something live that nothing keeps running.
   */
  commit(): void {
    this.#committed = true;
  }

  #throwIfStopped(): void {
    if (!this.#committed) this.signal.throwIfAborted();
  }

  /**
   * @param describe what came of it, in a few words, for the run page and the log.
   * @throws what `work` throws, or the signal's reason where that aborted.
   */
  async stage<Result>(
    name: StageName,
    work: () => Promise<Result>,
    describe: (result: Result) => string,
    functionName?: FunctionName,
  ): Promise<Result> {
    this.#throwIfStopped();
    const began = performance.now();
    const row: StageRow = {
      run_id: this.run.id,
      name,
      function: functionName ?? "",
      state: "running",
      started_at: Date.now(),
      finished_at: null,
      detail: null,
    };
    this.#record(row);
    const end = (state: "succeeded" | "failed", detail: string) => {
      const tookMs = performance.now() - began;
      stageDuration.observe({ stage: name, state }, tookMs / 1000);
      this.#record({ ...row, state, finished_at: row.started_at + Math.round(tookMs), detail });
      const source = functionName === undefined ? name : `${name} ${functionName}`;
      if (state === "succeeded") this.log.write(source, `${detail} (${Math.round(tookMs)} ms)\n`);
    };
    try {
      const result = await work();
      this.#throwIfStopped();
      end("succeeded", describe(result));
      return result;
    } catch (error) {
      const reason = this.signal.aborted && !this.#committed ? "Stopped before its end." : undefined;
      end(
        "failed",
        reason ?? (error instanceof KnownError ? error.message : "Ended by an error of the platform."),
      );
      throw error;
    }
  }

  get committed(): boolean {
    return this.#committed;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    clearTimeout(this.#timer);
    this.#flush();
    await this.#flushing;
  }

  #record(row: StageRow): void {
    this.#dirty.set(`${row.name} ${row.function}`, row);
    this.#timer ??= setTimeout(() => this.#flush(), FLUSH_MS);
  }

  #flush(): void {
    this.#timer = undefined;
    const rows = [...this.#dirty.values()];
    this.#dirty.clear();
    if (rows.length === 0) return;
    this.#flushing = this.#flushing.then(() => this.#write(rows));
  }

  /** Progress that cannot be recorded does not end the run: its outcome is recorded apart from this. */
  async #write(rows: readonly StageRow[]): Promise<void> {
    try {
      await this.#store
        .insertInto("stages")
        .values(rows)
        .onConflict((conflict) =>
          conflict.columns(["run_id", "name", "function"]).doUpdateSet((excluded) => ({
            state: excluded.ref("excluded.state"),
            started_at: excluded.ref("excluded.started_at"),
            finished_at: excluded.ref("excluded.finished_at"),
            detail: excluded.ref("excluded.detail"),
          })),
        )
        .execute();
      this.#feed.changed(this.run.id);
    } catch (error) {
      this.#logger.error({ err: error, run: this.run.id }, "the progress of a run could not be recorded");
    }
  }
}
