import type { Rate } from "@openfaas-cloud/shared/route.ts";
import type { RateGate } from "./rate-gate.ts";
import type { Refusal } from "./refusal.ts";
import { bodyTooLarge, rateExceeded } from "./refusal-texts.ts";
import type { RequestHead } from "./request-fields.ts";

/** What whoever answers has to do. */
export interface Load {
  /** Requests at this moment. */
  underWay: number;
  /** Requests over time. */
  readonly gate: RateGate;
}

export interface Bounds {
  readonly maxBodyBytes: number;
  /** Of all workers together. */
  readonly maxConcurrency: number;
  readonly rate?: Rate | undefined;
}

/** A place among the requests under way. Given back when disposed, and once however often that is done. */
export class Permit implements Disposable {
  #load: Load | undefined;

  constructor(load: Load) {
    this.#load = load;
    load.underWay += 1;
  }

  [Symbol.dispose](): void {
    if (this.#load === undefined) return;
    this.#load.underWay -= 1;
    this.#load = undefined;
  }
}

/**
 * Checks the bounds that are known before a byte is forwarded; the body's real length is watched while it streams. `busy` is
 * what to say when there are too many. Each of several workers has its share of them, rounded up, so that none is left without.
 */
export function admit(
  bounds: Bounds,
  head: RequestHead,
  load: Load,
  busy: Refusal,
  workers: number,
): Permit | Refusal {
  if ((head.contentLength ?? 0) > bounds.maxBodyBytes) return bodyTooLarge(bounds.maxBodyBytes);
  if (load.underWay >= Math.ceil(bounds.maxConcurrency / workers)) return busy;
  // Last, so that only what is let in counts.
  const waitMs = bounds.rate === undefined ? 0 : load.gate.pass(bounds.rate, performance.now());
  return waitMs > 0 ? rateExceeded(waitMs) : new Permit(load);
}
