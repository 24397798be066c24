import type { EdgeConfig } from "../../src/config.ts";

/** A way that a request may take through the edge. What a client sees is the same on all of them. */
export interface Lane {
  readonly lane: string;
  /** What a test's edge is started with to take it. */
  readonly config: Partial<Omit<EdgeConfig, "timeouts">>;
  /** The same for an edge that is a process of its own. */
  readonly environment: Readonly<Record<string, string>>;
}

/** For `describe.each(LANES)("in the $lane lane", …)` and `test.each(LANES)`. */
export const LANES: readonly Lane[] = [
  // What it does not take goes on to the full one, so that this is the edge as it ships.
  { lane: "plain", config: { plainLane: true }, environment: { EDGE_PLAIN_LANE: "on" } },
  { lane: "full", config: { plainLane: false }, environment: { EDGE_PLAIN_LANE: "off" } },
];

/** The rows of a table, each in every lane; the lane comes last. */
export function inEveryLane<Row extends readonly unknown[]>(rows: readonly Row[]): [...Row, Lane][] {
  return LANES.flatMap((lane) => rows.map((row): [...Row, Lane] => [...row, lane]));
}
