import { type CommitSha, shortCommit } from "@openfaas-cloud/shared/names.ts";
import type { Memberships } from "../access/memberships.ts";
import type { NewTrigger, Queue, Run } from "../ports/queue/queue.ts";
import { HostUnavailable } from "../ports/source-host/host-errors.ts";
import type { Delivery, PushDelivery, RemoteHost } from "../ports/source-host/remote-host.ts";
import type { SourceKey } from "../ports/source-host/source-host.ts";
import { findRepositoryBySource, type NamedRepository } from "../ports/store/repositories.ts";
import type { Store } from "../ports/store/store.ts";
import { type DeployHead, describeHead, type HeadDeployed, oneLine } from "./deploy-head.ts";
import type { Links, Looked } from "./links.ts";

/** How long a push to a known repository waits for what its host says; what was delivered is gone by then. */
const ASK_MS = 5_000;
/** Times that a host which still shows the branch as it was before the push is asked again. */
const MOST_LOOKS_FOR_PUSH = 3;
const MAX_LANE = 200;

/** What came of a delivery. Each is one audit event too. */
export interface Followed {
  readonly state: "done" | "ignored";
  /** For people. */
  readonly result: string;
  /** Subject of the person, or the instance of the host. */
  readonly actor: string;
  readonly action: string;
  /** What it was about, by names that people know. */
  readonly object: string;
  readonly ownerId: string | undefined;
  /** What the host did not answer, where it came to an end without that. */
  readonly unanswered?: HostUnavailable;
}

/**
 * Does what a delivery asks for. May be done again after it was broken off at any point.
 * @param tries how often it was tried, this time included.
 * @throws HostUnavailable where it should be tried again.
 */
export type FollowDelivery = (
  host: RemoteHost,
  delivery: Delivery,
  tries: number,
  signal: AbortSignal,
) => Promise<Followed>;

/** The host has not come to show what it delivered. Nothing is wrong with it otherwise. */
export class NotShownYet extends HostUnavailable {}

export interface FollowPorts {
  readonly store: Store;
  readonly queue: Queue;
  readonly links: Pick<Links, "look" | "lookAtInstallation">;
  readonly memberships: Pick<Memberships, "staleFor">;
  readonly deployHead: DeployHead;
  readonly askMs?: number;
}

export function openFollowDelivery(ports: FollowPorts): FollowDelivery {
  return (host, delivery, tries, signal) => {
    switch (delivery.kind) {
      case "push":
        return followPush(host, delivery, tries, ports, signal);
      case "pushes":
        return followPushes(host, delivery.pushes, tries, ports, signal);
      case "repositories":
        return followRepositories(host, delivery.repositories, ports, signal);
      case "installation":
        return followInstallation(host, delivery.installation, ports, signal);
      case "memberships":
        return followMemberships(host, delivery, ports);
      case "rerun":
        return followRerun(host, delivery, ports);
      case "ignored":
        return Promise.resolve(ignored(aboutHost(host, "delivery.ignore"), delivery.reason));
    }
  };
}

/**
 * Deliveries with the same one are worked off in the order they came. Pushes do not wait for looks, which may take as long as
 * the host is silent: both go by what is so when the host answers.
 */
export function laneOf(delivery: Exclude<Delivery, { readonly kind: "ignored" }>): string {
  switch (delivery.kind) {
    case "push":
    case "rerun":
      return `push ${delivery.repository.id}`;
    case "pushes":
      return `push ${delivery.pushes[0]?.repository.id}`;
    case "repositories":
      return `look ${delivery.repositories.map(({ id }) => id).join(" ")}`.slice(0, MAX_LANE);
    case "installation":
      return `installation ${delivery.installation}`;
    case "memberships":
      return "memberships";
  }
}

type About = Pick<Followed, "actor" | "action" | "object" | "ownerId">;

