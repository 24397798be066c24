import type { Logger } from "../logger.ts";
import type { Builder } from "../ports/builder/builder.ts";
import type { LogStore } from "../ports/log-store/log-store.ts";
import type { RepositoryRef, SourceHost } from "../ports/source-host/source-host.ts";
import type { Store } from "../ports/store/store.ts";

/** Revisions of a live function whose artifacts are kept, the live one among them. */
const KEPT_REVISIONS = 3;
/** Ended runs of a repository that are kept, with their logs. */
const KEPT_RUNS = 200;
/** Runs forgotten at a time, so that the store is never held up for long. */
const MOST_AT_ONCE = 100;

interface CollectorPorts {
  readonly store: Store;
  readonly sourceHost: SourceHost;
  readonly builder: Builder;
  readonly logs: LogStore;
  readonly logger: Logger;
}

/**
 * Gives disk back after runs, one repository at a time: artifacts that neither serve nor served recently, and the history of
 * a repository beyond its last runs, with the commits that were kept for them. What it leaves in one round it takes in the
 * next, so a failure is only logged.
 */
export class Collector implements AsyncDisposable {
  readonly #ports: CollectorPorts;
  readonly #waiting = new Map<string, RepositoryRef>();
  readonly #disposed = new AbortController();
  #working: Promise<void> | undefined;

  constructor(ports: CollectorPorts) {
    this.#ports = ports;
  }

  collectSoon(repository: RepositoryRef): void {
    this.#waiting.set(repository.repositoryId, repository);
    this.#working ??= this.#work();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#waiting.clear();
    this.#disposed.abort();
    await this.#working;
  }

  async #work(): Promise<void> {
    for (const [id, repository] of this.#waiting) {
      this.#waiting.delete(id);
      try {
        await collect(repository, this.#ports, this.#disposed.signal);
      } catch (error) {
        if (this.#disposed.signal.aborted) break;
        this.#ports.logger.error({ err: error }, "old artifacts and runs could not be removed");
      }
    }
    this.#working = undefined;
  }
}

export async function collect(
  repository: RepositoryRef,
  { store, sourceHost, builder, logs }: Omit<CollectorPorts, "logger">,
  signal: AbortSignal,
): Promise<void> {
  await collectArtifacts({ store, builder });
  await forgetRuns(repository.repositoryId, store, logs);
  await sourceHost.tidy(repository, () => commitsOfRuns(repository.repositoryId, store), signal);
}

/** Removes artifacts that no function serves from or could go back to. */
export async function collectArtifacts({
  store,
  builder,
}: Pick<CollectorPorts, "store" | "builder">): Promise<void> {
  await forgetRevisions(store);
  const kept = await store.selectFrom("revisions").select("artifact_digest").execute();
  await builder.collect(new Set(kept.map((row) => row.artifact_digest)));
}

async function commitsOfRuns(repositoryId: string, store: Store): Promise<ReadonlySet<string>> {
  const runs = await store
    .selectFrom("runs")
    .select("commit_sha")
    .where("repository_id", "=", repositoryId)
    .execute();
  return new Set(runs.map((run) => run.commit_sha));
}

async function forgetRevisions(store: Store): Promise<void> {
  await store
    .deleteFrom("revisions")
    .where("id", "not in", (select) => select.selectFrom("functions").select("active_revision_id"))
    .where((where) =>
      where(
        where
          .selectFrom("revisions as newer")
          .select((select) => select.fn.countAll<number>().as("count"))
          .whereRef("newer.function_id", "=", "revisions.function_id")
          .whereRef("newer.created_at", ">", "revisions.created_at"),
        ">=",
        KEPT_REVISIONS,
      ),
    )
    .execute();
}

async function forgetRuns(repositoryId: string, store: Store, logs: LogStore): Promise<void> {
  const old = await store
    .selectFrom("runs")
    .select("id")
    .where("repository_id", "=", repositoryId)
    .where("finished_at", "is not", null)
    // What the audit trail was not told yet is in no other place.
    .where("end_recorded", "=", 1)
    .where("id", "not in", (select) => select.selectFrom("functions").select("run_id"))
    .orderBy("id", "desc")
    .offset(KEPT_RUNS)
    .limit(MOST_AT_ONCE)
    .execute();
  if (old.length === 0) return;
  const ids = old.map(({ id }) => id);
  for (const runId of ids) await logs.remove({ kind: "run", runId });
  await store.transaction().execute(async (transaction) => {
    await transaction.deleteFrom("stages").where("run_id", "in", ids).execute();
    await transaction.deleteFrom("runs").where("id", "in", ids).execute();
  });
}
