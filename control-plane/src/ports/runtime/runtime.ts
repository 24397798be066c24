import { KnownError } from "@openfaas-cloud/shared/known-error.ts";
import type { FunctionName, OwnerSlug } from "@openfaas-cloud/shared/names.ts";
import type { Upstream } from "@openfaas-cloud/shared/route.ts";
import type { Isolation } from "../../sandbox/sandbox.ts";
import type { Artifact } from "../builder/builder.ts";
import type { LogSink } from "../log-store/log-store.ts";

/** An immutable artifact with everything it runs with. */
export interface RevisionSpec {
  readonly revisionId: string;
  readonly functionId: string;
  readonly ownerId: string;
  /** For people, logs and labels; never an identity. */
  readonly owner: OwnerSlug;
  readonly function: FunctionName;
  readonly artifact: Artifact;
  readonly environment: Readonly<Record<string, string>>;
  /** File name → content, shown to the function under `/var/openfaas/secrets`. */
  readonly secrets: Readonly<Record<string, string>>;
  readonly memoryLimitBytes: number;
  readonly replicas: number;
  readonly healthPath: string;
  readonly healthInitialDelayMs: number;
}

export type ReplicaState = "starting" | "ready" | "backing-off";

export interface Replica {
  readonly id: string;
  readonly state: ReplicaState;
  readonly restarts: number;
  /** Why it last ended, in words: `exit code 1`, `killed: over its memory limit of 128 MiB`. */
  readonly lastExit: string | undefined;
  readonly upstream: Upstream;
}

export interface RunningRevision {
  readonly revisionId: string;
  readonly functionId: string;
  readonly ownerId: string;
  readonly replicas: readonly Replica[];
}

export interface RevisionRef {
  readonly revisionId: string;
  /** Ownership precondition: a revision of another owner is not touched and the call is refused. */
  readonly ownerId: string;
}

/** A revision was asked for in the name of an owner that it does not belong to. */
export class NotTheOwner extends KnownError<"not-the-owner"> {
  constructor() {
    super("not-the-owner", "This revision belongs to another owner.");
  }
}

/**
 * Runs revisions. Several revisions of one function run side by side; which of them is live is not the runtime's concern.
 *
 * What runs survives the death of the control plane: a runtime made anew on the same data finds it (`list`) and goes on
 * supervising it. A replica that ends is started again with back-off until its revision is stopped: on the same upstream, or
 * on another one where somebody else answers there meanwhile; whoever keeps upstreams follows `onChange`.
 */
export interface Runtime extends AsyncDisposable {
  readonly isolation: Isolation;
  /**
   * Starts the revision's replicas and resolves with their upstreams when each has answered its health path. A revision
   * that already runs is waited for and not started again.
   * @throws Rejected `function-unhealthy` with what was seen (exit code, last lines, the port it listens on instead), or the
   *   signal's reason where that aborted. Nothing of the revision is left running then, unless it was healthy before or
   *   another call still waits for it. NotTheOwner.
   */
  start(
    spec: RevisionSpec,
    options: { readonly log: LogSink; readonly signal: AbortSignal },
  ): Promise<readonly Upstream[]>;
  /**
   * Asks the replicas to end (SIGTERM), insists after `graceMs`. Absent is fine. All processes are gone when it resolves.
   * @throws NotTheOwner
   */
  stop(revision: RevisionRef, options: { readonly graceMs: number }): Promise<void>;
  /** Everything that runs or is being restarted, whoever started it. */
  list(): readonly RunningRevision[];
  /** Calls `listener` with the function's id when a replica's state changed; returns what ends that. */
  onChange(listener: (functionId: string) => void): Disposable;
  /** Ends every replica: for a platform that stops on purpose. Disposing alone leaves them running. */
  stopAll(options: { readonly graceMs: number }): Promise<void>;
}
