import type { Queries } from "./store.ts";

/** How many events are looked at for one page, since there may be any number that no filter lets through. */
const MOST_LOOKED_AT = 10_000;

export interface AuditFilter {
  /** Of one owner; of everybody and the platform itself where there is none. */
  readonly ownerId?: string | undefined;
  readonly actor?: string | undefined;
  readonly action?: string | undefined;
  /** Milliseconds since the epoch; from inclusive, until exclusive. */
  readonly from?: number | undefined;
  readonly until?: number | undefined;
  /** Only events older than this one. */
  readonly before?: number | undefined;
  readonly limit: number;
}

/**
 * Events that pass the filter, the newest first. `next` is where to go on; `undefined` where there is nothing older. A page may
 * be empty and have a next one.
 */
export async function listAuditEvents(queries: Queries, filter: AuditFilter) {
  const window = await windowOf(queries, filter);
  if (window.oldest === undefined) return { events: [], next: undefined };
  let query = queries
    .selectFrom("audit_events as event")
    .leftJoin("people", "people.subject", "event.actor")
    .selectAll("event")
    .select("people.name as actor_name")
    .where("event.id", ">=", window.oldest)
    .orderBy("event.id", "desc")
    .limit(filter.limit + 1);
  const { ownerId, actor, action, from, until, before } = filter;
  if (ownerId !== undefined) query = query.where("event.owner_id", "=", ownerId);
  if (before !== undefined) query = query.where("event.id", "<", before);
  if (actor !== undefined) query = query.where("event.actor", "=", actor);
  if (action !== undefined) query = query.where("event.action", "=", action);
  if (from !== undefined) query = query.where("event.at", ">=", from);
  if (until !== undefined) query = query.where("event.at", "<", until);
  const rows = await query.execute();
  const events = rows.slice(0, filter.limit);
  if (rows.length > filter.limit) return { events, next: events.at(-1)?.id };
  return { events, next: window.isLast ? undefined : window.oldest };
}

/** The oldest event that this page looks at, and whether there is none before it. */
async function windowOf(queries: Queries, { ownerId, before }: AuditFilter) {
  let newest = queries.selectFrom("audit_events").select("id").orderBy("id", "desc").limit(MOST_LOOKED_AT);
  if (ownerId !== undefined) newest = newest.where("owner_id", "=", ownerId);
  if (before !== undefined) newest = newest.where("id", "<", before);
  const { oldest, count } = await queries
    .selectFrom(newest.as("looked_at"))
    .select((select) => [select.fn.min("id").as("oldest"), select.fn.countAll<number>().as("count")])
    .executeTakeFirstOrThrow();
  return { oldest: oldest ?? undefined, isLast: Number(count) < MOST_LOOKED_AT };
}
