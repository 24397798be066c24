import type { Transaction } from "kysely";
import type { Run } from "../ports/queue/queue.ts";
import type { FunctionRow, RevisionRow, Schema } from "../ports/store/schema.ts";
import type { Store } from "../ports/store/store.ts";
import type { LiveRoutes } from "../routes/live-routes.ts";
import type { RoutePublisher } from "../routes/route-publisher.ts";
import type { DeployedFunction } from "./deploy.ts";
import { Rejected } from "./rejected.ts";

/** How long edges may take to confirm before the run ends without waiting for them any longer. */
const CONFIRM_MS = 15_000;

export interface Published {
  /** Revisions that were live until now and serve nobody any more. */
  readonly retired: readonly { readonly revisionId: string; readonly ownerId: string }[];
  readonly version: number;
  /** Every connected edge serves it. */
  readonly confirmed: boolean;
}

/**
 * Makes all functions of the run live at once: one transaction, one route change. Retired revisions are left running for
 * whoever is still being answered by them.
 * @throws Rejected `name-taken` where another repository was faster; nothing was published then.
 */
export async function publish(
  run: Run,
  deployed: readonly DeployedFunction[],
  ports: { readonly store: Store; readonly liveRoutes: LiveRoutes; readonly routes: RoutePublisher },
  signal: AbortSignal,
): Promise<Published> {
  await ports.store.transaction().execute(async (transaction) => {
    for (const one of deployed) await activate(transaction, run, one);
  });
  const version = await ports.liveRoutes.refresh(deployed.map((one) => one.planned.functionId));
  const confirmed = await confirmedInTime(ports.routes, version, signal);
  return { version, confirmed, retired: retiredBy(deployed) };
}

async function confirmedInTime(
  routes: RoutePublisher,
  version: number,
  signal: AbortSignal,
): Promise<boolean> {
  const deadline = AbortSignal.timeout(CONFIRM_MS);
  try {
    await routes.confirmed(version, AbortSignal.any([signal, deadline]));
    return true;
  } catch (error) {
    // Published is published: an edge that is away gets the table when it comes back, so the run does not fail for it.
    if (deadline.aborted) return false;
    throw error;
  }
}

async function activate(
  transaction: Transaction<Schema>,
  run: Run,
  { planned, artifact, revisionId, identity }: DeployedFunction,
): Promise<void> {
  const revision: RevisionRow = {
    id: revisionId,
    function_id: planned.functionId,
    owner_id: run.owner_id,
    run_id: run.id,
    artifact_digest: artifact.digest,
    artifact_reference: artifact.reference,
    spec: JSON.stringify(planned.spec),
    identity,
    created_at: Date.now(),
  };
  await transaction
    .insertInto("revisions")
    .values(revision)
    .onConflict((conflict) => conflict.column("id").doNothing())
    .execute();
  const row: FunctionRow = {
    id: planned.functionId,
    owner_id: run.owner_id,
    name: planned.spec.name,
    repository_id: run.repository_id,
    branch: run.branch,
    active_revision_id: revisionId,
    generation: run.generation,
    commit_sha: run.commit_sha,
    run_id: run.id,
    deployed_at: Date.now(),
  };
  const holder = await transaction
    .selectFrom("functions")
    .select(["id", "branch", "generation"])
    .where("owner_id", "=", run.owner_id)
    .where("name", "=", planned.spec.name)
    .executeTakeFirst();
  if (holder && holder.id !== planned.functionId) {
    throw new Rejected(
      "name-taken",
      `function ${planned.spec.name}: another repository of this owner deployed a function of that name meanwhile. Rename one.`,
    );
  }
  if (holder && holder.branch === run.branch && holder.generation > run.generation) {
    throw new Rejected(
      "superseded",
      `function ${planned.spec.name}: a newer push is live already; it stays.`,
    );
  }
  await transaction
    .insertInto("functions")
    .values(row)
    .onConflict((conflict) => conflict.column("id").doUpdateSet(row))
    .execute();
}

function retiredBy(deployed: readonly DeployedFunction[]): Published["retired"] {
  return deployed.flatMap(({ planned: { live }, unchanged }) =>
    live && !unchanged ? [{ revisionId: live.revision.id, ownerId: live.owner_id }] : [],
  );
}
