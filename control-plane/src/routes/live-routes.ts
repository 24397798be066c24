import type { Route } from "@openfaas-cloud/shared/route.ts";
import type { Logger } from "../logger.ts";
import type { Runtime } from "../ports/runtime/runtime.ts";
import { listDeployed } from "../ports/store/functions.ts";
import type { Store } from "../ports/store/store.ts";
import type { RoutePublisher } from "./route-publisher.ts";
import { toRoute } from "./snapshot.ts";

/** Routes of what is live, to the replicas that answer now; of these functions only, where some are named. */
export async function readLiveRoutes(
  store: Store,
  runtime: Runtime,
  functionIds?: readonly string[],
): Promise<Route[]> {
  const deployed = await listDeployed(store, functionIds ? { functionIds } : {});
  const running = new Map(runtime.list().map((revision) => [revision.revisionId, revision]));
  return deployed.map((one) => toRoute(one, running.get(one.revision.id)));
}

const RETRY_MS = 1_000;

/**
 * Keeps the published routes in line with what the store says is live and the runtime says is running.
 *
 * Refreshes go one after the other, and each reads only once it is its turn. Whoever changed the store first and then asks
 * for a refresh can thus never be overtaken by one that read before the change.
 */
export class LiveRoutes implements AsyncDisposable {
  readonly #store: Store;
  readonly #runtime: Runtime;
  readonly #publisher: RoutePublisher;
  readonly #logger: Logger;
  readonly #subscription: Disposable;
  /** Functions that changed and have not been read since. */
  readonly #changed = new Set<string>();
  readonly #disposed = new AbortController();
  #last: Promise<unknown> = Promise.resolve();

  /** Follows the runtime from now on; what changed before is for the caller to refresh. */
  constructor(ports: {
    readonly store: Store;
    readonly runtime: Runtime;
    readonly routes: RoutePublisher;
    readonly logger: Logger;
  }) {
    this.#store = ports.store;
    this.#runtime = ports.runtime;
    this.#publisher = ports.routes;
    this.#logger = ports.logger;
    this.#subscription = ports.runtime.onChange((functionId) => {
      this.#changed.add(functionId);
      // The one that waits for its turn takes all that changes until then.
      if (this.#changed.size === 1) void this.#follow();
    });
  }

  /** Publishes these functions, or all, as they are now; those that are gone are taken out. @returns the version to confirm. */
  refresh(functionIds?: readonly string[]): Promise<number> {
    const turn = this.#last.then(() => this.#refresh(functionIds));
    this.#last = turn.catch(() => undefined);
    return turn;
  }

  /** Ends following the runtime; routes stay as they are. */
  async [Symbol.asyncDispose](): Promise<void> {
    this.#subscription[Symbol.dispose]();
    this.#disposed.abort();
    await this.#last;
  }

  async #follow(): Promise<void> {
    const turn = this.#last.then(() => {
      const changed = [...this.#changed];
      this.#changed.clear();
      return this.#refresh(changed).catch((error: unknown) => {
        this.#logger.error({ err: error }, "routes could not follow the runtime; trying again");
        this.#followLater(changed);
      });
    });
    this.#last = turn;
    await turn;
  }

  #followLater(functionIds: readonly string[]): void {
    const timer = setTimeout(() => {
      for (const functionId of functionIds) this.#changed.add(functionId);
      void this.#follow();
    }, RETRY_MS);
    this.#disposed.signal.addEventListener("abort", () => clearTimeout(timer));
  }

  async #refresh(functionIds: readonly string[] | undefined): Promise<number> {
    const upserts = await readLiveRoutes(this.#store, this.#runtime, functionIds);
    const present = new Set(upserts.map((route) => route.functionId));
    const asked = functionIds && new Set(functionIds);
    const isGone = ({ functionId }: Route) =>
      !present.has(functionId) && (asked === undefined || asked.has(functionId));
    // Most of the time everything that was asked for is there, and the table need not be walked.
    const removals = asked?.size === present.size ? [] : this.#publisher.routes.filter(isGone);
    return this.#publisher.publish({ upserts, removals });
  }
}
