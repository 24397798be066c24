import { type Kysely, sql, type Transaction } from "kysely";
import type { Schema } from "../../src/ports/store/schema.ts";
import type { Queries, Store } from "../../src/ports/store/store.ts";

/** What stands between whoever can write to the file and the table. */
export async function dropTriggers(store: Kysely<Schema>): Promise<void> {
  for (const name of ["are_appended", "are_not_changed", "are_kept"]) {
    await sql.raw(`drop trigger audit_events_${name}`).execute(store);
  }
}

export interface Tampering {
  readonly kind: string;
  /** The same one tampers in the same way. */
  readonly seed: number;
  /** How many there are in the table. */
  readonly events: number;
}

/** What `look` sees of a table that was tampered with; afterwards it is as it was. */
export async function tampered<T>(
  store: Store,
  { kind, seed, events }: Tampering,
  look: (queries: Queries) => Promise<T>,
): Promise<T> {
  const undone = new Error("undone");
  let seen: { readonly value: T } | undefined;
  const tampering = store.transaction().execute(async (transaction) => {
    await TAMPERINGS[kind]?.({ store: transaction, events, random: chance(seed) });
    seen = { value: await look(transaction) };
    throw undone;
  });
  await tampering.catch((error: unknown) => {
    if (error !== undone) throw error;
  });
  if (!seen) throw new Error("nothing was seen");
  return seen.value;
}

interface Forger {
  readonly store: Transaction<Schema>;
  readonly events: number;
  /** A whole number below this. */
  readonly random: (below: number) => number;
}

const FIELDS = [
  "at",
  "actor",
  "action",
  "object",
  "result",
  "owner_id",
  "address",
  "details",
  "hash",
] as const;

export const TAMPERINGS: Readonly<Record<string, (forger: Forger) => Promise<unknown>>> = {
  edit({ store, events, random }) {
    const field = FIELDS[random(FIELDS.length)] ?? "at";
    const value = field === "at" ? 1 : field === "hash" ? "0".repeat(64) : "tampered";
    return sql`update audit_events set ${sql.ref(field)} = ${value} where id = ${1 + random(events)}`.execute(
      store,
    );
  },

  async drop({ store, events, random }) {
    const id = 1 + random(events);
    await sql`delete from audit_events where id = ${id}`.execute(store);
    // Half of the forgers close the gap.
    if (random(2) === 0) await renumber(store, id, -1);
  },

  async swap({ store, events, random }) {
    const a = 1 + random(events);
    const b = ((a + random(events - 1)) % events) + 1;
    await sql`update audit_events set id = -1 where id = ${a}`.execute(store);
    await sql`update audit_events set id = ${a} where id = ${b}`.execute(store);
    await sql`update audit_events set id = ${b} where id = -1`.execute(store);
  },

  /** A copy of some event with another result, between two or at the end. */
  async insert({ store, events, random }) {
    const id = 1 + random(events + 1);
    await renumber(store, id - 1, 1);
    const model = 1 + random(events);
    await sql`insert into audit_events
      select ${id}, at, actor, action, object, 'forged', owner_id, address, details, hash
      from audit_events where id = ${model === id ? events + 1 : model} or id = ${events} limit 1`.execute(
      store,
    );
  },

  "cut the tail": ({ store, events, random }) =>
    sql`delete from audit_events where id > ${random(events)}`.execute(store),
};

/** In two steps, since numbers are unique at all times. */
async function renumber(store: Transaction<Schema>, after: number, by: 1 | -1): Promise<void> {
  await sql`update audit_events set id = -id - ${by} where id > ${after}`.execute(store);
  await sql`update audit_events set id = -id where id < 0`.execute(store);
}

/** Numbers that look random, the same ones for the same seed. */
function chance(seed: number): (below: number) => number {
  let state = (seed + 1) * 0x9e3779b9;
  return (below) => {
    state = Math.imul(state ^ (state >>> 15), 0x2c1b3c6d);
    state = Math.imul(state ^ (state >>> 12), 0x297a2d39);
    state ^= state >>> 15;
    return (state >>> 0) % below;
  };
}
