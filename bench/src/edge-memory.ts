import { setTimeout as sleep } from "node:timers/promises";
import { layBed } from "./bed.ts";
import type { Bed, Comparator } from "./comparators/comparator.ts";
import { startEdge } from "./comparators/edge.ts";
import { PUBLIC_GET } from "./fixed-rate.ts";
import { runWrk } from "./load/wrk.ts";
import type { BenchOptions } from "./options.ts";
import { residentMiBOf } from "./process-use.ts";
import { getProgram } from "./programs.ts";
import type { Report } from "./report.ts";
import { publicPath } from "./workload.ts";

/** The edge collects what its start left over 5 s after it. */
const SETTLED_MS = 8_000;
const LOOK_EVERY_MS = 200;
const CONNECTIONS = [64, 1_000, 5_000] as const;
const FEW_ROUTES = 10;
const MANY_ROUTES = 100_000;

export interface EdgeMemory {
  readonly idleMiB: number;
  readonly saturatedMiB: ReadonlyMap<number, number>;
  readonly manyRoutesMiB: number;
  readonly manyRoutesSaturatedMiB: number;
}

/** Resident memory of an edge with one worker. */
export async function edgeMemory({ seconds = 10 }: BenchOptions): Promise<Report> {
  const { memory, failures } = await measureEdgeMemory(seconds);
  const figure = (name: string, value: number) => ({
    table: "resident memory",
    name,
    unit: "MiB" as const,
    values: { MiB: value },
  });
  return {
    bench: "edge-memory",
    notes: [
      `the highest of a look every ${LOOK_EVERY_MS} ms in ${seconds} s; the same process from idle to 5,000`,
    ],
    figures: [
      figure("idle", memory.idleMiB),
      ...[...memory.saturatedMiB].map(([connections, mib]) => figure(`saturated by ${connections}`, mib)),
      figure(`${MANY_ROUTES} routes, idle`, memory.manyRoutesMiB),
      figure(`${MANY_ROUTES} routes, saturated by 64`, memory.manyRoutesSaturatedMiB),
    ],
    failures,
  };
}

export async function measureEdgeMemory(
  seconds: number,
): Promise<{ memory: EdgeMemory; failures: readonly string[] }> {
  getProgram("wrk");
  await using bed = await layBed();
  const failures: string[] = [];
  const few = await (async () => {
    await using edge = await startEdge({ name: "few", routes: FEW_ROUTES }, bed);
    await sleep(SETTLED_MS);
    const idleMiB = residentMiBOf(edge.pids);
    const saturatedMiB = new Map<number, number>();
    for (const connections of CONNECTIONS) {
      saturatedMiB.set(connections, await whileSaturated(edge, bed, { connections, seconds, failures }));
    }
    return { idleMiB, saturatedMiB };
  })();
  await using edge = await startEdge({ name: "many", routes: MANY_ROUTES }, bed);
  await sleep(SETTLED_MS);
  const manyRoutesMiB = residentMiBOf(edge.pids);
  const manyRoutesSaturatedMiB = await whileSaturated(edge, bed, { connections: 64, seconds, failures });
  return { memory: { ...few, manyRoutesMiB, manyRoutesSaturatedMiB }, failures };
}

async function whileSaturated(
  edge: Comparator,
  bed: Bed,
  { connections, seconds, failures }: { connections: number; seconds: number; failures: string[] },
): Promise<number> {
  edge.settle?.();
  let most = 0;
  const timer = setInterval(() => {
    most = Math.max(most, residentMiBOf(edge.pids));
  }, LOOK_EVERY_MS);
  try {
    const result = await runWrk({
      port: edge.port,
      path: publicPath(PUBLIC_GET),
      asked: PUBLIC_GET,
      token: bed.token,
      connections,
      seconds,
      core: bed.cores.load,
    });
    failures.push(...result.failures.map((what) => `${connections} connections: ${what}`));
  } finally {
    clearInterval(timer);
  }
  return most;
}
