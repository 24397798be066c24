import { setTimeout as delay } from "node:timers/promises";
import type { Logger } from "../logger.ts";
import type { RevisionRef, Runtime } from "../ports/runtime/runtime.ts";
import type { RoutePublisher } from "../routes/route-publisher.ts";

/** An edge that has not taken a new route for so long gets it no more in time for anybody. */
const CONFIRM_MS = 60_000;
/** Requests that an edge sent just before it took the new route are under way this long at most before they arrive. */
const ARRIVAL_MS = 1_000;
/** How long a replica may take to finish the requests it has, once told to end. */
const DRAIN_MS = 30_000;

interface Retiring {
  readonly recalled: AbortController;
  readonly done: Promise<void>;
}

/**
 * Ends revisions that no route names any more: once every edge has confirmed that and what was on its way has arrived, and
 * gently, so that what is under way is answered. The run that retired them does not wait.
 */
export class Retirement implements Disposable {
  readonly #runtime: Runtime;
  readonly #routes: RoutePublisher;
  readonly #logger: Logger;
  readonly #arrivalMs: number;
  readonly #disposed = new AbortController();
  readonly #retiring = new Map<string, Retiring>();

  constructor(ports: {
    readonly runtime: Runtime;
    readonly routes: RoutePublisher;
    readonly logger: Logger;
    readonly arrivalMs?: number;
  }) {
    this.#runtime = ports.runtime;
    this.#routes = ports.routes;
    this.#logger = ports.logger;
    this.#arrivalMs = ports.arrivalMs ?? ARRIVAL_MS;
  }

  /** @param version of the route table that does not name them. */
  retire(revisions: readonly RevisionRef[], version: number): void {
    for (const revision of revisions) {
      const { revisionId } = revision;
      if (this.#retiring.has(revisionId)) continue;
      const recalled = new AbortController();
      const done = this.#retire(revision, version, recalled.signal).finally(() =>
        this.#retiring.delete(revisionId),
      );
      this.#retiring.set(revisionId, { recalled, done });
    }
  }

  /** Takes back what was retired and is to be live again. What was being ended already has ended when it resolves. */
  async recall(revisionIds: readonly string[]): Promise<void> {
    const retiring = revisionIds.flatMap((id) => this.#retiring.get(id) ?? []);
    for (const { recalled } of retiring) recalled.abort();
    await Promise.all(retiring.map(({ done }) => done));
  }

  /** Leaves what is not ended yet to whoever ends the functions, or to the next start. */
  [Symbol.dispose](): void {
    this.#disposed.abort();
  }

  async #retire(revision: RevisionRef, version: number, recalled: AbortSignal): Promise<void> {
    const signal = AbortSignal.any([this.#disposed.signal, recalled]);
    try {
      const tooLate = AbortSignal.any([signal, AbortSignal.timeout(CONFIRM_MS)]);
      await this.#routes.confirmed(version, tooLate).catch(() => undefined);
      await delay(this.#arrivalMs, undefined, { signal });
      await this.#runtime.stop(revision, { graceMs: DRAIN_MS });
    } catch (error) {
      if (signal.aborted) return;
      this.#logger.error({ err: error, ...revision }, "a retired revision could not be stopped");
    }
  }
}
