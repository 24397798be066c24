import { expect, test } from "vitest";
import { phasesOf } from "../src/phases.ts";
import type { Stage } from "../src/trpc.ts";

function stage(name: Stage["name"], state: Stage["state"], startedAt: number, finishedAt?: number): Stage {
  return { name, state, startedAt, ...(finishedAt === undefined ? {} : { finishedAt }) };
}

function states(stages: readonly Stage[], state: "running" | "failed" | "succeeded"): string[] {
  return phasesOf({ stages: [...stages], state }).map((phase) => `${phase.name} ${phase.state}`);
}

test("a phase that has not begun waits while the run goes on, and is not reached once it has ended", () => {
  expect(states([stage("checkout", "succeeded", 0, 1)], "running")).toContain("prune waiting");
  expect(states([stage("checkout", "failed", 0, 1)], "failed")).toContain("prune not reached");
});

test("a phase lasts from its first stage to its last", () => {
  const stages = [stage("build", "succeeded", 10, 30), stage("build", "succeeded", 12, 50)];
  const build = phasesOf({ stages, state: "running" }).find((phase) => phase.name === "build");
  expect(build).toEqual({ name: "build", state: "succeeded", startedAt: 10, finishedAt: 50 });
});

test("one failed function fails the phase", () => {
  const stages = [stage("build", "succeeded", 0, 1), stage("build", "failed", 0, 2)];
  expect(states(stages, "failed")).toContain("build failed");
});

test("deploy goes on while another function is still built", () => {
  const stages = [stage("build", "running", 0), stage("deploy", "succeeded", 1, 2)];
  expect(states(stages, "running")).toContain("deploy running");
});
