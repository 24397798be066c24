import type { RunRow } from "./schema.ts";
import type { Queries } from "./store.ts";

/** A run with its owner's slug and its repository's name. */
export type NamedRun = RunRow & { slug: string; repository: string };

export function selectRuns(queries: Queries) {
  return queries
    .selectFrom("runs")
    .innerJoin("owners", "owners.id", "runs.owner_id")
    .innerJoin("repositories", "repositories.id", "runs.repository_id")
    .selectAll("runs")
    .select(["owners.slug", "repositories.name as repository"]);
}

/** The run, where it is of one of these owners. */
export async function findRun(
  queries: Queries,
  id: string,
  ownerIds: readonly string[],
): Promise<NamedRun | undefined> {
  return selectRuns(queries)
    .where("runs.id", "=", id)
    .where("runs.owner_id", "in", [...ownerIds])
    .executeTakeFirst();
}
