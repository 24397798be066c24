import type { AuditEventRow } from "../store/schema.ts";
import type { Queries, Store } from "../store/store.ts";
import type { AuditEvent, AuditSink } from "./audit-sink.ts";
import { chainHash, GENESIS, readChain } from "./chain.ts";
import { auditDetails, auditField } from "./fields.ts";

/**
 * Audit events as rows of the store, each chained to the one before it by a hash.
 *
 * A chain cannot fork: an event takes the number after the last one it saw, numbers are unique, and transactions are
 * serialisable. Whoever can write to the table can compute hashes too, so what was replaced from some event up to the end
 * shows only against a head that was exported before (`export-head.ts`).
 *
 * @param onAppend called after an event was appended, maybe before its transaction is committed.
 */
export function openStoreAuditSink(store: Store, onAppend: () => void = () => undefined): AuditSink {
  /** The last append of each transaction under way: one that appends twice at once must not read the same tail twice. */
  const turns = new WeakMap<Queries, Promise<unknown>>();

  return {
    async append(event, within = store) {
      const content = contentOf(event);
      if (within.isTransaction) {
        const turn = (turns.get(within) ?? Promise.resolve()).then(() => link(within, content));
        turns.set(
          within,
          turn.catch(() => undefined),
        );
        await turn;
      } else {
        await within.transaction().execute((transaction) => link(transaction, content));
      }
      onAppend();
    },
  };
}

type Content = Omit<AuditEventRow, "id" | "hash">;

function contentOf(event: AuditEvent): Content {
  return {
    at: Date.now(),
    actor: auditField(event.actor),
    action: auditField(event.action),
    object: auditField(event.object),
    result: auditField(event.result),
    owner_id: event.ownerId ?? null,
    address: auditField(event.address ?? ""),
    details: auditDetails(event.details ?? {}),
  };
}

async function link(queries: Queries, content: Content): Promise<void> {
  const tail = await queries
    .selectFrom("audit_events")
    .select(["id", "hash"])
    .orderBy("id", "desc")
    .limit(1)
    .executeTakeFirst();
  const id = (tail?.id ?? 0) + 1;
  const previous = tail === undefined ? GENESIS : (tail.hash ?? (await hashOfUnhashed(queries)));
  const hash = chainHash(previous, { ...content, id: String(id), at: String(content.at) });
  await queries
    .insertInto("audit_events")
    .values({ ...content, id, hash })
    .execute();
}

/** The hash that the last event would have: what was written before there were hashes is covered by the first one. */
async function hashOfUnhashed(queries: Queries): Promise<string> {
  let hash = GENESIS;
  for await (const rows of readChain(queries)) hash = rows.reduce(chainHash, hash);
  return hash;
}
