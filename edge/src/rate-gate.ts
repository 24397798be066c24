import type { Rate } from "@openfaas-cloud/shared/route.ts";

/** Rounding of times is none of the caller's business. */
const ROUNDING_MS = 0.001;

/**
 * Lets through `perS` a second on average and `burst` at once. A token bucket, kept as the time at which it would be full
 * again: one number, no timer, and as good for a rate that changes.
 */
export class RateGate {
  #fullAtMs = 0;

  /** 0 where one more may pass, which then counts; otherwise in how many milliseconds one may. */
  pass(rate: Rate, nowMs: number): number {
    const costMs = 1000 / rate.perS;
    // Never emptier than empty, so that what a slower rate owed is not owed to a faster one.
    this.#fullAtMs = Math.min(Math.max(this.#fullAtMs, nowMs), nowMs + costMs * rate.burst);
    const waitMs = this.#fullAtMs - nowMs - costMs * (rate.burst - 1);
    if (waitMs > ROUNDING_MS) return waitMs;
    this.#fullAtMs += costMs;
    return 0;
  }
}
