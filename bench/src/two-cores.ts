import { layBed } from "./bed.ts";
import { PUBLIC_GET } from "./fixed-rate.ts";
import type { BenchOptions } from "./options.ts";
import { getProgram } from "./programs.ts";
import type { Report } from "./report.ts";
import { choosePlans } from "./side-by-side.ts";
import { type Measured, measureThroughput, startAll } from "./throughput.ts";

const MEASURED = ["ours", "nginx"];

export interface TwoCoresMeasured {
  readonly comparator: string;
  readonly one: Measured;
  readonly two: Measured;
  /** Two workers against one, as measured: on two cores the load has its part of them. */
  readonly asMeasured: number;
  /** The same by the processor time that the proxy itself had. */
  readonly byProcessorTime: number;
}

/**
 * Two workers on two cores against one worker on one. The load generator and the upstream need a part of the two cores, so what
 * is compared as well is how many requests two workers answer with two cores' processor time, were they given it whole.
 */
export async function twoCores({ rounds = 5, seconds = 3 }: BenchOptions): Promise<Report> {
  const { measured, failures } = await measureTwoCores({ rounds, seconds });
  return {
    bench: "two-cores",
    notes: [
      "1 worker: alone on its core, the load on the other; 2 workers: everybody on both cores",
      "by CPU time: requests for each second of the proxy's own processor time, times two, against one worker's",
    ],
    figures: measured.flatMap(({ comparator, one, two, asMeasured, byProcessorTime }) => [
      { table: "get-100", name: `${comparator}, 1 worker`, unit: "count", values: valuesOf(one) },
      {
        table: "get-100",
        name: `${comparator}, 2 workers`,
        unit: "count",
        values: { ...valuesOf(two), "÷ 1 worker": asMeasured, "by CPU time": byProcessorTime },
      },
    ]),
    failures,
  };
}

function valuesOf({ requestsPerS, requestsPerCpuS, loadCores }: Measured): Record<string, number> {
  return {
    "req/s": Math.round(requestsPerS),
    "req/CPU-s": Math.round(requestsPerCpuS),
    "load's cores": loadCores,
  };
}

export async function measureTwoCores(options: {
  rounds: number;
  seconds: number;
}): Promise<{ measured: TwoCoresMeasured[]; failures: readonly string[] }> {
  for (const program of ["wrk", "nginx"] as const) getProgram(program);
  await using oneBed = await layBed({ cores: 1 });
  await using twoBed = await layBed({ cores: 2 });
  await using stack = new AsyncDisposableStack();
  const plans = choosePlans(MEASURED);
  const ones = await startAll(plans, oneBed, stack);
  const twos = await startAll(plans, twoBed, stack);
  const running = [...ones, ...twos].map((each) => ({
    ...each,
    plan: { ...each.plan, name: `${each.plan.name}-${each.bed.workers}` },
  }));
  const { measured, failures } = await measureThroughput(running, { cases: [PUBLIC_GET], ...options });
  const of = (name: string) => measured.find(({ comparator }) => comparator === name);
  return {
    measured: MEASURED.flatMap((comparator) => {
      const [one, two] = [of(`${comparator}-1`), of(`${comparator}-2`)];
      if (one === undefined || two === undefined) return [];
      return {
        comparator,
        one,
        two,
        asMeasured: two.requestsPerS / one.requestsPerS,
        byProcessorTime: (2 * two.requestsPerCpuS) / one.requestsPerCpuS,
      };
    }),
    failures,
  };
}
