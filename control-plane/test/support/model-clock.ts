import type { Clock } from "../../src/webhooks/reconcile.ts";

interface Waiter {
  readonly at: number;
  readonly resolve: () => void;
}

/** A clock that moves only when it is told to, from one moment that somebody waits for to the next. */
export class ModelClock implements Clock {
  readonly #time: { now: number };
  readonly #waiters = new Set<Waiter>();
  #onWaiter: () => void = () => undefined;

  constructor(time: { now: number }) {
    this.#time = time;
  }

  now(): number {
    return this.#time.now;
  }

  delay(ms: number, signal: AbortSignal): Promise<void> {
    return new Promise((resolve, reject) => {
      const waiter = { at: this.#time.now + ms, resolve };
      this.#waiters.add(waiter);
      this.#onWaiter();
      signal.addEventListener("abort", () => {
        this.#waiters.delete(waiter);
        reject(signal.reason);
      });
    });
  }

  /** Resolves when so many wait, which is when nothing else goes on. */
  async idle(waiters: number): Promise<void> {
    while (this.#waiters.size < waiters) {
      await new Promise<void>((resolve) => {
        this.#onWaiter = resolve;
      });
    }
  }

  /** Moves on by so much; whoever waits for a moment on the way is woken in it, and is done with it before time goes on. */
  async advance(ms: number, waiters: number): Promise<void> {
    const until = this.#time.now + ms;
    for (;;) {
      await this.idle(waiters);
      const [next] = [...this.#waiters].toSorted((a, b) => a.at - b.at);
      if (next === undefined || next.at > until) break;
      this.#time.now = next.at;
      this.#waiters.delete(next);
      next.resolve();
    }
    this.#time.now = until;
  }
}
