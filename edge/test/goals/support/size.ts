/** Gate sizes run with every change; nightly ones behind `npm run test:nightly`. */
export const NIGHTLY = process.env["GOAL_SIZE"] === "nightly";

/** How many, at the size that was asked for. */
export function size(gate: number, nightly: number): number {
  return NIGHTLY ? nightly : gate;
}

/** The seed of every random choice; printed when a test fails, given back by GOAL_SEED to repeat it. */
export const SEED = Number(process.env["GOAL_SEED"] ?? Date.now() % 1_000_000_007);
