import { OwnerSlug } from "@openfaas-cloud/shared/names.ts";
import { derivedId, sha256 } from "../ids.ts";
import type { Artifact } from "../ports/builder/builder.ts";
import type { Run } from "../ports/queue/queue.ts";
import type { RevisionSpec, Runtime } from "../ports/runtime/runtime.ts";
import type { PlannedFunction } from "./plan.ts";
import type { StageFrame } from "./stage.ts";

/** A function of this run that is ready to be published. */
export interface DeployedFunction {
  readonly planned: PlannedFunction;
  readonly artifact: Artifact;
  readonly revisionId: string;
  readonly identity: string;
  /** The live revision is the same to the letter, so it goes on serving and nothing was started. */
  readonly unchanged: boolean;
}

/**
 * Starts the revision's replicas beside what is live and waits until all are healthy. Nothing is routed to them yet.
 * @throws Rejected `function-unhealthy`; nothing of the revision runs then.
 */
export async function deploy(
  frame: StageFrame,
  owner: string,
  planned: PlannedFunction,
  artifact: Artifact,
  runtime: Runtime,
): Promise<DeployedFunction> {
  const identity = identityOf(planned, artifact);
  const live = planned.live;
  if (live?.revision.identity === identity && isReady(live.revision.id, runtime)) {
    return { planned, artifact, revisionId: live.revision.id, identity, unchanged: true };
  }
  // Derived, so that doing it twice is doing it once.
  const revisionId = derivedId(frame.run.id, planned.functionId, identity);
  await runtime.start(revisionSpec(frame.run, owner, planned, artifact, revisionId), {
    log: frame.log,
    signal: frame.signal,
  });
  return { planned, artifact, revisionId, identity, unchanged: false };
}

/** Every replica answers: what does not is started anew, although nothing of it changed. */
function isReady(revisionId: string, runtime: Runtime): boolean {
  const replicas = runtime.list().find((running) => running.revisionId === revisionId)?.replicas ?? [];
  return replicas.length > 0 && replicas.every(({ state }) => state === "ready");
}

function revisionSpec(
  run: Run,
  owner: string,
  planned: PlannedFunction,
  artifact: Artifact,
  revisionId: string,
): RevisionSpec {
  const { spec } = planned;
  return {
    revisionId,
    functionId: planned.functionId,
    ownerId: run.owner_id,
    owner: OwnerSlug.parse(owner),
    function: spec.name,
    artifact,
    environment: spec.environment,
    secrets: planned.secrets,
    memoryLimitBytes: spec.memoryLimitBytes,
    replicas: spec.replicas,
    healthPath: spec.healthPath,
    healthInitialDelayMs: spec.healthInitialDelayMs,
  };
}

/** Two revisions with one identity behave the same: same artifact, same settings, same secrets. */
function identityOf(planned: PlannedFunction, artifact: Artifact): string {
  return sha256(JSON.stringify([artifact.digest, planned.spec, Object.entries(planned.secrets).toSorted()]));
}
