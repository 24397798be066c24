import { join } from "node:path";
import { FunctionName } from "@openfaas-cloud/shared/names.ts";
import { sql } from "kysely";
import { pino } from "pino";
import { temporaryFolder } from "../../../test/support/temporary-folder.ts";
import { derivedId } from "../../src/ids.ts";
import type { DeployedFunction } from "../../src/pipeline/deploy.ts";
import { prune } from "../../src/pipeline/prune.ts";
import { publish } from "../../src/pipeline/publish.ts";
import { Removal } from "../../src/pipeline/removal.ts";
import { startAll } from "../../src/pipeline/restore.ts";
import { Retirement } from "../../src/pipeline/retirement.ts";
import { StageFrame } from "../../src/pipeline/stage.ts";
import { openStoreAuditSink } from "../../src/ports/audit-sink/store.ts";
import type { Builder } from "../../src/ports/builder/builder.ts";
import type { LogStore, LogStream } from "../../src/ports/log-store/log-store.ts";
import type { Run } from "../../src/ports/queue/queue.ts";
import { openSqlQueue } from "../../src/ports/queue/sql.ts";
import type { RevisionRef, RevisionSpec, Runtime } from "../../src/ports/runtime/runtime.ts";
import type { OwnerFacts } from "../../src/ports/source-host/remote-host.ts";
import type { RepositoryRef, SourceHost } from "../../src/ports/source-host/source-host.ts";
import { listDeployed } from "../../src/ports/store/functions.ts";
import { findRepositoryBySource, type NamedRepository } from "../../src/ports/store/repositories.ts";
import { openSqliteStore } from "../../src/ports/store/sqlite.ts";
import { openEdgeUsage } from "../../src/ports/usage-source/edge.ts";
import { LiveRoutes } from "../../src/routes/live-routes.ts";
import { RoutePublisher } from "../../src/routes/route-publisher.ts";
import { RunFeed } from "../../src/run-feed.ts";
import { openLinks } from "../../src/webhooks/links.ts";
import { RemovalBrake } from "../../src/webhooks/removal-brake.ts";
import { functionSpec } from "./function-spec.ts";
import type { HostedRepository, ScriptedHost } from "./linked-world.ts";

const HOLDER = "test";
const NEVER = new AbortController().signal;

/** A runtime that runs whatever it is told to, as a list. */
class ListRuntime {
  readonly running = new Map<string, { readonly functionId: string; readonly ownerId: string }>();
  readonly #listeners = new Set<(functionId: string) => void>();

