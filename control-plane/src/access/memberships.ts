import { setTimeout as delay } from "node:timers/promises";
import { z } from "zod";
import type { Logger } from "../logger.ts";
import type { AuditSink } from "../ports/audit-sink/audit-sink.ts";
import { GrantRevoked, HostUnavailable } from "../ports/source-host/host-errors.ts";
import type { OwnerAccess, PersonGrant, RemoteHost } from "../ports/source-host/remote-host.ts";
import { ACCESS_GOOD_FOR_MS, type OwnerOfPerson, ownersOf } from "../ports/store/owners.ts";
import type { PersonGrantRow } from "../ports/store/schema.ts";
import type { Queries, Store } from "../ports/store/store.ts";
import { higher, type Role } from "../role.ts";
import type { Sealing } from "../sealing.ts";
import { LOCAL_PERSON } from "./caller.ts";
import { forgetTokensOfEdges } from "./credentials.ts";
import type { OpenStreams } from "./open-streams.ts";
import type { Sessions } from "./sessions.ts";

/** What a host said is asked again when it is older than this and somebody asks for something. */
const FRESH_FOR_MS = 45_000;
/** For people who ask nothing here but may be asking edges; with the time it takes, within a minute of the change. */
const LOOK_AGAIN_MS = 35_000;
const ROUND_MS = 5_000;
/** Of one host. */
const AT_ONCE = 8;
const MOST_IN_ROUND = 1_000;
const FETCH_MS = 20_000;
/** A request waits for so long, and goes by what is known then. */
const WAIT_MS = 3_000;
/** A host that gave no answer is not asked again about the same person sooner. */
const PAUSE_MS = 10_000;
/** Access tokens used within this time count as in use: their person is looked after as one with a session. */
const IN_USE_MS = 15 * 60_000;
/** More owners than one person has; what is beyond is not counted. */
const MOST_OWNERS = 1_000;

const Grant = z.object({
  accessToken: z.string(),
  refreshToken: z.string().optional(),
  expiresAt: z.number().optional(),
});

/** What is known about what a person may do. */
export type Standing =
  /** It is what the host said lately, or needs no host. */
  | "current"
  /** The host is being asked, or gives no answer; what it said last counts where that is not too long ago. */
  | "last-known"
  /** Nothing is known that still counts, and the host has not answered yet. */
  | "unknown"
  /** The grant was taken back: nobody vouches for the person, whatever they were, until they sign in anew. */
  | "ended";

/** An act that changed who may do what, for the audit. */
export interface Cause {
  /** Subject, or the instance whose word it is. */
  readonly actor: string;
  readonly address?: string | undefined;
}

/**
 * Which owners people may act for, and as what: the source host's own word, kept for moments only. It is asked again while its
 * people are about, whenever a delivery says that something changed, and whenever a request finds that its last word is old.
 * What a person loses takes effect at once: rows, edges, and answers that are under way.
 */
export class Memberships implements AsyncDisposable {
  readonly #ports: MembershipPorts;
  readonly #now: () => number;
  readonly #underWay = new Map<string, Promise<void>>();
  /** Those about whom the host's last word is known not to count. */
  readonly #stale = new Set<string>();
  /** When a host that gave no answer may be asked again about a person. */
  readonly #pausedUntil = new Map<string, number>();
  /** Those whose edges were told that they may do nothing, since their host gave no answer for too long. */
  readonly #lapsed = new Set<string>();
  /** Hosts that are asked about their people now. */
  readonly #asked = new Map<string, Promise<void>>();
  readonly #stop = new AbortController();
  /** Ends the pause between two rounds. */
  #wake = Promise.withResolvers<void>();
  #rounds: Promise<void> = Promise.resolve();

  constructor(ports: MembershipPorts) {
    this.#ports = ports;
    this.#now = ports.now ?? Date.now;
  }

  /** Goes on asking in the background until this is disposed. */
  start(): void {
    this.#rounds = this.#goOn();
  }

