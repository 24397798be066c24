import type { Logger } from "../logger.ts";
import type { AuditSink } from "../ports/audit-sink/audit-sink.ts";
import { KeyedQueue } from "../ports/source-host/keyed-queue.ts";
import type {
  OwnerFacts,
  RemoteHost,
  RepositoryFacts,
  RepositoryState,
} from "../ports/source-host/remote-host.ts";
import type { SourceKey } from "../ports/source-host/source-host.ts";
import { enrolOwner, findOwnerBySource } from "../ports/store/owners.ts";
import {
  confirmRepositories,
  findRepositoryBySource,
  isOutdated,
  type LinkChange,
  linkRepository,
  listLinked,
  type NamedRepository,
  unlinkRepository,
} from "../ports/store/repositories.ts";
import type { OwnerRow } from "../ports/store/schema.ts";
import type { Store } from "../ports/store/store.ts";
import { openLinkAudit } from "./link-audit.ts";
import type { Gone, RemovalBrake, Scope } from "./removal-brake.ts";

const NOT_GIVEN = "The installation does not give access to it any more.";
const NOT_LISTED = "The host does not list it any more.";

/**
 * Keeps what is linked here as the source hosts say it is. Everything is asked for by id, and an answer to an earlier question
 * never replaces one to a later question. A host that gives no answer changes nothing: what it throws passes through.
 */
export interface Links {
  /**
   * One repository, whatever was said to have happened to it. What the host says of it holds at once, unless that is held back.
   * Where it was only `pushed` to, nobody said that it went: that is left to a reading of the host, with the brake. Otherwise a
   * credential that lost its reach would take away whatever is pushed to.
   */
  look(host: RemoteHost, key: SourceKey, signal: AbortSignal, said?: "changed" | "pushed"): Promise<Looked>;
  /** Everything that an installation gives access to. What would take too much away at once is held back. */
  lookAtInstallation(host: RemoteHost, installation: string, signal: AbortSignal): Promise<readonly Looked[]>;
  /**
   * Everything of the host. What it does not list any more is asked for by id, and goes only where the host says so, and not
   * too much at once. @returns what is linked.
   */
  lookAtHost(host: RemoteHost, signal: AbortSignal): Promise<readonly Listed[]>;
}

export type Looked =
  | {
      readonly kind: "linked";
      readonly repository: NamedRepository;
      /** It was not linked until now. */
      readonly isNew: boolean;
    }
  | { readonly kind: "not-linked"; readonly reason: string };

export interface Listed {
  readonly repository: NamedRepository;
  /** As the host's list has it. */
  readonly pushedAt: number | undefined;
}

export interface LinkPorts {
  readonly store: Store;
  readonly audit: AuditSink;
  readonly brake: RemovalBrake;
  readonly logger: Logger;
  /** Whether the operator lets this owner deploy. Rejects where that is not known. */
  readonly isAllowed: (asked: { readonly instance: string; readonly owner: OwnerFacts }) => Promise<boolean>;
  /** Why the platform cannot serve this owner, `undefined` for one that is new to it, besides those it serves; `undefined` where it can. */
  readonly mayEnrol: (ownerId: string | undefined) => Promise<string | undefined>;
  /** There is an owner more. */
  readonly onOwnersChanged: () => Promise<unknown>;
  /** Brings what is deployed in line with what is linked, of these repositories. */
  readonly settle: (repositoryIds: readonly string[]) => Promise<void>;
  readonly now?: () => number;
  /** At least 0, less than 1. */
  readonly random?: () => number;
}

/** What came of what the host says of one repository, and of which repositories functions come or go by that. */
type Taken = { readonly looked: Looked; readonly changed: readonly string[] };

