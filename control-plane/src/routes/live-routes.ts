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
  readonly #subscription: Disposable;
  #last: Promise<unknown> = Promise.resolve();
  #following = false;

  constructor(ports: {
    readonly store: Store;
    readonly runtime: Runtime;
    readonly routes: RoutePublisher;
    readonly logger: Logger;
  }) {
    this.#store = ports.store;
    this.#runtime = ports.runtime;
    this.#publisher = ports.routes;
    this.#subscription = ports.runtime.onChange(() => {
      // One refresh that has not begun to read sees everything that changes until then.
      if (this.#following) return;
      this.#following = true;
      this.refresh().catch((error: unknown) => {
        ports.logger.error({ err: error }, "routes could not be brought up to date with the runtime");
      });
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
    await this.#last;
  }

  async #refresh(functionIds: readonly string[] | undefined): Promise<number> {
    if (functionIds === undefined) this.#following = false;
    const upserts = await readLiveRoutes(this.#store, this.#runtime, functionIds);
    const present = new Set(upserts.map((route) => route.functionId));
    const asked = functionIds && new Set(functionIds);
    const removals = this.#publisher.routes.filter(
      ({ functionId }) => !present.has(functionId) && (asked === undefined || asked.has(functionId)),
    );
    return this.#publisher.publish({ upserts, removals });
  }
}
