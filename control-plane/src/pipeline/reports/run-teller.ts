import { must } from "@openfaas-cloud/shared/must.ts";
import { CommitSha } from "@openfaas-cloud/shared/names.ts";
import type { Logger } from "../../logger.ts";
import { commitReports } from "../../metrics.ts";
import type { LogStore } from "../../ports/log-store/log-store.ts";
import type { Queue } from "../../ports/queue/queue.ts";
import type { SecretStore } from "../../ports/secret-store/secret-store.ts";
import { HostUnavailable } from "../../ports/source-host/host-errors.ts";
import type { Annotation, RepositoryRef, SourceHost } from "../../ports/source-host/source-host.ts";
import { getRepository, refOf } from "../../ports/store/repositories.ts";
import type { Store } from "../../ports/store/store.ts";
import type { Urls } from "../../urls.ts";
import type { HostPace } from "./host-pace.ts";
import { type LogTail, readLogTail } from "./log-tail.ts";
import {
  hasEnded,
  type RunFacts,
  type RunReport,
  reportsOf,
  STACK_CONTEXT,
  STACK_KEY,
} from "./run-reports.ts";
import { openSecretMask, type SecretMask } from "./secret-mask.ts";

export interface TellPorts {
  readonly store: Store;
  readonly queue: Queue;
  readonly logs: LogStore;
  readonly secrets: SecretStore;
  readonly sourceHost: Pick<SourceHost, "reportStatus" | "reportDeployment" | "showsLog">;
  readonly urls: Urls;
  readonly logger: Logger;
}