export function openLinks(ports: LinkPorts): Links {
  const { store, brake } = ports;
  const now = ports.now ?? Date.now;
  const turns = new KeyedQueue();
  const linkAudit = openLinkAudit(ports.audit);

  async function look(
    host: RemoteHost,
    key: SourceKey,
    signal: AbortSignal,
    said: "changed" | "pushed" = "changed",
  ): Promise<Looked> {
    const work = async () => {
      const askedAt = now();
      const state = await askAsLinked(host, key, signal);
      if (state.kind === "linked") return take(host.instance, state.facts, askedAt);
      if (said === "pushed") return notLinked(state.reason);
      return dropKnown(host.instance, key.id, state.reason, askedAt);
    };
    const taken = await turns.run(`${host.instance} ${key.id}`, work, signal);
    await settle(taken.changed);
    return taken.looked;
  }

  async function lookAtInstallation(
    host: RemoteHost,
    installation: string,
    signal: AbortSignal,
  ): Promise<readonly Looked[]> {
    const { instance } = host;
    const askedAt = now();
    const state = await host.fetchInstallation(installation, signal);
    const listed = state.kind === "installed" ? state.repositories : [];
    const { taken, refused } = await takeAll(instance, listed, askedAt);
    const missing = (await missingFrom(instance, listed, askedAt)).filter(
      (row) => row.installation === installation,
    );
    const reason = state.kind === "removed" ? state.reason : NOT_GIVEN;
    const gone = [...refused, ...missing.map((repository) => ({ repository, reason, askedAt }))];
    const isRemoved = state.kind === "removed";
    const dropped = await dropAll(instance, { kind: "installation", installation, isRemoved }, gone);
    await settle([...taken, ...dropped].flatMap(({ changed }) => changed));
    return [...taken, ...dropped].map(({ looked }) => looked);
  }

  async function lookAtHost(host: RemoteHost, signal: AbortSignal): Promise<readonly Listed[]> {
    const { instance } = host;
    const askedAt = now();
    const listed = await host.listRepositories(signal);
    const { taken, refused } = await takeAll(instance, listed, askedAt);
    const missing = await missingFrom(instance, listed, askedAt);
    const asked = await askForMissing(host, missing, signal);
    const dropped = await dropAll(instance, { kind: "host" }, [...refused, ...asked.gone]);
    await settle([...taken, ...asked.taken, ...dropped].flatMap(({ changed }) => changed));
    if (asked.failure) throw asked.failure.error;
    const pushedAt = new Map(listed.map(({ key, pushedAt }) => [key.id, pushedAt]));
    const linked = await listLinked(store, instance);
    return linked.map((repository) => ({ repository, pushedAt: pushedAt.get(repository.source_id ?? "") }));
  }

  /** The repository as it is now; one of an owner who may not deploy is not linked. */
  async function ask(host: RemoteHost, key: SourceKey, signal: AbortSignal): Promise<RepositoryState> {
    const state = await host.fetchRepository(key, signal);
    if (state.kind === "unlinked") return state;
    const { owner } = state.facts;
    const isAllowed = await ports.isAllowed({ instance: host.instance, owner });
    return isAllowed ? state : { kind: "unlinked", reason: notEnrolled(owner) };
  }

  /**
   * A delivery that is late names an installation that is over: the repository was transferred since, or the App installed anew.
   * That says nothing of the installation by which it is linked.
   */
  async function askAsLinked(
    host: RemoteHost,
    key: SourceKey,
    signal: AbortSignal,
  ): Promise<RepositoryState> {
    const state = await ask(host, key, signal);
    if (state.kind === "linked") return state;
    const row = await findRepositoryBySource(store, host.instance, key.id);
    const installation = row?.installation ?? undefined;
    if (row?.unlinked_at !== null || installation === key.installation) return state;
    return ask(host, { id: key.id, installation }, signal);
  }

  /** What is linked and not among these, unless the host was asked for it since. */
  async function missingFrom(instance: string, listed: readonly RepositoryFacts[], askedAt: number) {
    const ids = new Set<string | null>(listed.map(({ key }) => key.id));
    const linked = await listLinked(store, instance);
    return linked.filter((row) => !ids.has(row.source_id) && !isOutdated(row, askedAt));
  }

  /**
   * What a list lacks may be a fault of the list, so each is asked for. Nobody is asked for what would be held back in any case.
   * In any order, so that one that the host fails to answer for does not keep the others from their turn for ever.
   */
  async function askForMissing(host: RemoteHost, missing: readonly NamedRepository[], signal: AbortSignal) {
    const held = await brake.heldAt(host.instance);
    const unsure = new Map(missing.map((row) => [row.id, row]));
    const gone: Gone[] = [];
    const taken: Taken[] = [];
    let failure: { readonly error: unknown } | undefined;
    for (const row of shuffled(
      missing.filter(({ id }) => !held.has(id)),
      ports.random ?? Math.random,
    )) {
      const askedAt = now();
      const key = { id: row.source_id ?? "", installation: row.installation ?? undefined };
      try {
        const state = await ask(host, key, signal);
        if (state.kind === "linked") taken.push(await take(host.instance, state.facts, askedAt));
        else gone.push({ repository: row, reason: state.reason, askedAt });
        unsure.delete(row.id);
      } catch (error) {
        failure = { error };
        break;
      }
    }
    for (const repository of unsure.values())
      gone.push({ repository, reason: NOT_LISTED, askedAt: undefined });
    return { gone, taken, failure };
  }

  /** What is as it was costs one statement for all. What one repository's facts break is logged and does not stop the others. */
  async function takeAll(instance: string, listed: readonly RepositoryFacts[], askedAt: number) {
    const isAllowed = await allowedOwners(instance, listed);
    const known = new Map((await listLinked(store, instance)).map((row) => [row.source_id, row]));
    const owners = await ownersById(instance);
    const unchanged: NamedRepository[] = [];
    const taken: Taken[] = [];
    const refused: Gone[] = [];
    for (const facts of listed) {
      const row = known.get(facts.key.id);
      if (!isAllowed.get(facts.owner.sourceId)) {
        const reason = notEnrolled(facts.owner);
        if (row === undefined) taken.push(notLinked(reason));
        else if (!isOutdated(row, askedAt)) refused.push({ repository: row, reason, askedAt });
      } else if (row && isSame(row, owners.get(row.owner_id), facts)) {
        unchanged.push(row);
        taken.push({ looked: { kind: "linked", repository: row, isNew: false }, changed: [] });
      } else {
        try {
          taken.push(await take(instance, facts, askedAt));
        } catch (error) {
          ports.logger.error({ err: error, instance, repository: facts.fullName }, "it could not be linked");
        }
      }
    }
    await confirmRepositories(
      store,
      unchanged.map(({ id }) => id),
      askedAt,
    );
    return { taken, refused };
  }

  async function allowedOwners(instance: string, listed: readonly RepositoryFacts[]) {
    const owners = new Map(listed.map(({ owner }) => [owner.sourceId, owner]));
    const allowed = new Map<string, boolean>();
    for (const [sourceId, owner] of owners) allowed.set(sourceId, await ports.isAllowed({ instance, owner }));
    return allowed;
  }

  async function ownersById(instance: string): Promise<ReadonlyMap<string, OwnerRow>> {
    const rows = await store.selectFrom("owners").selectAll().where("source_host", "=", instance).execute();
    return new Map(rows.map((row) => [row.id, row]));
  }

  /** One new owner after the other, since each may be the last that the platform can serve. */
  async function take(instance: string, facts: RepositoryFacts, askedAt: number): Promise<Taken> {
    const known = await findOwnerBySource(store, instance, facts.owner.sourceId);
    return known
      ? takeOf(known, instance, facts, askedAt)
      : turns.run("a new owner", async () => {
          const faster = await findOwnerBySource(store, instance, facts.owner.sourceId);
          return takeOf(faster, instance, facts, askedAt);
        });
  }

  async function takeOf(
    known: OwnerRow | undefined,
    instance: string,
    facts: RepositoryFacts,
    askedAt: number,
  ): Promise<Taken> {
    const refusal = await ports.mayEnrol(known?.id);
    if (refusal !== undefined) return notLinked(refusal);
    const { enrolled, change } = await store.transaction().execute(async (transaction) => {
      const enrolled = await enrolOwner(transaction, { instance, facts: facts.owner });
      const change = await linkRepository(transaction, enrolled.owner, facts, { askedAt, now: now() });
      await linkAudit.enrolled(transaction, instance, enrolled);
      await linkAudit.linked(transaction, instance, enrolled.owner, change);
      return { enrolled, change };
    });
    if (enrolled.before === undefined) await tellOfOwner();
    return takenOf(change, enrolled.owner);
  }

  async function tellOfOwner(): Promise<void> {
    try {
      await ports.onOwnersChanged();
    } catch (error) {
      ports.logger.error({ err: error }, "the edges could not be told of a new owner");
    }
  }

  async function dropKnown(
    instance: string,
    sourceId: string,
    reason: string,
    askedAt: number,
  ): Promise<Taken> {
    const row = await findRepositoryBySource(store, instance, sourceId);
    if (row === undefined) return notLinked(reason);
    const isHeld = (await brake.heldAt(instance)).has(row.id);
    return isHeld ? held(reason) : drop(instance, row, reason, askedAt);
  }

  async function dropAll(instance: string, scope: Scope, gone: readonly Gone[]): Promise<readonly Taken[]> {
    return turns.run(`removals ${instance}`, async () => {
      const going = new Set(await brake.judge(instance, scope, gone));
      const taken: Taken[] = [];
      for (const one of gone) {
        const { repository, reason, askedAt } = one;
        if (going.has(one) && askedAt !== undefined)
          taken.push(await drop(instance, repository, reason, askedAt));
        else taken.push(held(reason));
      }
      return taken;
    });
  }

  async function drop(
    instance: string,
    { id }: NamedRepository,
    reason: string,
    askedAt: number,
  ): Promise<Taken> {
    const before = await store.transaction().execute(async (transaction) => {
      const row = await unlinkRepository(transaction, id, reason, { askedAt, now: now() });
      if (row) await linkAudit.unlinked(transaction, instance, row, reason);
      return row;
    });
    return { ...notLinked(reason), changed: before === undefined ? [] : [id] };
  }

  async function settle(changed: readonly string[]): Promise<void> {
    if (changed.length > 0) await ports.settle([...new Set(changed)]);
  }

  return { look, lookAtInstallation, lookAtHost };
}

