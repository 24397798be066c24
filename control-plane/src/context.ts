import { randomBytes, randomUUID } from "node:crypto";
import { rm } from "node:fs/promises";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { KnownError } from "@openfaas-cloud/shared/known-error.ts";
import type { OwnerSlug } from "@openfaas-cloud/shared/names.ts";
import { openAllowedOwners } from "./access/allowed-owners.ts";
import { LOCAL_PERSON } from "./access/caller.ts";
import { ensureAccessToken, makeSignInCode, revokedIds } from "./access/credentials.ts";
import { ensureKeyFile } from "./access/key-file.ts";
import { Memberships } from "./access/memberships.ts";
import { OpenStreams } from "./access/open-streams.ts";
import { openSessionTokens } from "./access/session-token.ts";
import { Sessions } from "./access/sessions.ts";
import { SignIns } from "./access/sign-in.ts";
import { openAdminServer } from "./admin-server.ts";
import { openAudit } from "./audit-trail.ts";
import type { ControlPlaneConfig } from "./config.ts";
import { followRemoteHosts } from "./follow-remote-hosts.ts";
import type { Logger } from "./logger.ts";
import { Collector } from "./pipeline/collect.ts";
import { closeEndedRun, executeRun } from "./pipeline/execute-run.ts";
import { openReporter } from "./pipeline/reporter.ts";
import { restore } from "./pipeline/restore.ts";
import { Retirement } from "./pipeline/retirement.ts";
import { Worker } from "./pipeline/worker.ts";
import { openProcessBuilder } from "./ports/builder/process.ts";
import { openFsLogStore } from "./ports/log-store/fs.ts";
import { openSqlQueue } from "./ports/queue/sql.ts";
import { openProcessRuntime } from "./ports/runtime/process.ts";
import { openEmbeddedSecretStore } from "./ports/secret-store/embedded.ts";
import { openEmbeddedSourceHost } from "./ports/source-host/embedded.ts";
import { EMBEDDED } from "./ports/source-host/source-host.ts";
import { SourceHosts } from "./ports/source-host/source-hosts.ts";
import { listDeployed } from "./ports/store/functions.ts";
import { countOwners, ensureMember, ensureOwner, findOwnerBySource } from "./ports/store/owners.ts";
import { openSqliteStore } from "./ports/store/sqlite.ts";
import type { Store } from "./ports/store/store.ts";
import { openEdgeUsage } from "./ports/usage-source/edge.ts";
import { openGitHubAppMaker, openRemoteHosts } from "./remote-hosts.ts";
import { LiveRoutes, readLiveRoutes } from "./routes/live-routes.ts";
import { RoutePublisher } from "./routes/route-publisher.ts";
import { RunFeed } from "./run-feed.ts";
import { openSandbox } from "./sandbox/open-sandbox.ts";
import type { Isolation } from "./sandbox/sandbox.ts";
import { Sealing } from "./sealing.ts";
import { openServer } from "./server.ts";
import { openToolchains } from "./templates/toolchains.ts";
import { Urls } from "./urls.ts";
import { openPushGate } from "./webhooks/push-gate.ts";
import { openDeliveryReceiver } from "./webhooks/receive.ts";
import { RemovalBrake } from "./webhooks/removal-brake.ts";

const WEB_DIR = fileURLToPath(new URL("../../web/dist", import.meta.url));
/** How long functions may take to start again before the platform answers without those that have not. */
const RESTORE_MS = 15_000;
const STOP_GRACE_MS = 5_000;

export interface ControlPlane extends AsyncDisposable {
  readonly port: number;
  readonly adminPort: number;
  /** A link that signs the local person in to the dashboard, once. */
  signInLink(): Promise<string>;
  status(): Promise<{
    readonly deployed: number;
    readonly exampleUrl: string | null;
    readonly isolation: string;
    readonly tokenCounts: boolean;
  }>;
}

/**
 * The composition root: config → a control plane that answers. It owns what it opens; disposing it gives runs under way
 * back to the queue, ends every function, and closes everything in the reverse order.
 * @throws KnownError `sandbox-missing` where more than one owner would be served without a sandbox.
 */
