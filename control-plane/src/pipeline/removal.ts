import type { Transaction } from "kysely";
import type { Logger } from "../logger.ts";
import type { AuditSink } from "../ports/audit-sink/audit-sink.ts";
import type { Builder } from "../ports/builder/builder.ts";
import type { LogStore } from "../ports/log-store/log-store.ts";
import type { Queue } from "../ports/queue/queue.ts";
import type { Runtime } from "../ports/runtime/runtime.ts";
import { HostUnavailable } from "../ports/source-host/host-errors.ts";
import type { SourceHost } from "../ports/source-host/source-host.ts";
import { type Deployed, listDeployed } from "../ports/store/functions.ts";
import { findUnlinkedReason, getRepository, refOf } from "../ports/store/repositories.ts";
import type { Schema } from "../ports/store/schema.ts";
import type { Queries, Store } from "../ports/store/store.ts";
import type { UsageSource } from "../ports/usage-source/usage-source.ts";
import type { LiveRoutes } from "../routes/live-routes.ts";
import { collectArtifacts } from "./collect.ts";
import type { Retirement } from "./retirement.ts";

/** Between the moment in which functions stop answering and their end: time to notice, and to link again. */
const GRACE_MS = 24 * 60 * 60_000;
const SWEEP_MS = 60_000;

interface RemovalPorts {
  readonly store: Store;
  readonly queue: Queue;
  readonly runtime: Runtime;
  readonly liveRoutes: LiveRoutes;
  readonly retirement: Retirement;
  readonly logs: LogStore;
  readonly usage: UsageSource;
  readonly builder: Builder;
  readonly sourceHost: SourceHost;
  readonly audit: AuditSink;
  readonly logger: Logger;
  /** Starts functions that are live again; those that do not start again and again, until `signal` aborts. */
  readonly startAll: (live: readonly Deployed[], signal: AbortSignal) => Promise<void>;
  readonly graceMs?: number;
  readonly sweepMs?: number;
  readonly now?: () => number;
}

/** A function that stops answering, answers again or ends, by the link of its repository. */
interface Affected {
  readonly id: string;
  readonly owner_id: string;
  readonly slug: string;
  readonly name: string;
  readonly generation: number;
}

/**
 * Brings functions in line with what is linked. Those of a repository that is not linked any more stop answering at once, and
 * come back as they were when it is linked again within the grace; after it they are deleted for good, with everything that
 * was kept of the repository.
 *
 * Goes by the store's word alone, of exactly this repository and owner, so it can be done again at any time: what was left in
 * the middle is taken up by the next sweep. A repository is only ever marked as not linked by a positive answer of its host
 * (`webhooks/links.ts`); and nothing of it can be published meanwhile, since `publish` looks in its own transaction.
 */
export class Removal implements AsyncDisposable {
  readonly #ports: RemovalPorts;
  readonly #graceMs: number;
  readonly #now: () => number;
  readonly #disposed = new AbortController();
  readonly #starting = new Set<Promise<void>>();
  readonly #timer: NodeJS.Timeout;
  #last: Promise<unknown> = Promise.resolve();

  constructor(ports: RemovalPorts) {
    this.#ports = ports;
    this.#graceMs = ports.graceMs ?? GRACE_MS;
    this.#now = ports.now ?? Date.now;
    this.#timer = setInterval(() => void this.#sweepQuietly(), ports.sweepMs ?? SWEEP_MS);
  }

  /** Lets what was linked or unlinked take effect, of these repositories. @returns when no new request is routed otherwise. */
  settle(repositoryIds: readonly string[]): Promise<void> {
    return this.#inTurn(() => this.#settle(repositoryIds));
  }

