import type { Logger } from "../logger.ts";
import type { RevisionRef, Runtime } from "../ports/runtime/runtime.ts";

/** Requests that an edge sent just before it took the new route are under way this long at most before they arrive. */
const ARRIVAL_MS = 1000;
/** How long a replica may take to finish the requests it has, once told to end. */
const DRAIN_MS = 30_000;

/**
 * Ends revisions that no route names any more: a moment later, so that requests already on their way still arrive, and
 * gently, so that those under way are answered. The run that retired them does not wait.
 */
export class Retirement implements AsyncDisposable {
  readonly #runtime: Runtime;
  readonly #logger: Logger;
  readonly #waiting = new Map<NodeJS.Timeout, RevisionRef>();
  readonly #stopping = new Set<Promise<void>>();

  constructor(runtime: Runtime, logger: Logger) {
    this.#runtime = runtime;
    this.#logger = logger;
  }

  retire(revisions: readonly RevisionRef[]): void {
    for (const revision of revisions) {
      const timer = setTimeout(() => {
        this.#waiting.delete(timer);
        this.#stop(revision, DRAIN_MS);
      }, ARRIVAL_MS);
      this.#waiting.set(timer, revision);
    }
  }

  /** Leaves what still waits to the next start, which ends every revision that is not live. */
  async [Symbol.asyncDispose](): Promise<void> {
    for (const timer of this.#waiting.keys()) clearTimeout(timer);
    this.#waiting.clear();
    await Promise.all(this.#stopping);
  }

  #stop(revision: RevisionRef, graceMs: number): void {
    const stopping = this.#runtime
      .stop(revision, { graceMs })
      .catch((error: unknown) => {
        this.#logger.error({ err: error, ...revision }, "a retired revision could not be stopped");
      })
      .finally(() => this.#stopping.delete(stopping));
    this.#stopping.add(stopping);
  }
}
