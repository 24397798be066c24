import type { Transaction } from "kysely";
import { newId } from "../../ids.ts";
import type { RunFeed, RunNews } from "../../run-feed.ts";
import type { Schema } from "../store/schema.ts";
import type { Queries, Store } from "../store/store.ts";
import {
  LEASE_MS,
  MOST_ATTEMPTS,
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
    async enqueue(trigger) {
      const { run, news } = await store
        .transaction()
        .execute((transaction) => enqueue(transaction, trigger, now()));
      tell(news);
      feed.changed(run.id);
      return run;
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

    async stop(runId, reason) {
      const news = await store
        .transaction()
        .execute((transaction) => requestStop(transaction, [runId], reason, now()));
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
