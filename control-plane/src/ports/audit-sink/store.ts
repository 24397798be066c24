import type { Store } from "../store/store.ts";
import type { AuditSink } from "./audit-sink.ts";

const MAX_FIELD = 4096;

/** Audit events as rows of the store. */
export function openStoreAuditSink(store: Store): AuditSink {
  return {
    async append(event, within = store) {
      await within
        .insertInto("audit_events")
        .values({
          at: Date.now(),
          actor: event.actor.slice(0, MAX_FIELD),
          action: event.action.slice(0, MAX_FIELD),
          object: event.object.slice(0, MAX_FIELD),
          result: event.result.slice(0, MAX_FIELD),
          owner_id: event.ownerId ?? null,
          address: event.address ?? "",
          details: JSON.stringify(event.details ?? {}),
        })
        .execute();
    },
  };
}