export interface TellTimes {
  /** Between two looks at a run that has not ended, and so between two reports of one key. */
  readonly intervalMs: number;
  /** How often the place of a run in the queue is looked at. */
  readonly placeMs: number;
  /** Between two looks at the log of a run that goes on, for a host that shows it. */
  readonly logMs: number;
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
  readonly facts: RunFacts;
  readonly repository: RepositoryRef;
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
  /** Keys of what was sent since the last pause: the same one again has time until the next. */
  readonly #round = new Set<string>();
  readonly #refusals = new Map<string, number>();
  #failures = 0;
  /** How far the log was, and when, that the whole push was told with last. */
  #log = { end: "", at: 0 };

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
      if (known === undefined || known.facts.run.reported_at !== null) return "done";
      if (hasEnded(known.facts.run)) return await this.#tellEnd(known);
      return await this.#tellProgress(known, isOutdated);
    } catch (error) {
      return this.#failed(error);
    }
  }

  async #tellProgress(known: Known, isOutdated: () => boolean): Promise<Next> {
    const hasGrown = await this.#hasLogGrown(known);
    const changed = reportsOf(known.facts, this.#ports.urls).filter(
      (report) =>
        !this.#refusals.has(report.key) &&
        (this.#told.get(report.key) !== digestOf(report) || (hasGrown && report.key === STACK_KEY)),
    );
    const due = changed.filter(({ key }) => !this.#round.has(key));
    if (!(await this.#send(due, known, isOutdated))) return { pauseMs: 0, newsMs: 0 };
    this.#round.clear();
    const nextMs = this.#nextLookMs(known);
    // The news of what had to wait is over: nobody would wake this for it.
    return { pauseMs: this.#times.intervalMs, newsMs: due.length < changed.length ? 0 : nextMs };
  }

  #nextLookMs({ facts: { run }, repository }: Known): number {
    if (run.state === "queued") return this.#times.placeMs;
    return this.#ports.sourceHost.showsLog?.(repository) ? this.#times.logMs : Number.POSITIVE_INFINITY;
  }

  /** The check of the whole push shows the log: a build that takes minutes changes nothing else of it. */
  async #hasLogGrown({ repository }: Known): Promise<boolean> {
    if (!this.#ports.sourceHost.showsLog?.(repository)) return false;
    if (Date.now() - this.#log.at < this.#times.logMs) return false;
    return (await this.#logEnd()) !== this.#log.end;
  }

  async #logEnd(): Promise<string> {
    return (await this.#ports.logs.read({ kind: "run", runId: this.runId }, { tailLines: 1 })).cursor;
  }

  async #tellEnd(known: Known): Promise<"done" | Next> {
    const { facts, reported } = known;
    const { run } = facts;
    if (!this.closed) return { pauseMs: 0, newsMs: Number.POSITIVE_INFINITY };
    if ((run.finished_at ?? 0) < Date.now() - this.#times.giveUpMs) {
      this.#ports.logger.error({ run: this.runId }, "the end of a run could not be reported in time");
      return "done";
    }
    const due = reportsOf(facts, this.#ports.urls).filter(({ key }) => !Object.hasOwn(reported, key));
    await this.#send(due, known, () => false);
    await this.#record({ reported_at: Date.now() });
    return "done";
  }

  async #read(): Promise<Known | undefined> {
    const { store, queue } = this.#ports;
    const run = await store.selectFrom("runs").selectAll().where("id", "=", this.runId).executeTakeFirst();
    if (run === undefined) return undefined;
    const stages = await store.selectFrom("stages").selectAll().where("run_id", "=", run.id).execute();
    const repository = refOf(await getRepository(store, run.repository_id));
    const ahead = run.state === "queued" ? await queue.ahead(run) : undefined;
    const facts = { run, stages, owner: repository.owner, ahead };
    return { facts, repository, reported: JSON.parse(run.reported) as Record<string, string> };
  }

  /**
   * One after the other, and at least the first of them. What was sent is remembered also where a later one is not taken.
   * @returns false where the rest is outdated.
   */
  async #send(reports: readonly RunReport[], known: Known, isOutdated: () => boolean): Promise<boolean> {
    if (reports.length === 0) return true;
    const taken: Record<string, string> = {};
    const { logs, secrets, urls } = this.#ports;
    try {
      const mask = await openSecretMask(secrets, known.facts.run.owner_id);
      const log = { end: await this.#logEnd(), at: Date.now() };
      const tail = await readLogTail(logs, this.runId, mask);
      const masked = new Map(reportsOf(maskFacts(known.facts, mask), urls).map((one) => [one.key, one]));
      for (const report of reports) {
        const shown = must(masked.get(report.key), `report ${report.key}`);
        const send = () => this.#sendOne(shown, tail, known);
        const given = await this.#pace.run(known.repository.host, send, this.#signal).then(
          () => "taken" as const,
          (error: unknown) => this.#refused(report, error),
        );
        commitReports.inc({ result: given });
        this.#failures = 0;
        this.#told.set(report.key, digestOf(report));
        if (report.key === STACK_KEY) this.#log = log;
        if (report.final) taken[report.key] = given === "taken" ? report.state : given;
        else this.#round.add(report.key);
        if (isOutdated() && report !== reports.at(-1)) return false;
      }
      return true;
    } finally {
      if (Object.keys(taken).length > 0) {
        await this.#record({ reported: JSON.stringify({ ...known.reported, ...taken }) });
      }
    }
  }

  async #sendOne(report: RunReport, tail: LogTail, { facts: { run }, repository }: Known): Promise<void> {
    const { sourceHost, urls } = this.#ports;
    const commit = CommitSha.parse(run.commit_sha);
    if (report.kind === "deployment") {
      const { state, environmentUrl } = report;
      const logUrl = urls.run(run.id);
      await sourceHost.reportDeployment(repository, commit, { runId: run.id, state, environmentUrl, logUrl });
      return;
    }
    const { context, state, fault, description, targetUrl, startedAt, finishedAt, annotations } = report;
    const logTail = tail.textOf(context === STACK_CONTEXT ? undefined : context);
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
    this.#ports.logger.warn(
      { err: error, run: this.runId, report: report.key },
      "the source host refuses a report, which is left",
    );
    return "refused";
  }

  #failed(error: unknown): Next {
    if (this.#signal.aborted) return { pauseMs: 0, newsMs: 0 };
    commitReports.inc({ result: "failed" });
    this.#ports.logger.warn(
      { err: error, run: this.runId },
      "what became of a run could not be reported; trying again",
    );
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

/** What may quote the output of a build or a function, or its author. */
function maskFacts({ run, stages, ...rest }: RunFacts, mask: SecretMask): RunFacts {
  const annotations = (JSON.parse(run.annotations) as Annotation[]).map((annotation) => ({
    ...annotation,
    message: mask(annotation.message),
  }));
  return {
    ...rest,
    run: { ...run, reason: run.reason && mask(run.reason), annotations: JSON.stringify(annotations) },
    stages: stages.map((stage) => ({ ...stage, detail: stage.detail && mask(stage.detail) })),
  };
}

/** What the host shows of a report, but for its log. */
function digestOf(report: RunReport): string {
  return JSON.stringify(
    report.kind === "status"
      ? [report.state, report.description, report.targetUrl]
      : [report.state, report.environmentUrl],
  );
}
