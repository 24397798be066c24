/** What was found of each thing when it was asked for last, so that not everything has to be asked for each time. */
export class Recent<T> {
  /** By id, what was asked for longest ago first. */
  readonly #byId = new Map<string, T>();

  find(id: string): T | undefined {
    return this.#byId.get(id);
  }

  note(id: string, found: T): void {
    this.#byId.delete(id);
    this.#byId.set(id, found);
  }

  /**
   * Which of these are to be asked for now: all that nothing is known of and, while they are fewer than `most`, those that were
   * asked for longest ago. What is not among these is forgotten.
   */
  due(ids: readonly string[], most: number): ReadonlySet<string> {
    const wanted = new Set(ids);
    for (const id of this.#byId.keys()) if (!wanted.has(id)) this.#byId.delete(id);
    const due = new Set(ids.filter((id) => !this.#byId.has(id)));
    for (const id of this.#byId.keys()) {
      if (due.size >= most) break;
      due.add(id);
    }
    return due;
  }
}
