import { FunctionName, OwnerSlug } from "@openfaas-cloud/shared/names.ts";
import { DEFAULT_ROUTE_LIMITS, type Route } from "@openfaas-cloud/shared/route.ts";
import type { RunningRevision } from "../ports/runtime/runtime.ts";
import type { Deployed } from "../ports/store/functions.ts";

/**
 * The route of a live function, to the replicas that answer. One that does not is left out even where it is the only one:
 * until it is back, whatever answers at its port is somebody else.
 */
export function toRoute(deployed: Deployed, running: RunningRevision | undefined): Route {
  const ready = running?.replicas.filter((replica) => replica.state === "ready") ?? [];
  return {
    owner: OwnerSlug.parse(deployed.slug),
    function: FunctionName.parse(deployed.name),
    functionId: deployed.id,
    revision: deployed.revision.id,
    access: deployed.revision.parsed.access,
    upstreams: ready.map((replica) => replica.upstream),
    limits: { ...DEFAULT_ROUTE_LIMITS, ...deployed.revision.parsed.routeLimits },
  };
}
