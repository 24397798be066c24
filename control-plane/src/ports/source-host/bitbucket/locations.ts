/** Where a repository of Data Center is: its project's key, and its slug there. */
export interface Location {
  readonly projectKey: string;
  readonly slug: string;
}

const MOST = 10_000;

/** Where repositories were seen last, by their ids: hints, which whoever uses them checks. */
export class Locations {
  readonly #byId = new Map<string, Location>();

  find(id: string): Location | undefined {
    return this.#byId.get(id);
  }

  note(id: string, location: Location): void {
    this.#byId.delete(id);
    this.#byId.set(id, location);
    if (this.#byId.size <= MOST) return;
    const [oldest = id] = this.#byId.keys();
    this.#byId.delete(oldest);
  }
}
