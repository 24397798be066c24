import { CommitSha } from "@openfaas-cloud/shared/names.ts";
import type { Logger } from "../logger.ts";
import { runDuration, runsFinished } from "../metrics.ts";
import type { AuditSink } from "../ports/audit-sink/audit-sink.ts";
import type { Run, RunEnd } from "../ports/queue/queue.ts";
import type { CommitStatus, RepositoryRef, SourceHost } from "../ports/source-host/source-host.ts";
import type { Urls } from "../urls.ts";

/** Tells everybody outside what became of a run: the source host, the audit trail, the metrics. */
export interface Reporter {
  started(run: Run, repository: RepositoryRef): void;
  ended(run: Run, repository: RepositoryRef, end: RunEnd): Promise<void>;
}

export function openReporter(options: {
  readonly sourceHost: SourceHost;
  readonly audit: AuditSink;
  readonly urls: Urls;
  readonly logger: Logger;
}): Reporter {
  const { sourceHost, audit, urls, logger } = options;

  /** A status that does not arrive never fails a run; the outcome is on the run page in any case. */
  const sendStatus = async (
    run: Run,
    repository: RepositoryRef,
    status: Omit<CommitStatus, "targetUrl" | "context" | "runId">,
  ) => {
    try {
      await sourceHost.reportStatus(repository, CommitSha.parse(run.commit_sha), {
        context: "stack-deploy",
        targetUrl: urls.run(run.id),
        runId: run.id,
        ...status,
      });
    } catch (error) {
      logger.error({ err: error, run: run.id }, "the source host did not take a commit status");
    }
  };

  return {
    started(run, repository) {
      void sendStatus(run, repository, { state: "pending", description: "The run is under way." });
    },

    async ended(run, repository, end) {
      runsFinished.inc({ state: end.state });
      if (run.started_at !== null) {
        runDuration.observe({ state: end.state }, (Date.now() - run.started_at) / 1000);
      }
      await audit.append({
        actor: run.person,
        action: "run.end",
        object: `${repository.owner}/${repository.name}@${run.commit_sha}`,
        result: end.state === "succeeded" ? end.state : `${end.state}: ${end.reason}`,
        ownerId: run.owner_id,
      });
      await sendStatus(run, repository, {
        state: end.state === "succeeded" ? "success" : "failure",
        description: end.state === "succeeded" ? "The stack is live." : end.reason,
      });
    },
  };
}