  /** As `settle` for all, and ends what has been unrouted for the whole grace. */
  sweep(): Promise<void> {
    return this.#inTurn(async () => {
      await this.#settle(undefined);
      await this.#endLeftOver();
      await this.#deleteOverdue(this.#now() - this.#graceMs);
    });
  }

  async [Symbol.asyncDispose](): Promise<void> {
    clearInterval(this.#timer);
    this.#disposed.abort();
    await this.#last;
    await Promise.all(this.#starting);
  }

  #inTurn(work: () => Promise<void>): Promise<void> {
    const turn = this.#last.then(() => (this.#disposed.signal.aborted ? undefined : work()));
    this.#last = turn.catch(() => undefined);
    return turn;
  }

  async #sweepQuietly(): Promise<void> {
    try {
      await this.sweep();
    } catch (error) {
      this.#ports.logger.error({ err: error }, "removed repositories could not be swept; trying again");
    }
  }

  async #settle(repositoryIds: readonly string[] | undefined): Promise<void> {
    await this.#cancelRuns(repositoryIds);
    await this.#unroute(repositoryIds);
    await this.#routeAgain(repositoryIds);
  }

  async #cancelRuns(repositoryIds: readonly string[] | undefined): Promise<void> {
    const { store, queue } = this.#ports;
    let query = store
      .selectFrom("runs")
      .innerJoin("repositories", "repositories.id", "runs.repository_id")
      .select(["runs.id", "repository_id"])
      .where("runs.state", "in", ["queued", "running"])
      .where("runs.stop_reason", "is", null)
      .where("repositories.unlinked_at", "is not", null);
    if (repositoryIds) query = query.where("repositories.id", "in", repositoryIds);
    for (const { id, repository_id } of await query.execute()) {
      const why = (await findUnlinkedReason(store, repository_id)) ?? "";
      await queue.stop(id, {
        state: "cancelled",
        kind: "unlinked",
        reason: `The repository is not linked any more: ${why}`,
      });
    }
  }

  async #unroute(repositoryIds: readonly string[] | undefined): Promise<void> {
    const { store, audit, liveRoutes } = this.#ports;
    const unrouted = await store.transaction().execute(async (transaction) => {
      const affected = await affectedBy(transaction, "unlinked", repositoryIds);
      for (const one of affected) {
        await transaction
          .updateTable("functions")
          .set({ unrouted_at: this.#now() })
          .where("id", "=", one.id)
          .where("owner_id", "=", one.owner_id)
          .execute();
        await audit.append(event("function.unroute", "not routed any more", one), transaction);
      }
      return affected;
    });
    if (unrouted.length === 0) return;
    const ids = unrouted.map(({ id }) => id);
    const version = await liveRoutes.refresh(ids);
    await this.#retire(ids, version);
  }

  async #retire(functionIds: readonly string[], version: number): Promise<void> {
    const { store, retirement } = this.#ports;
    const deployed = await listDeployed(store, { functionIds, unroutedToo: true });
    retirement.retire(
      deployed.map(({ revision, owner_id }) => ({ revisionId: revision.id, ownerId: owner_id })),
      version,
    );
  }

  /** What the process died before it could tell, or could not tell: of functions without a route nothing runs. */
  async #endLeftOver(): Promise<void> {
    const { store, runtime, liveRoutes } = this.#ports;
    const running = [...new Set(runtime.list().map(({ functionId }) => functionId))];
    if (running.length === 0) return;
    const rows = await store
      .selectFrom("functions")
      .select("id")
      .where("unrouted_at", "is not", null)
      .execute();
    const unrouted = new Set(rows.map(({ id }) => id));
    const left = running.filter((id) => unrouted.has(id));
    if (left.length > 0) await this.#retire(left, await liveRoutes.refresh(left));
  }

  /** One whose name another function has got meanwhile stays without a route, and ends after its grace. */
  async #routeAgain(repositoryIds: readonly string[] | undefined): Promise<void> {
    const { store, audit, liveRoutes } = this.#ports;
    const routed = await store.transaction().execute(async (transaction) => {
      const done: Affected[] = [];
      for (const one of await affectedBy(transaction, "linked", repositoryIds)) {
        if (await isNameTaken(transaction, one)) continue;
        await transaction
          .updateTable("functions")
          .set({ unrouted_at: null })
          .where("id", "=", one.id)
          .where("owner_id", "=", one.owner_id)
          .execute();
        await audit.append(event("function.route", "routed again", one), transaction);
        done.push(one);
      }
      return done;
    });
    if (routed.length === 0) return;
    const ids = routed.map(({ id }) => id);
    await liveRoutes.refresh(ids);
    const starting = this.#startAgain(ids).finally(() => this.#starting.delete(starting));
    this.#starting.add(starting);
  }

  /** Never rejects. Routes follow what comes up. */
  async #startAgain(functionIds: readonly string[]): Promise<void> {
    const { store, retirement, startAll, logger } = this.#ports;
    try {
      const live = await listDeployed(store, { functionIds });
      await retirement.recall(live.map(({ revision }) => revision.id));
      await startAll(live, this.#disposed.signal);
    } catch (error) {
      logger.error({ err: error }, "functions that are linked again could not be started");
    }
  }

  async #deleteOverdue(cutoff: number): Promise<void> {
    const { store, builder, logger } = this.#ports;
    const deleted = await this.#deleteFunctions(cutoff);
    for (const { id, owner_id } of await overdueRepositories(store, cutoff)) {
      try {
        await this.#deleteRepository(id, owner_id, cutoff);
      } catch (error) {
        logger.error(
          { err: error, repository: id },
          "a removed repository could not be deleted; trying again",
        );
      }
    }
    if (deleted > 0) await collectArtifacts({ store, builder });
  }

  /** What is kept elsewhere goes first, so that an end in the middle is taken up again. */
  async #deleteFunctions(cutoff: number): Promise<number> {
    const { store, audit, logs, usage } = this.#ports;
    for (const { id } of await overdueFunctions(store, cutoff)) {
      await logs.remove({ kind: "function", functionId: id });
      await usage.remove(id);
    }
    return store.transaction().execute(async (transaction) => {
      const overdue = await overdueFunctions(transaction, cutoff);
      for (const one of overdue) {
        await transaction
          .deleteFrom("functions")
          .where("id", "=", one.id)
          .where("owner_id", "=", one.owner_id)
          .execute();
        await transaction
          .deleteFrom("revisions")
          .where("function_id", "=", one.id)
          .where("owner_id", "=", one.owner_id)
          .execute();
        await audit.append(event("function.delete", "deleted after the grace", one), transaction);
      }
      return overdue.length;
    });
  }

  /**
   * First it loses the host's id, so that from there on nobody can link it again; then what is kept elsewhere goes, and last what
   * is known of it.
   */
  async #deleteRepository(id: string, ownerId: string, cutoff: number): Promise<void> {
    const { store, logs } = this.#ports;
    const isDoomed = await store
      .updateTable("repositories")
      .set({ source_id: null })
      .where("id", "=", id)
      .where("owner_id", "=", ownerId)
      .where("unlinked_at", "<=", cutoff)
      .returning("id")
      .executeTakeFirst();
    if (!isDoomed) return;
    const runs = await store
      .selectFrom("runs")
      .select("id")
      .where("repository_id", "=", id)
      .where("owner_id", "=", ownerId)
      .execute();
    for (const run of runs) await logs.remove({ kind: "run", runId: run.id });
    await this.#forgetSource(id);
    await store.transaction().execute((transaction) => this.#deleteRows(transaction, id, ownerId, cutoff));
  }

  async #deleteRows(
    transaction: Transaction<Schema>,
    id: string,
    ownerId: string,
    cutoff: number,
  ): Promise<void> {
    const still = await overdueRepositories(transaction, cutoff);
    if (!still.some((row) => row.id === id && row.owner_id === ownerId)) return;
    const { slug, name } = await getRepository(transaction, id);
    const runs = transaction
      .selectFrom("runs")
      .select("id")
      .where("repository_id", "=", id)
      .where("owner_id", "=", ownerId);
    await transaction.deleteFrom("stages").where("run_id", "in", runs).execute();
    await transaction
      .deleteFrom("runs")
      .where("repository_id", "=", id)
      .where("owner_id", "=", ownerId)
      .execute();
    await transaction
      .deleteFrom("repositories")
      .where("id", "=", id)
      .where("owner_id", "=", ownerId)
      .execute();
    await this.#ports.audit.append(
      {
        actor: "platform",
        action: "repository.delete",
        object: `${slug}/${name}`,
        result: "deleted after the grace",
        ownerId,
      },
      transaction,
    );
  }

  async #forgetSource(repositoryId: string): Promise<void> {
    const { store, sourceHost, logger } = this.#ports;
    try {
      await sourceHost.forget(refOf(await getRepository(store, repositoryId)));
    } catch (error) {
      if (!(error instanceof HostUnavailable)) throw error;
      logger.warn(
        { err: error, repository: repositoryId },
        "a removed repository's copy is left where it is",
      );
    }
  }
}

