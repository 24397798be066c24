import { setTimeout as delay } from "node:timers/promises";
import { errorMessage, KnownError } from "@openfaas-cloud/shared/known-error.ts";
import { BranchName, CommitSha, shortCommit } from "@openfaas-cloud/shared/names.ts";
import type { Logger } from "../logger.ts";
import type { LogSink } from "../ports/log-store/log-store.ts";
import type { Queue, Run, RunEnd, StopReason } from "../ports/queue/queue.ts";
import { HostUnavailable } from "../ports/source-host/host-errors.ts";
import type { Annotation, RepositoryRef } from "../ports/source-host/source-host.ts";
import { listDeployed } from "../ports/store/functions.ts";
import { getRepository, refOf } from "../ports/store/repositories.ts";
import { Rejected, Retryable } from "../rejected.ts";
import type { RunFeed } from "../run-feed.ts";
import type { Urls } from "../urls.ts";
import type { Collector } from "./collect.ts";
import { type PipelinePorts, runPipeline } from "./pipeline.ts";
import type { Plan } from "./plan.ts";
import type { Reporter } from "./reporter.ts";
import { StageFrame } from "./stage.ts";

const RETRY_AFTER_MS = [1_000, 5_000, 15_000];

/** A source host that asks for a longer pause than this is not waited for: the run would keep others waiting. */
const LONGEST_ASKED_MS = 60_000;

/** Pauses after the tries to move the branch. */
const SETTLE_AGAIN_MS = [100, 1_000, 5_000];

/** Why a run's signal aborts when somebody asked for its end. */
export class RunStopped extends Error {
  readonly end: StopReason;

  constructor(end: StopReason) {
    super(end.reason);
    this.end = end;
  }
}

/** Why every run's signal aborts when the platform stops on purpose: they go back to the queue. */
export class PlatformStopping extends Error {}

/** Why a run's signal aborts when another holder has it: whatever it has done is that one's now. */
export class LeaseLost extends Error {}

export interface RunPorts extends PipelinePorts {
  readonly queue: Queue;
  readonly feed: RunFeed;
  readonly reporter: Reporter;
  readonly collector: Collector;
  readonly urls: Urls;
  readonly logger: Logger;
  readonly runTimeoutMs: number;
  /** Waits between the tries of a run that the platform itself could not bring to its end. */
  readonly retryAfterMs?: readonly number[];
}

/**
 * Takes a claimed run to its one terminal state: log, pipeline, outcome, reports. Never rejects.
 * `holder` is who has the lease; once that is lost nothing is written any more.
 */
export async function executeRun(
  run: Run,
  holder: string,
  ports: RunPorts,
  stop: AbortSignal,
): Promise<void> {
  const { queue, logs, logger } = ports;
  try {
    const log = logs.open({ kind: "run", runId: run.id });
    const repository = await repositoryOf(run, ports);
    greet(run, repository, log);
    const end = await outcome(run, repository, log, ports, stop);
    if (end === "lost") return;
    if (end === "released") {
      log.write("platform", "The platform is stopping; this run goes on after its next start.\n");
      await queue.release(run.id, holder);
      return;
    }
    if (end.state === "succeeded") await settle(run, repository, log, ports);
    await sayEnd(run, repository, end, log, ports);
    if (await queue.finish(run.id, holder, end)) await closeRun(run, repository, end, ports);
  } catch (error) {
    // The store or the log failed. Where the run has not ended its lease runs out, and it is taken up again.
    logger.error({ err: error, run: run.id }, "a run could not be brought to its end");
  }
}

/** Ends the log of a run that the queue itself ended, and reports it: one that waited, or whose holder died. Never rejects. */
export async function closeEndedRun(runId: string, ports: RunPorts): Promise<void> {
  try {
    const run = await ports.store
      .selectFrom("runs")
      .selectAll()
      .where("id", "=", runId)
      .executeTakeFirstOrThrow();
    if (run.state === "queued" || run.state === "running" || run.state === "succeeded") return;
    const end = { state: run.state, kind: run.reason_kind ?? run.state, reason: run.reason ?? run.state };
    const repository = await repositoryOf(run, ports);
    await sayEnd(run, repository, end, ports.logs.open({ kind: "run", runId }), ports);
    await closeRun(run, repository, end, ports);
  } catch (error) {
    ports.logger.error({ err: error, run: runId }, "a run that ended could not be reported");
  }
}

async function closeRun(run: Run, repository: RepositoryRef, end: RunEnd, ports: RunPorts): Promise<void> {
  await ports.logs.end({ kind: "run", runId: run.id });
  await ports.reporter.ended(run, end);
  ports.collector.collectSoon(repository);
}