/** Several branches of one repository that moved at once. One that has to be tried again does not keep the others from it. */
async function followPushes(
  host: RemoteHost,
  pushes: readonly PushDelivery[],
  tries: number,
  ports: FollowPorts,
  signal: AbortSignal,
): Promise<Followed> {
  const followed: Followed[] = [];
  let again: HostUnavailable | undefined;
  for (const push of pushes) {
    try {
      followed.push(await followPush(host, push, tries, ports, signal));
    } catch (error) {
      if (!(error instanceof HostUnavailable)) throw error;
      again = error;
    }
  }
  if (again) throw again;
  const first = followed.find(({ state }) => state === "done") ?? followed[0];
  if (first === undefined) return ignored(aboutHost(host, "push.receive"), "no branch moved");
  return { ...first, result: listed(followed.map(({ result }) => result)) };
}

async function followPush(
  host: RemoteHost,
  push: PushDelivery,
  tries: number,
  ports: FollowPorts,
  signal: AbortSignal,
): Promise<Followed> {
  const known = await findRepositoryBySource(ports.store, host.instance, push.repository.id);
  const { commit } = push;
  if (commit === undefined) {
    return ignored(
      aboutPush(host, push, known),
      `the branch ${push.branch} was deleted; what is live stays live`,
    );
  }
  const after = known ? await ports.queue.generation(known.id, push.branch) : 0;
  const impatient = AbortSignal.any([signal, AbortSignal.timeout(ports.askMs ?? ASK_MS)]);
  try {
    return await deployPush(host, { ...push, commit }, tries, ports, impatient);
  } catch (error) {
    signal.throwIfAborted();
    if (error instanceof NotShownYet) throw error;
    const unanswered = impatient.aborted ? silent(host, error) : error;
    if (!(unanswered instanceof HostUnavailable)) throw error;
    if (known?.unlinked_at !== null) throw unanswered;
    const followed =
      known.default_branch === push.branch
        ? await deployUnconfirmed(host, { ...push, commit }, known, after, ports.queue)
        : ignored(aboutPush(host, push, known), `${notDeployed(push, known)}, as far as is known`);
    // Somebody else was answered meanwhile.
    if (followed === "overtaken") throw unanswered;
    return { ...followed, unanswered };
  }
}

async function deployPush(
  host: RemoteHost,
  push: PushDelivery & { readonly commit: CommitSha },
  tries: number,
  ports: FollowPorts,
  signal: AbortSignal,
): Promise<Followed> {
  const looked = await ports.links.look(host, push.repository, signal, "pushed");
  if (looked.kind === "not-linked") return ignored(aboutPush(host, push, undefined), looked.reason);
  const { repository } = looked;
  const about = aboutPush(host, push, repository);
  const mayWait = tries < MOST_LOOKS_FOR_PUSH;
  if (repository.default_branch === null && mayWait) throw notShownYet(host, push.commit);
  if (repository.default_branch !== push.branch) {
    const first = await deployFirst(host, looked, about.actor, ports, signal);
    const reason = notDeployed(push, repository);
    return first
      ? done(about, `${reason}; ${describeHead(first)}`)
      : ignored(about, `${reason}, so nothing is deployed`);
  }
  const cause = { trigger: "push", person: about.actor, push, anew: looked.isNew } as const;
  const deployed = await ports.deployHead(host, repository, cause, signal);
  if (mayBeLate(deployed, push) && mayWait) throw notShownYet(host, push.commit);
  if (deployed.kind === "nothing-there") return ignored(about, deployed.reason);
  return done(about, describePush(deployed, push.commit));
}

function notDeployed({ branch }: PushDelivery, { default_branch: deployed }: NamedRepository): string {
  return `${branch} is not the deploy branch (${deployed ?? "there is none yet"})`;
}

/**
 * A branch that stands where the push found it, or is not there: either it was moved back since, or the host's answer is an
 * old one.
 */
function mayBeLate(deployed: HeadDeployed, push: PushDelivery): boolean {
  if (deployed.kind === "nothing-there") return true;
  return deployed.kind === "nothing-new" && deployed.head === push.before;
}

function notShownYet({ title }: RemoteHost, commit: CommitSha): NotShownYet {
  return new NotShownYet(`${title} does not show ${shortCommit(commit)} yet.`);
}

function describePush(deployed: Exclude<HeadDeployed, { kind: "nothing-there" }>, pushed: CommitSha): string {
  const head = deployed.kind === "enqueued" ? deployed.run.commit_sha : deployed.head;
  const text = describeHead(deployed);
  return head === pushed ? text : `superseded, the branch is elsewhere by now: ${text}`;
}

