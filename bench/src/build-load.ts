import { spawn } from "node:child_process";
import { availableParallelism } from "node:os";
import { layBed } from "./bed.ts";
import { PLANS } from "./comparators/plans.ts";
import { atFixedRate } from "./fixed-rate.ts";
import type { BenchOptions } from "./options.ts";
import { findProgram, getProgram } from "./programs.ts";
import { median } from "./quantiles.ts";
import type { Report } from "./report.ts";
import { heldTo, type ServerProcess, serverProcess } from "./server-process.ts";
import { startAll } from "./throughput.ts";

const PER_SECOND = 2_000;
const BUILDS = 2;
/** Compresses for ever, as installing and bundling do: all of a core, and of the memory's bandwidth what it can get. */
const BUILD =
  'const { randomBytes } = require("node:crypto"); const { deflateSync } = require("node:zlib"); const bytes = randomBytes(1 << 22); for (;;) deflateSync(bytes);';

export interface BuildLoadMeasured {
  readonly comparator: string;
  readonly idleP99Ms: number;
  readonly builtP99Ms: number;
}

/** Latency with two builds on the machine, at the priority that builds have, against the same without them. */
export async function buildLoad({ rounds = 5, seconds = 5 }: BenchOptions): Promise<Report> {
  const { measured, failures } = await measureBuildLoad({ rounds, seconds });
  return {
    bench: "build-load",
    notes: [
      `p99 at ${PER_SECOND}/s, ${rounds} rounds of ${seconds} s, medians; ${BUILDS} builds with nice 19, one on each core`,
    ],
    figures: measured.map(({ comparator, idleP99Ms, builtP99Ms }) => ({
      table: "p99",
      name: comparator,
      unit: "count",
      values: { "idle ms": idleP99Ms, "builds ms": builtP99Ms, ratio: builtP99Ms / idleP99Ms },
    })),
    failures,
  };
}

export async function measureBuildLoad({
  rounds,
  seconds,
}: {
  rounds: number;
  seconds: number;
}): Promise<{ measured: BuildLoadMeasured[]; failures: string[] }> {
  getProgram("nginx");
  await using bed = await layBed();
  await using stack = new AsyncDisposableStack();
  const plans = PLANS.filter(({ name }) => ["direct", "ours", "nginx"].includes(name));
  const turns = (await startAll(plans, bed, stack)).map((who) => ({
    who,
    idle: [] as number[],
    built: [] as number[],
  }));
  const failures: string[] = [];
  for (let round = 0; round < rounds; round++) {
    for (const { who, idle, built } of turns) {
      for (const [p99s, builds] of [[idle, 0] as const, [built, BUILDS] as const]) {
        await using building = new AsyncDisposableStack();
        for (let i = 0; i < builds; i++) building.use(startBuild(i));
        const result = await atFixedRate(who, { perSecond: PER_SECOND, seconds });
        p99s.push(result.p99Ms);
        failures.push(...result.failures.map((what) => `${who.plan.name}, ${builds} builds: ${what}`));
      }
    }
  }
  const measured = turns.map(({ who, idle, built }) => ({
    comparator: who.plan.name,
    idleP99Ms: median(idle),
    builtP99Ms: median(built),
  }));
  return { measured, failures };
}

/** With the priority that `control-plane/src/sandbox/sandboxed-process.ts` gives to builds. */
function startBuild(number: number): ServerProcess {
  const ionice = findProgram("ionice") === undefined ? [] : ["ionice", "-c", "3"];
  const core = findProgram("taskset") === undefined ? undefined : number % availableParallelism();
  const { program, args } = heldTo(core, {
    program: "nice",
    args: ["-n", "19", ...ionice, process.execPath, "-e", BUILD],
  });
  return serverProcess(spawn(program, args, { stdio: "ignore" }));
}
