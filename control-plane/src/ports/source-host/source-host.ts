import type { BranchName, CommitSha, OwnerSlug, RepositoryName } from "@openfaas-cloud/shared/names.ts";
import type { LogSink } from "../log-store/log-store.ts";

/** The instance of the host that lives in this process. */
export const EMBEDDED = "embedded";

export interface RepositoryRef {
  readonly repositoryId: string;
  readonly owner: OwnerSlug;
  readonly name: RepositoryName;
  /** Instance of the source host that it lives on: `embedded`, `github.com`, `gitlab.example.com/git`. */
  readonly host: string;
  /** Undefined for the embedded host, which knows repositories by our own id. */
  readonly source: SourceKey | undefined;
}

/** A repository as its host knows it, whatever it is called now. */
export interface SourceKey {
  /** The host's own id, which survives renames. */
  readonly id: string;
  /** The grant by which we may see it (GitHub's installation id); `undefined` for hosts that have none. */
  readonly installation: string | undefined;
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

/** `neutral`: it came to no end of its own, superseded or cancelled, and nothing is wrong with the commit. */
export type CommitState = "pending" | "success" | "failure" | "neutral";

export interface CommitStatus {
  /** `stack-deploy` for the whole push, or a function's name. */
  readonly context: string;
  readonly state: CommitState;
  /** Whose doing a failure is, where it is not the commit's: a host that tells an error from a failure is told an error. */
  readonly fault?: "platform";
  /** One line. */
  readonly description: string;
  readonly targetUrl: string;
  /** The run that says so: what a host makes for it once is found again by it. */
  readonly runId: string;
  /** For hosts that have room for more than a line. */
  readonly detail?: StatusDetail;
}

export interface StatusDetail {
  /** Milliseconds since the epoch. */
  readonly startedAt: number;
  readonly finishedAt: number | undefined;
  /** Sanitised; its last part, where the log is longer than a host takes. */
  readonly logTail: string;
  readonly annotations: readonly Annotation[];
}

/** What is to be said of a line of a file of the commit. */
export interface Annotation {
  readonly path: string;
  /** From 1. */
  readonly line: number;
  /** `failure`: the commit is refused for it; `notice`: it has no effect, or another one than it says. */
  readonly level: "failure" | "warning" | "notice";
  readonly message: string;
}

/** That a commit is being made live, or is. */
export interface DeploymentReport {
  readonly runId: string;
  readonly state: "in_progress" | "success" | "failure";
  /** Where it answers: the function's address, or the dashboard where there are several. */
  readonly environmentUrl: string;
  readonly logUrl: string;
}

/** Where repositories live and pushes come from. */
export interface SourceHost extends AsyncDisposable {
  /** A local git directory that holds the commit with its tree. It may be shared and is only read. */
  fetchCommit(
    repository: RepositoryRef,
    commit: CommitSha,
    options: { readonly log: LogSink; readonly signal: AbortSignal },
  ): Promise<{ readonly gitDir: string }>;
  /**
   * Tells the host what became of a commit. Sending the same twice is harmless. Statuses of one commit are sent one after the
   * other, so each settles within a minute or so, whatever the host does.
   * @throws HostUnavailable where it is worth sending again; all else is a refusal.
   */
  reportStatus(repository: RepositoryRef, commit: CommitSha, status: CommitStatus): Promise<void>;
  /** Whether it shows the log of a status, which is then worth renewing while a run goes on. Absent: it does not. */
  showsLog?(repository: RepositoryRef): boolean;
  /** As `reportStatus`, for hosts that keep a history of deployments; others have nothing to do. */
  reportDeployment(repository: RepositoryRef, commit: CommitSha, report: DeploymentReport): Promise<void>;
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
  /** Gives back everything that is kept here of a repository that its host says is gone, and that was gone for the whole grace. */
  forget(repository: RepositoryRef): Promise<void>;
}
