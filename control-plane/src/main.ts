import { flushCompileCache } from "node:module";
import { KnownError } from "@openfaas-cloud/shared/known-error.ts";
import {
  type ReadyMessage,
  type SupervisorReply,
  SupervisorRequest,
} from "@openfaas-cloud/shared/process-message.ts";
import { readConfig } from "./config.ts";
import { type ControlPlane, openControlPlane } from "./context.ts";
import { type Logger, openLogger } from "./logger.ts";
import { closeInheritedDescriptors } from "./sandbox/inherited-descriptors.ts";

/** Long enough after the start that what was loaded for it is garbage. */
const SETTLED_MS = 5_000;

await main();

async function main(): Promise<void> {
  try {
    closeInheritedDescriptors();
    const config = readConfig(process.env);
    const logger = openLogger(config.logLevel);
    const controlPlane = await openControlPlane(config, logger);
    stopOnSignals(controlPlane);
    answerSupervisor(controlPlane, logger);
    // Written at exit otherwise, which a process that is killed never gets to.
    flushCompileCache();
    setTimeout(releaseStartMemory, SETTLED_MS).unref();
    logger.info({ port: controlPlane.port, adminPort: controlPlane.adminPort }, "the control plane answers");
  } catch (error) {
    process.stderr.write(`${error instanceof KnownError ? error.message : String((error as Error).stack)}\n`);
    process.exit(1);
  }
}

function answerSupervisor(controlPlane: ControlPlane, logger: Logger): void {
  if (!process.send) return;
  const send = (message: ReadyMessage | SupervisorReply) => process.send?.(message);
  process.on("message", (message) => {
    // Where it fails the supervisor gets no answer, and says so.
    answer(message).catch((error: unknown) => logger.error({ err: error }, "the supervisor got no answer"));
  });
  const answer = async (message: unknown) => {
    const { kind, id } = SupervisorRequest.parse(message);
    if (kind === "sign-in-link") send({ kind, id, url: await controlPlane.signInLink() });
    else send({ kind, id, ...(await controlPlane.status()) });
  };
  send({ kind: "ready", port: controlPlane.port, adminPort: controlPlane.adminPort });
}

/** The first signal, or the supervisor's end, stops gracefully; a second signal at once. */
function stopOnSignals(controlPlane: ControlPlane): void {
  let stopping = false;
  const stop = () => {
    if (stopping) process.exit(1);
    stopping = true;
    controlPlane[Symbol.asyncDispose]().then(
      () => process.exit(0),
      (error: unknown) => {
        process.stderr.write(`stopping failed: ${String(error)}\n`);
        process.exit(1);
      },
    );
  };
  process.on("SIGTERM", stop);
  process.on("SIGINT", stop);
  process.on("disconnect", () => {
    if (!stopping) stop();
  });
}

/** An idle process would keep for good what its start left over, a third of the heap. Does nothing without --expose-gc. */
function releaseStartMemory(): void {
  globalThis.gc?.({ type: "major", execution: "sync", flavor: "last-resort" });
}
