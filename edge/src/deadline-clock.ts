import { type Enlisted, Roster } from "./roster.ts";

const TICK_MS = 100;

/** Something that may take too long; asked now and then. */
export interface Timed extends Enlisted {
  check(nowMs: number): void;
}

/** One timer for all requests under way, instead of one or two for each. Its grain is the precision of every deadline. */
export class DeadlineClock implements Disposable {
  readonly #watched = new Roster<Timed>();
  readonly #timer: NodeJS.Timeout;
  #nowMs = performance.now();

  constructor() {
    this.#timer = setInterval(() => {
      const nowMs = performance.now();
      this.#nowMs = nowMs;
      for (const timed of this.#watched) timed.check(nowMs);
    }, TICK_MS).unref();
  }

  /** The time, as of the last tick: for what is not asked more precisely. */
  get nowMs(): number {
    return this.#nowMs;
  }

  watch(timed: Timed): void {
    this.#watched.add(timed);
  }

  forget(timed: Timed): void {
    this.#watched.delete(timed);
  }

  [Symbol.dispose](): void {
    clearInterval(this.#timer);
  }
}
