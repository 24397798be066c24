import { isDeepStrictEqual } from "node:util";
import {
  type AppliedReport,
  type FeedMessage,
  MOST_IN_CHANGE,
  type Route,
  type RouteChange,
  type RouteSettings,
  type RouteSnapshot,
} from "@openfaas-cloud/shared/route.ts";
import { digestOf, headChecksumOf, type RouteDigest } from "@openfaas-cloud/shared/route-digest.ts";
import { routePropagation } from "../metrics.ts";

/** Versions are reserved on the disk this many at a time, so that publishing does not wait for the disk. */
const RESERVED_VERSIONS = 1000;

export interface EdgeState {
  readonly edge: string;
  readonly version: number;
}

interface Connection {
  readonly edge: string;
  readonly send: (message: FeedMessage) => void;
  appliedVersion: number;
}

/** Where the version of the route table is kept over restarts. */
export interface VersionStore {
  readonly epoch: string;
  /** The first version nobody was ever told. */
  readonly next: number;
  /** Keeps `next`; durable when it resolves. */
  reserve(next: number): Promise<void>;
}

/**
 * The route table as the control plane wants it, and what each edge has confirmed of it.
 *
 * Publishing is synchronous for everybody who reads the table: a change has its version, is applied here and written to
 * every connected edge in one step. `confirmed` then tells when all of them serve it.
 */
export class RoutePublisher {
  readonly #versions: VersionStore;
  readonly #connections = new Set<Connection>();
  readonly #waiters = new Set<() => void>();
  readonly #routes = new Map<string, Route>();
  readonly #publishedAt = new Map<number, number>();
  #settings: RouteSettings;
  #lastSettings: Promise<unknown> = Promise.resolve();
  #digest: RouteDigest;
  #version: number;
  #reserved: number;

  private constructor(versions: VersionStore, settings: RouteSettings, routes: readonly Route[]) {
    this.#versions = versions;
    this.#settings = settings;
    for (const route of routes) this.#routes.set(keyOf(route), route);
    this.#digest = digestOf(settings, routes);
    this.#version = versions.next;
    this.#reserved = versions.next + RESERVED_VERSIONS;
  }

  static async open(
    versions: VersionStore,
    settings: RouteSettings,
    routes: readonly Route[],
  ): Promise<RoutePublisher> {
    await versions.reserve(versions.next + RESERVED_VERSIONS);
    return new RoutePublisher(versions, settings, routes);
  }

  get version(): number {
    return this.#version;
  }

  get settings(): RouteSettings {
    return this.#settings;
  }

