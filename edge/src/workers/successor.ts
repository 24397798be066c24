import { KnownError } from "@openfaas-cloud/shared/known-error.ts";
import type { EdgeSockets } from "../edge.ts";
import { ChildEdge } from "./child-edge.ts";

const SERVING_MS = 60_000;

/**
 * Starts this program anew, as it is on the disk now, on the sockets of this process. Resolves with its process id when it
 * serves; it lives on when this one ends.
 * @throws KnownError `no-successor` where it does not get there in time: then it is gone, and nothing has changed
 */
export async function startSuccessor(sockets: EdgeSockets): Promise<number | undefined> {
  const next = new ChildEdge({ environment: { EDGE_SUCCESSOR: "1" }, sockets });
  const tooLate = setTimeout(() => next.kill(), SERVING_MS);
  try {
    await next.serving;
  } catch (error) {
    const message = `the successor had no routes after ${SERVING_MS} ms or ended before, this edge serves on`;
    throw new KnownError("no-successor", message, { cause: error });
  } finally {
    clearTimeout(tooLate);
  }
  next.leaveAlone();
  return next.pid;
}
