import type { RunRow } from "../store/schema.ts";
import type { Queries } from "../store/store.ts";

export type Run = RunRow;

/** How a run ended, and why in words that a person can act on. */
export type RunEnd =
  | { readonly state: "succeeded" }
  | {
      readonly state: "failed" | "superseded" | "cancelled";
      readonly kind: string;
      readonly reason: string;
    };

/** Why a run that is under way has to stop. */
export type StopReason = Extract<RunEnd, { readonly state: "superseded" | "cancelled" | "failed" }>;

export type NewTrigger = Pick<
  Run,
  | "trigger"
  | "owner_id"
  | "repository_id"
  | "branch"
  | "before_sha"
  | "commit_sha"
  | "message"
  | "author"
  | "person"
> &
  Partial<Pick<Run, "unconfirmed">>;

/**
 * Which runs of the branch make one of this commit needless.
 *
 * `head`: the newest one, if it is of this commit; where that is somebody's redeploy of another commit, the newest besides
 * redeploys, since what a person chose holds until the branch moves. It does not count where it came to nothing for no fault
 * of the commit: the platform failed, its repository was not linked, or it was superseded and nothing came after it.
 * `ever`: any that is of this commit, or that came after it.
 * `under-way`: any of this commit that has not ended.
 */
export type Needless = "head" | "ever" | "under-way";

export type Enqueued =
  | { readonly kind: "enqueued"; readonly run: Run }
  /** That one has the commit, or came after it. */
  | { readonly kind: "needless"; readonly run: Run }
  /** Another run of the branch was enqueued since `after`: what the caller knows may be old. */
  | { readonly kind: "overtaken" };

/** Writes more within the transaction that changes a run, so that neither is there without the other. */
export type Also = (transaction: Queries, run: Run) => Promise<void>;

export const LEASE_MS = 15_000;
export const HEARTBEAT_MS = 5_000;
/** Times the platform may die while a run is under way before the run counts as what kills it. */
export const MOST_ATTEMPTS = 5;
/** Runs of one commit in a row that the platform could not bring to their end, before it is left to a person. */
export const MOST_FRUITLESS = 5;

/**
 * Runs waiting and under way.
 *
 * One run of a repository and branch at a time, and the newest trigger wins: enqueuing supersedes the queued ones of that
 * branch and asks the one under way to stop. Between owners the one with the fewest runs under way comes first, then the
 * oldest trigger. A holder that stops its heartbeat loses the run to the next claim, and its `finish` is refused then. Each
 * run ends in exactly one state.
 */
export interface Queue {
  /** Stores the trigger's run; durable when it resolves. */
  enqueue(trigger: NewTrigger, also?: Also): Promise<Run>;
  /**
   * As `enqueue`, unless it is needless or overtaken, which is decided and stored in one step.
   * @param after the branch's `generation` from before the caller looked at it; left out where it did not look.
   */
  enqueueUnless(
    needless: Needless,
    trigger: NewTrigger,
    options?: { readonly after?: number },
  ): Promise<Enqueued>;
  /** Of the branch's newest run; 0 where it has none. */
  generation(repositoryId: string, branch: string): Promise<number>;
  /**
   * A run to execute, leased to `holder`; `undefined` where none may start now. `busy` are the runs that `holder` executes
   * already: a machine that slept wakes up to leases that ran out, and must not take its own runs for orphans.
   */
  claim(holder: string, busy: Iterable<string>): Promise<Run | undefined>;
  /** Extends the lease. @returns why the run has to stop, `lost` where somebody else has it, or `undefined` to go on. */
  heartbeat(runId: string, holder: string): Promise<StopReason | "lost" | undefined>;
  /** Ends the run. @returns false where the lease was lost: nothing was written then. */
  finish(runId: string, holder: string, end: RunEnd): Promise<boolean>;
  /** Puts a run back to the queue unharmed, for a platform that stops on purpose; ends it where it was asked to stop. */
  release(runId: string, holder: string): Promise<void>;
  /** Asks a run to stop: a queued one ends at once, one under way when its holder notices. @returns false where it had ended. */
  stop(runId: string, reason: StopReason, also?: Also): Promise<boolean>;
  /** Frees the runs of all other holders: for a store that only one process can have open, at its start. */
  reclaim(holder: string): Promise<void>;
  /** Queued runs that were triggered before this one. Those of owners with less under way may overtake. */
  ahead(run: Run): Promise<number>;
  depth(): Promise<{ readonly queued: number; readonly running: number }>;
}
