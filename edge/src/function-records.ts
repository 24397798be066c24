import { DURATION_BUCKETS_S, type Route, type UsageReport } from "@openfaas-cloud/shared/route.ts";
import { RateGate } from "./rate-gate.ts";
import type { RouteTable } from "./route-table.ts";

type FunctionUsage = UsageReport["functions"][number];

/** Functions choose their status codes; past this many different ones they are counted by their first digit. */
const MAX_CODES = 16;

interface CodeTotals {
  count: number;
  sumS: number;
  /** Not cumulative; one for each of DURATION_BUCKETS_S, then one for the rest. */
  readonly buckets: number[];
}

/** What is counted for one function, in plain numbers; kept by the function's id, so that a new revision counts on. */
export class FunctionRecord {
  readonly functionId: string;
  readonly owner: string;
  readonly function: string;
  /** Requests under way on this edge; admit.ts reads and writes it. */
  underWay = 0;
  readonly gate = new RateGate();
  readonly totals = new Map<number, CodeTotals>();
  unreported: FunctionUsage | undefined;

  constructor(route: Route) {
    this.functionId = route.functionId;
    this.owner = route.owner;
    this.function = route.function;
  }

  add(status: number, durationS: number): void {
    const bucket = bucketOf(durationS);
    const code = this.totals.has(status) || this.totals.size < MAX_CODES ? status : status - (status % 100);
    const totals = this.totals.get(code) ?? newTotals();
    this.totals.set(code, totals);
    totals.count += 1;
    totals.sumS += durationS;
    totals.buckets[bucket] = (totals.buckets[bucket] ?? 0) + 1;

    this.unreported ??= {
      functionId: this.functionId,
      codes: {},
      durationSumS: 0,
      durationCounts: newBuckets(),
    };
    this.unreported.codes[code] = (this.unreported.codes[code] ?? 0) + 1;
    this.unreported.durationSumS += durationS;
    this.unreported.durationCounts[bucket] = (this.unreported.durationCounts[bucket] ?? 0) + 1;
  }
}

function newBuckets(): number[] {
  return new Array<number>(DURATION_BUCKETS_S.length + 1).fill(0);
}

function newTotals(): CodeTotals {
  return { count: 0, sumS: 0, buckets: newBuckets() };
}

function bucketOf(durationS: number): number {
  const at = DURATION_BUCKETS_S.findIndex((bound) => durationS <= bound);
  return at === -1 ? DURATION_BUCKETS_S.length : at;
}

/** The records of all functions that were called. */
export class Records {
  readonly #byId = new Map<string, FunctionRecord>();

  of(route: Route): FunctionRecord {
    const known = this.#byId.get(route.functionId);
    if (known !== undefined) return known;
    const record = new FunctionRecord(route);
    this.#byId.set(route.functionId, record);
    return record;
  }

  /** Takes what was counted since it was taken last. */
  takeUnreported(): FunctionUsage[] {
    const usage: FunctionUsage[] = [];
    for (const record of this.#byId.values()) {
      if (record.unreported === undefined) continue;
      usage.push(record.unreported);
      record.unreported = undefined;
    }
    return usage;
  }

  /** Forgets functions that have no route any more and nothing left to report. */
  prune(table: RouteTable): void {
    for (const [id, record] of this.#byId) {
      if (record.unreported !== undefined || record.underWay > 0) continue;
      if (table.find(record.owner, record.function)?.functionId !== id) this.#byId.delete(id);
    }
  }

  /** In Prometheus' text format, under the names OpenFaaS's gateway uses. Functions are told apart as `<function>.<owner>`. */
  render(): string {
    const counts: string[] = [];
    const durations: string[] = [];
    for (const record of this.#byId.values()) {
      for (const [code, totals] of record.totals) {
        const labels = `function_name="${record.function}.${record.owner}",code="${code}"`;
        counts.push(`gateway_function_invocation_total{${labels}} ${totals.count}`);
        let cumulated = 0;
        DURATION_BUCKETS_S.forEach((bound, i) => {
          cumulated += totals.buckets[i] ?? 0;
          durations.push(`gateway_functions_seconds_bucket{${labels},le="${bound}"} ${cumulated}`);
        });
        durations.push(
          `gateway_functions_seconds_bucket{${labels},le="+Inf"} ${totals.count}`,
          `gateway_functions_seconds_sum{${labels}} ${totals.sumS}`,
          `gateway_functions_seconds_count{${labels}} ${totals.count}`,
        );
      }
    }
    return [
      "# HELP gateway_function_invocation_total Function invocations.",
      "# TYPE gateway_function_invocation_total counter",
      ...counts,
      "# HELP gateway_functions_seconds Function time taken.",
      "# TYPE gateway_functions_seconds histogram",
      ...durations,
      "",
    ].join("\n");
  }
}