export async function openControlPlane(config: ControlPlaneConfig, logger: Logger): Promise<ControlPlane> {
  await using opened = new AsyncDisposableStack();
  const { dataDir } = config;
  const urls = new Urls(config.publicUrl);
  const feed = new RunFeed();

  const store = opened.adopt(await openSqliteStore(join(dataDir, "control-plane.sqlite")), (it) =>
    it.destroy(),
  );
  const logs = opened.use(await openFsLogStore({ dataDir: join(dataDir, "logs") }));
  const queue = openSqlQueue({ store, feed });
  const usage = openEdgeUsage(store);
  const audit = opened.use(await openAudit({ store, dataDir, receivers: config.auditReceivers, logger }));
  const sealing = new Sealing(
    await ensureKeyFile(join(dataDir, "keys", "secrets.key"), () => randomBytes(32)),
  );
  const secrets = openEmbeddedSecretStore(store, sealing);
  const sessionTokens = await openSessionTokens(join(dataDir, "keys", "session.json"), urls.systemHost);

  const workDir = join(dataDir, "checkouts");
  await rm(workDir, { recursive: true, force: true });

  const sandbox = await openSandbox({ dataDir });
  const toolchains = await openToolchains();
  const builder = opened.use(
    await openProcessBuilder({
      dataDir,
      sandbox,
      toolchains,
      deadlineMs: config.buildTimeoutMs,
      // An artifact is in no revision until its run publishes it.
      collectGraceMs: config.runTimeoutMs + 60_000,
    }),
  );
  const runtime = opened.use(
    await openProcessRuntime({
      onError: (error) => logger.error({ err: error }, "a revision that ran before could not be taken over"),

      dataDir,
      sandbox,
      toolchains,
      logs,
      healthDeadlineMs: config.healthTimeoutMs,
    }),
  );

  const { person, tokenCounts } = await openLocalAccess(store, config, runtime.isolation);
  const restoring = new AbortController();
  await Promise.race([
    restore({ store, runtime, secrets, logs, logger }, restoring.signal),
    new Promise((resolve) => setTimeout(resolve, RESTORE_MS).unref()),
  ]);

  const routes = await RoutePublisher.open(
    await openVersions(store),
    {
      keys: [...sessionTokens.keys],
      revoked: await revokedIds(store),
      listOwners: (await countOwners(store)) === 1,
    },
    await readLiveRoutes(store, runtime),
  );

  const gate = openPushGate({
    store,
    queue,
    feed,
    logs,
    audit,
    urls,
    memberships: { ensure: (subject) => memberships.ensure(subject) },
  });
  const embedded = opened.use(
    await openEmbeddedSourceHost({
      dataDir,
      gate,
      onError: (error) => logger.error({ err: error }, "the embedded source host failed in the background"),
    }),
  );

  const allowedOwners = await openAllowedOwners({
    source: config.customers,
    dir: join(dataDir, "customers"),
    logger,
  });
  const brake = new RemovalBrake({ store, audit, logger });
  const hostOptions = { dataDir, urls, store, sealing };
  const sourceHost = opened.use(new SourceHosts(embedded, await openRemoteHosts(config.hosts, hostOptions)));

  const streams = new OpenStreams();
  const sessions = opened.use(new Sessions({ store, tokens: sessionTokens, routes, streams, logger }));
  const memberships = opened.use(
    new Memberships({ store, sealing, hosts: sourceHost, sessions, streams, audit, logger }),
  );
  const { operators } = config;
  const signIns = new SignIns({
    store,
    hosts: sourceHost,
    memberships,
    sessions,
    operators,
    maySignIn: allowedOwners.maySignIn,
    audit,
    urls,
    logger,
  });

  const api = {
    store,
    queue,
    feed,
    logs,
    builder,
    runtime,
    usage,
    secrets,
    audit,
    sessions,
    memberships,
    streams,
    hosts: sourceHost,
    operators,
    gitHubApps: openGitHubAppMaker(config.gitHub, {
      ...hostOptions,
      hosts: sourceHost,
      onAdded: (host) => following.reconcile.follow(host),
    }),
    following: {
      status: () => following.reconcile.status(),
      soon: (instance: string) => following.reconcile.soon(instance),
    },
    brake,
    sealing,
    routes,
    urls,
    logger,
  };
  const server = opened.adopt(
    await openServer({
      api,
      signIns,
      deliveries: openDeliveryReceiver({
        store,
        hosts: sourceHost,
        onStored: () => following.inbox.wake(),
        dashboardUrl: "/dashboard/",
        logger,
      }),
      handleGit: (request, response) => embedded.handle(request, response),
      feedCredential: config.feedCredential,
      webDir: WEB_DIR,
    }),
    (it) => it.close(),
  );
  const admin = opened.adopt(openAdminServer({ queue, routes }), (it) => it.close());

  opened.defer(() => runtime.stopAll({ graceMs: STOP_GRACE_MS }));
  opened.defer(() => restoring.abort());
  // Disposed before the functions end, so that edges keep the routes as they were and not as a stopping platform has them.
  const liveRoutes = opened.use(new LiveRoutes({ store, runtime, routes, logger }));
  // What changed since the routes were read, before anybody followed the runtime.
  await liveRoutes.refresh();
  const retirement = opened.use(new Retirement({ runtime, routes, logger }));
  const collector = opened.use(new Collector({ store, sourceHost, builder, logs, logger }));
  const following = opened.use(followRemoteHosts({ ...api, liveRoutes, retirement, allowedOwners, brake }));
  const runPorts = {
    ...api,
    confirmHead: following.confirmHead,
    sourceHost,
    liveRoutes,
    retirement,
    collector,
    reporter: opened.use(openReporter({ ...api, sourceHost })),
    workDir,
    parallelFunctions: config.parallelFunctions,
    runTimeoutMs: config.runTimeoutMs,
    maxima: config.maxima,
  };
  const worker = new Worker({
    queue,
    feed,
    logger,
    concurrency: config.concurrentRuns,
    execute: (run, holder, signal) => executeRun(run, holder, runPorts, signal),
    closeEnded: (runId) => closeEndedRun(runId, runPorts),
  });
  opened.use(worker);
  // The file is this process's alone, so whoever held a lease on a run in it is gone.
  await queue.reclaim(worker.holder);

  sessions.start();
  memberships.start();
  await server.listen({ host: config.host, port: config.port });
  await admin.listen({ host: config.adminHost, port: config.adminPort });
  const close = opened.move();
  return {
    port: portOf(server.server.address()),
    adminPort: portOf(admin.server.address()),
    signInLink: async () => urls.signIn(await makeSignInCode(store, person.subject)),
    status: async () => ({
      ...(await status(store, config.local.owner, runtime.isolation, urls)),
      tokenCounts,
    }),
    [Symbol.asyncDispose]: () => close.disposeAsync(),
  };
}

