import { join } from "node:path";
import { BranchName, CommitSha, OwnerSlug, RepositoryName } from "@openfaas-cloud/shared/names.ts";
import { pino } from "pino";
import { temporaryFolder } from "../../../test/support/temporary-folder.ts";
import { Collector } from "../../src/pipeline/collect.ts";
import { closeEndedRun, executeRun, type RunPorts } from "../../src/pipeline/execute-run.ts";
import type { Reporter } from "../../src/pipeline/reporter.ts";
import { Retirement } from "../../src/pipeline/retirement.ts";
import { openProcessBuilder } from "../../src/ports/builder/process.ts";
import { openFsLogStore } from "../../src/ports/log-store/fs.ts";
import type { Run } from "../../src/ports/queue/queue.ts";
import { openSqlQueue } from "../../src/ports/queue/sql.ts";
import { openProcessRuntime } from "../../src/ports/runtime/process.ts";
import { openEmbeddedSecretStore } from "../../src/ports/secret-store/embedded.ts";
import { openEmbeddedSourceHost } from "../../src/ports/source-host/embedded.ts";
import { EMBEDDED, type RepositoryRef } from "../../src/ports/source-host/source-host.ts";
import { openSqliteStore } from "../../src/ports/store/sqlite.ts";
import { openEdgeUsage } from "../../src/ports/usage-source/edge.ts";
import { LiveRoutes } from "../../src/routes/live-routes.ts";
import { RoutePublisher } from "../../src/routes/route-publisher.ts";
import { RunFeed } from "../../src/run-feed.ts";
import { openSandbox } from "../../src/sandbox/open-sandbox.ts";
import { Sealing } from "../../src/sealing.ts";
import { openToolchains } from "../../src/templates/toolchains.ts";
import { Urls } from "../../src/urls.ts";
import { commitFiles, runGit } from "./git-client.ts";
import { addOwners } from "./owners.ts";
import { MemoryPushGate } from "./push-gate.ts";

export const HOLDER = "test";

/**
 * Everything behind a trigger, with the real adapters and without the servers around them: owner `a` with the repository
 * `repo`, and one edge, which confirms unless the test says otherwise.
 */
export async function openTestPipeline(
  options: {
    readonly edgeConfirms?: boolean;
    /** What is told to whom; nothing to anybody where it is left out. */
    readonly openReporter?: (ports: Omit<RunPorts, "reporter">) => Reporter;
  } = {},
) {
  const stack = new AsyncDisposableStack();
  const dir = stack.use(await temporaryFolder());
  const dataDir = join(dir.path, "data");
  const logger = pino({ level: "silent" });
  const feed = new RunFeed();
  const store = stack.adopt(await openSqliteStore(join(dataDir, "store.sqlite")), (it) => it.destroy());
  await addOwners(store);
  const logs = stack.use(openFsLogStore({ dataDir: join(dataDir, "logs") }));
  const queue = openSqlQueue({ store, feed });
  const sandbox = await openSandbox({ dataDir, mode: "none" });
  const toolchains = await openToolchains();
  const builder = stack.use(await openProcessBuilder({ dataDir, sandbox, toolchains, collectGraceMs: 0 }));
  const runtime = stack.use(await openProcessRuntime({ dataDir, sandbox, toolchains, logs }));
  stack.defer(() => runtime.stopAll({ graceMs: 200 }));
  const sourceHost = stack.use(
    await openEmbeddedSourceHost({ dataDir, gate: new MemoryPushGate(), onError: () => undefined }),
  );
  const routes = await RoutePublisher.open(
    { epoch: "e", next: 1, reserve: async () => undefined },
    { keys: [], revoked: [], listOwners: true },
    [],
  );
  const confirm = () =>
    routes.applied({ edge: "edge", epoch: "e", version: routes.version, checksum: "0".repeat(64) });
  stack.use(
    routes.connect("edge", () => {
      if (options.edgeConfirms !== false) queueMicrotask(confirm);
    }),
  );
  const liveRoutes = stack.use(new LiveRoutes({ store, runtime, routes, logger }));
  const repository: RepositoryRef = {
    repositoryId: "repository-a",
    owner: OwnerSlug.parse("a"),
    name: RepositoryName.parse("repo"),
    host: EMBEDDED,
    source: undefined,
  };
  const unreported: Omit<RunPorts, "reporter"> = {
    store,
    logs,
    queue,
    feed,
    builder,
    runtime,
    sourceHost,
    routes,
    liveRoutes,
    logger,
    secrets: openEmbeddedSecretStore(store, new Sealing(Buffer.alloc(32))),
    usage: openEdgeUsage(store),
    urls: new Urls("http://localhost:1"),
    retirement: stack.use(new Retirement({ runtime, routes, logger })),
    collector: stack.use(new Collector({ store, sourceHost, builder, logs, logger })),
    workDir: join(dataDir, "checkouts"),
    parallelFunctions: 2,
    runTimeoutMs: 60_000,
    maxima: {},
    confirmHead: async () => undefined,
  };
  const reporter = stack.use(
    options.openReporter?.(unreported) ?? {
      ended: async () => undefined,
      [Symbol.asyncDispose]: async () => undefined,
    },
  );
  const ports: RunPorts = { ...unreported, reporter };

  const work = join(dir.path, "work");
  const bare = join(dataDir, "git", "repository-a.git");
  await runGit(dir.path, ["init", "--quiet", "--initial-branch=main", work]);
  await runGit(dir.path, ["init", "--quiet", "--bare", bare]);

  return {
    dataDir,
    ports,
    repository,
    /** Commits the files to the repository, without those that are `null`, and stores a trigger for them. */
    async trigger(files: Readonly<Record<string, string | null>>): Promise<Run> {
      const commit = CommitSha.parse(await commitFiles(work, files));
      await runGit(work, ["push", "--quiet", "--force", bare, "HEAD:refs/heads/main"]);
      return queue.enqueue({
        trigger: "push",
        owner_id: "owner-a",
        repository_id: repository.repositoryId,
        branch: BranchName.parse("main"),
        before_sha: null,
        commit_sha: commit,
        message: "change",
        author: "a",
        person: "local",
      });
    },
    /** Claims the next run and takes it to its end. */
    async runNext(stop: AbortSignal = new AbortController().signal): Promise<Run> {
      const claimed = await queue.claim(HOLDER, []);
      if (!claimed) throw new Error("nothing to run");
      await executeRun(claimed, HOLDER, ports, stop);
      return this.find(claimed.id);
    },
    closeEnded: (runId: string) => closeEndedRun(runId, ports),
    find: (runId: string) =>
      store.selectFrom("runs").selectAll().where("id", "=", runId).executeTakeFirstOrThrow(),
    async logOf(runId: string) {
      const page = await logs.read({ kind: "run", runId });
      return { ended: page.ended, text: page.lines.map(({ text }) => text).join("\n") };
    },
    [Symbol.asyncDispose]: () => stack.disposeAsync(),
  };
}

/** A repository with the one function `hello` that answers `text`. */
export function helloSaying(text: string): Readonly<Record<string, string>> {
  return {
    "stack.yml":
      "version: 1.0\nprovider:\n  name: openfaas\nfunctions:\n  hello:\n    lang: node22\n    handler: ./hello\n",
    "hello/handler.js": `module.exports = async (event, context) => context.succeed(${JSON.stringify(text)});\n`,
  };
}
