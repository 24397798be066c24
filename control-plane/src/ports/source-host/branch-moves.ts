import { GitFailed, git } from "../../git-command.ts";
import { Retryable } from "../../rejected.ts";
import type { BareRepositories } from "./bare-repositories.ts";
import type { Push } from "./source-host.ts";

type Move = Pick<Push, "repository" | "branch" | "before" | "commit">;

/** A push whose receive-pack still stands ready to move the branch itself. */
export interface LivePush {
  /**
   * The run ended well: whether receive-pack may move the branch now. It may not where a newer push of the branch waits;
   * then the branch follows that one, and comes back to this one only if that one fails.
   */
  release(): boolean;
  /** Receive-pack has ended: whoever comes next may go on. */
  end(): Promise<void>;
}

/**
 * Who moves a branch, and when. While the connection of a push lives its receive-pack does, by git's own compare-and-swap;
 * after that we do, in the same way. A branch that stands elsewhere than where the push found it is left alone.
 */
export interface BranchMoves {
  /** Resolves when no other push of the branch is between its verdict and its move. */
  enter(move: Move): Promise<LivePush>;
  settle(move: Move): Promise<void>;
}

interface Entry {
  readonly move: Move;
  readonly order: number;
  released: boolean;
  succeeded: boolean;
  readonly ended: PromiseWithResolvers<void>;
}

interface Branch {
  readonly live: Set<Entry>;
  /** The newest push that ended well while a newer one was waiting. */
  deferred: { readonly move: Move; readonly order: number } | undefined;
}

/** Order of a push that lives no more when its run ends: it yields to all that live. */
const OLDEST = 0;

export function trackBranchMoves(repositories: BareRepositories): BranchMoves {
  const branches = new Map<string, Branch>();
  let lastOrder = OLDEST;
  const keyOf = ({ repository, branch }: Move) => `${repository.repositoryId} ${branch}`;

  async function enter(move: Move): Promise<LivePush> {
    const key = keyOf(move);
    for (let moving = findReleased(key); moving !== undefined; moving = findReleased(key)) {
      await moving.ended.promise;
    }
    const branch = branches.get(key) ?? { live: new Set<Entry>(), deferred: undefined };
    branches.set(key, branch);
    lastOrder += 1;
    const entry: Entry = {
      move,
      order: lastOrder,
      released: false,
      succeeded: false,
      ended: Promise.withResolvers(),
    };
    branch.live.add(entry);
    return {
      release() {
        entry.succeeded = true;
        entry.released = !hasNewer(branch, entry.order);
        return entry.released;
      },
      async end() {
        if (entry.succeeded) defer(branch, entry);
        try {
          await moveDeferred(branch, entry);
        } finally {
          branch.live.delete(entry);
          if (branch.live.size === 0) branches.delete(key);
          entry.ended.resolve();
        }
      },
    };
  }

  function findReleased(key: string): Entry | undefined {
    return [...(branches.get(key)?.live ?? [])].find((entry) => entry.released);
  }

  async function moveDeferred(branch: Branch, ended: Entry): Promise<void> {
    const { deferred } = branch;
    if (deferred === undefined || hasNewer(branch, deferred.order, ended)) return;
    branch.deferred = undefined;
    await compareAndSwap(deferred.move);
  }

  async function settle(move: Move): Promise<void> {
    const branch = branches.get(keyOf(move));
    if (branch === undefined) return compareAndSwap(move);
    const own = [...branch.live].filter((entry) => entry.move.commit === move.commit);
    for (const entry of own) entry.succeeded = true;
    if (own.length === 0) defer(branch, { move, order: OLDEST });
  }

  async function compareAndSwap({ repository, branch, before, commit }: Move): Promise<void> {
    const ref = `refs/heads/${branch}`;
    const gitDir = repositories.gitDirOf(repository.repositoryId);
    if ((await currentCommit(ref, gitDir)) !== before) return;
    try {
      await git(["update-ref", "-m", "push: settled", ref, commit, before ?? "0".repeat(commit.length)], {
        env: repositories.platformEnv,
        gitDir,
      });
    } catch (error) {
      if ((await currentCommit(ref, gitDir)) !== before) return;
      throw new Retryable(`The branch ${branch} could not be moved.`, { cause: error });
    }
  }

  async function currentCommit(ref: string, gitDir: string): Promise<string | undefined> {
    try {
      return (await git(["rev-parse", "--verify", "--quiet", ref], { env: repositories.env, gitDir })).trim();
    } catch (error) {
      if (error instanceof GitFailed && error.exitCode === 1) return undefined;
      throw error;
    }
  }

  return { enter, settle };
}

function defer(branch: Branch, candidate: { readonly move: Move; readonly order: number }): void {
  if ((branch.deferred?.order ?? OLDEST) <= candidate.order) branch.deferred = candidate;
}

function hasNewer(branch: Branch, order: number, except?: Entry): boolean {
  return [...branch.live].some((entry) => entry !== except && entry.order > order);
}
