import { setTimeout as delay } from "node:timers/promises";
import type { Logger } from "../logger.ts";
import type { AuditSink } from "../ports/audit-sink/audit-sink.ts";
import { GrantRevoked, HostUnavailable } from "../ports/source-host/host-errors.ts";
import type { OwnerAccess, PersonGrant, RemoteHost } from "../ports/source-host/remote-host.ts";
import { ACCESS_GOOD_FOR_MS, type OwnerOfPerson, ownersOf } from "../ports/store/owners.ts";
import type { PersonGrantRow } from "../ports/store/schema.ts";
import type { Queries, Store } from "../ports/store/store.ts";
import type { Sealing } from "../sealing.ts";
import { LOCAL_PERSON } from "./caller.ts";
import { forgetTokensOfEdges } from "./credentials.ts";
import { applyAccess, type Cause, type Change, LOSS, NO_CHANGE, type Said } from "./membership-changes.ts";
import { MembershipRounds } from "./membership-rounds.ts";
import type { OpenStreams } from "./open-streams.ts";
import { type AccessChange, type PersonAbout, PersonGrants } from "./person-grants.ts";
import type { Sessions } from "./sessions.ts";

/** What a host said is asked again when it is older than this and somebody asks for something. */
const FRESH_FOR_MS = 45_000;
/** For people who ask nothing here but may be asking edges; with the time it takes, within a minute of the change. */
const LOOK_AGAIN_MS = 35_000;
const ROUND_MS = 5_000;
const FETCH_MS = 20_000;
/** A request waits for so long, and goes by what is known then. */
const WAIT_MS = 3_000;
/** A host that gave no answer is not asked again about the same person sooner. */
const PAUSE_MS = 10_000;

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

/**
 * Which owners people may act for, and as what: the source host's own word, kept for moments only. It is asked again while its
 * people are about, whenever a delivery says that something changed, and whenever a request finds that its last word is old.
 * What a person loses takes effect at once: rows, edges, and answers that are under way.
 */
export class Memberships implements AsyncDisposable {
  readonly #ports: MembershipPorts;
  readonly #now: () => number;
  readonly #grants: PersonGrants;
  readonly #rounds: MembershipRounds;
  readonly #underWay = new Map<string, Promise<void>>();
  /** Those about whom the host's last word is known not to count. */
  readonly #stale = new Set<string>();
  /** When a host that gave no answer may be asked again about a person. */
  readonly #pausedUntil = new Map<string, number>();
  /** Those whose edges were told that they may do nothing, since their host gave no answer for too long. */
  readonly #lapsed = new Set<string>();
  readonly #stop = new AbortController();

