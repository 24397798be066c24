import type { LogStore } from "../ports/log-store/log-store.ts";
import type { Run } from "../ports/queue/queue.ts";
import { type Deployed, listDeployed } from "../ports/store/functions.ts";
import type { Store } from "../ports/store/store.ts";
import type { UsageSource } from "../ports/usage-source/usage-source.ts";
import type { LiveRoutes } from "../routes/live-routes.ts";
import type { Plan } from "./plan.ts";
import type { Retirement } from "./retirement.ts";

/**
 * Removes the functions of this repository and branch that its stack file no longer names. Called only after everything
 * the stack file does name was published, so that a plan that failed or is incomplete never deletes anything.
 * @returns what is gone.
 */
export async function prune(
  run: Run,
  plan: Plan,
  ports: {
    readonly store: Store;
    readonly liveRoutes: LiveRoutes;
    readonly retirement: Retirement;
    readonly usage: UsageSource;
    readonly logs: LogStore;
  },
): Promise<readonly Deployed[]> {
  const kept = new Set(plan.functions.map((planned) => planned.functionId));
  // What a removal of the repository unrouted, and its link since has not routed again yet, is this branch's as well.
  const all = await listDeployed(ports.store, { repositoryId: run.repository_id, unroutedToo: true });
  const gone = all.filter(
    (deployed) =>
      !kept.has(deployed.id) && deployed.branch === run.branch && deployed.generation < run.generation,
  );
  if (gone.length === 0) return gone;
  const ids = gone.map((deployed) => deployed.id);
  await ports.store.transaction().execute(async (transaction) => {
    await transaction
      .deleteFrom("functions")
      .where("id", "in", ids)
      .where("owner_id", "=", run.owner_id)
      .execute();
    await transaction
      .deleteFrom("revisions")
      .where("function_id", "in", ids)
      .where("owner_id", "=", run.owner_id)
      .execute();
  });
  const version = await ports.liveRoutes.refresh(ids);
  ports.retirement.retire(
    gone.map(({ revision, owner_id }) => ({ revisionId: revision.id, ownerId: owner_id })),
    version,
  );
  for (const functionId of ids) {
    await ports.usage.remove(functionId);
    await ports.logs.remove({ kind: "function", functionId });
  }
  return gone;
}
