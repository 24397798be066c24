import { z } from "zod";
import { type AuditFilter, listAuditEvents } from "../ports/store/audit-events.ts";
import type { Store } from "../ports/store/store.ts";
import { ofOwner, operator, router } from "./procedure.ts";
import type { AuditPage } from "./views.ts";

const Filter = z.object({
  actor: z.string().max(4096).optional(),
  action: z.string().max(4096).optional(),
  /** Milliseconds since the epoch; from inclusive, until exclusive. */
  from: z.int().nonnegative().optional(),
  until: z.int().nonnegative().optional(),
  before: z.int().positive().optional(),
  limit: z.int().min(1).max(100).default(50),
});

export const auditRouter = router({
  /** What was done to what is the owner's. */
  list: ofOwner("admin")
    .input(Filter)
    .query(
      ({ ctx, input }): Promise<AuditPage> => page(ctx.ports.store, { ...input, ownerId: ctx.owner.id }),
    ),

  /** Everything that was done, at every owner and to the platform itself. */
  listAll: operator.input(Filter).query(({ ctx, input }): Promise<AuditPage> => page(ctx.ports.store, input)),
});

async function page(store: Store, filter: AuditFilter): Promise<AuditPage> {
  const { events, next } = await listAuditEvents(store, filter);
  return {
    events: events.map(({ id, at, actor, actor_name, action, object, result, address, details }) => ({
      id,
      at,
      actor,
      actorName: actor_name ?? undefined,
      action,
      object,
      result,
      address,
      details: JSON.parse(details) as Record<string, unknown>,
    })),
    next,
  };
}
