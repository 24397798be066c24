import type { BranchName, OwnerSlug, RepositoryName } from "@openfaas-cloud/shared/names.ts";
import type { Push, RepositoryRef } from "./source-host.ts";

/** Someone the embedded source host knows by their token. */
export interface GitPerson {
  readonly subject: string;
  readonly name: string;
  /** What the token may do, wherever its person may. */
  readonly may: { readonly read: boolean; readonly write: boolean };
}

/** What becomes of a branch that somebody pushes. */
export type PushVerdict =
  /** The branch may move and nothing is deployed; `note` says why, in the push output. */
  | { readonly kind: "accepted"; readonly note: string }
  /** The branch may not move. */
  | { readonly kind: "refused"; readonly message: string }
  /**
   * A trigger is stored for good. `output` yields lines for the push output as they come and ends with the run; `outcome`
   * settles then and never rejects. The branch moves only where it is `succeeded`.
   */
  | {
      readonly kind: "run";
      readonly runId: string;
      readonly output: AsyncIterable<string>;
      readonly outcome: Promise<{ readonly succeeded: boolean; readonly message: string }>;
    };

/** What the embedded source host asks of the platform while it serves git. */
export interface PushGate {
  /** The person this token belongs to (HTTP Basic: the token is the password, and the user name any or none). */
  authenticate(token: string): Promise<GitPerson | undefined>;
  /** Whether the person may read or write this owner's repositories. Unknown owners answer false. */
  mayAccess(person: GitPerson, owner: OwnerSlug, access: "read" | "write"): Promise<boolean>;
  /** Why the person may not, in words: for members of the owner. `undefined` for everybody else. */
  whyNot(person: GitPerson, owner: OwnerSlug): Promise<string | undefined>;
  /** `undefined` where it does not exist. */
  findRepository(
    owner: OwnerSlug,
    name: RepositoryName,
  ): Promise<(RepositoryRef & { readonly defaultBranch: BranchName | undefined }) | undefined>;
  /** The repository, made where it does not exist: a repository is created by its first push. */
  ensureRepository(owner: OwnerSlug, name: RepositoryName): Promise<RepositoryRef>;
  /** Records which branch HEAD names, once known (the first branch that is pushed; `main` or `master` if among several). */
  setDefaultBranch(repository: RepositoryRef, branch: BranchName): Promise<void>;
  /** A branch is about to move; its objects are stored for good already. Resolves when what follows from it is durable. */
  push(push: Push): Promise<PushVerdict>;
}
