import type { Transaction } from "kysely";
import { newId } from "../../ids.ts";
import type { RunFeed, RunNews } from "../../run-feed.ts";
import type { Schema } from "../store/schema.ts";
import type { Queries, Store } from "../store/store.ts";
import {
  type Also,
  type Enqueued,
  LEASE_MS,
  MOST_ATTEMPTS,
  MOST_FRUITLESS,
  type Needless,
  type NewTrigger,
  type Queue,
  type Run,
  type RunEnd,
  type StopReason,
} from "./queue.ts";

/** The queue in the store's own tables, for every dialect. `feed` hears of each run that changed. */
export function openSqlQueue(options: {
  readonly store: Store;
  readonly feed: RunFeed;
  readonly now?: () => number;
}): Queue {
  const { store, feed } = options;
  const now = options.now ?? Date.now;
  const tell = (news: readonly News[]) => {
    for (const [runId, what] of news) feed.changed(runId, what);
  };

  return {
    async enqueue(trigger, also) {
      const { run, news } = await store.transaction().execute(async (transaction) => {
        const enqueued = await enqueue(transaction, trigger, now());
        await also?.(transaction, enqueued.run);
        return enqueued;
      });
      tell(news);
      feed.changed(run.id);
      return run;
    },

    async enqueueUnless(needless, trigger, { after } = {}) {
      const { outcome, news } = await store
        .transaction()
        .execute((transaction) => enqueueUnless(transaction, needless, trigger, after, now()));
      tell(news);
      if (outcome.kind === "enqueued") feed.changed(outcome.run.id);
      return outcome;
    },

    async generation(repositoryId, branch) {
      const row = await store
        .selectFrom("runs")
        .select((select) => select.fn.max("generation").as("generation"))
        .where("repository_id", "=", repositoryId)
        .where("branch", "=", branch)
        .executeTakeFirst();
      return Number(row?.generation ?? 0);
    },

    async claim(holder, busy) {
      const { run, news } = await store
        .transaction()
        .execute((transaction) => claim(transaction, holder, [...busy], now()));
      tell(news);
      if (run) feed.changed(run.id);
      return run;
    },

    async heartbeat(runId, holder) {
      const row = await store
        .updateTable("runs")
        .set({ lease_until: now() + LEASE_MS })
        .where("id", "=", runId)
        .where("state", "=", "running")
        .where("lease_holder", "=", holder)
        .returning("stop_reason")
        .executeTakeFirst();
      if (!row) return "lost";
      return row.stop_reason === null ? undefined : (JSON.parse(row.stop_reason) as StopReason);
    },

    async finish(runId, holder, end) {
      const ended = await store
        .updateTable("runs")
        .set(ending(end, now()))
        .where("id", "=", runId)
        .where("state", "=", "running")
        .where("lease_holder", "=", holder)
        .returning("id")
        .executeTakeFirst();
      feed.changed(runId);
      return ended !== undefined;
    },

    async release(runId, holder) {
      const news = await store.transaction().execute(async (transaction) => {
        const run = await transaction
          .selectFrom("runs")
          .selectAll()
          .where("id", "=", runId)
          .where("state", "=", "running")
          .where("lease_holder", "=", holder)
          .executeTakeFirst();
        if (!run) return [];
        const change =
          run.stop_reason === null
            ? { state: "queued" as const, lease_holder: null, lease_until: null, attempts: run.attempts - 1 }
            : ending(JSON.parse(run.stop_reason) as StopReason, now());
        await transaction.updateTable("runs").set(change).where("id", "=", runId).execute();
        return [[runId, run.stop_reason === null ? "progress" : "ended"] as const];
      });
      tell(news);
    },

    async stop(runId, reason, also) {
      const news = await store.transaction().execute(async (transaction) => {
        const stopped = await requestStop(transaction, [runId], reason, now());
        if (stopped.length > 0) await writeAlso(transaction, runId, also);
        return stopped;
      });
      tell(news);
      return news.length > 0;
    },

    async reclaim(holder) {
      await store
        .updateTable("runs")
        .set({ lease_until: 0 })
        .where("state", "=", "running")
        .where("lease_holder", "!=", holder)
        .execute();
    },

    async ahead(run) {
      const row = await store
        .selectFrom("runs")
        .select((select) => select.fn.countAll<number>().as("count"))
        .where("state", "=", "queued")
        .where("id", "<", run.id)
        .executeTakeFirstOrThrow();
      return Number(row.count);
    },

    async depth() {
      const rows = await store
        .selectFrom("runs")
        .select((select) => ["state", select.fn.countAll<number>().as("count")])
        .where("state", "in", ["queued", "running"])
        .groupBy("state")
        .execute();
      const of = (state: string) => Number(rows.find((row) => row.state === state)?.count ?? 0);
      return { queued: of("queued"), running: of("running") };
    },
  };
}