  constructor(ports: MembershipPorts) {
    this.#ports = ports;
    this.#now = ports.now ?? Date.now;
    this.#grants = new PersonGrants({ store: ports.store, sealing: ports.sealing, now: this.#now });
    this.#rounds = new MembershipRounds({
      grants: this.#grants,
      logger: ports.logger,
      roundMs: ports.roundMs ?? ROUND_MS,
      isDue: (person) => this.#isDue(person),
      ask: (subject) => this.refresh(subject),
    });
  }

  /** Goes on asking in the background until this is disposed. */
  start(): void {
    this.#rounds.start();
  }

  /**
   * Sees to it that what is known about the person is what the host says now; waits for that for a few seconds at most.
   * About the local person there is nobody to ask.
   */
  async ensure(subject: string, waitMs = this.#ports.waitMs ?? WAIT_MS): Promise<Standing> {
    if (subject === LOCAL_PERSON) return "current";
    const grant = await this.#grants.find(subject);
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
    const after = await this.#grants.find(subject);
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
   * The host says that who may do what changed. What was known counts no more when this resolves; for those who are about the
   * host is asked beside. Never rejects: where the store fails, what is known goes on counting for as long as ever.
   */
  async staleFor(changed: AccessChange): Promise<void> {
    try {
      for (const subject of await this.#grants.concerned(changed)) {
        this.#stale.add(subject);
        this.#pausedUntil.delete(subject);
      }
      this.#rounds.soon();
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
      await this.#grants.keep(transaction, subject, instance, said.grant);
      return this.#apply(transaction, { subject, instance, owners: said.owners, cause });
    });
    await this.#settled(subject, change);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#stop.abort();
    await this.#rounds[Symbol.asyncDispose]();
    await Promise.allSettled(this.#underWay.values());
  }

  /** While a host wants no questions it is asked none, and what it said last counts no longer for that. */
  async #isDue(person: PersonAbout): Promise<boolean> {
    const { subject, checked_at } = person;
    if (this.#isPaused(subject)) {
      if (!this.#isGood(person)) await this.#lapse(subject);
      return false;
    }
    return this.#stale.has(subject) || checked_at <= this.#now() - LOOK_AGAIN_MS;
  }

  /** Never rejects: whatever comes of it is in the store, or in the log. */
  async #ask(subject: string): Promise<void> {
    const grant = await this.#grants.find(subject).catch(() => undefined);
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

  async #fetch(grant: PersonGrantRow): Promise<Answer> {
    const signIn = this.#ports.hosts.find(grant.instance)?.signIn;
    if (!signIn) throw new HostUnavailable(`${grant.instance} is no host that people sign in with any more.`);
    const tooLate = AbortSignal.any([AbortSignal.timeout(FETCH_MS), this.#stop.signal]);
    return signIn.fetchAccess(this.#grants.open(grant), tooLate);
  }

  async #take(asked: PersonGrantRow, said: Answer): Promise<void> {
    const { subject, instance } = asked;
    const change = await this.#ports.store.transaction().execute(async (transaction) => {
      if (!(await this.#grants.renew(transaction, asked, said.grant))) return NO_CHANGE;
      return this.#apply(transaction, { subject, instance, owners: said.owners, cause: { actor: instance } });
    });
    await this.#settled(subject, change);
  }

  async #failed(asked: PersonGrantRow, error: unknown): Promise<void> {
    const { subject } = asked;
    if (error instanceof GrantRevoked) return this.#end(asked);
    if (this.#stop.signal.aborted) return;
    // Signed in anew meanwhile: what came of that is newer.
    if ((await this.#grants.find(subject))?.sealed !== asked.sealed) return;
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
  async #end(grant: PersonGrantRow): Promise<void> {
    const { subject, instance } = grant;
    const { store, audit, sessions } = this.#ports;
    const hasEnded = await store.transaction().execute(async (transaction) => {
      if (!(await this.#grants.remove(transaction, grant))) return false;
      const cause = { actor: instance };
      await audit.append(
        { ...cause, action: "session.revoke", object: subject, result: "signed out everywhere" },
        transaction,
      );
      await sessions.endAllWithin(transaction, subject);
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
    const change = await applyAccess(transaction, said, this.#ports.audit);
    await this.#replaceCredentials(transaction, said.subject, change);
    return change;
  }

  /** What the person holds says which owners are theirs: it is replaced, and where they may do less counts no more. */
  async #replaceCredentials(within: Queries, subject: string, change: Change): Promise<void> {
    if (!change.changed) return;
    await this.#ports.sessions.replaceTokens(within, subject, change);
    if (change.mayDoLess) await forgetTokensOfEdges(within, subject);
  }

  #isPaused(subject: string): boolean {
    return (this.#pausedUntil.get(subject) ?? 0) > this.#now();
  }

  #isFresh({ subject, checked_at }: PersonAbout): boolean {
    return !this.#stale.has(subject) && checked_at > this.#now() - FRESH_FOR_MS;
  }

  #isGood({ checked_at }: PersonAbout): boolean {
    return checked_at > this.#now() - ACCESS_GOOD_FOR_MS;
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

type Answer = Awaited<ReturnType<NonNullable<RemoteHost["signIn"]>["fetchAccess"]>>;