/** The local owner, the person who started the platform, and the token that person pushes with. */
async function openLocalAccess(store: Store, config: ControlPlaneConfig, isolation: Isolation) {
  const { owner: slug, token } = config.local;
  const isNew = (await findOwnerBySource(store, EMBEDDED, slug)) === undefined;
  // Before it is made, since no owner goes again, and the folder would be of no use to either.
  if (isolation.kind === "none" && (await countOwners(store)) + (isNew ? 1 : 0) > 1) {
    throw new KnownError(
      "sandbox-missing",
      `Without a sandbox the platform serves one owner only, and this data folder has another one than ${slug}. ${isolation.reason}`,
    );
  }
  const owner = await ensureOwner(store, {
    sourceHost: EMBEDDED,
    sourceOwnerId: slug,
    login: slug,
    slug,
  });
  // One person, whichever owner the platform was started for: the same token goes on working for all of them.
  const person = { subject: LOCAL_PERSON, name: slug };
  await ensureMember(store, person, owner.id);
  const tokenCounts = await ensureAccessToken(store, person, "start command", token.reveal());
  return { person, tokenCounts };
}

async function openVersions(store: Store) {
  const read = async (key: string) =>
    (await store.selectFrom("meta").select("value").where("key", "=", key).executeTakeFirst())?.value;
  const write = async (key: string, value: string) => {
    await store
      .insertInto("meta")
      .values({ key, value })
      .onConflict((conflict) => conflict.column("key").doUpdateSet({ value }))
      .execute();
  };
  let epoch = await read("route_epoch");
  if (epoch === undefined) {
    epoch = randomUUID();
    await write("route_epoch", epoch);
  }
  return {
    epoch,
    next: Number((await read("route_version")) ?? 1),
    reserve: (next: number) => write("route_version", String(next)),
  };
}

async function status(store: Store, owner: OwnerSlug, isolation: Isolation, urls: Urls) {
  const deployed = await listDeployed(store);
  const example =
    deployed.find(({ slug, repository }) => slug === owner && repository === "example") ?? deployed[0];
  return {
    deployed: deployed.length,
    exampleUrl: example ? urls.function(example.slug, example.name) : null,
    isolation:
      isolation.kind === "sandboxed"
        ? `builds and functions run in a sandbox (${isolation.by})`
        : `one owner only, since there is no sandbox: ${isolation.reason}`,
  };
}

function portOf(address: ReturnType<import("node:net").Server["address"]>): number {
  if (address === null || typeof address === "string") throw new Error("not listening on a TCP port");
  return address.port;
}