/** Functions that answer although their repository is not linked, or that do not although it is. */
async function affectedBy(
  queries: Queries,
  link: "linked" | "unlinked",
  repositoryIds: readonly string[] | undefined,
): Promise<Affected[]> {
  let query = selectAffected(queries)
    .where("functions.unrouted_at", link === "unlinked" ? "is" : "is not", null)
    .where("repositories.unlinked_at", link === "unlinked" ? "is not" : "is", null);
  if (repositoryIds) query = query.where("repositories.id", "in", repositoryIds);
  return query.execute();
}

/** Without a route for the whole grace: their repository was not linked, or another function has their name since it was not. */
async function overdueFunctions(queries: Queries, cutoff: number): Promise<Affected[]> {
  return selectAffected(queries).where("functions.unrouted_at", "<=", cutoff).execute();
}

function selectAffected(queries: Queries) {
  return queries
    .selectFrom("functions")
    .innerJoin("repositories", "repositories.id", "functions.repository_id")
    .innerJoin("owners", "owners.id", "functions.owner_id")
    .select(["functions.id", "functions.owner_id", "functions.name", "functions.generation", "owners.slug"])
    .whereRef("repositories.owner_id", "=", "functions.owner_id");
}

async function isNameTaken(queries: Queries, { owner_id, name }: Affected): Promise<boolean> {
  const holder = await queries
    .selectFrom("functions")
    .select("id")
    .where("owner_id", "=", owner_id)
    .where("name", "=", name)
    .where("unrouted_at", "is", null)
    .executeTakeFirst();
  return holder !== undefined;
}

/** Not linked for the whole grace, with no function left and no run under way. */
async function overdueRepositories(queries: Queries, cutoff: number) {
  return queries
    .selectFrom("repositories")
    .select(["id", "owner_id"])
    .where("unlinked_at", "<=", cutoff)
    .where("id", "not in", (select) => select.selectFrom("functions").select("repository_id"))
    .where("id", "not in", (select) =>
      select.selectFrom("runs").select("repository_id").where("state", "in", ["queued", "running"]),
    )
    .execute();
}

function event(action: string, result: string, { owner_id, slug, name, generation }: Affected) {
  return {
    actor: "platform",
    action,
    object: `${slug}/${name}`,
    result,
    ownerId: owner_id,
    details: { generation },
  };
}
