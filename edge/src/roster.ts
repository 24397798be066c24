/** What stands in a roster knows where; -1 outside of it. */
export interface Enlisted {
  rosterIndex: number;
}

/**
 * Things that join and leave with every request, in no order. Not a Set: one that is added to and deleted from makes a new
 * table now and then, each held by the one before it, so that one dead table that has grown old keeps all later ones from
 * the young generation's collection, and with them every request that ever stood in them. Measured: 12 MB of dead requests
 * carried along by each collection, and a tenth of all processor time.
 */
export class Roster<T extends Enlisted> implements Iterable<T> {
  readonly #items: T[] = [];

  get size(): number {
    return this.#items.length;
  }

  add(item: T): void {
    if (item.rosterIndex === -1) item.rosterIndex = this.#items.push(item) - 1;
  }

  delete(item: T): void {
    const index = item.rosterIndex;
    if (index === -1) return;
    const last = this.#items.pop();
    if (last !== undefined && last !== item) {
      this.#items[index] = last;
      last.rosterIndex = index;
    }
    item.rosterIndex = -1;
  }

  /** From the end, so that whoever is come to may leave meanwhile, and nobody is passed over. */
  *[Symbol.iterator](): Iterator<T> {
    for (let i = this.#items.length - 1; i >= 0; i--) {
      const item = this.#items[i];
      if (item !== undefined) yield item;
    }
  }
}