  /**
   * Sees to it that what is known about the person is what the host says now; waits for that for a few seconds at most.
   * About the local person there is nobody to ask.
   */
  async ensure(subject: string, waitMs = this.#ports.waitMs ?? WAIT_MS): Promise<Standing> {
    if (subject === LOCAL_PERSON) return "current";
    const grant = await this.#grantOf(subject);
    if (!grant) return "ended";
    if (this.#isFresh(grant)) return "current";
    if (!this.#isPaused(subject)) {
      const waited = new AbortController();
      await Promise.race([
        this.refresh(subject),
        delay(waitMs, undefined, { signal: waited.signal }).catch(() => undefined),
      ]);
      waited.abort();
    }
    const after = await this.#grantOf(subject);
    if (!after) return "ended";
    if (this.#isFresh(after)) return "current";
    return this.#isGood(after) || this.#isPaused(subject) ? "last-known" : "unknown";
  }

  /** Owners the person may act for by what is known now, by slug. */
  ownersOf(subject: string): Promise<OwnerOfPerson[]> {
    return ownersOf(this.#ports.store, subject, this.#now());
  }

  /** Asks the host about the person; what is under way already is waited for, and asked anew where it began too early. */
  async refresh(subject: string): Promise<void> {
    const before = this.#underWay.get(subject);
    if (before !== undefined) {
      await before;
      if (!this.#stale.has(subject) || this.#isPaused(subject)) return;
      const next = this.#underWay.get(subject);
      if (next !== undefined) return next;
    }
    const asking = this.#ask(subject).finally(() => this.#underWay.delete(subject));
    this.#underWay.set(subject, asking);
    return asking;
  }

  /**
   * The host says that who may do what changed, for this person (the host's id of the account), for all of this owner (likewise)
   * or for everybody. What was known counts no more when this resolves; for those who are about the host is asked beside. Never
   * rejects: where the store fails, what is known goes on counting for as long as ever.
   */
  async staleFor(changed: {
    readonly instance: string;
    readonly person?: string | undefined;
    readonly owner?: string | undefined;
  }): Promise<void> {
    try {
      for (const subject of await this.#concerned(changed)) {
        this.#stale.add(subject);
        this.#pausedUntil.delete(subject);
      }
      this.#wake.resolve();
    } catch (error) {
      this.#ports.logger.error({ err: error }, "memberships could not be marked as changed");
    }
  }

  /** Keeps what somebody who signed in may do, and the grant to ask by from now on. */
  async keep(
    subject: string,
    instance: string,
    said: { readonly grant: PersonGrant; readonly owners: readonly OwnerAccess[] },
    cause: Cause,
  ): Promise<void> {
    const change = await this.#ports.store.transaction().execute(async (transaction) => {
      const kept = { instance, sealed: this.#seal(subject, said.grant), checked_at: this.#now() };
      await transaction
        .insertInto("person_grants")
        .values({ subject, ...kept })
        .onConflict((conflict) => conflict.column("subject").doUpdateSet(kept))
        .execute();
      return this.#apply(transaction, { subject, instance, owners: said.owners, cause });
    });
    await this.#settled(subject, change);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#stop.abort();
    this.#wake.resolve();
    await this.#rounds;
    await Promise.all(this.#asked.values());
    await Promise.allSettled(this.#underWay.values());
  }

  async #goOn(): Promise<void> {
    const { signal } = this.#stop;
    while (!signal.aborted) {
      this.#wake = Promise.withResolvers<void>();
      await this.#lookAfter().catch((error: unknown) =>
        this.#ports.logger.error({ err: error }, "memberships could not be looked at; trying again"),
      );
      const pause = AbortSignal.any([signal, AbortSignal.timeout(this.#ports.roundMs ?? ROUND_MS)]);
      await Promise.race([this.#wake.promise, aborted(pause)]);
    }
  }

  /**
   * Asks about everybody who is about and whose host was not asked lately. Each host apart from the others, so that one which
   * is silent keeps nobody of another waiting.
   */
  async #lookAfter(): Promise<void> {
    const rows = await this.#ports.store.selectFrom("person_grants").select("instance").distinct().execute();
    for (const { instance } of rows) {
      if (this.#asked.has(instance)) continue;
      const people = await this.#peopleAbout(instance);
      await this.#lapsePaused(people);
      const asking = this.#askAbout(people).finally(() => this.#asked.delete(instance));
      this.#asked.set(instance, asking);
    }
  }

  /** Never rejects. */
  async #askAbout(people: readonly PersonAbout[]): Promise<void> {
    const waiting = people
      .filter(({ subject }) => !this.#isPaused(subject))
      .filter((one) => this.#stale.has(one.subject) || one.checked_at <= this.#now() - LOOK_AGAIN_MS)
      .map(({ subject }) => subject)
      .reverse();
    const askNext = async () => {
      for (let next = waiting.pop(); next !== undefined; next = waiting.pop()) {
        if (this.#stop.signal.aborted) return;
        await this.refresh(next);
      }
    };
    await Promise.all(Array.from({ length: AT_ONCE }, askNext));
  }

  /** Nobody is asked about them for as long as their host wants, and what it said last counts no longer for that. */
  async #lapsePaused(people: readonly PersonAbout[]): Promise<void> {
    for (const one of people)
      if (this.#isPaused(one.subject) && !this.#isGood(one)) await this.#lapse(one.subject);
  }

  /** Those that were asked about longest ago first. */
  async #peopleAbout(instance: string): Promise<PersonAbout[]> {
    const now = this.#now();
    const { store } = this.#ports;
    return store
      .selectFrom("person_grants")
      .select(["subject", "checked_at"])
      .where("instance", "=", instance)
      .where((where) =>
        where.or([
          where.exists(
            where
              .selectFrom("sessions")
              .select("jti")
              .whereRef("sessions.subject", "=", "person_grants.subject")
              .where("expires_at", ">", now),
          ),
          where.exists(
            where
              .selectFrom("access_tokens")
              .select("id")
              .whereRef("access_tokens.subject", "=", "person_grants.subject")
              .where("last_used_at", ">", now - IN_USE_MS),
          ),
        ]),
      )
      .orderBy("checked_at")
      .limit(MOST_IN_ROUND)
      .execute();
  }

  /** Never rejects: whatever comes of it is in the store, or in the log. */
  async #ask(subject: string): Promise<void> {
    const grant = await this.#grantOf(subject).catch(() => undefined);
    if (!grant) return;
    // A delivery that comes from here on may be about what the answer does not know yet.
    const wasStale = this.#stale.delete(subject);
    try {
      await this.#take(grant, await this.#fetch(grant));
    } catch (error) {
      if (wasStale) this.#stale.add(subject);
      await this.#failed(grant, error).catch((failure: unknown) =>
        this.#ports.logger.error({ err: failure, subject }, "a membership could not be ended"),
      );
    }
  }

  async #fetch(grant: PersonGrantRow): ReturnType<RemoteSignIn["fetchAccess"]> {
    const signIn = this.#ports.hosts.find(grant.instance)?.signIn;
    if (!signIn) throw new HostUnavailable(`${grant.instance} is no host that people sign in with any more.`);
    const tooLate = AbortSignal.any([AbortSignal.timeout(FETCH_MS), this.#stop.signal]);
    return signIn.fetchAccess(this.#open(grant), tooLate);
  }

  async #take(asked: PersonGrantRow, said: Awaited<ReturnType<RemoteSignIn["fetchAccess"]>>): Promise<void> {
    const { subject, instance } = asked;
    const change = await this.#ports.store.transaction().execute(async (transaction) => {
      const kept = await transaction
        .updateTable("person_grants")
        .set({ sealed: this.#seal(subject, said.grant), checked_at: this.#now() })
        .where("subject", "=", subject)
        .where("sealed", "=", asked.sealed)
        .returning("subject")
        .executeTakeFirst();
      // Signed in anew meanwhile: what came of that is newer.
      if (!kept) return NO_CHANGE;
      return this.#apply(transaction, { subject, instance, owners: said.owners, cause: { actor: instance } });
    });
    await this.#settled(subject, change);
  }

  async #failed(asked: PersonGrantRow, error: unknown): Promise<void> {
    const { subject } = asked;
    if (error instanceof GrantRevoked) return this.#end(asked);
    if (this.#stop.signal.aborted) return;
    const retryAfterMs = error instanceof HostUnavailable ? error.retryAfterMs : undefined;
    this.#pausedUntil.set(subject, this.#now() + Math.max(PAUSE_MS, retryAfterMs ?? 0));
    const log = { err: error, subject };
    if (error instanceof HostUnavailable) this.#ports.logger.warn(log, "what a person may do is not known");
    else this.#ports.logger.error(log, "what a person may do could not be asked");
    if (!this.#isGood(asked)) await this.#lapse(subject);
  }

  /** The last word is too old to count: edges, which were told it, are told so. */
  async #lapse(subject: string): Promise<void> {
    if (this.#lapsed.has(subject)) return;
    await this.#ports.store
      .transaction()
      .execute((transaction) => this.#replaceCredentials(transaction, subject, LOSS));
    this.#lapsed.add(subject);
    await this.#tell(subject, LOSS);
  }

  /** The person or the host took the grant back: nobody can tell any more what they may do. */
  async #end({ subject, instance, sealed }: PersonGrantRow): Promise<void> {
    const hasEnded = await this.#ports.store.transaction().execute(async (transaction) => {
      const gone = await transaction
        .deleteFrom("person_grants")
        .where("subject", "=", subject)
        .where("sealed", "=", sealed)
        .returning("subject")
        .executeTakeFirst();
      if (!gone) return false;
      const cause = { actor: instance };
      await this.#ports.audit.append(
        { ...cause, action: "session.revoke", object: subject, result: "signed out everywhere" },
        transaction,
      );
      await this.#ports.sessions.endAllWithin(transaction, subject);
      const { mayDoLess } = await this.#apply(transaction, { subject, instance, owners: [], cause });
      if (!mayDoLess) await forgetTokensOfEdges(transaction, subject);
      return true;
    });
    if (hasEnded) await this.#settled(subject, LOSS);
  }

  async #settled(subject: string, change: Change): Promise<void> {
    this.#pausedUntil.delete(subject);
    const wasLapsed = this.#lapsed.delete(subject);
    // Its tokens say that they may do nothing.
    if (wasLapsed && !change.changed)
      await this.#replaceCredentials(this.#ports.store, subject, { mayDoLess: false, changed: true });
    await this.#tell(subject, change);
  }

  async #tell(subject: string, { changed, mayDoLess }: Change): Promise<void> {
    if (changed) this.#ports.streams.cut(subject);
    if (mayDoLess) await this.#ports.sessions.tellEdges();
  }

  async #apply(transaction: Queries, said: Said): Promise<Change> {
    const before = await membershipsAt(transaction, said.subject, said.instance);
    const after = await knownOwners(transaction, said.instance, said.owners);
    const ids = new Set([...before.keys(), ...after.keys()]);
    let change = NO_CHANGE;
    for (const ownerId of ids) {
      const was = before.get(ownerId);
      const is = after.get(ownerId);
      if (was?.role === is?.role) continue;
      await this.#setRole(transaction, said, { ownerId, was, is });
      change = { changed: true, mayDoLess: change.mayDoLess || is === undefined };
    }
    await this.#replaceCredentials(transaction, said.subject, change);
    return change;
  }

  async #setRole(
    transaction: Queries,
    { subject, cause }: Said,
    {
      ownerId,
      was,
      is,
    }: { readonly ownerId: string; readonly was: Member | undefined; readonly is: Member | undefined },
  ): Promise<void> {
    if (is === undefined) {
      await transaction
        .deleteFrom("memberships")
        .where("person", "=", subject)
        .where("owner_id", "=", ownerId)
        .execute();
    } else {
      const { role } = is;
      await transaction
        .insertInto("memberships")
        .values({ person: subject, owner_id: ownerId, role })
        .onConflict((conflict) => conflict.columns(["person", "owner_id"]).doUpdateSet({ role }))
        .execute();
    }
    await this.#ports.audit.append(
      {
        actor: cause.actor,
        address: cause.address,
        action: "membership.change",
        object: `${subject} at ${(is ?? was)?.slug}`,
        result: is === undefined ? "no member any more" : is.role,
        ownerId,
        details: { before: was?.role ?? null, after: is?.role ?? null },
      },
      transaction,
    );
  }

  /** What the person holds says which owners are theirs: it is replaced, and where they may do less counts no more. */
  async #replaceCredentials(within: Queries, subject: string, change: Change): Promise<void> {
    if (!change.changed) return;
    await this.#ports.sessions.replaceTokens(within, subject, change);
    if (change.mayDoLess) await forgetTokensOfEdges(within, subject);
  }

