import { z } from "zod";
import type { Figure } from "../report.ts";

/** What `k6 run --summary-export` writes: numbers by name, and for each threshold of a metric whether it was crossed. */
const Summary = z.object({
  metrics: z.record(
    z.string(),
    z.looseObject({ thresholds: z.record(z.string(), z.boolean()).optional() }).catchall(z.unknown()),
  ),
  root_group: z.object({
    checks: z.record(z.string(), z.object({ name: z.string(), passes: z.number(), fails: z.number() })),
  }),
});

export interface K6Result {
  readonly figures: readonly Figure[];
  readonly failures: readonly string[];
}

/** Durations by column, as people name the quantiles. */
const QUANTILES = { "p50 ms": "med", "p95 ms": "p(95)", "p99 ms": "p(99)", "max ms": "max" } as const;
const COUNTS = { requests: "http_reqs", iterations: "iterations", "not sent in time": "dropped_iterations" };
/** Trends of k6 itself that say something of the platform; those of a script's own have names without a prefix. */
const DURATION = "http_req_duration";

export function readSummary(text: string, title: string): K6Result {
  const { metrics, root_group } = Summary.parse(JSON.parse(text));
  const number = (metric: string, field: string) => {
    const value = metrics[metric]?.[field];
    return typeof value === "number" ? value : undefined;
  };
  const counts = Object.entries(COUNTS).flatMap(([column, metric]) => {
    const count = number(metric, "count");
    return count === undefined ? [] : [[column, count] as const];
  });
  const own = Object.keys(metrics).flatMap((name) => {
    const count = isOfScript(name) ? number(name, "count") : undefined;
    return count === undefined ? [] : [[name.replaceAll("_", " "), count] as const];
  });
  const rate = number("http_reqs", "rate") ?? 0;
  const trends = Object.keys(metrics)
    .filter((name) => name === DURATION || isOfScript(name))
    .filter((name) => number(name, "med") !== undefined);
  const crossed = Object.entries(metrics).flatMap(([name, { thresholds = {} }]) =>
    Object.entries(thresholds)
      .filter(([, isCrossed]) => isCrossed)
      .map(([threshold]) => `${name} is not ${threshold}`),
  );
  const failed = Object.values(root_group.checks)
    .filter(({ fails }) => fails > 0)
    .map(({ name, passes, fails }) => `${fails} of ${passes + fails} not ${name}`);
  return {
    figures: [
      {
        name: title,
        unit: "count",
        values: {
          ...Object.fromEntries([...counts, ...own]),
          ...(rate > 0 ? { "req/s": rate, failed: number("http_req_failed", "passes") ?? 0 } : {}),
        },
        aim: "0 failed",
        met: crossed.length === 0 && failed.length === 0,
      },
      ...trends.map((name) => ({
        table: "durations",
        name: name === DURATION ? `${title}: requests` : `${title}: ${name}`,
        unit: "count" as const,
        values: Object.fromEntries(
          Object.entries(QUANTILES).map(([column, field]) => [column, number(name, field) ?? Number.NaN]),
        ),
      })),
    ],
    failures: [...crossed, ...failed].map((what) => `${title}: ${what}`),
  };
}

function isOfScript(name: string): boolean {
  return !/^(http_|iteration|vus|data_|checks|dropped_|group_|ws_|grpc_|\w+\{)/.test(name);
}
