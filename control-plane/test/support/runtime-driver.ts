// A control plane of its own process, for tests that kill it: starts a function, says so, and lives on.

import type { LogStore } from "../../src/ports/log-store/log-store.ts";
import { openProcessRuntime } from "../../src/ports/runtime/process.ts";
import type { RevisionSpec } from "../../src/ports/runtime/runtime.ts";
import { openSandbox } from "../../src/sandbox/open-sandbox.ts";
import { openToolchains } from "../../src/templates/toolchains.ts";
import { MemoryLogStore } from "./memory-log-store.ts";

const [dataDir = "", mode, spec = ""] = process.argv.slice(2);
const logs = new MemoryLogStore();
const runtime = await openProcessRuntime({
  dataDir,
  sandbox: await openSandbox({ dataDir, mode: mode === "sandboxed" ? "auto" : "none" }),
  toolchains: await openToolchains(),
  logs: logs as unknown as LogStore,
});
await runtime.start(JSON.parse(spec) as RevisionSpec, {
  log: logs.open({ kind: "run", runId: "run-1" }),
  signal: new AbortController().signal,
});
process.stdout.write("started\n");
setInterval(() => undefined, 1000);