  async #concerned({
    instance,
    person,
    owner,
  }: Parameters<Memberships["staleFor"]>[0]): Promise<readonly string[]> {
    let query = this.#ports.store
      .selectFrom("person_grants")
      .select("person_grants.subject")
      .where("instance", "=", instance);
    if (person !== undefined) query = query.where("subject", "=", subjectOf(instance, person));
    else if (owner !== undefined) {
      query = query.where((where) =>
        where.exists(
          where
            .selectFrom("memberships")
            .innerJoin("owners", "owners.id", "memberships.owner_id")
            .select("owners.id")
            .whereRef("memberships.person", "=", "person_grants.subject")
            .where("owners.source_host", "=", instance)
            .where("owners.source_owner_id", "=", owner),
        ),
      );
    }
    return (await query.execute()).map(({ subject }) => subject);
  }

  #grantOf(subject: string): Promise<PersonGrantRow | undefined> {
    return this.#ports.store
      .selectFrom("person_grants")
      .selectAll()
      .where("subject", "=", subject)
      .executeTakeFirst();
  }

  #isPaused(subject: string): boolean {
    return (this.#pausedUntil.get(subject) ?? 0) > this.#now();
  }

  #isFresh({ subject, checked_at }: PersonGrantRow): boolean {
    return !this.#stale.has(subject) && checked_at > this.#now() - FRESH_FOR_MS;
  }

  #isGood({ checked_at }: Pick<PersonGrantRow, "checked_at">): boolean {
    return checked_at > this.#now() - ACCESS_GOOD_FOR_MS;
  }

  #seal(subject: string, grant: PersonGrant): string {
    return this.#ports.sealing.seal(["person-grant", subject], JSON.stringify(grant));
  }

  #open({ subject, sealed }: PersonGrantRow): PersonGrant {
    const grant = Grant.parse(JSON.parse(this.#ports.sealing.open(["person-grant", subject], sealed)));
    return {
      accessToken: grant.accessToken,
      refreshToken: grant.refreshToken,
      expiresAt: grant.expiresAt,
    };
  }
}

