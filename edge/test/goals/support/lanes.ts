/** Settings of EDGE_PLAIN_LANE under which what concerns reading requests has to hold. */
export type Lane = "on" | "off";

/** `GOAL_LANE` picks one. */
export const LANES: readonly Lane[] =
  process.env["GOAL_LANE"] === "on" || process.env["GOAL_LANE"] === "off"
    ? [process.env["GOAL_LANE"]]
    : ["on", "off"];
