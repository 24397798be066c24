import { randomBytes } from "node:crypto";
import { createServer, type IncomingMessage, type Server, type ServerResponse } from "node:http";
import type { Socket } from "node:net";
import type { Duplex } from "node:stream";
import { setTimeout as sleep } from "node:timers/promises";
import type { Route } from "@openfaas-cloud/shared/route.ts";
import { listenForAdmin } from "./admin.ts";
import { Authenticator } from "./authenticate.ts";
import type { EdgeConfig, Timeouts } from "./config.ts";
import { DeadlineClock } from "./deadline-clock.ts";
import { EarlyBytes } from "./early-bytes.ts";
import { Exchange } from "./exchange.ts";
import { Records } from "./function-records.ts";
import { handleRequest, type RequestParts } from "./handle-request.ts";
import { type Listening, listen, listenAt } from "./listen.ts";
import type { Logger } from "./logger.ts";
import { Metrics } from "./metrics.ts";
import { respondToBrokenClient } from "./respond-error.ts";
import { RouteFiles } from "./route-feed/file.ts";
import { HttpRouteFeed } from "./route-feed/http.ts";
import { Receiver, type Touched } from "./route-feed/route-feed.ts";
import type { RouteTable } from "./route-table.ts";
import { Tunnels } from "./tunnels.ts";
import { isWebSocketUpgrade, responseOn } from "./upgrade.ts";
import { Replica, Upstreams } from "./upstreams.ts";
import { UsageReporter } from "./usage-report.ts";

/** Before the first client is accepted. Where the sockets were inherited nobody is refused meanwhile. */
const FIRST_WORD_MS = 500;
const KEEP_ALIVE_IDLE_MS = 60_000;
/** How late a head that is late may be noticed, at most. */
const CONNECTIONS_SCAN_MS = 500;
const MAX_HEADER_BYTES = 16 * 1024;

export interface Edge extends AsyncDisposable {
  readonly port: number;
  readonly adminPort: number;
  /** Accepts no more, lets what is under way finish within `drainMs`, and lets go of everything. */
  close(): Promise<void>;
}

/** The composition root: a config becomes an edge that listens, with the last good table of the run before. */
export async function startEdge(config: EdgeConfig, logger: Logger): Promise<Edge> {
  await using stack = new AsyncDisposableStack();
  const edgeId = `edge-${randomBytes(8).toString("hex")}`;
  const records = new Records();
  const inFlight = new Set<Exchange>();
  const connections = new Set<Socket>();

  const clock = stack.use(new DeadlineClock());
  const upstreams = stack.use(new Upstreams());
  const controlPlane = new Replica("control-plane", config.controlPlaneUrl);
  stack.defer(() => controlPlane.destroy());
  const files = stack.use(new RouteFiles(config.dataDirectory, logger));

  let authenticator = new Authenticator(NO_SETTINGS, config.domains.system, logger);
  const receiver = new Receiver((next, previous, touched) => {
    if (next.settings !== previous?.settings) {
      authenticator = new Authenticator(next.settings, config.domains.system, logger);
    }
    upstreams.follow(next, touchedRoutes(previous, touched));
    tunnels.endRevoked();
    metrics.tableReplacedAtMs = Date.now();
    // What comes before the feed came from the disk.
    if (feed !== undefined) files.keep(next);
  });
  const metrics = new Metrics({
    records,
    table: () => receiver.table,
    feedConnected: () => feed?.connected ?? false,
    clientConnections: () => connections.size,
    requestsInFlight: () => inFlight.size,
  });

  const tunnels = stack.use(
    new Tunnels({
      clock,
      isGood: ({ route, session }) => {
        const current = receiver.table?.find(route.owner, route.function);
        return current !== undefined && authenticator.stillGrants(current, session);
      },
      onRevoked: () => metrics.tunnelsRevoked.inc(),
    }),
  );

  const stored = await files.load();
  let feed: HttpRouteFeed | undefined;
  if (stored !== undefined) {
    receiver.restore(stored);
    logger.info({ version: stored.version, routes: stored.size }, "routes restored from disk");
  }

  const { controlPlaneUrl: origin, feedCredential: credential } = config;
  const table = (): RouteTable | undefined => receiver.table;
  const onDropped = (): void => metrics.usageDropped.inc();
  stack.use(new UsageReporter({ origin, credential, edgeId, records, table, logger, onDropped }));
  feed = stack.use(
    new HttpRouteFeed({
      origin,
      credential,
      edgeId,
      receiver,
      logger,
      onRejected: (reason) => metrics.feedRejected.inc({ reason }),
    }),
  );

  const parts: RequestParts = {
    records,
    metrics,
    logger,
    clock,
    onRetry: () => metrics.retries.inc(),
    onEjection: () => metrics.ejections.inc(),
    domains: config.domains,
    table,
    authenticator: () => authenticator,
    upstreams,
    controlPlane,
    bodyIdleMs: config.timeouts.bodyIdleMs,
    writeIdleMs: config.timeouts.writeIdleMs,
    systemMaxConcurrency: config.systemMaxConcurrency,
    systemLoad: { underWay: 0 },
    openTunnel: (exchange, upgraded) => tunnels.open(exchange, upgraded),
  };
  const { server, drain } = clientListener(parts, inFlight, connections, config);
  const admin = stack.use(
    await listenForAdmin({
      host: config.adminHost,
      port: config.adminPort,
      metrics,
      isReady: () => receiver.table !== undefined,
    }),
  );
  // What is on the disk may be a moment older than what was confirmed: worth a short wait, and no longer one.
  await Promise.race([feed.firstWord, sleep(FIRST_WORD_MS, undefined, { ref: false })]);
  const { port, stopAccepting } = await openForClients(server, config);
  stack.defer(() => {
    stopAccepting();
    return drain();
  });
  logger.info({ port, adminPort: admin.port }, "edge listening");

  const owned = stack.move();
  const close = (): Promise<void> => owned.disposeAsync();
  return { port, adminPort: admin.port, close, [Symbol.asyncDispose]: close };
}

