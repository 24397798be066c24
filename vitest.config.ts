import { defineConfig } from "vitest/config";

const EXCLUDED = ["**/node_modules/**", "**/fixtures/**"];
const SEEN_BY_CLIENTS = "edge/test/{forward,framing,semantics,serving,streaming,tls,upgrade}.test.ts";
const GOALS = "{edge,control-plane}/test/goals/*.test.ts";

const common = { pool: "forks", testTimeout: 30_000, hookTimeout: 30_000 } as const;

export default defineConfig({
  test: {
    projects: [
      {
        test: {
          ...common,
          name: "behaviour",
          include: ["*/test/**/*.test.ts", "test/**/*.test.ts"],
          exclude: [...EXCLUDED, GOALS],
          // Nearly every test starts processes of its own; more files at once than cores only make deadlines pass.
          maxWorkers: 2,
          sequence: { groupOrder: 0 },
        },
      },
      {
        test: {
          ...common,
          name: "full lane",
          // What a client sees is the same in both lanes; the project before runs these with the plain one before the full one.
          include: [SEEN_BY_CLIENTS],
          env: { EDGE_PLAIN_LANE: "off" },
          maxWorkers: 2,
          sequence: { groupOrder: 0 },
        },
      },
      {
        test: {
          ...common,
          name: "goals",
          include: [GOALS],
          exclude: EXCLUDED,
          // Each measures the machine under load, so that nothing may run beside it.
          maxWorkers: 1,
          fileParallelism: false,
          testTimeout: 3_600_000,
          hookTimeout: 120_000,
          sequence: { groupOrder: 1 },
        },
      },
    ],
    reporters: ["default", "./test/support/closing-line-reporter.ts"],
  },
});
