import type { Route } from "@openfaas-cloud/shared/route.ts";
import { type Dispatcher, Pool } from "undici";
import type { DeadlineClock } from "./deadline-clock.ts";
import type { Lane } from "./metrics.ts";
import { UpstreamConnections } from "./plain-lane/upstream-connections.ts";
import type { RouteTable } from "./route-table.ts";

/** `highWaterMark` as for clients' sockets (full-lane.ts): what is held of an answer before the function is made to wait. */
const CONNECTION = { timeout: 2_000, highWaterMark: 16 * 1024 };
const FAILURES_TO_EJECT = 5;
const EJECTION_MS = 30_000;
const MAX_EJECTION_MS = 300_000;

/** Open ones to all replicas together, by lane; tunnels are not among them. */
export type OpenConnections = Record<Lane, number>;

/**
 * What is known of one replica: its connections, its load and its health. Its pool is made with the first request, since
 * most of 100,000 routes are not called in an edge's lifetime.
 */
export class Replica {
  readonly id: string;
  readonly #url: string;
  readonly #connections: OpenConnections;
  inFlight = 0;
  /** The full lane's connections, and the plain lane's. */
  #pool: Pool | undefined;
  #plain: UpstreamConnections | undefined;
  #closed = false;
  #failuresInARow = 0;
  #ejections = 0;
  #ejectedUntilMs = 0;
  readonly #tunnels = new Set<() => void>();

  constructor(id: string, url: string, connections: OpenConnections = { plain: 0, full: 0 }) {
    this.id = id;
    this.#url = url;
    this.#connections = connections;
  }

  get closed(): boolean {
    return this.#closed;
  }

  isEjected(nowMs: number): boolean {
    return nowMs < this.#ejectedUntilMs;
  }

  dispatch(options: Dispatcher.DispatchOptions, handler: Dispatcher.DispatchHandler): void {
    this.#pool ??= this.#openPool();
    this.#pool.dispatch(options, handler);
  }

