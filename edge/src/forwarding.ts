import type { Route } from "@openfaas-cloud/shared/route.ts";
import type { Domains } from "./config.ts";
import type { Failures, Refusal } from "./refusal.ts";
import { FUNCTION_FAILURES, SYSTEM_FAILURES } from "./refusal-texts.ts";
import type { CredentialsRule } from "./request-fields.ts";
import type { RouteTable } from "./route-table.ts";
import type { Replica, Upstreams } from "./upstreams.ts";

/** A request that may go upstream. */
export interface Forwarding {
  readonly destination: Destination;
  readonly path: string;
  readonly credentials: CredentialsRule;
}

/** Who answers, and by which bounds; the same for every request of one route. */
export interface Destination {
  /** Asked again before a second attempt, since the table may have moved on. */
  replicas(): readonly Replica[];
  readonly maxBodyBytes: number;
  /** How long the client may keep us waiting for the next piece of its body. */
  readonly bodyIdleMs: number;
  /** For how long the client may send its body at less than a crawl. */
  readonly bodyDripMs: number;
  /** How long the client may leave us with what it has not read. */
  readonly writeIdleMs: number;
  /** How long the upstream may keep us waiting: for room for the body, and for its answer when the body was sent. */
  readonly firstByteMs: number;
  /** The whole, from the request's first byte to the answer's last. */
  readonly totalMs: number | null;
  /** Set where a function answers, which is trusted with less than the control plane. */
  readonly domains: Domains | undefined;
  readonly failures: Failures;
}

/** What became of it: `refused` still needs an answer; everything else is over. */
export type Outcome =
  | { readonly kind: "answered" }
  /** The connection is a tunnel now, and counts as under way until that ends. */
  | { readonly kind: "upgraded" }
  | { readonly kind: "refused"; readonly refusal: Refusal }
  /** The connection to the client was cut, since the answer could not be finished honestly. */
  | { readonly kind: "cut" }
  | { readonly kind: "client-gone" };

export interface DestinationParts {
  readonly domains: Domains;
  readonly table: () => RouteTable | undefined;
  readonly upstreams: Upstreams;
  readonly controlPlane: Replica;
  readonly bodyIdleMs: number;
  readonly bodyDripMs: number;
  readonly writeIdleMs: number;
}

export const SYSTEM_BODY_BYTES = 200 * 1024 * 1024;
/** A push is answered when Git has taken it in. */
const SYSTEM_BODY_IDLE_MS = 300_000;
const SYSTEM_FIRST_BYTE_MS = 15 * 60_000;

/** The destinations of requests, one for each route that is called and one for the system host. */
export class Destinations {
  readonly system: Destination;
  readonly #parts: DestinationParts;
  readonly #byRoute = new WeakMap<Route, Destination>();

  constructor(parts: DestinationParts) {
    this.#parts = parts;
    this.system = new SystemDestination(parts);
  }

  ofFunction(route: Route): Destination {
    const known = this.#byRoute.get(route);
    if (known !== undefined) return known;
    const made = new FunctionDestination(route, this.#parts);
    this.#byRoute.set(route, made);
    return made;
  }
}

class FunctionDestination implements Destination {
  readonly maxBodyBytes: number;
  readonly bodyIdleMs: number;
  readonly bodyDripMs: number;
  readonly writeIdleMs: number;
  readonly firstByteMs: number;
  readonly totalMs: number | null;
  readonly domains: Domains;
  readonly failures = FUNCTION_FAILURES;
  readonly #route: Route;
  readonly #parts: DestinationParts;

  constructor(route: Route, parts: DestinationParts) {
    this.#route = route;
    this.#parts = parts;
    this.maxBodyBytes = route.limits.maxBodyBytes;
    this.bodyIdleMs = parts.bodyIdleMs;
    // Who streams says little and often.
    this.bodyDripMs = route.limits.totalMs === null ? Number.POSITIVE_INFINITY : parts.bodyDripMs;
    this.writeIdleMs = parts.writeIdleMs;
    this.firstByteMs = route.limits.firstByteMs;
    this.totalMs = route.limits.totalMs;
    this.domains = parts.domains;
  }

  replicas(): readonly Replica[] {
    const { table, upstreams } = this.#parts;
    const current = table()?.find(this.#route.owner, this.#route.function);
    return current === undefined ? [] : upstreams.replicasOf(current);
  }
}

/** The control plane: with the credentials that came, and with more time. */
class SystemDestination implements Destination {
  readonly maxBodyBytes = SYSTEM_BODY_BYTES;
  readonly bodyIdleMs = SYSTEM_BODY_IDLE_MS;
  readonly bodyDripMs = Number.POSITIVE_INFINITY;
  readonly writeIdleMs: number;
  readonly firstByteMs = SYSTEM_FIRST_BYTE_MS;
  readonly totalMs = null;
  readonly domains = undefined;
  readonly failures = SYSTEM_FAILURES;
  readonly #replicas: readonly Replica[];

  constructor({ controlPlane, writeIdleMs }: DestinationParts) {
    this.writeIdleMs = writeIdleMs;
    this.#replicas = [controlPlane];
  }

  replicas(): readonly Replica[] {
    return this.#replicas;
  }
}
