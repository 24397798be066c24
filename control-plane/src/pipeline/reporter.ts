import { runDuration, runsFinished } from "../metrics.ts";
import type { AuditSink } from "../ports/audit-sink/audit-sink.ts";
import type { Run, RunEnd } from "../ports/queue/queue.ts";
import { type CourierPorts, type CourierTimes, ReportCourier } from "./reports/courier.ts";
import { RunTrail } from "./reports/run-trail.ts";

/**
 * Tells everybody outside what becomes of a run: the source host while it goes on, from what is stored of it; the source
 * host, the audit trail and the metrics once it has ended.
 */
export interface Reporter extends AsyncDisposable {
  /** Called once for each run, when its end is stored and its log has ended. Never waits for a source host. */
  ended(run: Run, end: RunEnd): Promise<void>;
}

export function openReporter(
  ports: CourierPorts & { readonly audit: AuditSink },
  times: Partial<CourierTimes> = {},
): Reporter {
  const courier = new ReportCourier(ports, times);
  const trail = new RunTrail(ports, times);
  return {
    async ended(run, end) {
      // A trail that cannot be written is no reason to leave the host untold.
      courier.closed(run);
      runsFinished.inc({ state: end.state });
      if (run.started_at !== null) {
        runDuration.observe({ state: end.state }, (Date.now() - run.started_at) / 1000);
      }
      await trail.record(run.id);
    },

    async [Symbol.asyncDispose]() {
      await courier[Symbol.asyncDispose]();
      await trail[Symbol.asyncDispose]();
    },
  };
}
