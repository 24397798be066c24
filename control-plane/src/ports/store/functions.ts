import type { FunctionSpec } from "../../function-spec.ts";
import type { FunctionRow, RevisionRow } from "./schema.ts";
import type { Queries } from "./store.ts";

/** A function with the revision that is live, its owner and its repository. */
export type Deployed = FunctionRow & {
  slug: string;
  repository: string;
  revision: RevisionRow & { parsed: FunctionSpec };
};

/**
 * Everything that is live: of one owner, one repository or one function where that is given. What is not routed any more is
 * not live, and is left out but for who asks for it.
 */
export async function listDeployed(
  queries: Queries,
  filter: {
    readonly ownerIds?: readonly string[];
    readonly repositoryId?: string;
    readonly functionIds?: readonly string[];
    readonly name?: string;
    readonly unroutedToo?: boolean;
  } = {},
): Promise<Deployed[]> {
  let query = queries
    .selectFrom("functions as function")
    .innerJoin("owners", "owners.id", "function.owner_id")
    .innerJoin("repositories", "repositories.id", "function.repository_id")
    .innerJoin("revisions as revision", "revision.id", "function.active_revision_id")
    .selectAll("function")
    .select(["owners.slug", "repositories.name as repository"])
    .select([
      "revision.id as revision_id",
      "revision.run_id as revision_run_id",
      "revision.artifact_digest",
      "revision.artifact_reference",
      "revision.spec",
      "revision.identity",
      "revision.created_at as revision_created_at",
    ])
    .orderBy("owners.slug")
    .orderBy("function.name");
  if (filter.ownerIds) query = query.where("function.owner_id", "in", [...filter.ownerIds]);
  if (filter.repositoryId !== undefined)
    query = query.where("function.repository_id", "=", filter.repositoryId);
  if (filter.functionIds) query = query.where("function.id", "in", [...filter.functionIds]);
  if (filter.name !== undefined) query = query.where("function.name", "=", filter.name);
  if (filter.unroutedToo !== true) query = query.where("function.unrouted_at", "is", null);
  const rows = await query.execute();
  return rows.map(
    ({
      revision_id,
      revision_run_id,
      artifact_digest,
      artifact_reference,
      spec,
      identity,
      revision_created_at,
      ...row
    }) => ({
      ...row,
      revision: {
        id: revision_id,
        function_id: row.id,
        owner_id: row.owner_id,
        run_id: revision_run_id,
        artifact_digest,
        artifact_reference,
        spec,
        identity,
        created_at: revision_created_at,
        parsed: JSON.parse(spec) as FunctionSpec,
      },
    }),
  );
}

/** The function that has this name of the owner's, whether or not it answers, whichever repository it comes from. */
export async function findFunction(
  queries: Queries,
  ownerId: string,
  name: string,
): Promise<(FunctionRow & { repository: string }) | undefined> {
  return queries
    .selectFrom("functions")
    .innerJoin("repositories", "repositories.id", "functions.repository_id")
    .selectAll("functions")
    .select("repositories.name as repository")
    .where("functions.owner_id", "=", ownerId)
    .where("functions.name", "=", name)
    .where("functions.unrouted_at", "is", null)
    .executeTakeFirst();
}

/** Names of the functions that this run published last and that are routed, in order. */
export async function namesOfRun(
  queries: Queries,
  run: { readonly id: string; readonly repository_id: string },
): Promise<string[]> {
  const rows = await queries
    .selectFrom("functions")
    .select("name")
    .where("repository_id", "=", run.repository_id)
    .where("run_id", "=", run.id)
    .where("unrouted_at", "is", null)
    .orderBy("name")
    .execute();
  return rows.map(({ name }) => name);
}
