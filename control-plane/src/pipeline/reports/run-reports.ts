import { sanitiseLogText } from "../../ports/log-store/sanitise.ts";
import type { Run, StopReason } from "../../ports/queue/queue.ts";
import type { Annotation, CommitState, DeploymentReport } from "../../ports/source-host/source-host.ts";
import type { StageRow } from "../../ports/store/schema.ts";
import type { Urls } from "../../urls.ts";

/** The context of the push as a whole; a function's is its name. */
export const STACK_CONTEXT = "stack-deploy";
export const STACK_KEY = `status ${STACK_CONTEXT}`;

/** Kinds of a run's failure that nobody has to do anything about; a newer push may have been faster to publish. */
const HARMLESS_KINDS: ReadonlySet<string> = new Set(["superseded", "nothing-to-deploy"]);
/** Kinds of a run's end that are the platform's doing. */
const PLATFORM_KINDS: ReadonlySet<string> = new Set(["platform-unavailable", "internal", "run-timeout"]);
const MAX_DESCRIPTION_CHARACTERS = 1_000;
const MAX_NAMES = 3;

/** What is known of a run. */
export interface RunFacts {
  readonly run: Run;
  readonly stages: readonly StageRow[];
  /** Slug of its owner. */
  readonly owner: string;
  /** Runs that waited before it; `undefined` once it does not wait. */
  readonly ahead: number | undefined;
}

interface ReportBase {
  /** What it replaces: the last report of a key is what the host shows. */
  readonly key: string;
  /** No other one of this key comes after it. */
  readonly final: boolean;
}

export interface StatusReport extends ReportBase {
  readonly kind: "status";
  readonly context: string;
  readonly state: CommitState;
  readonly fault: "platform" | undefined;
  readonly description: string;
  readonly targetUrl: string;
  readonly startedAt: number;
  readonly finishedAt: number | undefined;
  readonly annotations: readonly Annotation[];
}

export interface DeployReport extends ReportBase {
  readonly kind: "deployment";
  readonly state: DeploymentReport["state"];
  readonly environmentUrl: string;
}

/** One thing that a source host is to be told of a run. */
export type RunReport = StatusReport | DeployReport;

/**
 * All that a source host should show of a run as it is now, functions first. It follows from what is stored and from nothing
 * else, so that it can be made again after anything.
 */
export function reportsOf(facts: RunFacts, urls: Urls): readonly RunReport[] {
  const functions = functionsOf(facts);
  const reports: RunReport[] = functions
    // The context of a function with that name is the whole push's.
    .filter(({ name }) => name !== STACK_CONTEXT)
    .map((one) => functionReport(one, facts, urls));
  reports.push(stackReport(functions, facts, urls));
  if (functions.some(({ deploy }) => deploy !== undefined)) {
    reports.push(deployReport(functions, facts, urls));
  }
  return reports;
}

export function hasEnded({ state }: Pick<Run, "state">): boolean {
  return state !== "queued" && state !== "running";
}

/** Whose doing the end of a run is. `nobody`: it came to no end of its own. */
type End = "succeeded" | "author" | "platform" | "nobody";

function endOf({ state, reason_kind }: Run): End {
  if (state === "succeeded") return state;
  if (state !== "failed" || HARMLESS_KINDS.has(reason_kind ?? "")) return "nobody";
  return PLATFORM_KINDS.has(reason_kind ?? "internal") ? "platform" : "author";
}

interface FunctionProgress {
  readonly name: string;
  readonly build: StageRow | undefined;
  readonly deploy: StageRow | undefined;
  /** What it is told of began before the run was taken up anew, and is done again. */
  readonly stale: boolean;
}

function functionsOf({ stages }: RunFacts): FunctionProgress[] {
  const since = stages.find(({ name }) => name === "checkout")?.started_at ?? 0;
  const names = new Set(stages.map((stage) => stage.function).filter((name) => name !== ""));
  return [...names].toSorted().map((name) => {
    const own = stages.filter((stage) => stage.function === name);
    const build = own.find((stage) => stage.name === "build");
    const deploy = own.find((stage) => stage.name === "deploy");
    const isNewer = deploy && build && deploy.started_at < build.started_at ? undefined : deploy;
    return { name, build, deploy: isNewer, stale: own.every(({ started_at }) => started_at < since) };
  });
}

function functionReport(one: FunctionProgress, { run, owner }: RunFacts, urls: Urls): StatusReport {
  const final = hasEnded(run);
  const said = final ? functionEnd(one, run, urls.function(owner, one.name)) : undefined;
  const started = Math.min(...[one.build, one.deploy].flatMap((stage) => stage?.started_at ?? []));
  return {
    kind: "status",
    key: `status ${one.name}`,
    final,
    context: one.name,
    state: said?.state ?? "pending",
    fault: undefined,
    description: oneLine(said?.description ?? functionProgress(one)),
    targetUrl: said?.state === "success" ? urls.function(owner, one.name) : urls.run(run.id),
    startedAt: Number.isFinite(started) ? started : run.created_at,
    finishedAt: final ? (run.finished_at ?? undefined) : undefined,
    annotations: [],
  };
}

function functionProgress({ build, deploy, stale }: FunctionProgress): string {
  if (stale) return "Waiting: its build begins anew.";
  const failed = [build, deploy].find((stage) => stage?.state === "failed");
  if (failed) return `Did not come up: ${failed.detail ?? ""}`;
  if (deploy?.state === "succeeded") return "Healthy; it goes live together with the others.";
  if (deploy) return "Starting; it goes live once it is healthy.";
  return build?.state === "succeeded" ? "Built." : "Building.";
}

