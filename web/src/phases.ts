import type { RunDetail, Stage } from "./trpc.ts";

/** All stages of one name, over all functions, as one step of the run. */
export interface Phase {
  readonly name: Stage["name"];
  readonly state: Stage["state"] | "waiting" | "not reached";
  readonly startedAt: number | undefined;
  readonly finishedAt: number | undefined;
}

const order: readonly Stage["name"][] = ["checkout", "plan", "build", "deploy", "publish", "prune"];

export function phasesOf(run: Pick<RunDetail, "stages" | "state">): readonly Phase[] {
  const phases = order.map((name) => phaseOf(name, run));
  const building = phases.some(({ name, state }) => name === "build" && state === "running");
  return phases.map((phase) => {
    // Functions go their own pace: while one is built, its deploy is still to come.
    const deploysPart = building && phase.name === "deploy" && phase.state === "succeeded";
    return deploysPart ? { ...phase, state: "running", finishedAt: undefined } : phase;
  });
}

export function hasEnded(state: RunDetail["state"]): boolean {
  return state !== "queued" && state !== "running";
}

function phaseOf(name: Stage["name"], run: Pick<RunDetail, "stages" | "state">): Phase {
  const stages = run.stages.filter((stage) => stage.name === name);
  if (stages.length === 0) {
    const state = hasEnded(run.state) ? "not reached" : "waiting";
    return { name, state, startedAt: undefined, finishedAt: undefined };
  }
  const state = worst(stages);
  const finished = stages.map((stage) => stage.finishedAt).filter((at) => at !== undefined);
  return {
    name,
    state,
    startedAt: Math.min(...stages.map((stage) => stage.startedAt)),
    finishedAt: state === "running" || finished.length === 0 ? undefined : Math.max(...finished),
  };
}

function worst(stages: readonly Stage[]): Stage["state"] {
  const severity: readonly Stage["state"][] = ["running", "failed", "succeeded", "skipped"];
  return severity.find((state) => stages.some((stage) => stage.state === state)) ?? "skipped";
}
