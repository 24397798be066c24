import { randomBytes } from "node:crypto";
import type { Socket } from "node:net";
import { text } from "node:stream/consumers";
import { setTimeout as sleep } from "node:timers/promises";
import type { Route } from "@openfaas-cloud/shared/route.ts";
import { AccessLog, type AccessOutput } from "./access-log.ts";
import { HttpAccessTokens } from "./access-tokens.ts";
import { listenForAdmin } from "./admin.ts";
import { Authenticator } from "./authenticate.ts";
import { ClientListener } from "./client-listener.ts";
import { Clients } from "./clients.ts";
import type { EdgeConfig, TlsConfig } from "./config.ts";
import { DeadlineClock } from "./deadline-clock.ts";
import { Destinations, SYSTEM_BODY_BYTES } from "./forwarding.ts";
import { FullLane, type FullLaneParts } from "./full-lane/full-lane.ts";
import { Tunnels } from "./full-lane/tunnels.ts";
import { Records } from "./function-records.ts";
import type { LineOutput } from "./line-output.ts";
import { type Listening, listenAt } from "./listen.ts";
import type { Logger } from "./logger.ts";
import { Metrics } from "./metrics.ts";
import { PlainLane } from "./plain-lane/plain-lane.ts";
import { RateGate } from "./rate-gate.ts";
import { RouteFiles } from "./route-feed/file.ts";
import { HttpRouteFeed } from "./route-feed/http.ts";
import { Receiver, type RejectReason, type Touched } from "./route-feed/route-feed.ts";
import type { RouteTable } from "./route-table.ts";
import { CertificateWatch } from "./tls/certificate-watch.ts";
import { TlsListener } from "./tls/tls-listener.ts";
import { TrustedPeers } from "./trusted-peers.ts";
import { UpstreamRule } from "./upstream-rule.ts";
import { Replica, Upstreams } from "./upstreams.ts";
import { UsageReporter } from "./usage-report.ts";

/** Before the first client is accepted. Where the sockets were inherited nobody is refused meanwhile. */
const FIRST_WORD_MS = 500;

/** What `main.ts` runs: this process as an edge, or a primary with its workers. */
export interface RunningEdge extends AsyncDisposable {
  readonly port: number;
  readonly adminPort: number;
  /** What it listens at, for a successor. */
  readonly sockets: EdgeSockets;
  /** Resolves when there is a table to serve from. */
  readonly serving: Promise<void>;
  /** Leaves the admin port to a successor. */
  leaveAdminPort(): void;
  /** Accepts no more, lets what is under way finish within `drainMs`, and lets go of everything. */
  close(): Promise<void>;
}

/** Descriptors to start another process with; good until `close`. */
export interface EdgeSockets {
  readonly http: readonly number[];
  readonly https: readonly number[];
  readonly admin: number;
}

export interface Edge extends RunningEdge {
  /** `undefined` where https is not served. */
  readonly tlsPort: number | undefined;
  /** Everything counted, in Prometheus' text format; also after `close`. */
  metrics(): Promise<string>;
}

export interface EdgeOptions {
  /** Where the access log goes; without it there is none. */
  readonly output?: Pick<LineOutput, "offer" | "droppedLines"> | undefined;
  /** Told the number of client connections whenever it has changed. */
  readonly onConnections?: (open: number) => void;
}

