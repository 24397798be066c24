import { EMBEDDED } from "../ports/source-host/source-host.ts";
import { ofOwner, router } from "./procedure.ts";
import { runState } from "./runs.ts";
import type { RepositoryView } from "./views.ts";

const MOST = 1_000;

export const repositoriesRouter = router({
  /** All that the owner has linked or pushed, those that were unlinked last among them until their functions are gone. */
  list: ofOwner("viewer").query(async ({ ctx }): Promise<RepositoryView[]> => {
    const { store, hosts } = ctx.ports;
    const { owner } = ctx;
    const rows = await store
      .selectFrom("repositories")
      .selectAll()
      .select((select) => [
        select
          .selectFrom("functions")
          .whereRef("functions.repository_id", "=", "repositories.id")
          .where("functions.unrouted_at", "is", null)
          .select((count) => count.fn.countAll<number>().as("count"))
          .as("functions"),
        select
          .selectFrom("runs")
          .whereRef("runs.repository_id", "=", "repositories.id")
          .select((newest) => newest.fn.max("runs.id").as("id"))
          .as("newest_run"),
      ])
      .where("owner_id", "=", owner.id)
      .orderBy("name")
      .limit(MOST)
      .execute();
    const runIds = rows.flatMap(({ newest_run }) => (newest_run === null ? [] : [newest_run]));
    const runs = await store
      .selectFrom("runs")
      .select(["id", "state", "reason_kind", "created_at"])
      .where("id", "in", runIds)
      .execute();
    return rows.map((row) => {
      const run = runs.find(({ id }) => id === row.newest_run);
      return {
        owner: owner.slug,
        name: row.name,
        host:
          row.source_host === EMBEDDED ? undefined : (hosts.find(row.source_host)?.title ?? row.source_host),
        webUrl: row.web_url === "" ? undefined : row.web_url,
        isPrivate: row.private === 1,
        branch: row.default_branch ?? undefined,
        functions: Number(row.functions ?? 0),
        newestRun: run && { id: run.id, state: runState(run), createdAt: run.created_at },
        unlinked:
          row.unlinked_at === null
            ? undefined
            : { at: row.unlinked_at, reason: row.unlinked_reason ?? "It is not linked any more." },
      };
    });
  }),
});
