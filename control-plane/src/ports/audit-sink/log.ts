import type { Logger } from "../../logger.ts";
import type { AuditReceiver } from "./audit-sink.ts";

const MOST_EVENTS = 100;

/** Writes each event as one line of the structured log, under `audit`, however little else is logged. */
export function openLogReceiver(logger: Logger): AuditReceiver {
  const audit = logger.child({}, { level: "info" });
  return {
    name: "log",
    most: MOST_EVENTS,
    async deliver(events) {
      for (const event of events) audit.info({ audit: event }, "audit");
    },
  };
}