async function writeAlso(transaction: Transaction<Schema>, runId: string, also?: Also): Promise<void> {
  if (!also) return;
  const run = await transaction
    .selectFrom("runs")
    .selectAll()
    .where("id", "=", runId)
    .executeTakeFirstOrThrow();
  await also(transaction, run);
}

type News = readonly [runId: string, what: RunNews];

async function enqueue(transaction: Transaction<Schema>, trigger: NewTrigger, now: number) {
  const older = await transaction
    .selectFrom("runs")
    .select(["id", "state", "generation"])
    .where("repository_id", "=", trigger.repository_id)
    .where("branch", "=", trigger.branch)
    .orderBy("generation", "desc")
    .execute();
  const run: Run = {
    ...trigger,
    id: newId(now),
    generation: (older[0]?.generation ?? 0) + 1,
    state: "queued",
    reason_kind: null,
    reason: null,
    ignored_keys: "[]",
    annotations: "[]",
    created_at: now,
    started_at: null,
    finished_at: null,
    lease_holder: null,
    lease_until: null,
    attempts: 0,
    stop_reason: null,
    reported: "{}",
    reported_at: null,
    end_recorded: 0,
    unconfirmed: trigger.unconfirmed ?? 0,
  };
  await transaction.insertInto("runs").values(run).execute();
  const unfinished = older.filter((other) => other.state === "queued" || other.state === "running");
  const news = await requestStop(
    transaction,
    unfinished.map((other) => other.id),
    {
      state: "superseded",
      kind: "superseded",
      reason: `A newer push to ${trigger.branch} replaced it: commit ${trigger.commit_sha.slice(0, 7)}.`,
    },
    now,
  );
  return { run, news };
}

async function enqueueUnless(
  transaction: Transaction<Schema>,
  needless: Needless,
  trigger: NewTrigger,
  after: number | undefined,
  now: number,
): Promise<{ readonly outcome: Enqueued; readonly news: readonly News[] }> {
  const runs = await transaction
    .selectFrom("runs")
    .selectAll()
    .where("repository_id", "=", trigger.repository_id)
    .where("branch", "=", trigger.branch)
    .orderBy("generation", "desc")
    .execute();
  if (after !== undefined && (runs[0]?.generation ?? 0) !== after)
    return { outcome: { kind: "overtaken" }, news: [] };
  const having = runThatHas(trigger.commit_sha, runs, needless);
  if (having) return { outcome: { kind: "needless", run: having }, news: [] };
  const { run, news } = await enqueue(transaction, trigger, now);
  return { outcome: { kind: "enqueued", run }, news };
}

/** @param runs of one branch, the newest first. */
function runThatHas(commit: string, runs: readonly Run[], needless: Needless): Run | undefined {
  const isOfCommit = (run: Run) => run.commit_sha === commit;
  switch (needless) {
    case "under-way":
      return runs.find((run) => isOfCommit(run) && (run.state === "queued" || run.state === "running"));
    case "ever":
      return runs.find((run) => isOfCommit(run) || run.before_sha === commit);
    case "head": {
      const [newest] = runs;
      if (newest && isOfCommit(newest)) return isWorthAnother(runs) ? undefined : newest;
      const pushed = runs.find((run) => run.trigger !== "redeploy");
      return pushed && isOfCommit(pushed) ? pushed : undefined;
    }
  }
}

