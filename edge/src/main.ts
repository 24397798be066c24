import { flushCompileCache } from "node:module";
import { setFlagsFromString } from "node:v8";
import { KnownError } from "@openfaas-cloud/shared/known-error.ts";
import type { ReadyMessage } from "@openfaas-cloud/shared/process-message.ts";
import { readConfig } from "./config.ts";
import { startEdge } from "./edge.ts";
import { openLog } from "./logger.ts";

/** Long enough after the start that what was loaded for it is garbage. */
const SETTLED_MS = 5_000;

/**
 * How much the old generation may grow before it is collected again; V8's own choice lets it become three times what is in
 * use. Measured with 13,000 slow clients: 60 MB less, and requests cost the same processor time.
 */
const HEAP_GROWTH_PERCENT = 50;

setFlagsFromString(`--heap-growing-percent=${HEAP_GROWTH_PERCENT}`);
await main();
process.exit(0);

async function main(): Promise<void> {
  const config = readConfigOrExit();
  using log = openLog(config.logLevel);
  const { logger } = log;
  const edge = await startEdge(config, logger);
  const ready: ReadyMessage = { kind: "ready", port: edge.port, adminPort: edge.adminPort };
  process.send?.(ready);
  // Written at exit otherwise, which a process that is killed never gets to.
  flushCompileCache();
  setTimeout(releaseStartMemory, SETTLED_MS).unref();

  const reason = await askedToStop();
  logger.info({ reason }, "edge draining");
  await edge.close();
  logger.info("edge stopped");
}

function readConfigOrExit(): ReturnType<typeof readConfig> {
  try {
    return readConfig(process.env);
  } catch (error) {
    if (!(error instanceof KnownError)) throw error;
    process.stderr.write(`${error.message}\n`);
    process.exit(78);
  }
}

/** The first request to stop is awaited, the second obeyed at once. */
function askedToStop(): Promise<string> {
  return new Promise((resolve) => {
    let asked = false;
    const ask = (reason: string): void => {
      if (asked) process.exit(1);
      asked = true;
      resolve(reason);
    };
    process.on("SIGTERM", () => ask("SIGTERM"));
    process.on("SIGINT", () => ask("SIGINT"));
    // The supervisor is gone. It may have asked before, so this is no second request.
    process.on("disconnect", () => {
      if (!asked) ask("disconnect");
    });
  });
}

/** An idle process would keep for good what its start left over, a third of the heap. Does nothing without --expose-gc. */
function releaseStartMemory(): void {
  globalThis.gc?.({ type: "major", execution: "sync", flavor: "last-resort" });
}
