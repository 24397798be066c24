import { layBed } from "./bed.ts";
import { PLANS } from "./comparators/plans.ts";
import { atFixedRate } from "./fixed-rate.ts";
import type { BenchOptions } from "./options.ts";
import { getProgram } from "./programs.ts";
import { median } from "./quantiles.ts";
import type { Report } from "./report.ts";
import { startAll } from "./throughput.ts";

const PER_SECOND = 2_000;
const CONNECTIONS = 5_000;
/** Every connection has had a request before the clock starts. */
const WARM_UP_S = CONNECTIONS / PER_SECOND + 1;

export interface OpenConnectionsMeasured {
  readonly comparator: string;
  readonly p50Ms: number;
  readonly p99Ms: number;
}

/** Latency where nearly all connections are idle at any moment, and each has its request every few seconds. */
export async function openConnections({ rounds = 5, seconds = 5 }: BenchOptions): Promise<Report> {
  const { measured, failures } = await measureOpenConnections({ rounds, seconds });
  return {
    bench: "open-connections",
    notes: [
      `${PER_SECOND}/s over ${CONNECTIONS} connections used in turn, ${rounds} rounds of ${seconds} s, medians`,
    ],
    figures: measured.map(({ comparator, p50Ms, p99Ms }) => ({
      table: `${CONNECTIONS} connections`,
      name: comparator,
      unit: "count",
      values: { "p50 ms": p50Ms, "p99 ms": p99Ms },
    })),
    failures,
  };
}

export async function measureOpenConnections({
  rounds,
  seconds,
}: {
  rounds: number;
  seconds: number;
}): Promise<{ measured: OpenConnectionsMeasured[]; failures: string[] }> {
  getProgram("nginx");
  await using bed = await layBed();
  await using stack = new AsyncDisposableStack();
  const plans = PLANS.filter(({ name }) => ["direct", "ours", "nginx"].includes(name));
  const turns = (await startAll(plans, bed, stack)).map((who) => ({
    who,
    p50s: [] as number[],
    p99s: [] as number[],
  }));
  const failures: string[] = [];
  for (let round = 0; round < rounds; round++) {
    for (const { who, p50s, p99s } of turns) {
      const options = { perSecond: PER_SECOND, seconds, connections: CONNECTIONS, warmUpS: WARM_UP_S };
      const result = await atFixedRate(who, options);
      p50s.push(result.p50Ms);
      p99s.push(result.p99Ms);
      failures.push(...result.failures.map((what) => `${who.plan.name}: ${what}`));
    }
  }
  const measured = turns.map(({ who, p50s, p99s }) => ({
    comparator: who.plan.name,
    p50Ms: median(p50s),
    p99Ms: median(p99s),
  }));
  return { measured, failures };
}
