import { randomBytes } from "node:crypto";
import { mkdir, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { Secret } from "@openfaas-cloud/shared/env.ts";
import { sql } from "kysely";
import { onTestFinished } from "vitest";
import { HttpClient } from "../../../test/support/http-client.ts";
import { temporaryFolder } from "../../../test/support/temporary-folder.ts";
import { Memberships } from "../../src/access/memberships.ts";
import { OpenStreams } from "../../src/access/open-streams.ts";
import { openSessionTokens } from "../../src/access/session-token.ts";
import { Sessions } from "../../src/access/sessions.ts";
import { type MaySignIn, SignIns } from "../../src/access/sign-in.ts";
import type { ApiPorts } from "../../src/api/procedure.ts";
import { openLogger } from "../../src/logger.ts";
import { openStoreAuditSink } from "../../src/ports/audit-sink/store.ts";
import { openFsLogStore } from "../../src/ports/log-store/fs.ts";
import { openSqlQueue } from "../../src/ports/queue/sql.ts";
import { openEmbeddedSecretStore } from "../../src/ports/secret-store/embedded.ts";
import type { RemoteHost } from "../../src/ports/source-host/remote-host.ts";
import { ensureMember } from "../../src/ports/store/owners.ts";
import { openSqliteStore } from "../../src/ports/store/sqlite.ts";
import { openEdgeUsage } from "../../src/ports/usage-source/edge.ts";
import { RoutePublisher } from "../../src/routes/route-publisher.ts";
import { RunFeed } from "../../src/run-feed.ts";
import { Sealing } from "../../src/sealing.ts";
import { openServer } from "../../src/server.ts";
import { Urls } from "../../src/urls.ts";
import { RemovalBrake } from "../../src/webhooks/removal-brake.ts";
import { Browser } from "./browser.ts";
import { addOwners, addRemoteOwner } from "./owners.ts";
import { SignInHost } from "./sign-in-host.ts";

export const FEED_CREDENTIAL = "feed-credential-for-tests";
export const URLS = new Urls("http://cloud.test:8080");

/** A time that stands still until it is moved. */
export class TestClock {
  #offset = 0;

  readonly now = () => Date.now() + this.#offset;

  advance(by: { readonly minutes?: number; readonly seconds?: number }): void {
    this.#offset += (by.minutes ?? 0) * 60_000 + (by.seconds ?? 0) * 1000;
  }
}

/**
 * The control plane's server with everything that decides who may do what, for owners `a` and `b` of the embedded host and `x`
 * and `y` of `git.test`. Nothing is built or run in it.
 */
export async function openAccessServer(
  options: {
    readonly maySignIn?: MaySignIn;
    readonly operators?: readonly string[];
    /** How long a request waits for the source host. */
    readonly waitMs?: number;
    /** Beside those that people sign in with here anyway. */
    readonly hosts?: readonly RemoteHost[];
  } = {},
) {
  const stack = new AsyncDisposableStack();
  onTestFinished(() => stack.disposeAsync());
  const folder = stack.use(await temporaryFolder());
  const clock = new TestClock();
  const { now } = clock;
  const store = stack.adopt(await openSqliteStore(join(folder.path, "store.sqlite")), (it) => it.destroy());
  // No test here cuts the power, and each waits for the disk many times otherwise.
  await sql`PRAGMA synchronous = OFF`.execute(store);
  await addOwners(store);
  for (const slug of ["x", "y"]) await addRemoteOwner(store, slug);
  await ensureMember(store, { subject: "local", name: "local" }, "owner-a");

  const logger = openLogger("fatal");
  const feed = new RunFeed();
  const audit = openStoreAuditSink(store);
  const sealing = new Sealing(randomBytes(32));
  const keyFile = join(folder.path, "session.json");
  const tokens = await openSessionTokens(keyFile, URLS.systemHost, { now });
  const routes = await RoutePublisher.open(
    { epoch: "e", next: 1, reserve: async () => undefined },
    { keys: [...tokens.keys], revoked: [], listOwners: false },
    [],
  );
  const host = new SignInHost();
  const other = new SignInHost("other.test:8443/git");
  const remote = [host.asHost(), other.asHost(), ...(options.hosts ?? [])];
  const hosts = { remote, find: (instance: string) => remote.find((it) => it.instance === instance) };
  const streams = new OpenStreams();
  const sessions = stack.use(new Sessions({ store, tokens, routes, streams, logger, now }));
  const memberships = stack.use(
    new Memberships({
      store,
      sealing,
      hosts,
      sessions,
      streams,
      audit,
      logger,
      now,
      waitMs: options.waitMs ?? 5_000,
      roundMs: 20,
    }),
  );
  const operators = new Set(options.operators ?? []);
  const maySignIn = options.maySignIn ?? (() => true);
  const urls = URLS;
  const signIns = new SignIns({
    store,
    hosts,
    memberships,
    sessions,
    operators,
    maySignIn,
    audit,
    urls,
    logger,
    now,
  });
  const api: ApiPorts = {
    store,
    queue: openSqlQueue({ store, feed }),
    feed,
    logs: stack.use(await openFsLogStore({ dataDir: join(folder.path, "logs") })),
    builder: { templates: [], supports: () => ({ kind: "supported" }) } as unknown as ApiPorts["builder"],
    runtime: {
      isolation: { kind: "sandboxed", by: "a test" },
      list: () => [],
    } as unknown as ApiPorts["runtime"],
    usage: openEdgeUsage(store),
    secrets: openEmbeddedSecretStore(store, sealing),
    audit,
    sessions,
    memberships,
    streams,
    hosts,
    operators,
    gitHubApps: {
      origin: "https://github.test",
      form: async (state) => ({
        action: `https://github.test/settings/apps/new?state=${state}`,
        manifest: "{}",
      }),
      complete: async () => undefined,
    },
    following: { status: () => [], soon: () => undefined },
    brake: new RemovalBrake({ store, audit, logger }),
    sealing,
    routes,
    urls,
    logger,
  };
  const webDir = join(folder.path, "web");
  await mkdir(webDir);
  await writeFile(join(webDir, "index.html"), "<!doctype html><title>the dashboard</title>");
  const server = stack.adopt(
    await openServer({
      api,
      signIns,
      deliveries: { isFor: () => false, handle: async () => undefined },
      handleGit: async (_request, response) => void response.writeHead(404).end(),
      feedCredential: new Secret(FEED_CREDENTIAL),
      webDir,
    }),
    (it) => it.close(),
  );
  await server.listen({ host: "127.0.0.1", port: 0 });
  const address = server.server.address();
  const port = typeof address === "object" && address !== null ? address.port : 0;
  const http = stack.use(new HttpClient());

  return {
    store,
    clock,
    routes,
    sessions,
    memberships,
    tokens,
    /** Where what signs sessions is kept. */
    keyFile,
    sealing,
    host,
    other,
    api,
    http,
    /** Of the server itself, whatever host is asked for. */
    origin: `http://127.0.0.1:${port}`,
    /** Another browser, in which nobody is signed in. */
    browser: () => new Browser(http, port),
    /** A browser in which this person of `git.test` has signed in. */
    async signedIn(person: string): Promise<Browser> {
      const browser = new Browser(http, port);
      const authorize = await browser.get(`${URLS.system}/login/git.test`);
      const done = await browser.follow(host.agree(authorize.headers.location ?? "", person));
      if (done.url !== `${URLS.system}/dashboard/`)
        throw new Error(`${person} is not signed in: ${done.status} ${done.body}`);
      return browser;
    },
    /** Of the system host. */
    head: (path: string) => fetch(`http://127.0.0.1:${port}${path}`, { method: "HEAD", redirect: "manual" }),
    /** What an edge is told about the token. */
    async askAsEdge(digest: string) {
      const answer = await http.post(
        `http://127.0.0.1:${port}/internal/access-tokens`,
        { digest },
        { headers: { authorization: `Bearer ${FEED_CREDENTIAL}` } },
      );
      return { status: answer.status, body: JSON.parse(answer.body) as unknown };
    },
    auditEvents: () => store.selectFrom("audit_events").selectAll().orderBy("id").execute(),
  };
}

export type AccessServer = Awaited<ReturnType<typeof openAccessServer>>;
