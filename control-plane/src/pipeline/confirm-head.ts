import { BranchName, CommitSha, shortCommit } from "@openfaas-cloud/shared/names.ts";
import type { Run } from "../ports/queue/queue.ts";
import { HostUnavailable } from "../ports/source-host/host-errors.ts";
import type { Head, RemoteHost } from "../ports/source-host/remote-host.ts";
import { getRepository, type NamedRepository, refOf } from "../ports/store/repositories.ts";
import type { Store } from "../ports/store/store.ts";
import { Rejected } from "../rejected.ts";

const ASK_MS = 10_000;

/**
 * Asks again whether the commit of a run is the head of its branch, where only a delivery said so: not every host signs what its
 * deliveries say, so that alone deploys nothing.
 * @throws Rejected `superseded` where the branch is elsewhere; the head is deployed instead. HostUnavailable where the host is
 *   still silent.
 */
export type ConfirmHead = (run: Run, signal: AbortSignal) => Promise<void>;

export function openConfirmHead(ports: {
  readonly store: Store;
  readonly hosts: { find(instance: string): RemoteHost | undefined };
  /** Makes sure that there is a run of what the branch is at. */
  readonly deployHead: (
    host: RemoteHost,
    repository: NamedRepository,
    cause: { readonly trigger: "push"; readonly person: string },
    signal: AbortSignal,
  ) => Promise<unknown>;
  readonly askMs?: number;
}): ConfirmHead {
  return async (run, signal) => {
    const repository = await getRepository(ports.store, run.repository_id);
    const { host: instance, source } = refOf(repository);
    const host = ports.hosts.find(instance);
    if (host === undefined || source === undefined) return;
    const branch = BranchName.parse(run.branch);
    const impatient = AbortSignal.any([signal, AbortSignal.timeout(ports.askMs ?? ASK_MS)]);
    let head: Head | undefined;
    try {
      head = await host.fetchHead(source, branch, impatient);
      if (head?.commit === run.commit_sha) return;
      const cause = { trigger: "push", person: instance } as const;
      if (head !== undefined) await ports.deployHead(host, repository, cause, impatient);
    } catch (error) {
      signal.throwIfAborted();
      if (impatient.aborted) throw new HostUnavailable(`${host.title} is not answering.`, { cause: error });
      throw error;
    }
    throw new Rejected("superseded", elsewhere(host, branch, CommitSha.parse(run.commit_sha), head));
  };
}

function elsewhere(host: RemoteHost, branch: BranchName, commit: CommitSha, head: Head | undefined): string {
  const where = head === undefined ? "does not exist any more" : `is at ${shortCommit(head.commit)} by now`;
  return `${host.title} says that ${branch} ${where}, so ${shortCommit(commit)} is not deployed.`;
}
