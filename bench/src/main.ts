import { errorMessage, KnownError } from "@openfaas-cloud/shared/known-error.ts";
import { buildLoad } from "./build-load.ts";
import { deployUnderLoad } from "./deploy-under-load.ts";
import { edgeMemory } from "./edge-memory.ts";
import { fixedRate } from "./fixed-rate.ts";
import { idleMemory } from "./idle-memory.ts";
import { K6_BENCHES } from "./k6/benches.ts";
import { openConnections } from "./open-connections.ts";
import { type Asked, type BenchOptions, OPTIONS_HELP, parseOptions } from "./options.ts";
import { pushToLive } from "./push-to-live.ts";
import { type Report, reportForPeople, reportForPrograms } from "./report.ts";
import { routePropagation } from "./route-propagation.ts";
import { sideBySide } from "./side-by-side.ts";
import { targets } from "./targets.ts";
import { twoCores } from "./two-cores.ts";

type Bench = (options: BenchOptions) => Promise<Report>;

const BENCHES: Readonly<Record<string, Bench>> = {
  "push-to-live": ({ pushes = 25 }) => pushToLive(pushes),
  "route-propagation": ({ pushes = 25 }) => routePropagation(pushes),
  "idle-memory": () => idleMemory(),
  "deploy-under-load": ({ pushes = 5 }) => deployUnderLoad(pushes),
  "side-by-side": sideBySide,
  "two-cores": twoCores,
  "fixed-rate": fixedRate,
  "open-connections": openConnections,
  "build-load": buildLoad,
  "edge-memory": edgeMemory,
  ...K6_BENCHES,
  targets,
};
const EXIT = { failed: 1, cannotRun: 2 } as const;

/** Of the servers of a run, each of which listens for our end. */
const MOST_SERVERS = 64;

process.setMaxListeners(MOST_SERVERS);
for (const signal of ["SIGINT", "SIGTERM"] as const) process.once(signal, () => process.exit(EXIT.failed));
process.exitCode = await main();

async function main(): Promise<number> {
  let asked: Asked & { benches: readonly Bench[] };
  try {
    asked = readArguments();
  } catch (error) {
    process.stderr.write(
      `${errorMessage(error)}\nnpm run bench -- ${Object.keys(BENCHES).join(" | ")} | all\n${OPTIONS_HELP}\n`,
    );
    return EXIT.cannotRun;
  }
  let exitCode = 0;
  for (const bench of asked.benches) exitCode = Math.max(exitCode, await run(bench, asked));
  return exitCode;
}

function readArguments(): Asked & { benches: readonly Bench[] } {
  const asked = parseOptions(process.argv.slice(2));
  if (asked.name === "all") return { ...asked, benches: Object.values(BENCHES) };
  const bench = BENCHES[asked.name];
  if (bench === undefined) throw new KnownError("usage", `There is no bench ${asked.name}.`);
  return { ...asked, benches: [bench] };
}

async function run(bench: Bench, { json, options }: Asked): Promise<number> {
  try {
    const report = await bench(options);
    process.stdout.write(json ? reportForPrograms(report) : `${reportForPeople(report)}\n`);
    return (report.failures?.length ?? 0) > 0 ? EXIT.failed : 0;
  } catch (error) {
    if (!(error instanceof KnownError)) throw error;
    process.stderr.write(`${error.message}\n`);
    return EXIT.cannotRun;
  }
}