  readonly runtime = {
    start: async ({ revisionId, functionId, ownerId }: RevisionSpec) => {
      this.running.set(revisionId, { functionId, ownerId });
      this.#tell(functionId);
      return [];
    },
    stop: async ({ revisionId }: RevisionRef) => {
      const { functionId } = this.running.get(revisionId) ?? {};
      this.running.delete(revisionId);
      if (functionId !== undefined) this.#tell(functionId);
    },
    list: () =>
      [...this.running].map(([revisionId, of]) => ({
        revisionId,
        ...of,
        replicas: [
          {
            id: `${revisionId}-1`,
            state: "ready" as const,
            restarts: 0,
            lastExit: undefined,
            upstream: { id: revisionId, url: "http://127.0.0.1:1" },
          },
        ],
      })),
    onChange: (listener: (functionId: string) => void) => {
      this.#listeners.add(listener);
      return { [Symbol.dispose]: () => void this.#listeners.delete(listener) };
    },
  } satisfies Partial<Runtime> as unknown as Runtime;

  #tell(functionId: string): void {
    for (const listener of this.#listeners) listener(functionId);
  }
}

/**
 * What follows source hosts and what they have linked, with the real store, queue, routes and publishing, and a clock that the
 * test sets; functions run in a list only.
 */
export async function openLinkedPlatform(random: () => number = Math.random) {
  await using opened = new AsyncDisposableStack();
  const folder = opened.use(await temporaryFolder());
  const time = { now: 1_700_000_000_000 };
  const now = () => time.now;
  const logger = pino({ level: "silent" });
  const feed = new RunFeed();
  const store = opened.adopt(await openSqliteStore(join(folder.path, "store.sqlite")), (it) => it.destroy());
  // Nothing here dies, and thousands of steps would wait for the disk.
  await sql`PRAGMA synchronous = OFF`.execute(store);
  const queue = openSqlQueue({ store, feed, now });
  const audit = openStoreAuditSink(store);
  const usage = openEdgeUsage(store, now);
  const removedLogs: string[] = [];
  const logs = {
    open: () => ({ write: () => undefined }),
    remove: async (stream: LogStream) =>
      void removedLogs.push(stream.kind === "run" ? stream.runId : stream.functionId),
  } satisfies Partial<LogStore> as unknown as LogStore;
  const { runtime, running } = new ListRuntime();
  const routes = await RoutePublisher.open(
    { epoch: "e", next: 1, reserve: async () => undefined },
    { keys: [], revoked: [], listOwners: true },
    [],
  );
  const confirm = () =>
    routes.applied({ edge: "edge", epoch: "e", version: routes.version, checksum: "0".repeat(64) });
  opened.use(routes.connect("edge", () => queueMicrotask(confirm)));
  const liveRoutes = opened.use(new LiveRoutes({ store, runtime, routes, logger }));
  const retirement = opened.use(new Retirement({ runtime, routes, logger, arrivalMs: 0 }));
  const kept: (readonly string[])[] = [];
  const builder = {
    collect: async (digests: ReadonlySet<string>) => void kept.push([...digests]),
  } satisfies Partial<Builder> as unknown as Builder;
  const forgotten: string[] = [];
  const sourceHost = {
    forget: async ({ repositoryId }: RepositoryRef) => void forgotten.push(repositoryId),
  } satisfies Partial<SourceHost> as unknown as SourceHost;
  const secrets = { list: async () => [], set: unused, remove: unused, reveal: async () => ({}) };
  const removalPorts = { store, queue, runtime, liveRoutes, retirement, logs, usage, builder, sourceHost };
  const removal = opened.use(
    new Removal({
      ...removalPorts,
      audit,
      logger,
      startAll: (live, signal) => startAll(live, { store, runtime, secrets, logs, logger }, signal),
      sweepMs: 2 ** 30,
      now,
    }),
  );
  const brake = new RemovalBrake({ store, audit, logger, now });
  const policy = {
    isAllowed: async (_: { readonly instance: string; readonly owner: OwnerFacts }) => true,
    refusal: undefined as string | undefined,
    ownersChanged: 0,
  };
  const links = openLinks({
    store,
    audit,
    brake,
    logger,
    isAllowed: (asked) => policy.isAllowed(asked),
    mayEnrol: async () => policy.refusal,
    onOwnersChanged: async () => {
      policy.ownersChanged += 1;
    },
    settle: (ids) => removal.settle(ids),
    now,
    random,
  });

  /** A run of the repository's head up to its end, which is `publish` and `prune` as they are. */
  async function startRun(repository: NamedRepository, commit: string, names: readonly string[]) {
    const run = await queue.enqueue({
      trigger: "push",
      owner_id: repository.owner_id,
      repository_id: repository.id,
      branch: "main",
      before_sha: null,
      commit_sha: commit,
      message: "change",
      author: "a",
      person: repository.source_host,
    });
    const claimed = await queue.claim(HOLDER, []);
    if (claimed?.id !== run.id) throw new Error("another run was first");
    const live = await listDeployed(store, { repositoryId: repository.id });
    const deployed = names.map((name) => deployedFunction(claimed, repository, name, live));
    return {
      run: claimed,
      /** @returns why it did not get that far. */
      async finish(): Promise<string | undefined> {
        await using frame = new StageFrame({
          run: claimed,
          signal: NEVER,
          log: { write: () => undefined },
          store,
          feed,
          logger,
        });
        for (const { revisionId, planned } of deployed)
          running.set(revisionId, { functionId: planned.functionId, ownerId: claimed.owner_id });
        try {
          await publish(frame, deployed, { store, liveRoutes, routes, retirement });
          const plan = { functions: deployed.map(({ planned }) => planned), ignored: [], notices: [] };
          await prune(claimed, plan, { store, liveRoutes, retirement, usage, logs });
          await queue.finish(claimed.id, HOLDER, { state: "succeeded" });
          return undefined;
        } catch (error) {
          for (const { revisionId } of deployed) running.delete(revisionId);
          const reason = (error as Error).message;
          await queue.finish(claimed.id, HOLDER, { state: "failed", kind: "internal", reason });
          return reason;
        }
      },
    };
  }

  const close = opened.move();
  return {
    time,
    store,
    queue,
    audit,
    routes,
    running,
    removal,
    brake,
    links,
    policy,
    removedLogs,
    forgotten,
    kept,
    startRun,
    look: (world: ScriptedHost, repository: HostedRepository, said?: "changed" | "pushed") =>
      links.look(world.host, world.keyOf(repository), NEVER, said),
    lookAtHost: (world: ScriptedHost) => links.lookAtHost(world.host, NEVER),
    find: (world: ScriptedHost, { id }: HostedRepository) =>
      findRepositoryBySource(store, world.instance, id),
    /** What the stack file of the repository names is live after it. */
    async deploy(world: ScriptedHost, hosted: HostedRepository): Promise<string | undefined> {
      const repository = await findRepositoryBySource(store, world.instance, hosted.id);
      if (!repository) throw new Error(`${hosted.name} is not linked`);
      const run = await startRun(repository, world.headOf(hosted), hosted.functions);
      return run.finish();
    },
    /** `owner/function`, as edges are told. */
    routed: () => routes.routes.map((route) => `${route.owner}/${route.function}`).toSorted(),
    async audited(action?: string): Promise<string[]> {
      let query = store.selectFrom("audit_events").selectAll().orderBy("id");
      if (action !== undefined) query = query.where("action", "=", action);
      return (await query.execute()).map((one) => `${one.action} ${one.object}: ${one.result}`);
    },
    [Symbol.asyncDispose]: () => close.disposeAsync(),
  };
}

export type LinkedPlatform = Awaited<ReturnType<typeof openLinkedPlatform>>;

function deployedFunction(
  run: Run,
  repository: NamedRepository,
  name: string,
  live: Awaited<ReturnType<typeof listDeployed>>,
): DeployedFunction {
  const functionId = derivedId(repository.owner_id, repository.id, name);
  const spec = functionSpec({
    name: FunctionName.parse(name),
    environment: { REPOSITORY: `${repository.source_host} ${repository.source_id}` },
  });
  const digest = `sha256:${run.commit_sha}`;
  return {
    planned: { spec, functionId, secrets: {}, live: live.find((one) => one.id === functionId) },
    artifact: { digest, reference: digest },
    revisionId: derivedId(run.id, functionId),
    identity: run.id,
    unchanged: false,
  };
}

function unused(): never {
  throw new Error("nobody asks for that here");
}