/** The composition root: a config becomes an edge that listens, with the last good table of the run before. */
export async function startEdge(
  config: EdgeConfig,
  logger: Logger,
  { output, onConnections = ignore }: EdgeOptions = {},
): Promise<Edge> {
  await using stack = new AsyncDisposableStack();
  const edgeId = `edge-${randomBytes(8).toString("hex")}`;
  const records = new Records();
  const trustedPeers = new TrustedPeers(config.trustedPeers);
  const clients = new Clients(trustedPeers, onConnections);
  const serving = Promise.withResolvers<void>();
  // They all have the same table, and one copy of it is enough.
  const keepsRoutes = config.role.kind !== "worker" || config.role.slot === 1;
  let closing = false;

  const clock = stack.use(new DeadlineClock());
  const upstreams = stack.use(new Upstreams());
  const controlPlane = new Replica("control-plane", config.controlPlaneUrl, upstreams.connections);
  stack.defer(() => controlPlane.destroy());
  const upstreamRule = new UpstreamRule(config.upstreams);
  const files = new RouteFiles(config.dataDirectory, logger, upstreamRule);

  const { controlPlaneUrl: origin, feedCredential: credential } = config;
  const receiver = new Receiver((next, previous, touched) => {
    if (next.settings !== previous?.settings) authenticator.follow(next.settings);
    upstreams.follow(next, touchedRoutes(previous, touched));
    tunnels.endRevoked();
    metrics.tableReplacedAtMs = Date.now();
    serving.resolve();
    // What comes before the feed came from the disk.
    if (feed !== undefined && keepsRoutes) files.keep(next);
  }, upstreamRule);
  const metrics = new Metrics({
    records,
    table: () => receiver.table,
    feedConnected: () => feed?.connected ?? false,
    clientConnections: () => {
      const plain = plainLane?.connections ?? 0;
      return { plain, full: clients.connections - plain - (tls?.listener.handshakes ?? 0) };
    },
    upstreamConnections: () => upstreams.connections,
    replicas: () => upstreams.pools,
    requestsInFlight: () => clients.inFlight,
    tunnels: () => tunnels.count,
    verdicts: () => authenticator.verdicts,
    logLinesDropped: () => output?.droppedLines ?? 0,
  });
  const accessTokens = stack.use(new HttpAccessTokens(origin, credential, logger));
  const authenticator = new Authenticator({
    systemDomain: config.domains.system,
    accessTokens,
    logger,
    counts: metrics.tokens,
  });

  const tunnels = stack.use(
    new Tunnels({
      clock,
      writeIdleMs: config.timeouts.writeIdleMs,
      isGood: ({ route, session }) => {
        const current = receiver.table?.find(route.owner, route.function);
        return current !== undefined && authenticator.stillGrants(current, session);
      },
      onRevoked: () => {
        metrics.tunnelsRevoked += 1;
      },
      onBytes: (usage, received, sent) => {
        usage?.addBytes(received, sent);
        metrics.bytesReceived += received;
        metrics.bytesSent += sent;
      },
    }),
  );

  const countRejected = (reason: RejectReason): void => {
    metrics.feedRejected[reason] += 1;
  };
  const stored = await files.load(countRejected);
  let feed: HttpRouteFeed | undefined;
  if (stored !== undefined) {
    receiver.restore(stored);
    metrics.tableReplacedAtMs = files.storedAtMs;
    logger.info({ version: stored.version, routes: stored.size }, "routes restored from disk");
  }

  const table = (): RouteTable | undefined => receiver.table;
  const onDropped = (): void => {
    metrics.usageDropped += 1;
  };
  stack.use(new UsageReporter({ origin, credential, edgeId, records, table, logger, onDropped }));
  // Saved before the last report, whose receiver may keep us waiting until we are killed, and once no more tables come.
  stack.use(files);
  feed = stack.use(
    new HttpRouteFeed({
      origin,
      credential,
      edgeId,
      receiver,
      logger,
      onRejected: countRejected,
    }),
  );

  const parts: FullLaneParts = {
    clients,
    tunnels,
    headersMs: config.timeouts.headersMs,
    writeIdleMs: config.timeouts.writeIdleMs,
    records,
    metrics,
    accessLog: new AccessLog(output ?? NOWHERE, {
      every: output === undefined ? 0 : config.accessLogEvery,
      worker: config.role.kind === "worker" ? config.role.slot : undefined,
    }),
    logger,
    clock,
    onRetry: () => {
      metrics.retries += 1;
    },
    onEjection: () => {
      metrics.ejections += 1;
    },
    domains: config.domains,
    table,
    authenticator,
    destinations: new Destinations({
      ...config.timeouts,
      domains: config.domains,
      table,
      upstreams,
      controlPlane,
    }),
    systemBounds: { maxBodyBytes: SYSTEM_BODY_BYTES, maxConcurrency: config.systemMaxConcurrency },
    systemLoad: { underWay: 0, gate: new RateGate() },
    workers: config.role.kind === "only" ? 1 : config.role.workers,
    trustedPeers,
    httpsRedirectPort: config.httpsRedirectPort,
  };
  const fullLane = new FullLane(parts);
  const acceptInFull = (socket: Socket): void => fullLane.accept(socket);
  const plainLane = config.plainLane ? stack.use(new PlainLane({ ...parts, acceptInFull })) : undefined;
  const listener = new ClientListener(clients, fullLane, plainLane);
  const tls = config.tls && (await prepareTls(config, config.tls, { listener, metrics, logger, stack }));
  const admin = stack.use(
    await listenForAdmin({
      host: config.adminHost,
      port: config.adminPort,
      descriptors: config.adminDescriptors,
      renderMetrics: () => metrics.render(),
      whyNotReady: () => {
        if (closing) return "draining";
        return receiver.table === undefined ? "no route table yet" : undefined;
      },
    }),
  );
  // What is on the disk may be a moment older than what was confirmed: worth a short wait, and no longer one.
  await Promise.race([feed.firstWord, sleep(FIRST_WORD_MS, undefined, { ref: false })]);
  const http = await listenAt(fullLane.server, config);
  const https = await tls?.listen();
  stack.defer(() => {
    http.stopAccepting();
    https?.stopAccepting();
    return listener.drain(config.drainMs);
  });
  const ports = { port: http.port, tlsPort: https?.port, adminPort: admin.port };
  logger.info(ports, "edge listening");

  const owned = stack.move();
  const close = (): Promise<void> => {
    closing = true;
    return owned.disposeAsync();
  };
  return {
    ...ports,
    sockets: { http: http.descriptors, https: https?.descriptors ?? [], admin: admin.descriptor },
    serving: serving.promise,
    leaveAdminPort: () => admin.stopAccepting(),
    metrics: () => text(metrics.render()),
    close,
    [Symbol.asyncDispose]: close,
  };
}