/**
 * The host is silent, so all there is to go by is the delivery. The run asks the host again before it deploys anything, and
 * where that is still silent then, says so on its page. A commit that the branch went through before is none to go back to.
 */
async function deployUnconfirmed(
  host: RemoteHost,
  push: PushDelivery & { readonly commit: CommitSha },
  repository: NamedRepository,
  after: number,
  queue: Queue,
): Promise<Followed | "overtaken"> {
  const about = aboutPush(host, push, repository);
  const trigger: NewTrigger = {
    trigger: "push",
    owner_id: repository.owner_id,
    repository_id: repository.id,
    branch: push.branch,
    before_sha: push.before ?? null,
    commit_sha: push.commit,
    message: oneLine(push.message),
    author: oneLine(push.author),
    person: about.actor,
    unconfirmed: 1,
  };
  const outcome = await queue.enqueueUnless("ever", trigger, { after });
  if (outcome.kind === "overtaken") return outcome.kind;
  const what =
    outcome.kind === "enqueued"
      ? `run ${outcome.run.id} of what was delivered`
      : `run ${outcome.run.id} has it or came after it`;
  return done(about, `${host.title} is not answering: ${what}`);
}

async function followRepositories(
  host: RemoteHost,
  keys: readonly SourceKey[],
  ports: FollowPorts,
  signal: AbortSignal,
): Promise<Followed> {
  const looks = keys.map((key) => () => ports.links.look(host, key, signal));
  return followLooks(host, "delivery.repositories", looks, ports, signal);
}

async function followInstallation(
  host: RemoteHost,
  installation: string,
  ports: FollowPorts,
  signal: AbortSignal,
): Promise<Followed> {
  const looked = await ports.links.lookAtInstallation(host, installation, signal);
  const looks = looked.map((one) => async () => one);
  return followLooks(host, "delivery.installation", looks, ports, signal);
}

/** One that cannot be looked at does not keep the others from it: the whole is tried again for its sake afterwards. */
async function followLooks(
  host: RemoteHost,
  action: string,
  looks: readonly (() => Promise<Looked>)[],
  ports: FollowPorts,
  signal: AbortSignal,
): Promise<Followed> {
  const linked: NamedRepository[] = [];
  const results: string[] = [];
  let unanswered: HostUnavailable | undefined;
  for (const look of looks) {
    try {
      const looked = await look();
      if (looked.kind === "linked") linked.push(looked.repository);
      results.push(await deployLooked(host, looked, ports, signal));
    } catch (error) {
      if (!(error instanceof HostUnavailable)) throw error;
      unanswered = error;
    }
  }
  if (unanswered) throw unanswered;
  return done(aboutAll(host, action, linked), listed(results) || "nothing is behind it");
}

async function deployLooked(
  host: RemoteHost,
  looked: Looked,
  ports: FollowPorts,
  signal: AbortSignal,
): Promise<string> {
  if (looked.kind === "not-linked") return `not linked: ${looked.reason}`;
  const first = await deployFirst(host, looked, host.instance, ports, signal);
  return `${looked.repository.full_name} is linked${first ? `, ${describeHead(first)}` : ""}`;
}

/** A repository that was just linked does not wait for its next push. `undefined` where it has had its first run. */
async function deployFirst(
  host: RemoteHost,
  { repository, isNew }: Extract<Looked, { readonly kind: "linked" }>,
  person: string,
  { store, deployHead }: FollowPorts,
  signal: AbortSignal,
): Promise<HeadDeployed | undefined> {
  // Somebody may have been stopped between linking it and this.
  if (!isNew && (await hasRun(store, repository))) return undefined;
  return deployHead(host, repository, { trigger: "link", person, anew: isNew }, signal);
}

async function hasRun(store: Store, { id, default_branch: branch }: NamedRepository): Promise<boolean> {
  if (branch === null) return true;
  const run = await store
    .selectFrom("runs")
    .select("id")
    .where("repository_id", "=", id)
    .where("branch", "=", branch)
    .limit(1)
    .executeTakeFirst();
  return run !== undefined;
}

