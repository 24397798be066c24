import { join } from "node:path";
import { layBed } from "./bed.ts";
import type { ComparatorPlan } from "./comparators/comparator.ts";
import { PLANS } from "./comparators/plans.ts";
import type { BenchOptions } from "./options.ts";
import { profileFigures } from "./profile.ts";
import { getProgram } from "./programs.ts";
import type { Figure, Report } from "./report.ts";
import { CONNECTIONS, type Measured, measureThroughput, startAll } from "./throughput.ts";
import { CASES, publicPath } from "./workload.ts";

/** Whoever answers the same question is compared to these, where they take part. */
const REFERENCES = ["direct", "nginx", "nginx-auth", "http-proxy"];

/** Our edge and its peers doing the same work in one run. */
export async function sideBySide(options: BenchOptions): Promise<Report> {
  const { rounds = 5, seconds = 3, cores = 1 } = options;
  const plans = [...choosePlans(options.only), ...besidePlans(options.beside)];
  const cases = CASES.filter(({ name }) => options.cases?.includes(name) ?? true);
  for (const program of ["wrk" as const, "nginx" as const, ...plans.flatMap(({ needs }) => needs)])
    getProgram(program);
  await using bed = await layBed({ ...options, cores });
  const { measured, failures } = await (async () => {
    await using stack = new AsyncDisposableStack();
    return await measureThroughput(await startAll(plans, bed, stack), { cases, rounds, seconds });
  })();
  const { profiles } = options;
  // Written when the edges have ended.
  const profiled =
    profiles === undefined
      ? []
      : await Promise.all(
          plans
            .filter(({ name }) => name.startsWith("ours"))
            .map(({ name }) => profileFigures(name, join(profiles, `${name}.cpuprofile`))),
        );
  const where =
    bed.cores.proxy === undefined
      ? `load generator, upstream and proxy share all cores; ${cores} workers`
      : "load generator and upstream on one core, the proxy alone on the other";
  return {
    bench: "side-by-side",
    notes: [
      `${CONNECTIONS} connections, ${rounds} rounds of ${seconds} s, medians; ${where}`,
      ...plans.map(({ name, what }) => `${name}: ${what}`),
    ],
    figures: [...throughputFigures(measured), ...profiled.flat()],
    failures,
  };
}

export function choosePlans(only: readonly string[] | undefined): ComparatorPlan[] {
  return PLANS.filter(({ name }) => only?.includes(name) ?? true);
}

/** Proxies that somebody started already, by hand: to the port of the upstream that this run was given. */
export function besidePlans(beside: readonly { name: string; port: number }[]): ComparatorPlan[] {
  return beside.map(({ name, port }) => ({
    name,
    what: `not started by this bench, at port ${port}`,
    needs: [],
    serves: ({ signedIn }) => !signedIn,
    path: publicPath,
    start: async () => ({
      port,
      pids: [],
      async [Symbol.asyncDispose]() {
        // Whoever started it ends it.
      },
    }),
  }));
}

/** One table a case: medians, and how often everybody's goes into them. */
export function throughputFigures(measured: readonly Measured[]): Figure[] {
  return measured.map((each) => ({
    table: each.asked.name,
    name: each.comparator,
    unit: "count",
    values: {
      "req/s": Math.round(each.requestsPerS),
      ...ratios(each, measured),
      "req/CPU-s": Math.round(each.requestsPerCpuS),
      "p50 ms": each.p50Ms,
      "p99 ms": each.p99Ms,
      "spread %": Math.round(100 * each.spread),
    },
  }));
}

function ratios(each: Measured, measured: readonly Measured[]): Record<string, number> {
  const peers = measured.filter(({ asked }) => asked.name === each.asked.name);
  return Object.fromEntries(
    REFERENCES.flatMap((name) => {
      const reference = peers.find(({ comparator }) => comparator === name);
      return reference === undefined ? [] : [[`÷ ${name}`, each.requestsPerS / reference.requestsPerS]];
    }),
  );
}