const NOWHERE: AccessOutput = {
  offer() {
    // An access log that writes nothing offers nothing.
  },
};

interface TlsParts {
  readonly listener: ClientListener;
  readonly metrics: Metrics;
  readonly logger: Logger;
  readonly stack: AsyncDisposableStack;
}

/** Reads the certificates, so that only listening is left to do. */
async function prepareTls(
  { host, timeouts }: EdgeConfig,
  tls: TlsConfig,
  { listener: clients, metrics, logger, stack }: TlsParts,
): Promise<{ readonly listener: TlsListener; listen(): Promise<Listening> }> {
  const certificates = stack.use(
    await CertificateWatch.open({
      directory: tls.certificates,
      lookEveryMs: tls.lookEveryMs,
      logger,
      onReplaced: (set) => listener.use(set),
    }),
  );
  const listener = stack.use(
    new TlsListener({
      certificates: certificates.set,
      handshakeMs: timeouts.headersMs,
      onConnection: (socket) => clients.expectSecure(socket),
      onSecure: (socket, secure) => clients.acceptSecure(socket, secure),
    }),
  );
  metrics.followTls({ listener, certificates });
  return { listener, listen: () => listenAt(listener.server, { host, ...tls }) };
}

/** The routes of the table before that a change may have taken away. */
function touchedRoutes(previous: RouteTable | undefined, touched: Touched): "all" | Route[] {
  if (touched === "all" || previous === undefined) return "all";
  return touched.flatMap((name) => previous.find(name.owner, name.function) ?? []);
}

function ignore(): void {
  // Nobody asked to be told.
}
