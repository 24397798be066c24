import type { Logger } from "../logger.ts";
import type { Runtime } from "../ports/runtime/runtime.ts";
import { listDeployed } from "../ports/store/functions.ts";
import type { Store } from "../ports/store/store.ts";
import type { RoutePublisher } from "./route-publisher.ts";
import { toRoute } from "./snapshot.ts";

/** Routes of everything that is live, to the replicas that answer now. */
export async function liveRoutes(store: Store, runtime: Runtime) {
  const running = new Map(runtime.list().map((revision) => [revision.revisionId, revision]));
  return (await listDeployed(store)).map((deployed) => toRoute(deployed, running.get(deployed.revision.id)));
}

/** Keeps the routes' upstreams as the runtime's replicas come and go, until disposed. */
export function followRuntime(ports: {
  readonly store: Store;
  readonly runtime: Runtime;
  readonly routes: RoutePublisher;
  readonly logger: Logger;
}): AsyncDisposable {
  const { store, runtime, routes, logger } = ports;
  let working: Promise<void> | undefined;
  let again = false;

  const work = async () => {
    try {
      do {
        again = false;
        // Only added to or replaced: what is no longer deployed is taken out by the run that removed it.
        await routes.publish({ upserts: await liveRoutes(store, runtime) });
      } while (again);
    } catch (error) {
      logger.error({ err: error }, "routes could not be brought up to date with the runtime");
    } finally {
      working = undefined;
    }
  };
  const subscription = runtime.onChange(() => {
    again = true;
    working ??= work();
  });

  return {
    async [Symbol.asyncDispose]() {
      subscription[Symbol.dispose]();
      await working;
    },
  };
}
