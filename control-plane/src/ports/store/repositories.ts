import { type BranchName, OwnerSlug, RepositoryName } from "@openfaas-cloud/shared/names.ts";
import type { Transaction } from "kysely";
import { newId } from "../../ids.ts";
import type { RepositoryFacts } from "../source-host/remote-host.ts";
import type { RepositoryRef } from "../source-host/source-host.ts";
import type { OwnerRow, RepositoryRow, Schema } from "./schema.ts";
import type { Queries, Store } from "./store.ts";

/** Ids in one query at most. */
const MOST_IDS = 500;

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

/** What people know these repositories by: `owner/name`, by our id. */
export async function nameRepositories(
  queries: Queries,
  ids: readonly string[],
): Promise<ReadonlyMap<string, string>> {
  if (ids.length === 0) return new Map();
  const rows = await selectRepositories(queries).where("repositories.id", "in", ids).execute();
  return new Map(rows.map(({ id, slug, name }) => [id, `${slug}/${name}`]));
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

/** Milliseconds since the epoch. */
export interface ReadingTimes {
  /** When the host was asked. */
  readonly askedAt: number;
  readonly now: number;
}

/** What came of an answer of the host's about a repository. */
export type LinkChange =
  /** The answer is to an older question than the one that what is known now came from. */
  | { readonly kind: "outdated"; readonly repository: RepositoryRow }
  | {
      readonly kind: "linked";
      readonly repository: RepositoryRow;
      /** As it was known until now, linked or not; `undefined` where it is new to this owner. */
      readonly before: NamedRepository | undefined;
      /** What it was with another owner until now, which keeps that, unlinked. */
      readonly transferred: NamedRepository | undefined;
    };

/**
 * Keeps a repository as its host knows it, by the host's id: linked from now on, whatever it was. One that the host moved to
 * another owner begins anew there, and what it was is left to its former owner.
 */
export async function linkRepository(
  transaction: Transaction<Schema>,
  owner: OwnerRow,
  facts: RepositoryFacts,
  times: ReadingTimes,
): Promise<LinkChange> {
  const { askedAt, now } = times;
  const known = await findRepositoryBySource(transaction, owner.source_host, facts.key.id);
  if (known && isOutdated(known, askedAt)) return { kind: "outdated", repository: known };
  const isTransferred = known !== undefined && known.owner_id !== owner.id;
  if (isTransferred) await giveUp(transaction, known, facts, times);
  const before = isTransferred ? undefined : known;
  const repository: RepositoryRow = {
    id: before?.id ?? newId(),
    owner_id: owner.id,
    name: facts.name,
    default_branch: facts.defaultBranch ?? null,
    created_at: before?.created_at ?? now,
    source_host: owner.source_host,
    source_id: facts.key.id,
    installation: facts.key.installation ?? null,
    full_name: facts.fullName,
    web_url: facts.webUrl,
    private: facts.isPrivate ? 1 : 0,
    unlinked_at: null,
    unlinked_reason: null,
    looked_at: askedAt,
  };
  await freeName(transaction, repository);
  await transaction
    .insertInto("repositories")
    .values(repository)
    .onConflict((conflict) => conflict.column("id").doUpdateSet(repository))
    .execute();
  return { kind: "linked", repository, before, transferred: isTransferred ? known : undefined };
}

/** Whether the host was asked about it after that. */
export function isOutdated({ looked_at }: RepositoryRow, askedAt: number): boolean {
  return looked_at !== null && looked_at > askedAt;
}

async function giveUp(
  transaction: Transaction<Schema>,
  { id, unlinked_at }: RepositoryRow,
  { owner }: RepositoryFacts,
  { askedAt, now }: ReadingTimes,
): Promise<void> {
  await transaction
    .updateTable("repositories")
    .set({
      source_id: null,
      unlinked_at: unlinked_at ?? now,
      unlinked_reason: `It was transferred to ${owner.login}.`,
      looked_at: askedAt,
    })
    .where("id", "=", id)
    .execute();
}

/** A name that another row of the owner still has is out of date there: the host gave it to this one. */
async function freeName(
  transaction: Transaction<Schema>,
  { id, owner_id, name }: RepositoryRow,
): Promise<void> {
  await transaction
    .updateTable("repositories")
    .set({ name: `moved-${newId()}` })
    .where("owner_id", "=", owner_id)
    .where("name", "=", name)
    .where("id", "!=", id)
    .execute();
}

/** Marks it as not linked any more. @returns what it was; `undefined` where that was known already, or something newer is. */
export async function unlinkRepository(
  transaction: Transaction<Schema>,
  repositoryId: string,
  reason: string,
  { askedAt, now }: ReadingTimes,
): Promise<NamedRepository | undefined> {
  const row = await selectRepositories(transaction)
    .where("repositories.id", "=", repositoryId)
    .executeTakeFirst();
  if (row === undefined || isOutdated(row, askedAt)) return undefined;
  const wasLinked = row.unlinked_at === null;
  await transaction
    .updateTable("repositories")
    .set({ looked_at: askedAt, ...(wasLinked ? { unlinked_at: now, unlinked_reason: reason } : {}) })
    .where("id", "=", repositoryId)
    .execute();
  return wasLinked ? row : undefined;
}

/** Why the repository's functions are not deployed any more; `undefined` where it is linked. */
export async function findUnlinkedReason(
  queries: Queries,
  repositoryId: string,
): Promise<string | undefined> {
  const row = await queries
    .selectFrom("repositories")
    .select(["unlinked_at", "unlinked_reason"])
    .where("id", "=", repositoryId)
    .executeTakeFirst();
  if (row !== undefined && row.unlinked_at === null) return undefined;
  return row?.unlinked_reason ?? "It was removed.";
}

/** What is linked at this host now. */
export async function listLinked(queries: Queries, instance: string): Promise<NamedRepository[]> {
  return selectRepositories(queries)
    .where("repositories.source_host", "=", instance)
    .where("repositories.source_id", "is not", null)
    .where("repositories.unlinked_at", "is", null)
    .execute();
}

/** That these are as they were when the host was asked. */
export async function confirmRepositories(
  queries: Queries,
  repositoryIds: readonly string[],
  askedAt: number,
): Promise<void> {
  for (let from = 0; from < repositoryIds.length; from += MOST_IDS) {
    await queries
      .updateTable("repositories")
      .set({ looked_at: askedAt })
      .where("id", "in", repositoryIds.slice(from, from + MOST_IDS))
      .where((where) => where.or([where("looked_at", "is", null), where("looked_at", "<", askedAt)]))
      .execute();
  }
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
