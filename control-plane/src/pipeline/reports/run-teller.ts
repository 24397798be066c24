import { CommitSha } from "@openfaas-cloud/shared/names.ts";
import type { Logger } from "../../logger.ts";
import { commitReports } from "../../metrics.ts";
import type { LogStore } from "../../ports/log-store/log-store.ts";
import type { Queue, Run } from "../../ports/queue/queue.ts";
import type { SecretStore } from "../../ports/secret-store/secret-store.ts";
import { HostUnavailable } from "../../ports/source-host/host-errors.ts";
import type { RepositoryRef, SourceHost } from "../../ports/source-host/source-host.ts";
import { getRepository, refOf } from "../../ports/store/repositories.ts";
import type { StageRow } from "../../ports/store/schema.ts";
import type { Store } from "../../ports/store/store.ts";
import type { Urls } from "../../urls.ts";
import type { HostPace } from "./host-pace.ts";
import { type LogTail, readLogTail } from "./log-tail.ts";
import { hasEnded, type RunReport, reportsOf, STACK_CONTEXT } from "./run-reports.ts";
import { openSecretMask, type SecretMask } from "./secret-mask.ts";

export interface TellPorts {
  readonly store: Store;
  readonly queue: Queue;
  readonly logs: LogStore;
  readonly secrets: SecretStore;
  readonly sourceHost: Pick<SourceHost, "reportStatus" | "reportDeployment">;
  readonly urls: Urls;
  readonly logger: Logger;
}

export interface TellTimes {
  /** Between two looks at a run that has not ended, and so between two reports of one key. */
  readonly intervalMs: number;
  /** How often the place of a run in the queue is looked at. */
  readonly placeMs: number;
  /** First of the pauses after failures; each is twice the one before. */
  readonly firstPauseMs: number;
  /** How long after its end a run's reports are tried. */
  readonly giveUpMs: number;
}

/** When to look again: three waits, one after the other. */
export interface Next {
  /** The host asked for it. */
  readonly askedMs?: number;
  /** The run's end cuts it short. */
  readonly pauseMs: number;
  /** Any news of the run cuts it short. */
  readonly newsMs: number;
}

/** While a run goes on its reports are soon outdated; at its end it is worth waiting for a host that is away. */
const LONGEST_PAUSE_MS = { pending: 30_000, final: 5 * 60_000 };
/** Whatever a host asks for: it may have meant something else. */
const LONGEST_PAUSE_ASKED_MS = 3_600_000;
/** A host that refuses a final report this often will not take it. */
const MOST_REFUSALS = 5;

interface Known {
  readonly run: Run;
  readonly repository: RepositoryRef;
  readonly reports: readonly RunReport[];
  readonly mask: SecretMask;
  /** Final reports that the host has taken, or will not take: what they said, by key. */
  readonly reported: Readonly<Record<string, string>>;
}

/** Tells one run's source host what it does not know yet. */
export class RunTeller {
  readonly runId: string;
  /** The run's end is stored and its log has ended, so that final reports can be made. */
  closed = false;
  readonly #ports: TellPorts;
  readonly #times: TellTimes;
  readonly #pace: HostPace;
  readonly #signal: AbortSignal;
  /** What the host was told last, by key. */
  readonly #told = new Map<string, string>();
  readonly #refusals = new Map<string, number>();
  #failures = 0;

  constructor(
    runId: string,
    options: {
      readonly ports: TellPorts;
      readonly times: TellTimes;
      readonly pace: HostPace;
      readonly signal: AbortSignal;
    },
  ) {
    this.runId = runId;
    this.#ports = options.ports;
    this.#times = options.times;
    this.#pace = options.pace;
    this.#signal = options.signal;
  }

