/** Something that happens again and again, and is waited for. */
export class Happening {
  #count = 0;
  #next = Promise.withResolvers<void>();

  /** How often it happened; what is waited from here is not missed. */
  get count(): number {
    return this.#count;
  }

  happen(): void {
    this.#count += 1;
    this.#next.resolve();
    this.#next = Promise.withResolvers();
  }

  /** Resolves once it happened more than `since` times, or after so long. */
  async after(since: number, ms = Number.POSITIVE_INFINITY): Promise<void> {
    if (this.#count > since || ms <= 0) return;
    if (!Number.isFinite(ms)) return this.#next.promise;
    const { promise: over, resolve } = Promise.withResolvers<void>();
    const timer = setTimeout(resolve, ms);
    await Promise.race([this.#next.promise, over]);
    clearTimeout(timer);
  }
}
