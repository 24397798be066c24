import { parseArgs } from "node:util";
import { errorMessage } from "@openfaas-cloud/shared/known-error.ts";
import { deployUnderLoad } from "./deploy-under-load.ts";
import { idleMemory } from "./idle-memory.ts";
import { pushToLive } from "./push-to-live.ts";
import { type Report, reportForPeople, reportForPrograms } from "./report.ts";
import { routePropagation } from "./route-propagation.ts";

const BENCHES: Readonly<Record<string, (pushes: number | undefined) => Promise<Report>>> = {
  "push-to-live": (pushes = 25) => pushToLive(pushes),
  "route-propagation": (pushes = 25) => routePropagation(pushes),
  "idle-memory": () => idleMemory(),
  "deploy-under-load": (pushes = 5) => deployUnderLoad(pushes),
};

process.exitCode = await main();

async function main(): Promise<number> {
  let asked: ReturnType<typeof parse>;
  try {
    asked = parse();
  } catch (error) {
    process.stderr.write(
      `${errorMessage(error)}\nnpm run bench -- ${Object.keys(BENCHES).join(" | ")} | all  [--pushes <n>] [--json]\n`,
    );
    return 2;
  }
  for (const run of asked.benches) {
    const report = await run(asked.pushes);
    process.stdout.write(asked.json ? reportForPrograms(report) : `${reportForPeople(report)}\n`);
  }
  return 0;
}

function parse() {
  const { values, positionals } = parseArgs({
    allowPositionals: true,
    options: { json: { type: "boolean", default: false }, pushes: { type: "string" } },
  });
  const [name = ""] = positionals;
  const one = BENCHES[name];
  if (one === undefined && name !== "all")
    throw new Error(name === "" ? "Which bench?" : `There is no bench ${name}.`);
  const pushes = values.pushes === undefined ? undefined : Number(values.pushes);
  if (pushes !== undefined && !(Number.isInteger(pushes) && pushes > 0))
    throw new Error("--pushes must be a number");
  return { benches: one === undefined ? Object.values(BENCHES) : [one], pushes, json: values.json };
}
