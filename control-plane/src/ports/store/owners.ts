import { KnownError } from "@openfaas-cloud/shared/known-error.ts";
import { type OwnerSlug, RESERVED_SLUGS } from "@openfaas-cloud/shared/names.ts";
import { newId } from "../../ids.ts";
import type { Role } from "../../role.ts";
import type { OwnerFacts } from "../source-host/remote-host.ts";
import { slugCandidates } from "./owner-slug.ts";
import type { OwnerRow } from "./schema.ts";
import type { Queries, Store } from "./store.ts";

export interface OwnerIdentity {
  /** Instance of the source host: `embedded`, `github.com` … */
  readonly sourceHost: string;
  /** The host's own stable id of the account. */
  readonly sourceOwnerId: string;
  readonly login: string;
  readonly slug: OwnerSlug;
}

/**
 * The owner with this identity, made where it does not exist. A slug belongs to its first owner for ever.
 * @throws KnownError `slug-taken` where that is another one.
 */
export async function ensureOwner(store: Store, identity: OwnerIdentity): Promise<OwnerRow> {
  return store.transaction().execute(async (transaction) => {
    const known = await transaction
      .selectFrom("owners")
      .selectAll()
      .where("source_host", "=", identity.sourceHost)
      .where("source_owner_id", "=", identity.sourceOwnerId)
      .executeTakeFirst();
    if (known) return known;
    // Of new ones only: a word may be reserved after somebody had it.
    if (RESERVED_SLUGS.has(identity.slug)) throw new Error(`the slug ${identity.slug} is reserved`);
    const holder = await findOwner(transaction, identity.slug);
    if (holder)
      throw new KnownError(
        "slug-taken",
        `The slug ${identity.slug} is that of ${holder.login} of ${holder.source_host} for good. Start the platform with another --owner.`,
      );
    const owner: OwnerRow = {
      id: newId(),
      source_host: identity.sourceHost,
      source_owner_id: identity.sourceOwnerId,
      login: identity.login,
      slug: identity.slug,
      kind: "person",
      created_at: Date.now(),
    };
    await transaction.insertInto("owners").values(owner).execute();
    return owner;
  });
}

export interface Enrolled {
  readonly owner: OwnerRow;
  /** As it was known until now; `undefined` where the owner is new. */
  readonly before: OwnerRow | undefined;
}

/**
 * The owner that the host knows by this id, made where it does not exist, with its login and kind as they are now. Its slug is
 * allocated once: no rename changes it, and no other owner ever gets it.
 */
export async function enrolOwner(
  queries: Queries,
  { instance, facts }: { readonly instance: string; readonly facts: OwnerFacts },
): Promise<Enrolled> {
  const known = await findOwnerBySource(queries, instance, facts.sourceId);
  if (known) return { owner: await keepCurrent(queries, known, facts), before: known };
  for (const slug of slugCandidates({ instance, ...facts })) {
    // The table decides: whoever is slower finds the slug taken, or this very owner enrolled.
    const made = await queries
      .insertInto("owners")
      .values({
        id: newId(),
        source_host: instance,
        source_owner_id: facts.sourceId,
        login: facts.login,
        slug,
        kind: facts.kind,
        created_at: Date.now(),
      })
      .onConflict((conflict) => conflict.doNothing())
      .returningAll()
      .executeTakeFirst();
    if (made) return { owner: made, before: undefined };
    const faster = await findOwnerBySource(queries, instance, facts.sourceId);
    if (faster) return { owner: await keepCurrent(queries, faster, facts), before: faster };
  }
  throw new Error("unreachable: there is no end of slugs");
}

async function keepCurrent(queries: Queries, known: OwnerRow, facts: OwnerFacts): Promise<OwnerRow> {
  const { login, kind } = facts;
  if (known.login === login && known.kind === kind) return known;
  await queries.updateTable("owners").set({ login, kind }).where("id", "=", known.id).execute();
  return { ...known, login, kind };
}

export async function findOwnerBySource(
  queries: Queries,
  instance: string,
  sourceId: string,
): Promise<OwnerRow | undefined> {
  return queries
    .selectFrom("owners")
    .selectAll()
    .where("source_host", "=", instance)
    .where("source_owner_id", "=", sourceId)
    .executeTakeFirst();
}

export async function findOwner(queries: Queries, slug: string): Promise<OwnerRow | undefined> {
  return queries.selectFrom("owners").selectAll().where("slug", "=", slug).executeTakeFirst();
}

export async function ensureMember(
  store: Store,
  person: { readonly subject: string; readonly name: string },
  ownerId: string,
): Promise<void> {
  await store.transaction().execute(async (transaction) => {
    await transaction
      .insertInto("people")
      .values({ subject: person.subject, name: person.name, created_at: Date.now() })
      .onConflict((conflict) => conflict.column("subject").doUpdateSet({ name: person.name }))
      .execute();
    await transaction
      .insertInto("memberships")
      .values({ person: person.subject, owner_id: ownerId })
      .onConflict((conflict) => conflict.doNothing())
      .execute();
  });
}

/** An owner, and what a person may do for it. */
export type OwnerOfPerson = OwnerRow & { role: Role };

/** What a source host said last about a person counts for so long while it gives no answer. */
export const ACCESS_GOOD_FOR_MS = 15 * 60_000;

/**
 * Owners the person may act for, by slug. For people of a remote host that is what the host said last, and nothing where that
 * is too long ago. `now`: milliseconds since the epoch.
 */
export async function ownersOf(
  queries: Queries,
  subject: string,
  now = Date.now(),
): Promise<OwnerOfPerson[]> {
  return queries
    .selectFrom("owners")
    .innerJoin("memberships", "memberships.owner_id", "owners.id")
    .leftJoin("person_grants", "person_grants.subject", "memberships.person")
    .where("memberships.person", "=", subject)
    .where((where) =>
      where.or([
        where("person_grants.subject", "is", null),
        where("person_grants.checked_at", ">", now - ACCESS_GOOD_FOR_MS),
      ]),
    )
    .selectAll("owners")
    .select("memberships.role")
    .orderBy("slug")
    .execute();
}

export async function countOwners(queries: Queries): Promise<number> {
  const row = await queries
    .selectFrom("owners")
    .select((select) => select.fn.countAll<number>().as("count"))
    .executeTakeFirstOrThrow();
  return Number(row.count);
}