function takenOf(change: LinkChange, { slug }: OwnerRow): Taken {
  const { repository } = change;
  const looked: Looked = { kind: "linked", repository: { ...repository, slug }, isNew: false };
  if (change.kind === "outdated")
    return repository.unlinked_at === null
      ? { looked, changed: [] }
      : notLinked(repository.unlinked_reason ?? NOT_LISTED);
  const { before, transferred } = change;
  const isNew = before === undefined || before.unlinked_at !== null;
  const changed = [...(isNew ? [repository.id] : []), ...(transferred ? [transferred.id] : [])];
  return { looked: { ...looked, isNew }, changed };
}

function notLinked(reason: string): Taken {
  return { looked: { kind: "not-linked", reason }, changed: [] };
}

function held(reason: string): Taken {
  return notLinked(`${reason} Its functions stay until an operator confirms.`);
}

function notEnrolled({ login }: OwnerFacts): string {
  return `${login} is not enrolled.`;
}

function isSame(row: NamedRepository, owner: OwnerRow | undefined, facts: RepositoryFacts): boolean {
  return (
    owner?.source_owner_id === facts.owner.sourceId &&
    owner.login === facts.owner.login &&
    owner.kind === facts.owner.kind &&
    row.name === facts.name &&
    row.full_name === facts.fullName &&
    row.default_branch === (facts.defaultBranch ?? null) &&
    row.private === (facts.isPrivate ? 1 : 0) &&
    row.web_url === facts.webUrl &&
    row.installation === (facts.key.installation ?? null)
  );
}

function shuffled<T>(items: readonly T[], random: () => number): T[] {
  return items
    .map((item) => ({ item, at: random() }))
    .toSorted((a, b) => a.at - b.at)
    .map(({ item }) => item);
}
