import { layBed } from "./bed.ts";
import { PLANS } from "./comparators/plans.ts";
import { type OpenLoopResult, runOpenLoop } from "./load/open-loop.ts";
import type { BenchOptions } from "./options.ts";
import { getProgram } from "./programs.ts";
import { median } from "./quantiles.ts";
import type { Figure, Report } from "./report.ts";
import { CONNECTIONS, type Running, startAll } from "./throughput.ts";
import { ANSWERS, type Case, HOST } from "./workload.ts";

const RATES = [500, 2_000, 4_000];
const WARM_UP_S = 2;
/** A tick of its clock, and what it takes to send what was due in it. */
const QUIET_LAG_MS = 2;
export const PUBLIC_GET: Case = { name: "get-100", method: "GET", size: "100", signedIn: false };
const SIGNED_IN_GET: Case = { name: "get-100-signed-in", method: "GET", size: "100", signedIn: true };

export interface RateMeasured {
  readonly comparator: string;
  readonly perSecond: number;
  readonly p50Ms: number;
  readonly p99Ms: number;
  /** p99 less that of the upstream without a proxy, at the same rate. */
  readonly addedP99Ms: number;
  readonly lagP99Ms: number;
}

/** Latency where nobody is busy: what a proxy adds at a rate that all of them can keep up with. */
export async function fixedRate({ rounds = 5, seconds = 5 }: BenchOptions): Promise<Report> {
  const { measured, failures } = await measureFixedRates(RATES, { rounds, seconds });
  return {
    bench: "fixed-rate",
    notes: [
      `${CONNECTIONS} connections used in turn, ${rounds} rounds of ${seconds} s, medians of each round's quantiles`,
      "lag: how late the load generator itself was",
      ...unrest(measured),
    ],
    figures: measured.map(rateFigure),
    failures,
  };
}

/** Where the generator could not keep its own time, neither could whoever it asked. */
export function unrest(measured: readonly RateMeasured[]): string[] {
  const worst = Math.max(...measured.map(({ lagP99Ms }) => lagP99Ms));
  if (worst <= QUIET_LAG_MS) return [];
  return [
    `the generator was up to ${worst.toFixed(1)} ms late: the machine had other work, repeat this when it has not`,
  ];
}

export async function measureFixedRates(
  rates: readonly number[],
  { rounds, seconds }: { rounds: number; seconds: number },
): Promise<{ measured: RateMeasured[]; failures: string[] }> {
  getProgram("nginx");
  await using bed = await layBed();
  await using stack = new AsyncDisposableStack();
  const plans = PLANS.filter(({ name }) => ["direct", "ours", "nginx", "nginx-auth"].includes(name));
  const running = await startAll(plans, bed, stack);
  const turns = rates.flatMap((perSecond) =>
    running.map((who) => ({ who, perSecond, results: [] as OpenLoopResult[] })),
  );
  const failures: string[] = [];
  for (let round = 0; round < rounds; round++) {
    for (const { who, perSecond, results } of turns) {
      const result = await atFixedRate(who, { perSecond, seconds });
      results.push(result);
      failures.push(...result.failures.map((what) => `${who.plan.name} at ${perSecond}/s: ${what}`));
    }
  }
  const p99 = (results: readonly OpenLoopResult[]) => median(results.map(({ p99Ms }) => p99Ms));
  const measured = turns.map(({ who, perSecond, results }) => {
    const direct = turns.find((turn) => turn.perSecond === perSecond && turn.who.plan.name === "direct");
    return {
      comparator: who.plan.name,
      perSecond,
      p50Ms: median(results.map(({ p50Ms }) => p50Ms)),
      p99Ms: p99(results),
      addedP99Ms: p99(results) - p99(direct?.results ?? []),
      lagP99Ms: median(results.map(({ lagP99Ms }) => lagP99Ms)),
    };
  });
  return { measured, failures };
}

export function atFixedRate(
  { plan, comparator, bed }: Running,
  options: { perSecond: number; seconds: number; connections?: number; warmUpS?: number },
): Promise<OpenLoopResult> {
  const asked = plan.serves(PUBLIC_GET) ? PUBLIC_GET : SIGNED_IN_GET;
  comparator.settle?.();
  return runOpenLoop(
    {
      port: comparator.port,
      path: plan.path(asked),
      host: HOST,
      ...(asked.signedIn ? { token: bed.token } : {}),
      answer: ANSWERS[asked.size],
      connections: CONNECTIONS,
      warmUpS: WARM_UP_S,
      ...options,
    },
    bed.cores.load,
  );
}

function rateFigure({ comparator, perSecond, ...measured }: RateMeasured): Figure {
  return {
    table: `${perSecond}/s`,
    name: comparator,
    unit: "count",
    values: {
      "p50 ms": measured.p50Ms,
      "p99 ms": measured.p99Ms,
      "added p99 ms": measured.addedP99Ms,
      "lag p99 ms": measured.lagP99Ms,
    },
  };
}
