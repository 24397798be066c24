import { setTimeout as later } from "node:timers";

/** Ahead by no more than this and a sixteenth, a worker does not care. */
const SLACK = 2;
const SLACK_SHARE = 1 / 16;
/** Long enough for another worker to wake up and accept. */
const REST_MS = 0.1;
/** What resting may take at once, and what share of the time for good: where the others do not accept, somebody has to. */
const REST_BUDGET_MS = 50;
const REST_SHARE = 1 / 20;
/** Between two reports to the others. */
const REPORT_EVERY_MS = 1;

/**
 * Spreads new connections evenly over workers that accept from the same sockets. The kernel wakes them all and whoever comes
 * first accepts, which with a burst is one of them for nearly all: of 64 connections opened at once two workers had 61 and 3.
 * So a worker that has more than another one rests for a moment after each connection it accepts, long enough for the other
 * one to accept the next: 33 and 31.
 */
export class AcceptBalance {
  readonly #report: (open: number) => void;
  #open = 0;
  #fewest = Number.POSITIVE_INFINITY;
  #reporting: NodeJS.Timeout | undefined;
  #budgetMs = REST_BUDGET_MS;
  #restedAtMs = performance.now();
  readonly #never = new Int32Array(new SharedArrayBuffer(Int32Array.BYTES_PER_ELEMENT));

  /** @param report tells the others how many connections this worker has */
  constructor(report: (open: number) => void) {
    this.#report = report;
  }

  /** Another worker has so few, and none has fewer. */
  heard(fewest: number): void {
    this.#fewest = fewest;
  }

  /** To be called whenever the number has changed, right after a connection was accepted. */
  changed(open: number): void {
    const accepted = open > this.#open;
    this.#open = open;
    this.#reporting ??= later(() => {
      this.#reporting = undefined;
      this.#report(this.#open);
    }, REPORT_EVERY_MS).unref();
    if (accepted && open > this.#fewest * (1 + SLACK_SHARE) + SLACK) this.#rest();
  }

  /** Blocks: whatever gave way to the event loop would let it accept. */
  #rest(): void {
    const nowMs = performance.now();
    this.#budgetMs = Math.min(this.#budgetMs + (nowMs - this.#restedAtMs) * REST_SHARE, REST_BUDGET_MS);
    this.#restedAtMs = nowMs;
    if (this.#budgetMs < REST_MS) return;
    Atomics.wait(this.#never, 0, 0, REST_MS);
    this.#budgetMs -= performance.now() - nowMs;
  }
}