  /**
   * Sends what the host should be told now. Never rejects.
   * @param isOutdated whether there is news of the run since, so that what is left is to be made anew.
   */
  async tell(isOutdated: () => boolean): Promise<"done" | Next> {
    try {
      const known = await this.#read();
      if (known === undefined || known.run.reported_at !== null) return "done";
      if (hasEnded(known.run)) return await this.#tellEnd(known);
      const due = known.reports.filter((report) => this.#told.get(report.key) !== digestOf(report));
      if (!(await this.#send(due, known, isOutdated))) return { pauseMs: 0, newsMs: 0 };
      const waits = known.run.state === "queued";
      return {
        pauseMs: this.#times.intervalMs,
        newsMs: waits ? this.#times.placeMs : Number.POSITIVE_INFINITY,
      };
    } catch (error) {
      return this.#failed(error);
    }
  }

  async #tellEnd(known: Known): Promise<"done" | Next> {
    const { run, reports, reported } = known;
    if (!this.closed) return { pauseMs: 0, newsMs: Number.POSITIVE_INFINITY };
    if ((run.finished_at ?? 0) < Date.now() - this.#times.giveUpMs) {
      this.#ports.logger.error({ run: this.runId }, "the end of a run could not be reported in time");
      return "done";
    }
    const due = reports.filter(({ key }) => !Object.hasOwn(reported, key));
    await this.#send(due, known, () => false);
    await this.#record({ reported_at: Date.now() });
    return "done";
  }

  async #read(): Promise<Known | undefined> {
    const { store, queue, secrets, urls } = this.#ports;
    const run = await store.selectFrom("runs").selectAll().where("id", "=", this.runId).executeTakeFirst();
    if (run === undefined) return undefined;
    const stages = await store.selectFrom("stages").selectAll().where("run_id", "=", run.id).execute();
    const repository = refOf(await getRepository(store, run.repository_id));
    const ahead = run.state === "queued" ? await queue.ahead(run) : undefined;
    const mask = await openSecretMask(secrets, run.owner_id);
    const facts = {
      run: { ...run, reason: run.reason && mask(run.reason), annotations: mask(run.annotations) },
      stages: stages.map((stage): StageRow => ({ ...stage, detail: stage.detail && mask(stage.detail) })),
      owner: repository.owner,
      ahead,
    };
    const reported = JSON.parse(run.reported) as Record<string, string>;
    return { run, repository, reports: reportsOf(facts, urls), mask, reported };
  }

  /**
   * One after the other, and at least the first of them. What was sent is remembered also where a later one is not taken.
   * @returns false where the rest is outdated.
   */
  async #send(reports: readonly RunReport[], known: Known, isOutdated: () => boolean): Promise<boolean> {
    if (reports.length === 0) return true;
    const taken: Record<string, string> = {};
    try {
      const tail = await readLogTail(this.#ports.logs, this.runId);
      for (const report of reports) {
        const send = () => this.#sendOne(report, tail, known);
        const given = await this.#pace.run(known.repository.host, send, this.#signal).then(
          () => "taken" as const,
          (error: unknown) => this.#refused(report, error),
        );
        commitReports.inc({ result: given });
        this.#failures = 0;
        this.#told.set(report.key, digestOf(report));
        if (report.final) taken[report.key] = given === "taken" ? report.state : given;
        if (isOutdated() && report !== reports.at(-1)) return false;
      }
      return true;
    } finally {
      if (Object.keys(taken).length > 0) {
        await this.#record({ reported: JSON.stringify({ ...known.reported, ...taken }) });
      }
    }
  }

  async #sendOne(report: RunReport, tail: LogTail, { run, repository, mask }: Known): Promise<void> {
    const { sourceHost, urls } = this.#ports;
    const commit = CommitSha.parse(run.commit_sha);
    if (report.kind === "deployment") {
      const { state, environmentUrl } = report;
      const logUrl = urls.run(run.id);
      await sourceHost.reportDeployment(repository, commit, { runId: run.id, state, environmentUrl, logUrl });
      return;
    }
    const { context, state, fault, description, targetUrl, startedAt, finishedAt, annotations } = report;
    const logTail = mask(tail.textOf(context === STACK_CONTEXT ? undefined : context));
    await sourceHost.reportStatus(repository, commit, {
      context,
      state,
      ...(fault === undefined ? {} : { fault }),
      description,
      targetUrl,
      runId: run.id,
      detail: { startedAt, finishedAt, logTail, annotations },
    });
  }

  /** A report that the host does not take and will not take is left. @throws the error where it is to be tried again. */
  #refused(report: RunReport, error: unknown): "refused" {
    if (error instanceof HostUnavailable || this.#signal.aborted) throw error;
    const refusals = (this.#refusals.get(report.key) ?? 0) + 1;
    this.#refusals.set(report.key, refusals);
    if (report.final && refusals < MOST_REFUSALS) throw error;
    this.#ports.logger.error(
      { err: error, run: this.runId, report: report.key },
      "the source host refuses a report, which is left",
    );
    return "refused";
  }

  #failed(error: unknown): Next {
    if (this.#signal.aborted) return { pauseMs: 0, newsMs: 0 };
    commitReports.inc({ result: "failed" });
    this.#ports.logger.warn({ err: error, run: this.runId }, "the source host took no report; trying again");
    const longestMs = this.closed ? LONGEST_PAUSE_MS.final : LONGEST_PAUSE_MS.pending;
    const pauseMs = Math.min(this.#times.firstPauseMs * 2 ** this.#failures, longestMs);
    const askedMs = error instanceof HostUnavailable ? (error.retryAfterMs ?? 0) : 0;
    this.#failures += 1;
    // Those that failed together do not come back together.
    const jitteredMs = pauseMs * (0.75 + Math.random() / 2);
    return { askedMs: Math.min(askedMs, LONGEST_PAUSE_ASKED_MS), pauseMs: jitteredMs, newsMs: 0 };
  }

  async #record(change: { readonly reported?: string; readonly reported_at?: number }): Promise<void> {
    await this.#ports.store.updateTable("runs").set(change).where("id", "=", this.runId).execute();
  }
}

/** What the host shows of a report; that its log grew is no reason to send it again. */
function digestOf(report: RunReport): string {
  return JSON.stringify(
    report.kind === "status"
      ? [report.state, report.description, report.targetUrl]
      : [report.state, report.environmentUrl],
  );
}