  #openPool(): Pool {
    const pool = new Pool(this.#url, {
      connect: CONNECTION,
      // The waits for head and body are bounded by the deadline clock, which also holds against endless 1xx answers.
      headersTimeout: 0,
      bodyTimeout: 0,
      maxHeaderSize: 16 * 1024,
    });
    pool.on("connect", () => {
      this.#connections.full += 1;
    });
    pool.on("disconnect", () => {
      this.#connections.full -= 1;
    });
    return pool;
  }

  plainConnections(clock: DeadlineClock, readBuffer: Buffer): UpstreamConnections {
    this.#plain ??= new UpstreamConnections({
      origin: this.#url,
      clock,
      readBuffer,
      counted: this.#connections,
    });
    return this.#plain;
  }

  succeeded(): void {
    this.#failuresInARow = 0;
  }

  /** Whether the failures in a row are now enough to leave the replica alone for a while. */
  failed(): boolean {
    this.#failuresInARow += 1;
    return this.#failuresInARow >= FAILURES_TO_EJECT;
  }

  eject(nowMs: number): void {
    // A replica that has kept out of trouble for the longest ejection starts anew.
    const relapsed = nowMs - this.#ejectedUntilMs < MAX_EJECTION_MS && this.#ejections > 0;
    this.#ejections = relapsed ? this.#ejections + 1 : 1;
    this.#ejectedUntilMs = nowMs + Math.min(EJECTION_MS * this.#ejections, MAX_EJECTION_MS);
    this.#failuresInARow = 0;
  }

  /** Has `end` called when the replica goes away; the answer takes it back. */
  addTunnel(end: () => void): () => void {
    this.#tunnels.add(end);
    return () => this.#tunnels.delete(end);
  }

  /** Lets requests under way finish, and ends tunnels, which never would. */
  async close(): Promise<void> {
    this.#closed = true;
    for (const end of this.#tunnels) end();
    await Promise.all([this.#pool?.close(), this.#plain?.close()]);
  }

  async destroy(): Promise<void> {
    this.#closed = true;
    for (const end of this.#tunnels) end();
    this.#plain?.destroy();
    await this.#pool?.destroy();
  }
}

/** The less loaded of two taken at random, among the healthy; among all when none is healthy. */
export function pickReplica(replicas: readonly Replica[], except?: Replica): Replica | undefined {
  const [only] = replicas;
  if (replicas.length === 1 && only?.closed === false) return only;
  const nowMs = performance.now();
  const open = replicas.filter((replica) => !replica.closed);
  const healthy = open.filter((replica) => !replica.isEjected(nowMs));
  const usable = healthy.length > 0 ? healthy : open;
  const others = except === undefined ? usable : usable.filter((replica) => replica !== except);
  const choice = others.length > 0 ? others : usable;
  const one = choice[Math.floor(Math.random() * choice.length)];
  const two = choice[Math.floor(Math.random() * choice.length)];
  return one !== undefined && two !== undefined && two.inFlight < one.inFlight ? two : one;
}

/** Counts a failure of our side of the conversation; tells whether the replica was ejected for it. */
export function noteFailure(replica: Replica, replicas: readonly Replica[]): boolean {
  if (!replica.failed()) return false;
  const nowMs = performance.now();
  const othersServe = replicas.some((other) => other !== replica && !other.closed && !other.isEjected(nowMs));
  if (!othersServe || replica.isEjected(nowMs)) return false;
  replica.eject(nowMs);
  return true;
}

interface Held {
  readonly replica: Replica;
  routes: number;
}

/**
 * The replicas of the routes that are in use. They outlive the route that brought them in: a next revision of the route
 * that names the same upstream goes on with its connections and its health. No replica is shared between owners.
 */
export class Upstreams implements AsyncDisposable {
  readonly connections: OpenConnections = { plain: 0, full: 0 };
  readonly #byKey = new Map<string, Held>();
  readonly #byRoute = new Map<Route, readonly Replica[]>();
  readonly #closing = new Set<Promise<void>>();

  /** Only of a route of the table served now, so that nothing is held for one that went away. */
  replicasOf(route: Route): readonly Replica[] {
    const known = this.#byRoute.get(route);
    if (known !== undefined) return known;
    const replicas = route.upstreams.map(({ id, url }) => {
      const key = keyOf(route, id, url);
      const held = this.#byKey.get(key) ?? { replica: new Replica(id, url, this.connections), routes: 0 };
      held.routes += 1;
      this.#byKey.set(key, held);
      return held.replica;
    });
    this.#byRoute.set(route, replicas);
    return replicas;
  }

  /** Moves on to the next table. `touched` are the routes of the table before that may not be in it any more. */
  follow(next: RouteTable, touched: Iterable<Route> | "all"): void {
    for (const route of touched === "all" ? [...this.#byRoute.keys()] : touched) {
      if (!this.#byRoute.has(route)) continue;
      const successor = next.find(route.owner, route.function);
      if (successor === route) continue;
      if (successor !== undefined) this.replicasOf(successor);
      this.#release(route);
    }
  }

  get pools(): number {
    return this.#byKey.size;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await Promise.all([...this.#byKey.values()].map(({ replica }) => replica.destroy()));
    await Promise.all(this.#closing);
  }

  #release(route: Route): void {
    this.#byRoute.delete(route);
    for (const { id, url } of route.upstreams) {
      const key = keyOf(route, id, url);
      const held = this.#byKey.get(key);
      if (held === undefined) continue;
      held.routes -= 1;
      if (held.routes > 0) continue;
      this.#byKey.delete(key);
      const closing: Promise<void> = held.replica.close().finally(() => this.#closing.delete(closing));
      this.#closing.add(closing);
    }
  }
}

function keyOf(route: Route, id: string, url: string): string {
  return JSON.stringify([route.owner, id, url]);
}
