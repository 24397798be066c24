import { setTimeout as delay } from "node:timers/promises";
import type { Run } from "../../ports/queue/queue.ts";
import type { RunFeed } from "../../run-feed.ts";
import { Happening } from "./happening.ts";
import { HostPace } from "./host-pace.ts";
import { hasEnded } from "./run-reports.ts";
import { RunTeller, type TellPorts, type TellTimes } from "./run-teller.ts";

export interface CourierPorts extends TellPorts {
  readonly feed: RunFeed;
}

export interface CourierTimes extends TellTimes {
  /** How often runs are looked for whose reports nobody sends. */
  readonly sweepMs: number;
  /** What a run's end and that of its log may be apart. */
  readonly closeMs: number;
}

const DEFAULT_TIMES: CourierTimes = {
  intervalMs: 3_000,
  placeMs: 10_000,
  logMs: 15_000,
  firstPauseMs: 1_000,
  giveUpMs: 24 * 3_600_000,
  sweepMs: 60_000,
  closeMs: 30_000,
};

const MAX_SWEPT = 2_000;
/** How long a platform that stops waits for what is on its way. */
const LAST_WORDS_MS = 5_000;

type CommitRun = Pick<Run, "id" | "repository_id" | "commit_sha">;

/** The runs of one commit that are not told to their end, the oldest first. */
interface CommitLane {
  readonly key: string;
  readonly runs: RunTeller[];
  readonly news: Happening;
  readonly closings: Happening;
}

/**
 * Keeps what source hosts show in step with what is stored about runs.
 *
 * What differs from what the host was told last is sent: one report of a commit at a time, so that none overtakes another,
 * and all of an older run before any of a newer one, which therefore has the last word. What is outdated before its turn is
 * never sent. A final report is sent until the host takes it, for a day, by the next start of the platform where that stops
 * before. Nothing waits for any of it.
 */
export class ReportCourier implements AsyncDisposable {
  readonly #ports: CourierPorts;
  readonly #times: CourierTimes;
  readonly #pace: HostPace;
  readonly #lanes = new Map<string, CommitLane>();
  readonly #tellers = new Map<string, { readonly teller: RunTeller; readonly lane: CommitLane }>();
  readonly #admitting = new Set<string>();
  readonly #working = new Set<Promise<void>>();
  readonly #subscription: Disposable;
  readonly #timer: NodeJS.Timeout;
  readonly #stopping = new AbortController();

  constructor(ports: CourierPorts, times: Partial<CourierTimes> = {}) {
    this.#ports = ports;
    this.#times = { ...DEFAULT_TIMES, ...times };
    this.#pace = new HostPace(this.#times.firstPauseMs);
    this.#subscription = ports.feed.onChange((runId) => this.#changed(runId));
    this.#timer = setInterval(() => this.#background(this.#sweep(this.#times.closeMs)), this.#times.sweepMs);
    // Whoever wrote to the logs of what ended before this start is gone.
    this.#background(this.#sweep(0));
  }

  /** The run has ended, and so has its log. */
  closed(run: CommitRun): void {
    this.#track(run, true);
  }

  /** Ends what is on its way, and leaves the rest to the next start. */
  async [Symbol.asyncDispose](): Promise<void> {
    this.#subscription[Symbol.dispose]();
    clearInterval(this.#timer);
    this.#stopping.abort(new Error("the platform is stopping"));
    for (const { news, closings } of this.#lanes.values()) {
      closings.happen();
      news.happen();
    }
    const { promise: enough, resolve } = Promise.withResolvers<void>();
    const timer = setTimeout(resolve, LAST_WORDS_MS);
    await Promise.race([enough, Promise.all(this.#working)]);
    clearTimeout(timer);
  }

  #background(work: Promise<void>): void {
    const settled = work
      .catch((error: unknown) => {
        this.#ports.logger.error({ err: error }, "which runs are to be reported could not be read");
      })
      .finally(() => this.#working.delete(settled));
    this.#working.add(settled);
  }

  #changed(runId: string): void {
    const known = this.#tellers.get(runId);
    if (known) known.lane.news.happen();
    else if (!this.#admitting.has(runId)) this.#background(this.#admit(runId));
  }

  /** What has ended is left to `closed`, and to the sweep where nobody comes to say so. */
  async #admit(runId: string): Promise<void> {
    this.#admitting.add(runId);
    try {
      const run = await this.#ports.store
        .selectFrom("runs")
        .select(["id", "repository_id", "commit_sha", "state"])
        .where("id", "=", runId)
        .executeTakeFirst();
      if (run && !hasEnded(run)) this.#track(run, false);
    } finally {
      this.#admitting.delete(runId);
    }
  }

  async #sweep(closeMs: number): Promise<void> {
    const now = Date.now();
    const runs = await this.#ports.store
      .selectFrom("runs")
      .select(["id", "repository_id", "commit_sha", "state"])
      .where("reported_at", "is", null)
      .where((where) =>
        where.or([
          where("finished_at", "is", null),
          where.and([
            where("finished_at", "<=", now - closeMs),
            where("finished_at", ">", now - this.#times.giveUpMs),
          ]),
        ]),
      )
      .orderBy("id")
      .limit(MAX_SWEPT)
      .execute();
    for (const run of runs) this.#track(run, hasEnded(run));
  }

  #track(run: CommitRun, closed: boolean): void {
    if (this.#stopping.signal.aborted) return;
    const known = this.#tellers.get(run.id);
    if (known === undefined) this.#add(run, closed);
    else if (closed && !known.teller.closed) {
      known.teller.closed = true;
      known.lane.closings.happen();
      known.lane.news.happen();
    }
  }

  #add(run: CommitRun, closed: boolean): void {
    const key = `${run.repository_id} ${run.commit_sha}`;
    const known = this.#lanes.get(key);
    const lane = known ?? { key, runs: [], news: new Happening(), closings: new Happening() };
    const teller = new RunTeller(run.id, {
      ports: this.#ports,
      times: this.#times,
      pace: this.#pace,
      signal: this.#stopping.signal,
    });
    teller.closed = closed;
    const newer = lane.runs.findIndex(({ runId }) => runId > run.id);
    lane.runs.splice(newer === -1 ? lane.runs.length : newer, 0, teller);
    this.#tellers.set(run.id, { teller, lane });
    if (known === undefined) {
      this.#lanes.set(key, lane);
      this.#background(this.#work(lane));
    }
  }

  async #work(lane: CommitLane): Promise<void> {
    const { news, closings, runs } = lane;
    for (let first = runs[0]; first !== undefined && !this.#stopping.signal.aborted; first = runs[0]) {
      const seen = { news: news.count, closings: closings.count };
      const next = await first.tell(() => news.count > seen.news);
      if (next === "done") {
        runs.splice(runs.indexOf(first), 1);
        this.#tellers.delete(first.runId);
        continue;
      }
      if (next.askedMs) await this.#rest(next.askedMs);
      await closings.after(seen.closings, next.pauseMs);
      await news.after(seen.news, next.newsMs);
    }
    this.#lanes.delete(lane.key);
  }

  async #rest(ms: number): Promise<void> {
    await delay(ms, undefined, { signal: this.#stopping.signal }).catch(() => undefined);
  }
}
