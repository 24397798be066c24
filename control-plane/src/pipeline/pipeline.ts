import { mkdir, rm } from "node:fs/promises";
import { join } from "node:path";
import { Readable } from "node:stream";
import { CommitSha, shortCommit } from "@openfaas-cloud/shared/names.ts";
import type { Builder } from "../ports/builder/builder.ts";
import type { LogStore } from "../ports/log-store/log-store.ts";
import type { Runtime } from "../ports/runtime/runtime.ts";
import type { SecretStore } from "../ports/secret-store/secret-store.ts";
import type { RepositoryRef, SourceHost } from "../ports/source-host/source-host.ts";
import type { Store } from "../ports/store/store.ts";
import type { UsageSource } from "../ports/usage-source/usage-source.ts";
import { Rejected } from "../rejected.ts";
import type { LiveRoutes } from "../routes/live-routes.ts";
import type { RoutePublisher } from "../routes/route-publisher.ts";
import { checkout } from "./checkout.ts";
import type { ConfirmHead } from "./confirm-head.ts";
import { type DeployedFunction, deploy } from "./deploy.ts";
import { makePlan, type Plan, type PlannedFunction } from "./plan.ts";
import { prune } from "./prune.ts";
import { publish, requireLinked } from "./publish.ts";
import type { Retirement } from "./retirement.ts";
import type { StackFileLimits } from "./stack-file/limits.ts";
import type { StageFrame } from "./stage.ts";

export interface PipelinePorts {
  readonly store: Store;
  readonly sourceHost: SourceHost;
  readonly confirmHead: ConfirmHead;
  readonly builder: Builder;
  readonly runtime: Runtime;
  readonly secrets: SecretStore;
  readonly usage: UsageSource;
  readonly logs: LogStore;
  readonly routes: RoutePublisher;
  readonly liveRoutes: LiveRoutes;
  readonly retirement: Retirement;
  /** Where checkouts go; each run has a folder of its own below it. */
  readonly workDir: string;
  /** The most that a function may ask for. */
  readonly maxima: Partial<StackFileLimits>;
  /** Functions of one run that are built and started at once. */
  readonly parallelFunctions: number;
}

/**
 * One trigger becomes live functions.
 *
 * All or nothing: what is live changes in publish, in one step, and only when every function of the stack file was built
 * and is healthy. Whatever goes wrong before leaves everything as it was.
 */
export async function runPipeline(
  frame: StageFrame,
  repository: RepositoryRef,
  ports: PipelinePorts,
  onPlan: (plan: Plan) => Promise<void>,
): Promise<void> {
  const { run, signal, log } = frame;
  const commit = CommitSha.parse(run.commit_sha);
  await requireLinked(ports.store, run);
  await using workspace = await openWorkspace(ports.workDir, run.id);
  await using unpublished = new AsyncDisposableStack();

  const source = await frame.stage(
    "checkout",
    async () => {
      if (run.unconfirmed === 1) await ports.confirmHead(run, signal);
      const { gitDir } = await ports.sourceHost.fetchCommit(repository, commit, { log, signal });
      return checkout({ gitDir, commit, targetDir: workspace.path, log, signal });
    },
    (checkedOut) => `${checkedOut.files} files at ${shortCommit(commit)}`,
  );

  const plan = await frame.stage(
    "plan",
    () => makePlan(run, source, ports),
    ({ functions }) =>
      `${count(functions.length, "function")}: ${functions.map(({ spec }) => spec.name).join(", ")}`,
  );
  await onPlan(plan);
  for (const { key, reason } of plan.ignored) log.write("plan", `ignored ${key}: ${reason}\n`);

  const deployed = await forEachFunction(plan.functions, ports.parallelFunctions, async (planned) => {
    const { name } = planned.spec;
    const artifact = await frame.stage(
      "build",
      () =>
        ports.builder.build(
          { runId: run.id, ownerId: run.owner_id, spec: planned.spec, sourceDir: source.dir },
          { log, signal },
        ),
      ({ digest }) => `built ${digest.slice(0, 19)}`,
      name,
    );
    return frame.stage(
      "deploy",
      async () => {
        const started = await deploy(frame, repository.owner, planned, artifact, ports.runtime);
        if (!started.unchanged) {
          const revision = { revisionId: started.revisionId, ownerId: run.owner_id };
          unpublished.defer(async () => {
            if (!frame.committed) await ports.runtime.stop(revision, { graceMs: 1000 });
          });
        }
        return started;
      },
      ({ unchanged }) => (unchanged ? "unchanged: the live revision goes on serving" : "healthy"),
      name,
    );
  });

  await frame.stage(
    "publish",
    () => publish(frame, deployed, ports),
    ({ version, confirmed }) =>
      confirmed
        ? `routed, version ${version} confirmed by every edge`
        : `published as version ${version}; an edge has not confirmed it yet and gets it when it answers again`,
  );

  await frame.stage(
    "prune",
    () => prune(run, plan, ports),
    (gone) =>
      gone.length === 0 ? "nothing to remove" : `removed ${gone.map(({ name }) => name).join(", ")}`,
  );
}

/** Does `work` for every function, some at once, and lets all of them end before it reports what failed. */
async function forEachFunction(
  functions: readonly PlannedFunction[],
  parallel: number,
  work: (planned: PlannedFunction) => Promise<DeployedFunction>,
): Promise<DeployedFunction[]> {
  const results = await Readable.from(functions)
    .map(
      (planned: PlannedFunction) =>
        work(planned).then(
          (deployed) => ({ deployed }),
          (error: unknown) => ({ error }),
        ),
      { concurrency: parallel },
    )
    .toArray();
  const errors: unknown[] = results.flatMap((result) => ("error" in result ? [result.error] : []));
  const unforeseen = errors.find((error) => !(error instanceof Rejected));
  if (unforeseen !== undefined) throw unforeseen;
  const [first, ...others] = errors as Rejected[];
  if (first && others.length === 0) throw first;
  if (first) {
    throw new Rejected(
      first.kind,
      `${errors.length} of ${count(functions.length, "function")} failed:\n${[first, ...others].map(({ message }) => message).join("\n")}`,
    );
  }
  return results.flatMap((result) => ("deployed" in result ? [result.deployed] : []));
}

async function openWorkspace(
  workDir: string,
  runId: string,
): Promise<AsyncDisposable & { readonly path: string }> {
  const path = join(workDir, runId);
  await rm(path, { recursive: true, force: true });
  await mkdir(path, { recursive: true, mode: 0o700 });
  return { path, [Symbol.asyncDispose]: () => rm(path, { recursive: true, force: true }) };
}

function count(number: number, noun: string): string {
  return `${number} ${noun}${number === 1 ? "" : "s"}`;
}