/** Whether another run of the same commit as the newest's may do better than the newest did. */
function isWorthAnother(runs: readonly Run[]): boolean {
  const [newest] = runs;
  const differs = runs.findIndex((run) => run.commit_sha !== newest?.commit_sha || !isFruitless(run));
  return differs === -1 ? runs.length < MOST_FRUITLESS : differs > 0 && differs < MOST_FRUITLESS;
}

/** Ended without a word about the commit. */
function isFruitless({ state, reason_kind: kind }: Run): boolean {
  return (
    state === "superseded" ||
    // Its repository was not linked then. Where somebody asks, it is again.
    kind === "unlinked" ||
    (state === "failed" && (kind === "platform-unavailable" || kind === "superseded"))
  );
}

async function requestStop(
  queries: Queries,
  runIds: readonly string[],
  reason: StopReason,
  now: number,
): Promise<News[]> {
  if (runIds.length === 0) return [];
  const queued = await queries
    .updateTable("runs")
    .set(ending(reason, now))
    .where("id", "in", runIds)
    .where("state", "=", "queued")
    .returning("id")
    .execute();
  const running = await queries
    .updateTable("runs")
    .set({ stop_reason: JSON.stringify(reason) })
    .where("id", "in", runIds)
    .where("state", "=", "running")
    .returning("id")
    .execute();
  return [...queued.map(({ id }): News => [id, "ended"]), ...running.map(({ id }): News => [id, "stop"])];
}

async function claim(
  transaction: Transaction<Schema>,
  holder: string,
  busy: readonly string[],
  now: number,
): Promise<{ readonly run: Run | undefined; readonly news: readonly News[] }> {
  const orphans = await transaction
    .selectFrom("runs")
    .selectAll()
    .where("state", "=", "running")
    .where("lease_until", "<", now)
    .where("id", "not in", busy)
    .orderBy("created_at")
    .execute();
  const news: News[] = [];
  let next: Run | undefined;
  for (const orphan of orphans) {
    const end = orphanEnd(orphan);
    if (end) {
      await transaction.updateTable("runs").set(ending(end, now)).where("id", "=", orphan.id).execute();
      news.push([orphan.id, "ended"]);
    } else next ??= orphan;
  }
  next ??= await nextQueued(transaction);
  if (!next) return { run: undefined, news };
  const run = await transaction
    .updateTable("runs")
    .set({
      state: "running",
      lease_holder: holder,
      lease_until: now + LEASE_MS,
      attempts: next.attempts + 1,
      started_at: next.started_at ?? now,
    })
    .where("id", "=", next.id)
    .returningAll()
    .executeTakeFirstOrThrow();
  return { run, news };
}

/** The end of a run that lost its holder and is not to be tried again. */
function orphanEnd(run: Run): RunEnd | undefined {
  if (run.stop_reason !== null) return JSON.parse(run.stop_reason) as StopReason;
  if (run.attempts < MOST_ATTEMPTS) return undefined;
  return {
    state: "failed",
    kind: "platform-unavailable",
    reason: `The platform stopped ${run.attempts} times while this run was under way, so it was given up. What was live stays live.`,
  };
}

async function nextQueued(transaction: Transaction<Schema>): Promise<Run | undefined> {
  return transaction
    .selectFrom("runs as run")
    .selectAll("run")
    .where("run.state", "=", "queued")
    .where((where) =>
      where.not(
        where.exists(
          where
            .selectFrom("runs as other")
            .select("other.id")
            .whereRef("other.repository_id", "=", "run.repository_id")
            .whereRef("other.branch", "=", "run.branch")
            .where("other.state", "=", "running"),
        ),
      ),
    )
    .orderBy((order) =>
      order
        .selectFrom("runs as busy")
        .select((select) => select.fn.countAll<number>().as("count"))
        .whereRef("busy.owner_id", "=", "run.owner_id")
        .where("busy.state", "=", "running"),
    )
    .orderBy("run.created_at")
    .orderBy("run.id")
    .limit(1)
    .executeTakeFirst();
}

function ending(end: RunEnd, now: number) {
  return {
    state: end.state,
    reason_kind: end.state === "succeeded" ? null : end.kind,
    reason: end.state === "succeeded" ? null : end.reason,
    finished_at: now,
    lease_holder: null,
    lease_until: null,
    stop_reason: null,
  };
}
