import type { Queries } from "./store.ts";

/** When the last complete reading of a source host began, milliseconds since the epoch; `undefined` where there was none. */
export async function readingOf(queries: Queries, instance: string): Promise<number | undefined> {
  const row = await queries
    .selectFrom("meta")
    .select("value")
    .where("key", "=", keyOf(instance))
    .executeTakeFirst();
  return row && Number(row.value);
}

export async function recordReading(queries: Queries, instance: string, beganAt: number): Promise<void> {
  const value = String(beganAt);
  await queries
    .insertInto("meta")
    .values({ key: keyOf(instance), value })
    .onConflict((conflict) => conflict.column("key").doUpdateSet({ value }))
    .execute();
}

function keyOf(instance: string): string {
  return `read ${instance}`;
}