  get routes(): readonly Route[] {
    return [...this.#routes.values()];
  }

  get size(): number {
    return this.#routes.size;
  }

  edges(): readonly EdgeState[] {
    return [...this.#connections].map(({ edge, appliedVersion }) => ({ edge, version: appliedVersion }));
  }

  /** Puts these routes in and takes those out. Routes that are as they were are left alone. @returns the version to confirm. */
  async publish(change: {
    readonly upserts?: readonly Route[];
    readonly removals?: readonly Pick<Route, "owner" | "function">[];
    readonly settings?: RouteSettings;
  }): Promise<number> {
    // Reserved before anything is looked at: from there on nothing awaits, so that two publishers cannot interleave.
    const asked = (change.upserts?.length ?? 0) + (change.removals?.length ?? 0);
    const versions = Math.max(1, Math.ceil(asked / MOST_IN_CHANGE));
    if (this.#version + versions + 1 > this.#reserved) {
      this.#reserved += Math.max(RESERVED_VERSIONS, versions);
      await this.#versions.reserve(this.#reserved);
    }
    const upserts = (change.upserts ?? []).filter(
      (route) => !isDeepStrictEqual(this.#routes.get(keyOf(route)), route),
    );
    const removals = (change.removals ?? []).filter((route) => this.#routes.has(keyOf(route)));
    const settings =
      change.settings && !isDeepStrictEqual(change.settings, this.#settings) ? change.settings : undefined;
    if (upserts.length === 0 && removals.length === 0 && !settings) return this.#version;
    // One that is too large goes in parts, each a version of its own; removals first, as within a change.
    let unsentSettings = settings;
    do {
      const removed = removals.splice(0, MOST_IN_CHANGE);
      this.#send(upserts.splice(0, MOST_IN_CHANGE - removed.length), removed, unsentSettings);
      unsentSettings = undefined;
    } while (removals.length + upserts.length > 0);
    return this.#version;
  }

  #send(
    upserts: Route[],
    removals: readonly Pick<Route, "owner" | "function">[],
    settings: RouteSettings | undefined,
  ): void {
    this.#apply(upserts, removals, settings);
    const message: RouteChange = {
      kind: "change",
      version: this.#version,
      checksum: this.#digest.hex(),
      upserts,
      removals: removals.map(({ owner, function: name }) => ({ owner, function: name })),
      ...(settings ? { settings } : {}),
    };
    if (this.#connections.size > 0) this.#publishedAt.set(this.#version, performance.now());
    for (const connection of this.#connections) connection.send(message);
  }

  /**
   * Publishes these settings, each reading at its turn and after whatever was changed before it was asked for: an older one
   * never replaces a newer one, which could bring back what was revoked. @returns the version to confirm.
   */
  publishSettings(read: (current: RouteSettings) => Promise<RouteSettings>): Promise<number> {
    const turn = this.#lastSettings.then(async () => this.publish({ settings: await read(this.#settings) }));
    this.#lastSettings = turn.catch(() => undefined);
    return turn;
  }

  /**
   * Resolves once every connected edge serves `version` or a later one; with no edge connected, once one is and does.
   * Rejects with the signal's reason when that aborts first. An edge that disconnects is waited for no longer: it gets a
   * snapshot when it comes back.
   */
  async confirmed(version: number, signal: AbortSignal): Promise<void> {
    const isConfirmed = () =>
      this.#connections.size > 0 &&
      [...this.#connections].every((connection) => connection.appliedVersion >= version);
    while (!isConfirmed()) {
      signal.throwIfAborted();
      await new Promise<void>((resolve) => {
        const done = () => {
          this.#waiters.delete(done);
          signal.removeEventListener("abort", done);
          resolve();
        };
        this.#waiters.add(done);
        signal.addEventListener("abort", done);
      });
    }
  }

  /** An edge listens from now on: it is sent the snapshot, then every change, until the result is disposed. */
  connect(edge: string, send: (message: FeedMessage) => void): Disposable {
    const connection: Connection = { edge, send, appliedVersion: -1 };
    this.#connections.add(connection);
    send(this.#snapshot());
    return {
      [Symbol.dispose]: () => {
        this.#connections.delete(connection);
        this.#wakeAll();
      },
    };
  }

  applied(report: AppliedReport): void {
    if (report.epoch !== this.#versions.epoch) return;
    for (const connection of this.#connections) {
      if (connection.edge === report.edge && report.version > connection.appliedVersion)
        connection.appliedVersion = report.version;
    }
    const slowest = Math.min(...[...this.#connections].map((connection) => connection.appliedVersion));
    for (const [version, at] of this.#publishedAt) {
      if (version > slowest) break;
      routePropagation.observe((performance.now() - at) / 1000);
      this.#publishedAt.delete(version);
    }
    this.#wakeAll();
  }

  #snapshot(): RouteSnapshot {
    const head = {
      epoch: this.#versions.epoch,
      version: this.#version,
      checksum: this.#digest.hex(),
      forced: false,
    };
    return {
      kind: "snapshot",
      ...head,
      headChecksum: headChecksumOf(head),
      settings: this.#settings,
      routes: [...this.routes],
    };
  }

  #apply(
    upserts: readonly Route[],
    removals: readonly Pick<Route, "owner" | "function">[],
    settings: RouteSettings | undefined,
  ): void {
    for (const route of [...upserts, ...removals]) {
      const old = this.#routes.get(keyOf(route));
      if (old) this.#digest.toggle(old);
      this.#routes.delete(keyOf(route));
    }
    for (const route of upserts) {
      this.#routes.set(keyOf(route), route);
      this.#digest.toggle(route);
    }
    if (settings) {
      this.#digest.toggle(this.#settings);
      this.#digest.toggle(settings);
      this.#settings = settings;
    }
    this.#version += 1;
  }

  #wakeAll(): void {
    for (const wake of [...this.#waiters]) wake();
  }
}

/** A key of the map, never taken apart again; neither half holds a `/`. */
function keyOf(route: Pick<Route, "owner" | "function">): string {
  return `${route.owner}/${route.function}`;
}
