import { FunctionName, OwnerSlug } from "@openfaas-cloud/shared/names.ts";
import { DEFAULT_ROUTE_LIMITS, type Route } from "@openfaas-cloud/shared/route.ts";
import type { RunningRevision } from "../ports/runtime/runtime.ts";
import type { Deployed } from "../ports/store/functions.ts";

/**
 * The route of a live function. Replicas that answer are its upstreams; where none does at the moment all of them are, so
 * that the edge keeps trying rather than say the function does not exist.
 */
export function toRoute(deployed: Deployed, running: RunningRevision | undefined): Route {
  const replicas = running?.replicas ?? [];
  const ready = replicas.filter((replica) => replica.state === "ready");
  return {
    owner: OwnerSlug.parse(deployed.slug),
    function: FunctionName.parse(deployed.name),
    functionId: deployed.id,
    revision: deployed.revision.id,
    access: deployed.revision.parsed.access,
    upstreams: (ready.length > 0 ? ready : replicas).map((replica) => replica.upstream),
    limits: DEFAULT_ROUTE_LIMITS,
  };
}
