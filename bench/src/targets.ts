import { layBed } from "./bed.ts";
import { measureBuildLoad } from "./build-load.ts";
import { measureEdgeMemory } from "./edge-memory.ts";
import { measureFixedRates, unrest } from "./fixed-rate.ts";
import { measureOpenConnections } from "./open-connections.ts";
import type { BenchOptions } from "./options.ts";
import { pushToLive } from "./push-to-live.ts";
import type { Figure, Report } from "./report.ts";
import { routePropagation } from "./route-propagation.ts";
import { besidePlans, choosePlans } from "./side-by-side.ts";
import { type Measured, measureThroughput, startAll } from "./throughput.ts";
import { measureTwoCores } from "./two-cores.ts";
import { CASES } from "./workload.ts";

/**
 * Requests/s of one run with http-proxy and the original edge-router with its edge-auth, from which the original's part is told where
 * it was not measured itself (bench/README.md, "The original").
 */
const HTTP_PROXY = 5_040;
const ORIGINAL = { public: 5_300, protected: 2_900 } as const;
/** The name it has to have for `--beside`. */
const ORIGINAL_NAME = "original";
const RATE = 2_000;
const NGINX_P99_PLUS_MS = 0.5;
/** How far 10 KB answers and POST may fall behind GETs of 100 bytes, in the ratio to nginx. */
const SAME_RATIO = 0.85;

const COMPARED = [
  "direct",
  "ours",
  "ours-full-lane",
  "ours-100k-routes",
  "nginx",
  "nginx-auth",
  "http-proxy",
  "http-proxy-3",
];
const COMPARED_CASES = ["get-100", "get-10k", "post-100", "get-100-signed-in"];

/** A target of the project and what was measured of it. */
export interface Target {
  readonly name: string;
  readonly wanted: { readonly atLeast: number } | { readonly atMost: number };
  readonly measured: number;
  /** The same by the proxies' own processor time, which a busy machine changes less. */
  readonly byProcessorTime?: number;
  readonly unit: "×" | "ms" | "MiB" | "s";
}

export function isMet({ wanted, measured }: Target): boolean {
  return "atLeast" in wanted ? measured >= wanted.atLeast : measured <= wanted.atMost;
}

/** Everything the project wants of the edge's speed, measured in one go. */
export async function targets(options: BenchOptions): Promise<Report> {
  const { rounds = 5, seconds = 3, pushes = 25 } = options;
  const failures: string[] = [];
  const collect = <T extends { failures: readonly string[] }>(part: string, result: T): T => {
    failures.push(...result.failures.map((what) => `${part}: ${what}`));
    return result;
  };
  const { measured: compared } = collect("side-by-side", await compare({ ...options, rounds, seconds }));
  const two = collect("two-cores", await measureTwoCores({ rounds, seconds }));
  const rates = collect("fixed-rate", await measureFixedRates([RATE], { rounds, seconds }));
  const builds = collect("build-load", await measureBuildLoad({ rounds, seconds }));
  const open = collect("open-connections", await measureOpenConnections({ rounds, seconds }));
  const { memory } = collect("edge-memory", await measureEdgeMemory(seconds));
  const propagation = await routePropagation(pushes);
  const push = await pushToLive(pushes);

  const oursAt = <T extends { comparator: string }>(all: readonly T[]): T | undefined => of(all, "ours");
  const addedBy = (name: string) => of(rates.measured, name)?.addedP99Ms ?? Number.NaN;
  const ours = oursAt(builds.measured);
  const judged: Target[] = [
    ...ratiosOf(compared),
    {
      name: "two workers on two cores ÷ one, by CPU time",
      wanted: { atLeast: 1.7 },
      measured: oursAt(two.measured)?.byProcessorTime ?? Number.NaN,
      unit: "×",
    },
    {
      name: `p99 added at ${RATE}/s; wanted: nginx's + ${NGINX_P99_PLUS_MS} ms`,
      wanted: { atMost: addedBy("nginx") + NGINX_P99_PLUS_MS },
      measured: addedBy("ours"),
      unit: "ms",
    },
    {
      name: "p99 with two builds ÷ idle",
      wanted: { atMost: 1.3 },
      measured: ours === undefined ? Number.NaN : ours.builtP99Ms / ours.idleP99Ms,
      unit: "×",
    },
    { name: "memory, idle", wanted: { atMost: 70 }, measured: memory.idleMiB, unit: "MiB" },
    ...[
      { connections: 1_000, atMost: 140 },
      { connections: 5_000, atMost: 210 },
    ].map(({ connections, atMost }) => ({
      name: `memory, saturated by ${connections} connections`,
      wanted: { atMost },
      measured: memory.saturatedMiB.get(connections) ?? Number.NaN,
      unit: "MiB" as const,
    })),
    { name: "memory, 100,000 routes", wanted: { atMost: 150 }, measured: memory.manyRoutesMiB, unit: "MiB" },
    {
      name: `p99 at ${RATE}/s with 5,000 open connections`,
      wanted: { atMost: 3 },
      measured: oursAt(open.measured)?.p99Ms ?? Number.NaN,
      unit: "ms",
    },
    {
      name: "route published → served, p95",
      wanted: { atMost: 25 },
      measured: firstValue(propagation, "p95"),
      unit: "ms",
    },
    { name: "push → live, p50", wanted: { atMost: 1_000 }, measured: firstValue(push, "p50"), unit: "ms" },
  ];
  return {
    bench: "targets",
    notes: [
      `${rounds} rounds of ${seconds} s, medians; ours is the complete edge: routing, decision, headers, counters, access log`,
      ...unrest(rates.measured),
    ],
    figures: judged.map(targetFigure),
    failures,
  };
}

