import { runDuration, runsFinished } from "../metrics.ts";
import type { AuditSink } from "../ports/audit-sink/audit-sink.ts";
import type { Run, RunEnd } from "../ports/queue/queue.ts";
import type { RepositoryRef } from "../ports/source-host/source-host.ts";
import { type CourierPorts, type CourierTimes, ReportCourier } from "./reports/courier.ts";
import { openSecretMask } from "./reports/secret-mask.ts";

/**
 * Tells everybody outside what becomes of a run: the source host while it goes on, from what is stored of it; the source
 * host, the audit trail and the metrics once it has ended.
 */
export interface Reporter extends AsyncDisposable {
  /** Called once for each run, when its end is stored and its log has ended. Never waits for a source host. */
  ended(run: Run, repository: RepositoryRef, end: RunEnd): Promise<void>;
}

export function openReporter(
  ports: CourierPorts & { readonly audit: AuditSink },
  times: Partial<CourierTimes> = {},
): Reporter {
  const courier = new ReportCourier(ports, times);
  // It may quote what a function printed, and the trail keeps it for good and tells it to others.
  const masked = async (run: Run, reason: string) =>
    (await openSecretMask(ports.secrets, run.owner_id))(reason);
  return {
    async ended(run, repository, end) {
      // A trail that cannot be written is no reason to leave the host untold.
      courier.closed(run);
      runsFinished.inc({ state: end.state });
      if (run.started_at !== null) {
        runDuration.observe({ state: end.state }, (Date.now() - run.started_at) / 1000);
      }
      await ports.audit.append({
        actor: run.person,
        action: "run.end",
        object: `${repository.owner}/${repository.name}@${run.commit_sha}`,
        result: end.state === "succeeded" ? end.state : `${end.state}: ${await masked(run, end.reason)}`,
        ownerId: run.owner_id,
      });
    },

    [Symbol.asyncDispose]: () => courier[Symbol.asyncDispose](),
  };
}
