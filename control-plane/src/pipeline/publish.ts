import type { Transaction } from "kysely";
import type { Run } from "../ports/queue/queue.ts";
import type { RevisionRef } from "../ports/runtime/runtime.ts";
import { findUnlinkedReason } from "../ports/store/repositories.ts";
import type { FunctionRow, RevisionRow, Schema } from "../ports/store/schema.ts";
import type { Queries, Store } from "../ports/store/store.ts";
import { Rejected } from "../rejected.ts";
import type { LiveRoutes } from "../routes/live-routes.ts";
import type { RoutePublisher } from "../routes/route-publisher.ts";
import type { DeployedFunction } from "./deploy.ts";
import type { PlannedFunction } from "./plan.ts";
import type { Retirement } from "./retirement.ts";
import type { StageFrame } from "./stage.ts";

/** How long edges may take to confirm before the run ends without waiting for them any longer. */
const CONFIRM_MS = 15_000;

export interface Published {
  /** Of the route table that names what was published. */
  readonly version: number;
  /** Every connected edge serves it. */
  readonly confirmed: boolean;
}

/**
 * Makes all functions of the run live at once: one transaction, then one route change, which every edge is given some time
 * to confirm. The transaction is the point of no return. What was live until then is retired.
 * @throws Rejected `name-taken` where another repository was faster, `superseded` where a newer push was, `unlinked` where the
 *   repository's removal was; nothing is published then.
 */
export async function publish(
  frame: StageFrame,
  deployed: readonly DeployedFunction[],
  ports: {
    readonly store: Store;
    readonly liveRoutes: LiveRoutes;
    readonly routes: RoutePublisher;
    readonly retirement: Retirement;
  },
): Promise<Published> {
  const replaced = await ports.store.transaction().execute(async (transaction) => {
    await requireLinked(transaction, frame.run);
    // What is live now, and not when the run was planned: a link may have brought an old revision back since.
    const before = await activeRevisions(transaction, deployed);
    for (const one of deployed) await activate(transaction, frame.run, one);
    const after = new Set(deployed.map(({ revisionId }) => revisionId));
    return before.filter(({ revisionId }) => !after.has(revisionId));
  });
  frame.commit();
  const version = await ports.liveRoutes.refresh(deployed.map((one) => one.planned.functionId));
  ports.retirement.retire(replaced, version);
  return { version, confirmed: await confirmedInTime(ports.routes, version, frame.signal) };
}

/**
 * A repository that is not linked any more publishes nothing, in the transaction in which that would be done: what removes its
 * functions could not have seen them.
 */
export async function requireLinked(queries: Queries, run: Run): Promise<void> {
  const reason = await findUnlinkedReason(queries, run.repository_id);
  if (reason === undefined) return;
  throw new Rejected("unlinked", `The repository is not linked any more: ${reason} Link it again to deploy.`);
}

/** Published is published: an edge that is away gets the table when it comes back, so the run does not fail for it. */
async function confirmedInTime(
  routes: RoutePublisher,
  version: number,
  signal: AbortSignal,
): Promise<boolean> {
  const enough = AbortSignal.any([signal, AbortSignal.timeout(CONFIRM_MS)]);
  return routes.confirmed(version, enough).then(
    () => true,
    () => false,
  );
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
    unrouted_at: null,
  };
  await requireOwnAndNewest(transaction, run, planned);
  await transaction
    .insertInto("functions")
    .values(row)
    .onConflict((conflict) => conflict.column("id").doUpdateSet(row))
    .execute();
}

/** Nobody else's function has the name by now, and of this one nothing newer was published, whether or not it is routed. */
async function requireOwnAndNewest(
  transaction: Transaction<Schema>,
  run: Run,
  { spec, functionId }: PlannedFunction,
): Promise<void> {
  const holders = await transaction
    .selectFrom("functions")
    .select(["id", "branch", "generation"])
    .where("owner_id", "=", run.owner_id)
    .where("name", "=", spec.name)
    .where((where) => where.or([where("unrouted_at", "is", null), where("id", "=", functionId)]))
    .execute();
  for (const holder of holders) {
    if (holder.id !== functionId) {
      throw new Rejected(
        "name-taken",
        `function ${spec.name}: another repository of this owner deployed a function of that name meanwhile. Rename one.`,
      );
    }
    if (holder.branch === run.branch && holder.generation > run.generation) {
      throw new Rejected("superseded", `function ${spec.name}: a newer push is live already; it stays.`);
    }
  }
}

async function activeRevisions(
  transaction: Transaction<Schema>,
  deployed: readonly DeployedFunction[],
): Promise<RevisionRef[]> {
  const ids = deployed.map(({ planned }) => planned.functionId);
  const rows = await transaction
    .selectFrom("functions")
    .select(["active_revision_id", "owner_id"])
    .where("id", "in", ids)
    .execute();
  return rows.map((row) => ({ revisionId: row.active_revision_id, ownerId: row.owner_id }));
}
