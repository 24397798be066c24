import { BranchName, CommitSha, shortCommit } from "@openfaas-cloud/shared/names.ts";
import { sanitiseLogText } from "../ports/log-store/sanitise.ts";
import type { NewTrigger, Queue, Run } from "../ports/queue/queue.ts";
import { HostUnavailable } from "../ports/source-host/host-errors.ts";
import type { Head, RemoteHost } from "../ports/source-host/remote-host.ts";
import { type NamedRepository, refOf } from "../ports/store/repositories.ts";

/** Each is a look at the branch that another trigger overtook; more than this is no coincidence any more. */
const MOST_LOOKS = 10;
const MAX_TEXT = 500;

export interface HeadCause {
  readonly trigger: "push" | "link" | "reconcile";
  /** Subject of who caused it: a person, or the instance of the host where it was none. */
  readonly person: string;
  /** A push that was delivered: it is the cause only if its commit is the head. */
  readonly push?: { readonly commit: CommitSha; readonly before: CommitSha | undefined };
  /** Deploy also what a run deployed before: since then it may have been unlinked, and its functions taken away. */
  readonly anew?: boolean;
}

export type HeadDeployed =
  | { readonly kind: "enqueued"; readonly run: Run }
  /** That run has the head, or has what a person chose to deploy since. */
  | { readonly kind: "nothing-new"; readonly head: CommitSha; readonly run: Run }
  | { readonly kind: "nothing-there"; readonly reason: string };

/**
 * Makes the newest commit of the repository's default branch live, whatever made somebody look: late, repeated, reordered and
 * invented deliveries all come to the same. May be called at the same time for the same repository.
 * @throws HostUnavailable
 */
export type DeployHead = (
  host: RemoteHost,
  repository: NamedRepository,
  cause: HeadCause,
  signal: AbortSignal,
) => Promise<HeadDeployed>;

export function openDeployHead(queue: Queue): DeployHead {
  return async (host, repository, cause, signal) => {
    const { source } = refOf(repository);
    if (repository.unlinked_at !== null || source === undefined)
      return { kind: "nothing-there", reason: "it is not linked" };
    if (repository.default_branch === null) return { kind: "nothing-there", reason: "it has no branch yet" };
    const branch = BranchName.parse(repository.default_branch);
    for (let looks = 0; looks < MOST_LOOKS; looks++) {
      // Read before the host is asked: where it rose meanwhile, somebody else may know a newer head than we do.
      const after = await queue.generation(repository.id, branch);
      const head = await host.fetchHead(source, branch, signal);
      if (head === undefined) return { kind: "nothing-there", reason: `its branch ${branch} does not exist` };
      const needless = cause.anew ? "under-way" : "head";
      const outcome = await queue.enqueueUnless(needless, triggerOf(repository, branch, head, cause, host), {
        after,
      });
      if (outcome.kind === "enqueued") return outcome;
      if (outcome.kind === "needless") return { kind: "nothing-new", head: head.commit, run: outcome.run };
    }
    throw new HostUnavailable(
      `${repository.full_name} was pushed to again and again while it was looked at.`,
    );
  };
}

function triggerOf(
  repository: NamedRepository,
  branch: BranchName,
  head: Head,
  { trigger, person, push }: HeadCause,
  host: RemoteHost,
): NewTrigger {
  const isPushed = push === undefined || push.commit === head.commit;
  return {
    trigger,
    owner_id: repository.owner_id,
    repository_id: repository.id,
    branch,
    before_sha: (isPushed ? push?.before : undefined) ?? null,
    commit_sha: head.commit,
    message: oneLine(head.message),
    author: oneLine(head.author),
    // Who pushed the commit that replaced this one is not known.
    person: isPushed ? person : host.instance,
  };
}

/** A stranger's text in one line of bounded length. */
export function oneLine(text: string): string {
  return sanitiseLogText(text.slice(0, 10 * MAX_TEXT).split(/[\r\n]/, 1)[0] ?? "").slice(0, MAX_TEXT);
}

/** For people. */
export function describeHead(deployed: HeadDeployed): string {
  switch (deployed.kind) {
    case "enqueued":
      return `run ${deployed.run.id} of ${shortCommit(CommitSha.parse(deployed.run.commit_sha))}`;
    case "nothing-new":
      return `nothing new: run ${deployed.run.id} has ${shortCommit(deployed.head)}`;
    case "nothing-there":
      return `nothing to deploy: ${deployed.reason}`;
  }
}
