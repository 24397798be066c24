import { type BranchName, OwnerSlug, RepositoryName } from "@openfaas-cloud/shared/names.ts";
import { newId } from "../../ids.ts";
import type { RepositoryRef } from "../source-host/source-host.ts";
import type { OwnerRow, RepositoryRow } from "./schema.ts";
import type { Queries, Store } from "./store.ts";

/** A repository with its owner's slug. */
export type NamedRepository = RepositoryRow & { slug: string };

export function refOf(row: NamedRepository): RepositoryRef {
  return {
    repositoryId: row.id,
    owner: OwnerSlug.parse(row.slug),
    name: RepositoryName.parse(row.name),
    host: row.source_host,
    source:
      row.source_id === null ? undefined : { id: row.source_id, installation: row.installation ?? undefined },
  };
}

export async function getRepository(queries: Queries, repositoryId: string): Promise<NamedRepository> {
  return selectRepositories(queries).where("repositories.id", "=", repositoryId).executeTakeFirstOrThrow();
}

export async function findRepository(
  queries: Queries,
  owner: OwnerSlug,
  name: RepositoryName,
): Promise<NamedRepository | undefined> {
  return selectRepositories(queries)
    .where("owners.slug", "=", owner)
    .where("repositories.name", "=", name)
    .executeTakeFirst();
}

/** The repository that its host knows by this id. */
export async function findRepositoryBySource(
  queries: Queries,
  instance: string,
  sourceId: string,
): Promise<NamedRepository | undefined> {
  return selectRepositories(queries)
    .where("repositories.source_host", "=", instance)
    .where("repositories.source_id", "=", sourceId)
    .executeTakeFirst();
}

export async function ensureRepository(
  store: Store,
  owner: OwnerRow,
  name: RepositoryName,
): Promise<RepositoryRow> {
  await store
    .insertInto("repositories")
    .values({
      id: newId(),
      owner_id: owner.id,
      name,
      default_branch: null,
      created_at: Date.now(),
      source_host: owner.source_host,
    })
    .onConflict((conflict) => conflict.columns(["owner_id", "name"]).doNothing())
    .execute();
  return store
    .selectFrom("repositories")
    .selectAll()
    .where("owner_id", "=", owner.id)
    .where("name", "=", name)
    .executeTakeFirstOrThrow();
}

export async function setDefaultBranch(
  store: Store,
  repositoryId: string,
  branch: BranchName,
): Promise<void> {
  await store
    .updateTable("repositories")
    .set({ default_branch: branch })
    .where("id", "=", repositoryId)
    .execute();
}

function selectRepositories(queries: Queries) {
  return queries
    .selectFrom("repositories")
    .innerJoin("owners", "owners.id", "repositories.owner_id")
    .selectAll("repositories")
    .select("owners.slug");
}
