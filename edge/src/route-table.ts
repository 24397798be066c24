import type { Route, RouteChange, RouteSettings, RouteSnapshot } from "@openfaas-cloud/shared/route.ts";
import { RouteDigest } from "@openfaas-cloud/shared/route-digest.ts";

type OwnerRoutes = ReadonlyMap<string, Route>;

type TableHead = Pick<RouteSnapshot, "epoch" | "version" | "settings">;

interface TableParts extends TableHead {
  readonly size: number;
  readonly owners: ReadonlyMap<string, OwnerRoutes>;
  readonly digest: RouteDigest;
}

/** One version of all routes and settings. A value: a change makes another table, which shares what it does not touch. */
export class RouteTable {
  readonly epoch: string;
  readonly version: number;
  readonly settings: RouteSettings;
  readonly size: number;
  readonly #owners: ReadonlyMap<string, OwnerRoutes>;
  readonly #digest: RouteDigest;

  constructor(parts: TableParts) {
    this.epoch = parts.epoch;
    this.version = parts.version;
    this.settings = parts.settings;
    this.size = parts.size;
    this.#owners = parts.owners;
    this.#digest = parts.digest;
  }

  static fromSnapshot(
    snapshot: Pick<RouteSnapshot, "epoch" | "version" | "settings" | "routes">,
  ): RouteTable {
    const builder = new RouteTableBuilder(snapshot);
    for (const route of snapshot.routes) builder.add(route);
    return builder.build();
  }

  get checksum(): string {
    return this.#digest.hex();
  }

  find(owner: string, functionName: string): Route | undefined {
    return this.#owners.get(owner)?.get(functionName);
  }

  /** An owner's routes by function name; an owner is known here while it has at least one. */
  findOwner(owner: string): OwnerRoutes | undefined {
    return this.#owners.get(owner);
  }

  owners(): Iterable<string> {
    return this.#owners.keys();
  }

  *routes(): Iterable<Route> {
    for (const routes of this.#owners.values()) yield* routes.values();
  }

  /** Costs a copy of the owners' map and of the touched owners' own, whatever the number of routes. */
  withChange(change: Omit<RouteChange, "kind" | "checksum">): RouteTable {
    const owners = new Map(this.#owners);
    const digest = this.#digest.copy();
    const copied = new Map<string, Map<string, Route>>();
    let size = this.size;

    const copyOf = (owner: string): Map<string, Route> => {
      const known = copied.get(owner);
      if (known !== undefined) return known;
      const copy = new Map(owners.get(owner));
      copied.set(owner, copy);
      owners.set(owner, copy);
      return copy;
    };
    const takeOut = (owner: string, functionName: string): void => {
      const routes = copyOf(owner);
      const present = routes.get(functionName);
      if (present === undefined) return;
      digest.toggle(present);
      routes.delete(functionName);
      size -= 1;
    };

    for (const { owner, function: functionName } of change.removals) takeOut(owner, functionName);
    for (const route of change.upserts) {
      takeOut(route.owner, route.function);
      copyOf(route.owner).set(route.function, route);
      digest.toggle(route);
      size += 1;
    }
    for (const [owner, routes] of copied) if (routes.size === 0) owners.delete(owner);
    if (change.settings !== undefined) {
      digest.toggle(this.settings);
      digest.toggle(change.settings);
    }
    return new RouteTable({
      epoch: this.epoch,
      version: change.version,
      settings: change.settings ?? this.settings,
      size,
      owners,
      digest,
    });
  }
}

/** Makes a table route by route, so that a large one can be made between requests. Of two routes of one name the last counts. */
export class RouteTableBuilder {
  readonly #head: TableHead;
  readonly #owners = new Map<string, Map<string, Route>>();
  readonly #digest = new RouteDigest();

  constructor(head: TableHead) {
    this.#head = head;
    this.#digest.toggle(head.settings);
  }

  add(route: Route): void {
    const routes = this.#owners.get(route.owner) ?? new Map<string, Route>();
    this.#owners.set(route.owner, routes.set(route.function, route));
    this.#digest.toggle(route);
  }

  build(): RouteTable {
    const { epoch, version, settings } = this.#head;
    let size = 0;
    for (const routes of this.#owners.values()) size += routes.size;
    return new RouteTable({ epoch, version, settings, size, owners: this.#owners, digest: this.#digest });
  }
}