async function outcome(
  run: Run,
  repository: RepositoryRef,
  log: LogSink,
  ports: RunPorts,
  stop: AbortSignal,
): Promise<RunEnd | "released" | "lost"> {
  const deadline = AbortSignal.timeout(ports.runTimeoutMs);
  const signal = AbortSignal.any([stop, deadline]);
  for (let attempt = 0; ; attempt++) {
    await using frame = new StageFrame({ ...ports, run, signal, log });
    try {
      await runPipeline(frame, repository, ports, (plan) => recordIgnoredKeys(run, plan, ports));
      return { state: "succeeded" };
    } catch (error) {
      if (!frame.committed && stop.aborted) return whyStopped(stop.reason);
      if (!frame.committed && deadline.aborted) return timedOut(ports.runTimeoutMs);
      if (error instanceof Rejected) await recordAnnotations(run, error.annotations, ports);
      const waitMs = pauseAfter(error, (ports.retryAfterMs ?? RETRY_AFTER_MS)[attempt]);
      if (waitMs === undefined) return failed(run, error, ports.logger);
      log.write("platform", `${errorMessage(error)} Trying again in ${Math.ceil(waitMs / 1000)} s.\n`);
      await delay(waitMs, undefined, { signal }).catch(() => undefined);
    }
  }
}

/** `undefined` where another try would come to the same, or there were enough. */
function pauseAfter(error: unknown, waitMs: number | undefined): number | undefined {
  if (!(error instanceof Retryable) || waitMs === undefined) return undefined;
  const askedMs = error instanceof HostUnavailable ? (error.retryAfterMs ?? 0) : 0;
  return askedMs > LONGEST_ASKED_MS ? undefined : Math.max(waitMs, askedMs);
}

function whyStopped(reason: unknown): RunEnd | "released" | "lost" {
  if (reason instanceof RunStopped) return reason.end;
  return reason instanceof LeaseLost ? "lost" : "released";
}

function timedOut(runTimeoutMs: number): RunEnd {
  return {
    state: "failed",
    kind: "run-timeout",
    reason: `The run took longer than ${Math.round(runTimeoutMs / 60_000)} minutes and was stopped. What was live stays live.`,
  };
}

function failed(run: Run, error: unknown, logger: Logger): RunEnd {
  if (error instanceof Rejected) return { state: "failed", kind: error.kind, reason: error.message };
  if (error instanceof KnownError) {
    return { state: "failed", kind: error.kind, reason: `${error.message} What was live stays live.` };
  }
  logger.error({ err: error, run: run.id }, "a run ended by an error that was not foreseen");
  return {
    state: "failed",
    kind: "internal",
    reason: `An error of the platform ended this run; nothing is wrong with the commit. What was live stays live. The operator finds the error in the control plane's log under run ${run.id}.`,
  };
}

function greet(run: Run, repository: RepositoryRef, log: LogSink): void {
  const commit = shortCommit(CommitSha.parse(run.commit_sha));
  log.write(
    "platform",
    run.attempts > 1
      ? "Taken up again after the platform stopped in the middle of it.\n"
      : `${repository.owner}/${repository.name} ${run.branch}@${commit}\n`,
  );
}

async function sayEnd(
  run: Run,
  repository: RepositoryRef,
  end: RunEnd,
  log: LogSink,
  ports: RunPorts,
): Promise<void> {
  if (end.state !== "succeeded") {
    log.write("platform", `${end.state.toUpperCase()}: ${end.reason}\n`);
    return;
  }
  const live = await listDeployed(ports.store, { repositoryId: run.repository_id });
  for (const deployed of live.filter(({ run_id }) => run_id === run.id)) {
    log.write("platform", `live: ${ports.urls.function(repository.owner, deployed.name)}\n`);
  }
}

/** While the run has not ended yet, since nobody would come back to one that has. */
async function settle(run: Run, repository: RepositoryRef, log: LogSink, ports: RunPorts): Promise<void> {
  const push = {
    repository,
    branch: BranchName.parse(run.branch),
    before: run.before_sha === null ? undefined : CommitSha.parse(run.before_sha),
    commit: CommitSha.parse(run.commit_sha),
  };
  for (const waitMs of SETTLE_AGAIN_MS) {
    try {
      return await ports.sourceHost.settlePush(push);
    } catch (error) {
      ports.logger.error({ err: error, run: run.id }, "a branch could not be moved to its live commit");
      await delay(waitMs);
    }
  }
  log.write("platform", `Live, but ${run.branch} could not be moved to this commit: push it again.\n`);
}

async function recordIgnoredKeys(
  run: Run,
  { ignored, notices }: Pick<Plan, "ignored" | "notices">,
  ports: RunPorts,
): Promise<void> {
  if (ignored.length === 0) return;
  await ports.store
    .updateTable("runs")
    .set({ ignored_keys: JSON.stringify(ignored), annotations: JSON.stringify(notices) })
    .where("id", "=", run.id)
    .execute();
}

async function recordAnnotations(
  run: Run,
  annotations: readonly Annotation[],
  ports: RunPorts,
): Promise<void> {
  if (annotations.length === 0) return;
  await ports.store
    .updateTable("runs")
    .set({ annotations: JSON.stringify(annotations) })
    .where("id", "=", run.id)
    .execute();
}

async function repositoryOf(run: Run, ports: RunPorts): Promise<RepositoryRef> {
  return refOf(await getRepository(ports.store, run.repository_id));
}
