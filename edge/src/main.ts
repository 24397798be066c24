import { flushCompileCache } from "node:module";
import { setFlagsFromString } from "node:v8";
import { KnownError } from "@openfaas-cloud/shared/known-error.ts";
import type { ReadyMessage } from "@openfaas-cloud/shared/process-message.ts";
import { type EdgeConfig, readConfig, unknownVariables } from "./config.ts";
import type { RunningEdge } from "./edge.ts";
import { LineOutput } from "./line-output.ts";
import { type Logger, openLogger } from "./logger.ts";
import { tellParent } from "./workers/edge-message.ts";
import type { Primary } from "./workers/primary.ts";
import { Succession } from "./workers/succession.ts";

/** Long enough after the start that what was loaded for it is garbage. */
const SETTLED_MS = 5_000;
const STANDARD_OUTPUT = 1;
/** What a successor that is not wanted any more has besides the time to drain. */
const SUCCESSOR_LAST_WORDS_MS = 2_000;

const hasParent = process.connected === true;

/**
 * How much the old generation may grow before it is collected again; V8's own choice lets it become three times what is in
 * use. Measured with 13,000 slow clients: 60 MB less, and requests cost the same processor time.
 */
const HEAP_GROWTH_PERCENT = 50;

/** What an operator may ask for before it can be done. It is done after the start; Node's own answer is to end at once. */
const DEFERRED = ["SIGHUP", "SIGUSR2"] as const;
const askedEarly = new Set<NodeJS.Signals>();
const defer = (signal: NodeJS.Signals): void => void askedEarly.add(signal);
for (const signal of DEFERRED) process.on(signal, defer);

setFlagsFromString(`--heap-growing-percent=${HEAP_GROWTH_PERCENT}`);
await main();
process.exit(0);

async function main(): Promise<void> {
  const config = readConfigOrExit();
  const { role } = config;
  // With workers and their primary, or with the edge that goes.
  const shared = role.kind !== "only" || config.successor;
  await using output = new LineOutput(STANDARD_OUTPUT, { shared });
  const all = openLogger(config.logLevel, output);
  const logger = role.kind === "worker" ? all.child({ worker: role.slot }) : all;
  const unknown = role.kind === "worker" ? [] : unknownVariables(process.env);
  if (unknown.length > 0) logger.warn({ variables: unknown }, "no such variables: see edge/README.md");
  const edge = await startOrExit(config, logger, output);
  const ready: ReadyMessage = { kind: "ready", port: edge.port, adminPort: edge.adminPort };
  void tellParent(ready);
  // What a supervisor wants to know of this, it asks at /readyz.
  if (role.kind === "worker" || config.successor) {
    void edge.serving.then(() => tellParent({ kind: "serving" }));
  }
  // Written at exit otherwise, which a process that is killed never gets to.
  flushCompileCache();
  setTimeout(releaseStartMemory, SETTLED_MS).unref();

  const graceMs = config.drainMs + SUCCESSOR_LAST_WORDS_MS;
  const succession = new Succession({ edge, output, graceMs, logger });
  const reason = await askedToStop({ edge, config, succession, logger });
  logger.info({ reason }, "edge draining");
  await Promise.all([edge.close(), succession.stop()]);
  logger.info("edge stopped");
}

function readConfigOrExit(): EdgeConfig {
  try {
    return readConfig(process.env);
  } catch (error) {
    exitIfKnown(error, 78);
    throw error;
  }
}

async function startOrExit(
  config: EdgeConfig,
  logger: Logger,
  output: LineOutput,
): Promise<RunningEdge | Primary> {
  try {
    return await start(config, logger, output);
  } catch (error) {
    exitIfKnown(error, 1);
    throw error;
  }
}

function exitIfKnown(error: unknown, code: number): void {
  if (!(error instanceof KnownError)) return;
  process.stderr.write(`${error.message}\n`);
  process.exit(code);
}

/** Each loads what it needs and no more. */
async function start(config: EdgeConfig, logger: Logger, output: LineOutput): Promise<RunningEdge | Primary> {
  const { role } = config;
  switch (role.kind) {
    case "only":
      return (await import("./edge.ts")).startEdge(config, logger, { output });
    case "worker":
      return (await import("./workers/worker.ts")).startWorker(config, logger, output);
    case "primary":
      return (await import("./workers/primary.ts")).startPrimary(config, role.workers, logger);
  }
}

interface Asked {
  readonly edge: RunningEdge | Primary;
  readonly config: EdgeConfig;
  readonly succession: Succession;
  readonly logger: Logger;
}

/** The first request to stop is awaited, the second obeyed at once. Until then the edge is renewed whenever that is asked for. */
function askedToStop({ edge, config, succession, logger }: Asked): Promise<string> {
  return new Promise((resolve) => {
    let asked = false;
    const ask = (reason: string): void => {
      if (asked) {
        if ("kill" in edge) edge.kill();
        succession.kill();
        process.exit(1);
      }
      asked = true;
      resolve(reason);
    };
    process.on("SIGTERM", () => ask("SIGTERM"));
    process.on("SIGINT", () => ask("SIGINT"));
    // Whoever started it is gone, and may have asked before, so that this is no second request. A successor outlives its parent.
    const orphaned = (): void => {
      if (!asked && !config.successor) ask("disconnect");
    };
    process.on("disconnect", orphaned);
    if (hasParent && !process.connected) orphaned();

    // Whoever is not meant ignores it: Node's own answer is to end at once.
    process.on("SIGHUP", () => {
      if ("replaceWorkers" in edge) edge.replaceWorkers();
      // Its primary replaces it, when asked to; here it was a signal to all processes of a name.
      else if (config.role.kind !== "worker")
        logger.warn("SIGHUP replaces workers, and this edge has none (EDGE_WORKERS); it serves on as it is");
    });
    process.on("SIGUSR2", async () => {
      if (asked) return;
      if (process.connected) {
        logger.warn(
          "SIGUSR2 is for an edge that nobody keeps running; whoever started this one has to start the next",
        );
      } else if ((await succession.handOver()) && !asked) ask("succeeded");
    });
    for (const signal of DEFERRED) process.off(signal, defer);
    for (const signal of askedEarly) process.emit(signal, signal);
  });
}

/** An idle process would keep for good what its start left over, a third of the heap. Does nothing without --expose-gc. */
function releaseStartMemory(): void {
  globalThis.gc?.({ type: "major", execution: "sync", flavor: "last-resort" });
}
