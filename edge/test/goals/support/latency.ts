import { quantile } from "./part.ts";

/**
 * What a p99 may be worse by, whatever the ratio: the calls are made and answered by the process that tests, on a machine that
 * others use too, and one pause of either is as long as many calls. What the goals are about, a wait for somebody who is dead, takes
 * tenths of seconds to seconds.
 */
export const NOISE_FLOOR_MS = 40;

/** A p99 and the one to hold it against, of the same time or of the moment before. */
export interface P99Pair {
  readonly calmMs: number;
  readonly troubledMs: number;
}

export function median(values: readonly number[]): number {
  return quantile(values, 0.5);
}

/** By how much trouble makes p99 worse than it may, which is by a share of it: the median, so that no single pause decides. */
export function excessMs(pairs: readonly P99Pair[], worseBy: number): number {
  return median(pairs.map(({ calmMs, troubledMs }) => troubledMs - calmMs * (1 + worseBy)));
}
