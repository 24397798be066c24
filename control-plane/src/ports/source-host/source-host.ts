import type { BranchName, CommitSha, OwnerSlug, RepositoryName } from "@openfaas-cloud/shared/names.ts";
import type { LogSink } from "../log-store/log-store.ts";

export interface RepositoryRef {
  readonly repositoryId: string;
  readonly owner: OwnerSlug;
  readonly name: RepositoryName;
}

/** A branch that moved, as the source host vouches for it. */
export interface Push {
  readonly repository: RepositoryRef;
  readonly branch: BranchName;
  /** `undefined` where the push made the branch. */
  readonly before: CommitSha | undefined;
  readonly commit: CommitSha;
  readonly message: string;
  readonly author: string;
  /** Who pushed: the person's subject. */
  readonly person: string;
}

export type CommitState = "pending" | "success" | "failure";

export interface CommitStatus {
  /** `stack-deploy` for the whole push, or a function's name. */
  readonly context: string;
  readonly state: CommitState;
  readonly description: string;
  readonly targetUrl: string;
}

/** Where repositories live and pushes come from. */
export interface SourceHost extends AsyncDisposable {
  /** A local git directory that holds the commit with its tree. It may be shared and is only read. */
  fetchCommit(
    repository: RepositoryRef,
    commit: CommitSha,
    options: { readonly log: LogSink; readonly signal: AbortSignal },
  ): Promise<{ readonly gitDir: string }>;
  /** Tells the host what became of a commit. Sending the same twice is harmless. */
  reportStatus(repository: RepositoryRef, commit: CommitSha, status: CommitStatus): Promise<void>;
  /**
   * A run of this push ended well. A host whose branch waited for that (the embedded one, when the connection of the push
   * broke meanwhile) moves the branch now if it still stands where the push found it; others have nothing to do.
   */
  settlePush(push: Pick<Push, "repository" | "branch" | "before" | "commit">): Promise<void>;
  /**
   * Gives back what the host keeps for commits that no run asks for any more. `findKept` is asked which commits runs still
   * need, after the host looked at what it has. A host that keeps nothing for us has nothing to do.
   */
  tidy(
    repository: RepositoryRef,
    findKept: () => Promise<ReadonlySet<string>>,
    signal: AbortSignal,
  ): Promise<void>;
}