async function followMemberships(
  host: RemoteHost,
  { person, owner }: Extract<Delivery, { readonly kind: "memberships" }>,
  { memberships }: FollowPorts,
): Promise<Followed> {
  await memberships.staleFor({
    instance: host.instance,
    ...(person === undefined ? {} : { person }),
    ...(owner === undefined ? {} : { owner }),
  });
  const whose = person === undefined ? "everybody" : `person ${person}`;
  return done(
    {
      ...aboutHost(host, "delivery.memberships"),
      object: owner === undefined ? host.instance : `owner ${owner}`,
    },
    `what ${whose} may do is asked for anew`,
  );
}

async function followRerun(
  host: RemoteHost,
  rerun: Extract<Delivery, { readonly kind: "rerun" }>,
  { store, queue }: FollowPorts,
): Promise<Followed> {
  const repository = await findRepositoryBySource(store, host.instance, rerun.repository.id);
  const about: About = {
    actor: subjectOf(host, rerun.person),
    action: "run.redeploy",
    object: `${nameOf(host, rerun.repository, repository)}@${rerun.commit}`,
    ownerId: repository?.owner_id,
  };
  if (repository?.unlinked_at !== null) return ignored(about, "the repository is not linked");
  const newest = await newestRunOf(store, repository, rerun.commit);
  if (!newest) return ignored(about, "no run of this commit is known");
  const { owner_id, repository_id, branch, commit_sha, message, author } = newest;
  const outcome = await queue.enqueueUnless("under-way", {
    ...{ owner_id, repository_id, branch, commit_sha, message, author },
    trigger: "redeploy",
    // The branch is where it is; a redeploy moves nothing.
    before_sha: commit_sha,
    person: about.actor,
  });
  if (outcome.kind === "enqueued") return done(about, `run ${outcome.run.id}`);
  return ignored(about, `run ${newest.id} of this commit has not ended`);
}

function newestRunOf(store: Store, { id }: NamedRepository, commit: CommitSha): Promise<Run | undefined> {
  return store
    .selectFrom("runs")
    .selectAll()
    .where("repository_id", "=", id)
    .where("commit_sha", "=", commit)
    .orderBy("id", "desc")
    .limit(1)
    .executeTakeFirst();
}

function silent(host: RemoteHost, cause: unknown): HostUnavailable {
  return new HostUnavailable(`${host.title} is not answering.`, { cause });
}

function done(about: About, result: string): Followed {
  return { ...about, state: "done", result };
}

function ignored(about: About, reason: string): Followed {
  return { ...about, state: "ignored", result: reason };
}

function aboutPush(host: RemoteHost, push: PushDelivery, repository: NamedRepository | undefined): About {
  return {
    actor: subjectOf(host, push.pusher),
    action: "push.receive",
    object: `${nameOf(host, push.repository, repository)}@${push.commit ?? push.branch}`,
    ownerId: repository?.owner_id,
  };
}

function aboutHost({ instance }: RemoteHost, action: string): About {
  return { actor: instance, action, object: instance, ownerId: undefined };
}

function aboutAll(host: RemoteHost, action: string, linked: readonly NamedRepository[]): About {
  const [first] = linked;
  const isOfOne = first !== undefined && linked.every(({ owner_id }) => owner_id === first.owner_id);
  return {
    ...aboutHost(host, action),
    object: listed(linked.map(({ slug, name }) => `${slug}/${name}`)) || host.instance,
    ownerId: isOfOne ? first.owner_id : undefined,
  };
}

function nameOf(host: RemoteHost, { id }: SourceKey, repository: NamedRepository | undefined): string {
  return repository ? `${repository.slug}/${repository.name}` : `${host.instance} repository ${id}`;
}

function subjectOf({ instance }: RemoteHost, person: string | undefined): string {
  return person === undefined ? instance : `${instance}:${person}`;
}

const MOST_LISTED = 10;

function listed(items: readonly string[]): string {
  const rest = items.length - MOST_LISTED;
  return items.slice(0, MOST_LISTED).join("; ") + (rest > 0 ? `; and ${rest} more` : "");
}