const NO_SETTINGS = { keys: [], revoked: [], listOwners: false };

/** The routes of the table before that a change may have taken away. */
function touchedRoutes(previous: RouteTable | undefined, touched: Touched): "all" | Route[] {
  if (touched === "all" || previous === undefined) return "all";
  return touched.flatMap((name) => previous.find(name.owner, name.function) ?? []);
}

async function openForClients(server: Server, { descriptors, host, port }: EdgeConfig): Promise<Listening> {
  if (descriptors.length > 0) return listenAt(server, descriptors);
  return { port: await listen(server, { port, host }), stopAccepting: ignore };
}

interface ClientListener {
  readonly server: Server;
  readonly drain: () => Promise<void>;
}

function clientListener(
  parts: RequestParts,
  inFlight: Set<Exchange>,
  connections: Set<Socket>,
  { drainMs, timeouts }: { readonly drainMs: number; readonly timeouts: Timeouts },
): ClientListener {
  // A random prefix for each run and a counter: as unique as a UUID, at a tenth of its cost.
  const requestIdPrefix = randomBytes(6).toString("base64url").replaceAll(/[-_]/g, "0");
  let requestCount = 0;
  let draining = false;
  let idle = Promise.withResolvers<void>();

  const begin = (
    request: IncomingMessage,
    response: ServerResponse,
    how: { expectsContinue?: true; early?: EarlyBytes } = {},
  ): void => {
    requestCount += 1;
    const requestId = `${requestIdPrefix}-${requestCount.toString(36)}`;
    const exchange = new Exchange(request, response, requestId, how.early);
    exchange.expectsContinue = how.expectsContinue ?? false;
    inFlight.add(exchange);
    if (draining) response.shouldKeepAlive = false;
    // Both can fail after we are done with them; who cares is told by 'close'.
    response.on("error", ignore);
    response.once("close", () => over(exchange));
    void handleRequest(exchange, parts).then(() => {
      if (exchange.upgraded) over(exchange);
    });
  };
  const over = (exchange: Exchange): void => {
    inFlight.delete(exchange);
    if (inFlight.size === 0) idle.resolve();
  };

  const server = createServer({
    headersTimeout: timeouts.headersMs,
    // Bodies are bounded by the deadline clock, per route.
    requestTimeout: 0,
    keepAliveTimeout: KEEP_ALIVE_IDLE_MS,
    connectionsCheckingInterval: CONNECTIONS_SCAN_MS,
    maxHeaderSize: MAX_HEADER_BYTES,
    // A missing Host is refused in target.ts, in our words.
    requireHostHeader: false,
    insecureHTTPParser: false,
    noDelay: true,
    shouldUpgradeCallback: isWebSocketUpgrade,
  });
  server.on("request", (request, response) => begin(request, response));
  server.on("checkContinue", (request, response) => begin(request, response, { expectsContinue: true }));
  server.on("checkExpectation", (request, response) => begin(request, response));
  server.on("upgrade", (request, socket: Duplex, head) => {
    socket.on("error", ignore);
    begin(request, responseOn(socket, request), { early: new EarlyBytes(socket, head) });
  });
  server.on("connect", (request, socket: Duplex) => {
    socket.on("error", ignore);
    begin(request, responseOn(socket, request));
  });
  server.on("clientError", (error, socket) => {
    if (respondToBrokenClient(socket, error)) parts.metrics.refused.inc({ reason: "request-invalid" });
  });
  server.on("connection", (socket) => {
    connections.add(socket);
    socket.once("close", () => connections.delete(socket));
  });

  const drain = async (): Promise<void> => {
    draining = true;
    idle = Promise.withResolvers();
    const closed = new Promise<void>((resolve) => server.close(() => resolve()));
    for (const exchange of inFlight) {
      // A tunnel has no end to wait for.
      if (exchange.upgraded) exchange.request.socket.destroy();
      else exchange.response.shouldKeepAlive = false;
    }
    if (inFlight.size === 0) idle.resolve();
    const waited = new AbortController();
    await Promise.race([idle.promise, sleep(drainMs, undefined, { signal: waited.signal }).catch(ignore)]);
    waited.abort();
    for (const socket of connections) socket.destroySoon();
    await Promise.race([closed, sleep(500)]);
    for (const socket of connections) socket.destroy();
    await closed;
  };
  return { server, drain };
}

function ignore(): void {
  // Said to whoever listens for 'close'.
}