function functionEnd(
  { build, deploy, stale }: FunctionProgress,
  run: Run,
  address: string,
): { readonly state: CommitState; readonly description: string } {
  switch (endOf(run)) {
    case "succeeded":
      return { state: "success", description: `Live at ${address}` };
    case "author": {
      const failed = stale ? undefined : [build, deploy].find((stage) => stage?.state === "failed");
      if (failed) return { state: "failure", description: failed.detail ?? "It failed." };
      return {
        state: "neutral",
        description: "Nothing is wrong with it: it is not live since another part of this push failed.",
      };
    }
    case "platform":
      return { state: "neutral", description: platformWords(run) };
    case "nobody":
      return { state: "neutral", description: reasonOf(run) };
  }
}

function stackReport(functions: readonly FunctionProgress[], facts: RunFacts, urls: Urls): StatusReport {
  const { run } = facts;
  const final = hasEnded(run);
  const end = final ? endOf(run) : undefined;
  return {
    kind: "status",
    key: STACK_KEY,
    final,
    context: STACK_CONTEXT,
    state: end === undefined ? "pending" : STATE_OF_END[end],
    fault: end === "platform" ? "platform" : undefined,
    description: oneLine(end === undefined ? stackProgress(functions, facts) : stackEnd(end, functions, run)),
    targetUrl: urls.run(run.id),
    startedAt: run.started_at ?? run.created_at,
    finishedAt: final ? (run.finished_at ?? undefined) : undefined,
    annotations: (JSON.parse(run.annotations) as Annotation[]).filter(
      ({ level }) => end === "author" || level !== "failure",
    ),
  };
}

const STATE_OF_END: Readonly<Record<End, CommitState>> = {
  succeeded: "success",
  author: "failure",
  platform: "failure",
  nobody: "neutral",
};

function stackEnd(end: End, functions: readonly FunctionProgress[], run: Run): string {
  switch (end) {
    case "succeeded": {
      const ignored = (JSON.parse(run.ignored_keys) as unknown[]).length;
      const note = ignored === 0 ? "" : ` ${count(ignored, "key")} of the stack file had no effect.`;
      return `Live: ${listNames(functions)}.${note}`;
    }
    case "platform":
      return platformWords(run);
    default:
      return reasonOf(run);
  }
}

function stackProgress(functions: readonly FunctionProgress[], { run, stages, ahead }: RunFacts): string {
  if (ahead !== undefined) {
    return ahead === 0
      ? "Waiting: the push is stored, and its run is next."
      : `Waiting: the push is stored, and ${count(ahead, "run")} ${ahead === 1 ? "is" : "are"} ahead of its run.`;
  }
  if (run.stop_reason !== null) return `Stopping: ${(JSON.parse(run.stop_reason) as StopReason).reason}`;
  const runs = (name: StageRow["name"]) =>
    stages.some((stage) => stage.name === name && stage.state === "running");
  if (runs("checkout")) return "Fetching the commit.";
  if (runs("plan")) return "Reading the stack file.";
  if (runs("publish")) return "Going live.";
  if (runs("prune")) return "Live; removing what left the stack file.";
  const building = functions.filter(({ build, stale }) => !stale && build?.state === "running");
  const starting = functions.filter(({ deploy, stale }) => !stale && deploy?.state === "running");
  const parts = [
    ...(building.length === 0 ? [] : [`building ${listNames(building)}`]),
    ...(starting.length === 0 ? [] : [`starting ${listNames(starting)}`]),
  ].join("; ");
  return parts === "" ? "Under way." : `${parts.charAt(0).toUpperCase()}${parts.slice(1)}.`;
}

function deployReport(functions: readonly FunctionProgress[], facts: RunFacts, urls: Urls): DeployReport {
  const { run, owner } = facts;
  const [only, ...others] = functions;
  const one = others.length === 0 ? only : undefined;
  const ended = run.state === "succeeded" ? "success" : "failure";
  return {
    kind: "deployment",
    key: "deployment",
    final: hasEnded(run),
    state: hasEnded(run) ? ended : "in_progress",
    environmentUrl: one === undefined ? urls.owner(owner) : urls.function(owner, one.name),
  };
}

function platformWords(run: Run): string {
  return `Not your commit: ${reasonOf(run)}`;
}

function reasonOf({ reason, state }: Run): string {
  return reason ?? `The run is ${state}.`;
}

function listNames(functions: readonly { readonly name: string }[]): string {
  const shown = functions.slice(0, MAX_NAMES).map(({ name }) => name);
  const more = functions.length - shown.length;
  return more === 0 ? shown.join(", ") : `${shown.join(", ")} and ${more} more`;
}

/** A reason of several lines is its first one that says something; how many follow is said after it. */
function oneLine(text: string): string {
  const lines = text
    .split("\n")
    .map((line) => sanitiseLogText(line).trim())
    .filter((line) => line !== "");
  const taken = lines[0]?.endsWith(":") ? 2 : 1;
  const more = lines.length - taken;
  const said = lines.slice(0, taken).join(" ");
  const short =
    said.length > MAX_DESCRIPTION_CHARACTERS ? `${said.slice(0, MAX_DESCRIPTION_CHARACTERS)}…` : said;
  return more > 0 ? `${short} (and ${more} more)` : short;
}

function count(number: number, noun: string): string {
  return `${number} ${noun}${number === 1 ? "" : "s"}`;
}
