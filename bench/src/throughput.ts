import { errorMessage } from "@openfaas-cloud/shared/known-error.ts";
import type { Bed, Comparator, ComparatorPlan } from "./comparators/comparator.ts";
import { runWrk } from "./load/wrk.ts";
import { cpuSecondsOf, cpuSecondsOfEndedChildren } from "./process-use.ts";
import { median } from "./quantiles.ts";
import { checkItself } from "./self-check.ts";
import type { Case } from "./workload.ts";

export const CONNECTIONS = 64;
/** Node compiles what is hot within the first seconds. Then every case has a short time of its own that does not count. */
const WARM_UP_S = { comparator: 3, eachCase: 1 } as const;

export interface Running {
  readonly plan: ComparatorPlan;
  readonly comparator: Comparator;
  readonly bed: Bed;
}

export interface Sample {
  readonly requestsPerS: number;
  /** Requests for each second of processor time of the proxy alone; NaN where it has none of its own. */
  readonly requestsPerCpuS: number;
  /** Cores that the load generator and the upstream used, on average. */
  readonly loadCores: number;
  readonly p50Ms: number;
  readonly p99Ms: number;
}

export interface Measured extends Sample {
  readonly comparator: string;
  readonly asked: Case;
  /** From the slowest to the fastest round, as a share of the median. */
  readonly spread: number;
}

export interface Throughput {
  readonly measured: readonly Measured[];
  readonly failures: readonly string[];
}

/** Starts everybody; they end with the stack. */
export async function startAll(
  plans: readonly ComparatorPlan[],
  bed: Bed,
  stack: AsyncDisposableStack,
): Promise<Running[]> {
  const running: Running[] = [];
  for (const plan of plans) running.push({ plan, comparator: stack.use(await plan.start(bed)), bed });
  return running;
}

/** Rounds in which everybody has a turn in every case, each round beginning with another one; medians over the rounds. */
export async function measureThroughput(
  running: readonly Running[],
  { cases, rounds, seconds }: { cases: readonly Case[]; rounds: number; seconds: number },
): Promise<Throughput> {
  const samples = new Map<string, { comparator: string; asked: Case; samples: Sample[] }>();
  const failures: string[] = [];
  const turns = cases.flatMap((asked) =>
    running.filter(({ plan }) => plan.serves(asked)).map((who) => ({ asked, who })),
  );
  const warm = new Set<Running>();
  for (const { asked, who } of turns) {
    await checkItself(who.plan, who.comparator, asked, who.bed);
    await turn(who, asked, warm.has(who) ? WARM_UP_S.eachCase : WARM_UP_S.comparator);
    warm.add(who);
    samples.set(keyOf(who, asked), { comparator: who.plan.name, asked, samples: [] });
  }
  for (let round = 0; round < rounds; round++) {
    for (const { asked, who } of [
      ...turns.slice(round % turns.length),
      ...turns.slice(0, round % turns.length),
    ]) {
      try {
        const { sample, failed } = await turn(who, asked, seconds);
        samples.get(keyOf(who, asked))?.samples.push(sample);
        failures.push(...failed.map((what) => `${who.plan.name}, ${asked.name}: ${what}`));
      } catch (error) {
        failures.push(`${who.plan.name}, ${asked.name}: ${errorMessage(error)}`);
      }
    }
  }
  return { measured: [...samples.values()].map(middle), failures };
}

function keyOf({ plan, bed }: Running, { name }: Case): string {
  return `${plan.name} ${name} ${bed.folder}`;
}

async function turn({ plan, comparator, bed }: Running, asked: Case, seconds: number) {
  comparator.settle?.();
  const loadCpuS = () => cpuSecondsOfEndedChildren() + cpuSecondsOf([bed.upstreamPid]);
  const before = { proxy: cpuSecondsOf(comparator.pids), load: loadCpuS() };
  const { failures, requestsPerS, p50Ms, p99Ms } = await runWrk({
    port: comparator.port,
    path: plan.path(asked),
    asked,
    token: bed.token,
    connections: CONNECTIONS,
    seconds,
    core: bed.cores.load,
  });
  const proxyCpuS = cpuSecondsOf(comparator.pids) - before.proxy;
  const sample: Sample = {
    requestsPerS,
    requestsPerCpuS: comparator.pids.length === 0 ? Number.NaN : (requestsPerS * seconds) / proxyCpuS,
    loadCores: (loadCpuS() - before.load) / seconds,
    p50Ms,
    p99Ms,
  };
  return { sample, failed: failures };
}

function middle({
  comparator,
  asked,
  samples,
}: {
  comparator: string;
  asked: Case;
  samples: readonly Sample[];
}): Measured {
  const of = (what: keyof Sample) => samples.map((sample) => sample[what]);
  const rates = of("requestsPerS");
  const requestsPerS = median(rates);
  return {
    comparator,
    asked,
    requestsPerS,
    requestsPerCpuS: median(of("requestsPerCpuS")),
    loadCores: median(of("loadCores")),
    p50Ms: median(of("p50Ms")),
    p99Ms: median(of("p99Ms")),
    spread: (Math.max(...rates) - Math.min(...rates)) / requestsPerS,
  };
}
