import { promisify } from "node:util";
import { constants, gunzip, gzip } from "node:zlib";
import { newId } from "../../ids.ts";
import type { DeliveryRow } from "./schema.ts";
import type { Queries, Store } from "./store.ts";

const pack = promisify(gzip);
const unpack = promisify(gunzip);

export interface NewDelivery {
  readonly instance: string;
  /** `undefined` where the host gives none: it is never taken for one that came before. */
  readonly deliveryId: string | undefined;
  readonly event: string;
  readonly body: Uint8Array;
}

/**
 * Stores a delivery, unless it is there already; one that failed is taken up again.
 * @returns its id, or `undefined` where it is there. Durable when it resolves.
 */
export async function storeDelivery(
  store: Store,
  { instance, deliveryId, event, body: bytes }: NewDelivery,
  now: number,
): Promise<string | undefined> {
  const id = newId(now);
  // A statement keeps what it wrote in memory until it is collected, and its commit keeps everybody waiting.
  const body = await pack(bytes, { level: constants.Z_BEST_SPEED });
  const fresh = {
    event,
    body,
    lane: null,
    received_at: now,
    state: "stored",
    result: null,
    attempts: 0,
    next_at: now,
    done_at: null,
  } as const;
  const stored = await store
    .insertInto("deliveries")
    .values({ id, instance, delivery_id: deliveryId ?? `ours:${id}`, ...fresh })
    .onConflict((conflict) =>
      conflict
        .columns(["instance", "delivery_id"])
        .doUpdateSet(fresh)
        .where("deliveries.state", "=", "failed"),
    )
    .returning("id")
    .executeTakeFirst();
  return stored?.id;
}

export type UnsortedDelivery = Pick<DeliveryRow, "id" | "instance" | "event">;

/** Stored deliveries whose lane is not known yet, the oldest first. */
export function listUnsorted(queries: Queries, limit: number): Promise<UnsortedDelivery[]> {
  return queries
    .selectFrom("deliveries")
    .select(["id", "instance", "event"])
    .where("state", "=", "stored")
    .where("lane", "is", null)
    .orderBy("id")
    .limit(limit)
    .execute();
}

export async function readBody(queries: Queries, id: string): Promise<string> {
  const { body } = await queries
    .selectFrom("deliveries")
    .select("body")
    .where("id", "=", id)
    .executeTakeFirstOrThrow();
  return body === null ? "" : (await unpack(body)).toString("utf8");
}

export async function setLane(queries: Queries, id: string, lane: string): Promise<void> {
  await queries.updateTable("deliveries").set({ lane }).where("id", "=", id).execute();
}

/** Hosts of which deliveries are stored and not worked off. */
export async function listInstances(queries: Queries): Promise<string[]> {
  const rows = await queries
    .selectFrom("deliveries")
    .select("instance")
    .distinct()
    .where("state", "=", "stored")
    .execute();
  return rows.map(({ instance }) => instance);
}

export type DueDelivery = Pick<
  DeliveryRow,
  "id" | "instance" | "event" | "received_at" | "attempts" | "delivery_id"
> & {
  readonly lane: string;
};

/** The first of each lane that is free, where its time has come; the oldest first. */
export async function listDue(
  queries: Queries,
  options: {
    readonly instance: string;
    readonly busyLanes: readonly string[];
    readonly now: number;
    readonly limit: number;
  },
): Promise<DueDelivery[]> {
  const rows = await queries
    .selectFrom("deliveries as delivery")
    .select(["id", "instance", "event", "received_at", "attempts", "delivery_id", "lane"])
    .where("state", "=", "stored")
    .where("instance", "=", options.instance)
    .where("lane", "is not", null)
    .where("lane", "not in", options.busyLanes)
    .where("next_at", "<=", options.now)
    .where((where) =>
      where.not(
        where.exists(
          where
            .selectFrom("deliveries as earlier")
            .select("earlier.id")
            .where("earlier.state", "=", "stored")
            .whereRef("earlier.instance", "=", "delivery.instance")
            .whereRef("earlier.lane", "=", "delivery.lane")
            .whereRef("earlier.id", "<", "delivery.id"),
        ),
      ),
    )
    .orderBy("id")
    .limit(options.limit)
    .execute();
  return rows.flatMap((row) => (row.lane === null ? [] : [{ ...row, lane: row.lane }]));
}

/** Counts a try before it is made, so that a delivery which ends the process does not do so for ever. */
export async function countTry(queries: Queries, id: string): Promise<void> {
  await queries
    .updateTable("deliveries")
    .set((set) => ({ attempts: set("attempts", "+", 1) }))
    .where("id", "=", id)
    .execute();
}

export async function postpone(queries: Queries, id: string, until: number, reason: string): Promise<void> {
  await queries
    .updateTable("deliveries")
    .set({ next_at: until, result: reason })
    .where("id", "=", id)
    .execute();
}

/** Its body is dropped; the rest stays, so that it is known when it comes again. */
export async function finishDelivery(
  queries: Queries,
  id: string,
  end: { readonly state: "done" | "ignored" | "failed"; readonly result: string },
  now: number,
): Promise<void> {
  await queries
    .updateTable("deliveries")
    .set({ ...end, body: null, next_at: null, done_at: now })
    .where("id", "=", id)
    .execute();
}

/** Forgets some of those that were worked off and came before then. @returns how many. */
export async function removeOldDeliveries(
  queries: Queries,
  receivedBefore: number,
  limit: number,
): Promise<number> {
  const result = await queries
    .deleteFrom("deliveries")
    .where("id", "in", (select) =>
      select
        .selectFrom("deliveries")
        .select("id")
        .where("received_at", "<", receivedBefore)
        .where("state", "!=", "stored")
        .orderBy("received_at")
        .limit(limit),
    )
    .executeTakeFirst();
  return Number(result.numDeletedRows);
}

export async function countWaiting(queries: Queries): Promise<number> {
  const { count } = await queries
    .selectFrom("deliveries")
    .select((select) => select.fn.countAll<number>().as("count"))
    .where("state", "=", "stored")
    .executeTakeFirstOrThrow();
  return Number(count);
}
