import type { RunningRevision, Runtime } from "./ports/runtime/runtime.ts";
import type { Deployed } from "./ports/store/functions.ts";

export type FunctionState =
  /** Every wanted replica answers. */
  | "live"
  /** Some replica answers, another is being started again. */
  | "degraded"
  /** No replica answers at the moment; the platform is starting them. */
  | "down";

export function replicasOf(deployed: Deployed, runtime: Pick<Runtime, "list">): RunningRevision["replicas"] {
  const revision = runtime
    .list()
    .find((running) => running.revisionId === deployed.revision.id && running.ownerId === deployed.owner_id);
  return revision?.replicas ?? [];
}

export function stateOf(deployed: Deployed, replicas: RunningRevision["replicas"]): FunctionState {
  const ready = replicas.filter(({ state }) => state === "ready").length;
  if (ready >= deployed.revision.parsed.replicas) return "live";
  return ready > 0 ? "degraded" : "down";
}
