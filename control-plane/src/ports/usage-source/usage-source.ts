import type { UsageReport } from "@openfaas-cloud/shared/route.ts";

export interface UsageMinute {
  /** Minutes since the epoch. */
  readonly minute: number;
  /** Answers by status code. */
  readonly codes: Readonly<Record<string, number>>;
  readonly durationSumS: number;
  /** One count for each of DURATION_BUCKETS_S, then one for all that took longer. */
  readonly durationCounts: readonly number[];
}

/** How often and how fast functions answered, by the minute, for the last 25 hours at least. */
export interface UsageSource {
  /** Takes an edge's counters; the same report twice counts once. */
  record(report: UsageReport): Promise<void>;
  /** Minutes from `sinceMinute` on in which the function answered, oldest first. */
  minutes(functionId: string, sinceMinute: number): Promise<readonly UsageMinute[]>;
  /** Answers since that minute, by function id; functions that answered nothing are absent. */
  totals(functionIds: readonly string[], sinceMinute: number): Promise<ReadonlyMap<string, number>>;
  /** Forgets a function. */
  remove(functionId: string): Promise<void>;
}
