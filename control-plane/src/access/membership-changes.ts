import type { AuditSink } from "../ports/audit-sink/audit-sink.ts";
import type { OwnerAccess } from "../ports/source-host/remote-host.ts";
import type { Queries } from "../ports/store/store.ts";
import { higher, type Role } from "../role.ts";

/** More owners than one person has; what is beyond is not counted. */
const MOST_OWNERS = 1_000;

/** An act that changed who may do what, for the audit. */
export interface Cause {
  /** Subject, or the instance whose word it is. */
  readonly actor: string;
  readonly address?: string | undefined;
}

/** What a host said about a person: all the owners there that are theirs. */
export interface Said {
  readonly subject: string;
  readonly instance: string;
  readonly owners: readonly OwnerAccess[];
  readonly cause: Cause;
}

export interface Change {
  readonly changed: boolean;
  /** An owner is the person's no more. */
  readonly mayDoLess: boolean;
}

export const NO_CHANGE: Change = { changed: false, mayDoLess: false };
export const LOSS: Change = { changed: true, mayDoLess: true };

interface Member {
  readonly role: Role;
  readonly slug: string;
}

/** Makes the person's memberships at the host's owners what it said, each change with its audit event. */
export async function applyAccess(transaction: Queries, said: Said, audit: AuditSink): Promise<Change> {
  const before = await membershipsAt(transaction, said.subject, said.instance);
  const after = await knownOwners(transaction, said.instance, said.owners);
  const ids = new Set([...before.keys(), ...after.keys()]);
  let change = NO_CHANGE;
  for (const ownerId of ids) {
    const was = before.get(ownerId);
    const is = after.get(ownerId);
    if (was?.role === is?.role) continue;
    await storeRole(transaction, said.subject, ownerId, is?.role);
    await audit.append(eventOf(said, ownerId, was, is), transaction);
    change = { changed: true, mayDoLess: change.mayDoLess || is === undefined };
  }
  return change;
}

async function storeRole(
  transaction: Queries,
  person: string,
  ownerId: string,
  role: Role | undefined,
): Promise<void> {
  if (role === undefined) {
    await transaction
      .deleteFrom("memberships")
      .where("person", "=", person)
      .where("owner_id", "=", ownerId)
      .execute();
    return;
  }
  await transaction
    .insertInto("memberships")
    .values({ person, owner_id: ownerId, role })
    .onConflict((conflict) => conflict.columns(["person", "owner_id"]).doUpdateSet({ role }))
    .execute();
}

function eventOf(
  { subject, cause }: Said,
  ownerId: string,
  was: Member | undefined,
  is: Member | undefined,
): Parameters<AuditSink["append"]>[0] {
  return {
    actor: cause.actor,
    address: cause.address,
    action: "membership.change",
    object: `${subject} at ${(is ?? was)?.slug}`,
    result: is === undefined ? "no member any more" : is.role,
    ownerId,
    details: { before: was?.role ?? null, after: is?.role ?? null },
  };
}

async function membershipsAt(
  queries: Queries,
  subject: string,
  instance: string,
): Promise<Map<string, Member>> {
  const rows = await queries
    .selectFrom("memberships")
    .innerJoin("owners", "owners.id", "memberships.owner_id")
    .select(["owners.id", "owners.slug", "memberships.role"])
    .where("memberships.person", "=", subject)
    .where("owners.source_host", "=", instance)
    .execute();
  return new Map(rows.map(({ id, slug, role }) => [id, { slug, role }]));
}

/** Those of the owners that are linked here, by our own ids. An owner that is named twice is had at its higher role. */
async function knownOwners(
  queries: Queries,
  instance: string,
  owners: readonly OwnerAccess[],
): Promise<Map<string, Member>> {
  const roles = new Map<string, Role>();
  for (const { owner, role } of owners.slice(0, MOST_OWNERS)) {
    roles.set(owner.sourceId, higher(role, roles.get(owner.sourceId) ?? role));
  }
  if (roles.size === 0) return new Map();
  const rows = await queries
    .selectFrom("owners")
    .select(["id", "slug", "source_owner_id"])
    .where("source_host", "=", instance)
    .where("source_owner_id", "in", [...roles.keys()])
    .execute();
  return new Map(
    rows.map(({ id, slug, source_owner_id }) => [id, { slug, role: roles.get(source_owner_id) ?? "viewer" }]),
  );
}
