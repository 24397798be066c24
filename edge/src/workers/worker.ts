import type { EdgeConfig } from "../config.ts";
import { type RunningEdge, startEdge } from "../edge.ts";
import type { LineOutput } from "../line-output.ts";
import type { Logger } from "../logger.ts";
import { AcceptBalance } from "./accept-balance.ts";
import { type FromPrimary, tellParent } from "./edge-message.ts";

/** An edge that shares its sockets with others, and tells its primary what those and the operator want to know. */
export async function startWorker(
  config: EdgeConfig,
  logger: Logger,
  output: LineOutput,
): Promise<RunningEdge> {
  const balance = new AcceptBalance((open) => void tellParent({ kind: "connections", open }));
  process.on("message", (message: FromPrimary) => balance.heard(message.open));
  const edge = await startEdge(config, logger, {
    output,
    onConnections: (open) => balance.changed(open),
  });
  const close = async (): Promise<void> => {
    await edge.close();
    await tellParent({ kind: "last-counts", metrics: await edge.metrics() });
  };
  return { ...edge, close, [Symbol.asyncDispose]: close };
}
