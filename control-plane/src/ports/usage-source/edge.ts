import { DURATION_BUCKETS_S, type UsageReport } from "@openfaas-cloud/shared/route.ts";
import type { Transaction } from "kysely";
import type { Schema } from "../store/schema.ts";
import type { Store } from "../store/store.ts";
import type { UsageMinute, UsageSource } from "./usage-source.ts";

const KEPT_MINUTES = 25 * 60;

/** Usage as the edges report it, kept in the store by the minute in which the report came. */
export function openEdgeUsage(store: Store, now: () => number = Date.now): UsageSource {
  /** The minute in which what is too old was last removed. */
  let forgottenAt: number | undefined;

  return {
    async record(report) {
      const minute = Math.floor(now() / 60_000);
      await store.transaction().execute(async (transaction) => {
        if (!(await isNew(transaction, report, now()))) return;
        for (const counted of report.functions) await add(transaction, minute, counted);
        if (minute === forgottenAt) return;
        forgottenAt = minute;
        await transaction
          .deleteFrom("usage_minutes")
          .where("minute", "<", minute - KEPT_MINUTES)
          .execute();
      });
    },

    async minutes(functionId, sinceMinute) {
      const rows = await store
        .selectFrom("usage_minutes")
        .selectAll()
        .where("function_id", "=", functionId)
        .where("minute", ">=", sinceMinute)
        .orderBy("minute")
        .execute();
      return rows.map((row) => ({
        minute: row.minute,
        codes: JSON.parse(row.codes) as UsageMinute["codes"],
        durationSumS: row.duration_sum_s,
        durationCounts: JSON.parse(row.duration_counts) as number[],
      }));
    },

    async totals(functionIds, sinceMinute) {
      if (functionIds.length === 0) return new Map();
      const rows = await store
        .selectFrom("usage_minutes")
        .select((select) => ["function_id", select.fn.sum<number>("total").as("total")])
        .where("function_id", "in", [...functionIds])
        .where("minute", ">=", sinceMinute)
        .groupBy("function_id")
        .execute();
      return new Map(rows.map((row) => [row.function_id, Number(row.total)]));
    },

    async remove(functionId) {
      await store.deleteFrom("usage_minutes").where("function_id", "=", functionId).execute();
    },
  };
}

async function isNew(transaction: Transaction<Schema>, report: UsageReport, now: number): Promise<boolean> {
  const known = await transaction
    .selectFrom("usage_edges")
    .select("sequence")
    .where("edge", "=", report.edge)
    .executeTakeFirst();
  if (known && known.sequence >= report.sequence) return false;
  await transaction
    .insertInto("usage_edges")
    .values({ edge: report.edge, sequence: report.sequence, seen_at: now })
    .onConflict((conflict) =>
      conflict.column("edge").doUpdateSet({ sequence: report.sequence, seen_at: now }),
    )
    .execute();
  await transaction
    .deleteFrom("usage_edges")
    .where("seen_at", "<", now - KEPT_MINUTES * 60_000)
    .execute();
  return true;
}

async function add(
  transaction: Transaction<Schema>,
  minute: number,
  counted: UsageReport["functions"][number],
): Promise<void> {
  const known = await transaction
    .selectFrom("usage_minutes")
    .selectAll()
    .where("function_id", "=", counted.functionId)
    .where("minute", "=", minute)
    .executeTakeFirst();
  const codes = known ? (JSON.parse(known.codes) as Record<string, number>) : {};
  for (const [code, count] of Object.entries(counted.codes)) codes[code] = (codes[code] ?? 0) + count;
  const before = known ? (JSON.parse(known.duration_counts) as number[]) : [];
  const durationCounts = Array.from(
    { length: DURATION_BUCKETS_S.length + 1 },
    (_, i) => (before[i] ?? 0) + (counted.durationCounts[i] ?? 0),
  );
  const row = {
    function_id: counted.functionId,
    minute,
    total: Object.values(codes).reduce((sum, count) => sum + count, 0),
    codes: JSON.stringify(codes),
    duration_sum_s: (known?.duration_sum_s ?? 0) + counted.durationSumS,
    duration_counts: JSON.stringify(durationCounts),
  };
  await transaction
    .insertInto("usage_minutes")
    .values(row)
    .onConflict((conflict) => conflict.columns(["function_id", "minute"]).doUpdateSet(row))
    .execute();
}