function ratiosOf(measured: readonly Measured[]): Target[] {
  const byProcessorTime = throughputTargets(measured, "requestsPerCpuS");
  return throughputTargets(measured, "requestsPerS").map((target, i) => ({
    ...target,
    byProcessorTime: byProcessorTime[i]?.measured ?? Number.NaN,
  }));
}

/** The ratios of one side-by-side run. */
export function throughputTargets(
  measured: readonly Measured[],
  by: "requestsPerS" | "requestsPerCpuS",
): Target[] {
  const rate = (comparator: string, asked: string) =>
    measured.find((each) => each.comparator === comparator && each.asked.name === asked)?.[by] ?? Number.NaN;
  const ours = rate("ours", "get-100");
  const oursSignedIn = rate("ours", "get-100-signed-in");
  const beside = rate(ORIGINAL_NAME, "get-100");
  const isBeside = measured.some(({ comparator }) => comparator === ORIGINAL_NAME);
  const original = isBeside ? beside : (rate("http-proxy", "get-100") * ORIGINAL.public) / HTTP_PROXY;
  const originalProtected = (original * ORIGINAL.protected) / ORIGINAL.public;
  const how = isBeside ? "" : " (by way of http-proxy)";
  const toNginx = ours / rate("nginx", "get-100");
  const ratio = (name: string, atLeast: number, value: number): Target => ({
    name,
    wanted: { atLeast },
    measured: value,
    unit: "×",
  });
  return [
    ratio(`÷ original, public path${how}`, 6, ours / original),
    ratio(`÷ original, protected path${how}`, 10, oursSignedIn / originalProtected),
    ratio("÷ nginx with cached auth_request", 1.3, oursSignedIn / rate("nginx-auth", "get-100-signed-in")),
    ratio("÷ nginx", 0.85, toNginx),
    ratio("÷ nginx, ours with a session verified", 0.85, oursSignedIn / rate("nginx", "get-100")),
    ratio("÷ http-proxy", 5, ours / rate("http-proxy", "get-100")),
    ratio("÷ http-proxy-3", 5, ours / rate("http-proxy-3", "get-100")),
    ratio(
      "the full lane alone ÷ http-proxy",
      2,
      rate("ours-full-lane", "get-100") / rate("http-proxy", "get-100"),
    ),
    ...["get-10k", "post-100"].map((asked) =>
      ratio(
        `${asked}: ÷ nginx, in proportion to get-100's`,
        SAME_RATIO,
        rate("ours", asked) / rate("nginx", asked) / toNginx,
      ),
    ),
    ratio("100,000 routes ÷ 10", 0.97, rate("ours-100k-routes", "get-100") / ours),
  ];
}

async function compare(options: BenchOptions & { rounds: number; seconds: number }) {
  const cases = CASES.filter(({ name }) => COMPARED_CASES.includes(name));
  const plans = [...choosePlans(COMPARED), ...besidePlans(options.beside)];
  await using bed = await layBed({ ...options, cores: 1 });
  await using stack = new AsyncDisposableStack();
  return await measureThroughput(await startAll(plans, bed, stack), { ...options, cases });
}

function targetFigure(target: Target): Figure {
  const { name, wanted, measured, byProcessorTime, unit } = target;
  const words = "atLeast" in wanted ? `≥ ${wanted.atLeast}` : `≤ ${Math.round(wanted.atMost * 100) / 100}`;
  return {
    name,
    unit: unit === "×" ? "count" : unit,
    values: { measured, ...(byProcessorTime === undefined ? {} : { "by CPU time": byProcessorTime }) },
    aim: `${words} ${unit}`,
    ...(Number.isNaN(measured) ? {} : { met: isMet(target) }),
  };
}

function of<T extends { comparator: string }>(all: readonly T[], name: string): T | undefined {
  return all.find(({ comparator }) => comparator === name);
}

function firstValue({ figures }: Report, column: string): number {
  return figures[0]?.values[column] ?? Number.NaN;
}
