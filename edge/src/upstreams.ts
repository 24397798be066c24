import type { Route } from "@openfaas-cloud/shared/route.ts";
import { buildConnector, type Dispatcher, Pool } from "undici";
import type { DeadlineClock } from "./deadline-clock.ts";
import type { Lane } from "./metrics.ts";
import { UpstreamConnections } from "./plain-lane/upstream-connections.ts";
import type { RouteTable } from "./route-table.ts";

/** `highWaterMark` as for clients' sockets (full-lane.ts): what is held of an answer before the function is made to wait. */
const CONNECTION = { timeout: 2_000, highWaterMark: 16 * 1024 };

/**
 * undici takes a reset for the end of an answer that has no other, and half of it would look whole. Under another code it is an
 * error like any other.
 */
function connectorThatTellsResets(): buildConnector.connector {
  const connect = buildConnector(CONNECTION);
  return (options, callback) => {
    connect(options, (...result) => {
      result[1]?.prependListener("error", (error: NodeJS.ErrnoException) => {
        if (error.code === "ECONNRESET") error.code = "EUPSTREAMRESET";
      });
      callback(...result);
    });
  };
}

const FAILURES_TO_EJECT = 5;
const EJECTION_MS = 30_000;
const MAX_EJECTION_MS = 300_000;
/** After its ejection a replica gets one request in so long, until it has answered one. */
const PROBE_EVERY_MS = 1_000;

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
  /** Not asked before then; far in the past for one that was never ejected. */
  #restsUntilMs = Number.NEGATIVE_INFINITY;
  #ejectedUntilMs = Number.NEGATIVE_INFINITY;
  /** It was ejected and has not answered since. */
  #onProbation = false;
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

  /** Left alone: ejected, or on probation with its request of this second given. */
  isResting(nowMs: number): boolean {
    return nowMs < this.#restsUntilMs;
  }

  /** It was chosen for a request. */
  chosen(nowMs: number): void {
    if (this.#onProbation && nowMs >= this.#ejectedUntilMs) this.#restsUntilMs = nowMs + PROBE_EVERY_MS;
  }

  dispatch(options: Dispatcher.DispatchOptions, handler: Dispatcher.DispatchHandler): void {
    this.#pool ??= this.#openPool();
    this.#pool.dispatch(options, handler);
  }

  #openPool(): Pool {
    const pool = new Pool(this.#url, {
      connect: connectorThatTellsResets(),
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
    if (!this.#onProbation) return;
    this.#onProbation = false;
    this.#restsUntilMs = this.#ejectedUntilMs;
  }

  /** Whether the failures in a row are now enough to leave the replica alone for a while: on probation one is. */
  failed(): boolean {
    this.#failuresInARow += 1;
    return this.#onProbation || this.#failuresInARow >= FAILURES_TO_EJECT;
  }

  eject(nowMs: number): void {
    // A replica that has kept out of trouble for the longest ejection starts anew.
    const relapsed = nowMs - this.#ejectedUntilMs < MAX_EJECTION_MS;
    this.#ejections = relapsed ? this.#ejections + 1 : 1;
    this.#ejectedUntilMs = nowMs + Math.min(EJECTION_MS * this.#ejections, MAX_EJECTION_MS);
    this.#restsUntilMs = this.#ejectedUntilMs;
    this.#failuresInARow = 0;
    this.#onProbation = true;
  }

  /** Has `end` called when the replica goes away; the answer takes it back. */
  addTunnel(end: () => void): () => void {
    if (this.#closed) end();
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

/**
 * The less loaded of two taken at random among the healthy; among all where none is healthy, since then the trouble is
 * hardly theirs. Rather any other, healthy or not, than the one that just failed.
 */
export function pickReplica(
  replicas: readonly Replica[],
  failed?: Replica,
  nowMs = performance.now(),
): Replica | undefined {
  const [only] = replicas;
  if (replicas.length === 1 && only !== undefined) return only.closed ? undefined : only;
  const open = replicas.filter((replica) => !replica.closed);
  const others = failed === undefined || open.length === 1 ? open : open.filter((other) => other !== failed);
  const healthy = others.filter((replica) => !replica.isResting(nowMs));
  const replica = lessLoadedOfTwo(healthy.length > 0 ? healthy : others);
  replica?.chosen(nowMs);
  return replica;
}

function lessLoadedOfTwo(replicas: readonly Replica[]): Replica | undefined {
  const first = Math.floor(Math.random() * replicas.length);
  // Of the others each is as likely: two that may be the same would leave a quarter of the load on the busier of two.
  const step = 1 + Math.floor(Math.random() * (replicas.length - 1));
  const one = replicas[first];
  const two = replicas[(first + step) % replicas.length];
  return one !== undefined && two !== undefined && two.inFlight < one.inFlight ? two : one;
}

/** Whether somebody else would be asked with good hope. */
export function hasHealthyOther(replicas: readonly Replica[], than: Replica, nowMs: number): boolean {
  return replicas.some((other) => other !== than && !other.closed && !other.isResting(nowMs));
}

/** Counts a failure of our side of the conversation; tells whether the replica was ejected for it. */
export function noteFailure(
  replica: Replica,
  replicas: readonly Replica[],
  nowMs = performance.now(),
): boolean {
  if (!replica.failed()) return false;
  if (replica.isEjected(nowMs) || !hasHealthyOther(replicas, replica, nowMs)) return false;
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
