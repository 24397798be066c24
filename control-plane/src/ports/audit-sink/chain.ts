import { hash } from "node:crypto";
import { sql } from "kysely";
import type { Queries } from "../store/store.ts";

/** Stands for the hash before the first event. */
export const GENESIS = "0".repeat(64);
const STEP = 1000;

/**
 * An event as it stands in the table. The numbers are decimal text, since a number that was tampered with may be none that
 * JavaScript can hold; so may the other columns be of another type than they should.
 */
export interface ChainRow {
  readonly id: string;
  readonly at: string;
  readonly actor: string;
  readonly action: string;
  readonly object: string;
  readonly result: string;
  readonly owner_id: string | null;
  readonly address: string;
  readonly details: string;
  readonly hash: string | null;
}

/** What chains an event to the one before it. A JSON array of texts cannot be read in two ways, whatever the texts hold. */
export function chainHash(previous: string, row: Omit<ChainRow, "hash">): string {
  const { id, at, actor, action, object, result, owner_id, address, details } = row;
  return hash(
    "sha256",
    JSON.stringify([previous, id, at, actor, action, object, result, owner_id, address, details]),
  );
}

/** Every event in order, so many at a time; with those that are numbered below 1, which nobody but a forger writes. */
export async function* readChain(queries: Queries, step = STEP): AsyncGenerator<readonly ChainRow[]> {
  let last: string | undefined;
  for (;;) {
    let query = queries
      .selectFrom("audit_events")
      .select([sql<string>`cast(id as text)`.as("id"), sql<string>`cast(at as text)`.as("at")])
      .select(["actor", "action", "object", "result", "owner_id", "address", "details", "hash"])
      .orderBy("audit_events.id")
      .limit(step);
    if (last !== undefined) query = query.where(sql<boolean>`audit_events.id > cast(${last} as integer)`);
    const rows = await query.execute();
    yield rows;
    if (rows.length < step) return;
    last = rows.at(-1)?.id;
  }
}
