// A control plane of its own process, for tests that kill it while it builds.
import { openProcessBuilder } from "../../src/ports/builder/process.ts";
import { openSandbox } from "../../src/sandbox/open-sandbox.ts";
import { openToolchains } from "../../src/templates/toolchains.ts";
import { functionSpec } from "./function-spec.ts";
import { CountingSink } from "./memory-log-store.ts";

const [dataDir = "", mode, sourceDir = ""] = process.argv.slice(2);
const builder = await openProcessBuilder({
  dataDir,
  sandbox: await openSandbox({ dataDir, mode: mode === "sandboxed" ? "auto" : "none", cgroups: "none" }),
  toolchains: await openToolchains(),
});
await builder.build(
  { runId: "run-1", ownerId: "owner-1", spec: functionSpec({}), sourceDir },
  { log: new CountingSink(), signal: new AbortController().signal },
);