export interface MembershipPorts {
  readonly store: Store;
  readonly sealing: Sealing;
  readonly hosts: { find(instance: string): RemoteHost | undefined };
  readonly sessions: Sessions;
  readonly streams: OpenStreams;
  readonly audit: AuditSink;
  readonly logger: Logger;
  /** Milliseconds since the epoch. */
  readonly now?: () => number;
  readonly waitMs?: number;
  readonly roundMs?: number;
}

type RemoteSignIn = NonNullable<RemoteHost["signIn"]>;

type PersonAbout = Pick<PersonGrantRow, "subject" | "checked_at">;

interface Said {
  readonly subject: string;
  readonly instance: string;
  readonly owners: readonly OwnerAccess[];
  readonly cause: Cause;
}

interface Member {
  readonly role: Role;
  readonly slug: string;
}

interface Change {
  readonly changed: boolean;
  /** An owner is the person's no more. */
  readonly mayDoLess: boolean;
}

const NO_CHANGE: Change = { changed: false, mayDoLess: false };
const LOSS: Change = { changed: true, mayDoLess: true };

/** How a person of a source host is known here. */
export function subjectOf(instance: string, sourceId: string): string {
  return `${instance}:${sourceId}`;
}

function aborted(signal: AbortSignal): Promise<void> {
  if (signal.aborted) return Promise.resolve();
  return new Promise((resolve) => signal.addEventListener("abort", () => resolve(), { once: true }));
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
