import { port, positiveInteger, readEnv, type Secret, secret } from "@openfaas-cloud/shared/env.ts";
import { z } from "zod";
import { HTTPS_SOCKET } from "./listen.ts";
import { type Network, networkList } from "./networks.ts";
import { LOOPBACK, type UpstreamPlaces, upstreamHosts, upstreamNetworks } from "./upstream-rule.ts";

/** What was asked of this edge. Made once, from the environment, by `readConfig`; nothing else reads the environment. */
export interface EdgeConfig {
  readonly host: string;
  readonly port: number;
  /** Listening sockets for http that this process was started with; where there are any, host and port do not count. */
  readonly descriptors: readonly number[];
  /** `undefined` where clients come by http only, as behind an ingress. */
  readonly tls: TlsConfig | undefined;
  /** The port that clients reach us at by https, where whoever comes by http is to be sent there. */
  readonly httpsRedirectPort: number | undefined;
  /** The proxies before us whose word on their clients counts. */
  readonly trustedPeers: readonly Network[];
  readonly role: Role;
  /** Whether an edge started this one, to go itself as soon as this one serves. */
  readonly successor: boolean;
  readonly adminHost: string;
  readonly adminPort: number;
  /** As `descriptors`, for the admin port. */
  readonly adminDescriptors: readonly number[];
  /** Directory of the route-table generations. */
  readonly dataDirectory: string;
  readonly domains: Domains;
  /** Origin of the control plane: scheme, host and port. */
  readonly controlPlaneUrl: string;
  readonly feedCredential: Secret;
  /** Where a route's replicas may be; a table that names one elsewhere is refused. */
  readonly upstreams: UpstreamPlaces;
  readonly logLevel: LogLevel;
  /** Of so many requests one is written to the access log, and each that failed; with 0 none at all. */
  readonly accessLogEvery: number;
  readonly drainMs: number;
  readonly timeouts: Timeouts;
  /** Whether requests of the usual narrow form are served without node:http. */
  readonly plainLane: boolean;
  /** Requests under way at once on the system host, at all workers together; one more is answered 429. */
  readonly systemMaxConcurrency: number;
}

/** The listener for https, on the same host. */
export interface TlsConfig {
  readonly port: number;
  /** As with http: where there are any, the port does not count. */
  readonly descriptors: readonly number[];
  /** Directory of the certificates and their keys (tls/certificate-files.ts). */
  readonly certificates: string;
  /** Between two looks for changes. */
  readonly lookEveryMs: number;
}

/** What this process is of an edge. */
export type Role =
  /** All of it. */
  | { readonly kind: "only" }
  /** Serves nothing itself, and keeps that many workers running that do. */
  | { readonly kind: "primary"; readonly workers: number }
  /** One of several that share the port; `slot` is 1 for the first. */
  | { readonly kind: "worker"; readonly slot: number; readonly workers: number };

/** How long a client may keep us waiting. */
export interface Timeouts {
  /** For the whole of a request's head. */
  readonly headersMs: number;
  /** For the next piece of a body that is meant for a function. */
  readonly bodyIdleMs: number;
  /**
   * With a body that comes by drips, slower than 240 bytes a second: altogether, pauses not counted. Functions that stream
   * are not held to it.
   */
  readonly bodyDripMs: number;
  /**
   * With an answer that it does not read. Not shorter than a minute: Linux tells of room only when a third of a send buffer
   * is free, which took a steady reader of 32 KiB/s 46 s.
   */
  readonly writeIdleMs: number;
}

/** The two domains this edge answers for; they may be one. Lower case, no trailing dot. */
export interface Domains {
  readonly functions: string;
  readonly system: string;
}

export type LogLevel = z.infer<typeof LogLevel>;
const LogLevel = z.enum(["trace", "debug", "info", "warn", "error", "fatal", "silent"]);

const TELLS_INFO: ReadonlySet<LogLevel> = new Set(["trace", "debug", "info"]);

const domain = z
  .string()
  .toLowerCase()
  .max(190)
  .regex(/^[a-z0-9]([a-z0-9-]*[a-z0-9])?(\.[a-z0-9]([a-z0-9-]*[a-z0-9])?)*$/, "must be a domain name");

const origin = z
  .url({ protocol: /^https?$/, error: "must be an http or https URL" })
  .refine((url) => URL.parse(url)?.pathname === "/", "must be an origin, without a path")
  .transform((url) => new URL(url).origin);

/** `off`, `all`, or a number: one in so many. */
const accessLogEvery = z
  .string()
  .transform((value) => (value === "off" ? "0" : value === "all" ? "1" : value))
  .pipe(
    z.string().regex(/^\d{1,9}$/, "must be off, all, or a number: one request in so many is written down"),
  )
  .transform(Number);

/** A renewal has weeks. */
const CERTIFICATES_LOOK_EVERY_MS = 2_000;

/** SD_LISTEN_FDS_START of sd_listen_fds(3). */
const FIRST_DESCRIPTOR = 3;

/** Each has a core at best, and costs its memory in any case. */
const MAX_WORKERS = 128;

const Environment = z
  .object({
    EDGE_HOST: z.string().default("127.0.0.1"),
    EDGE_PORT: port.default(8080),
    EDGE_TLS_PORT: port.optional(),
    EDGE_TLS_CERTIFICATES: z.string().optional(),
    EDGE_HTTPS_REDIRECT: port
      .refine((value) => value > 0, "must be a port that clients can reach")
      .optional(),
    EDGE_TRUSTED_PEERS: networkList.default([]),
    LISTEN_FDS: positiveInteger.optional(),
    LISTEN_FDNAMES: z.string().optional(),
    EDGE_WORKERS: z
      .string()
      .transform(Number)
      .refine(
        (value) => Number.isInteger(value) && value >= 1 && value <= MAX_WORKERS,
        `must be 1 to ${MAX_WORKERS}`,
      )
      .default(1),
    /** Set by a primary, for its workers. */
    EDGE_WORKER: positiveInteger.optional(),
    /** Both set by an edge, for its successor: the second one is the admin port's socket. */
    EDGE_SUCCESSOR: z.literal("1").optional(),
    EDGE_ADMIN_FD: positiveInteger.optional(),
    EDGE_ADMIN_HOST: z.string().default("127.0.0.1"),
    EDGE_ADMIN_PORT: port.default(0),
    EDGE_DATA: z.string(),
    EDGE_DRAIN_MS: positiveInteger.default(30_000),
    EDGE_HEADERS_MS: positiveInteger.default(10_000),
    EDGE_BODY_IDLE_MS: positiveInteger.default(30_000),
    EDGE_BODY_DRIP_MS: positiveInteger.default(10_000),
    EDGE_WRITE_IDLE_MS: positiveInteger.default(120_000),
    EDGE_SYSTEM_CONCURRENCY: positiveInteger.default(1_000),
    EDGE_PLAIN_LANE: z.enum(["on", "off"]).default("on"),
    FUNCTIONS_DOMAIN: domain.default("localhost"),
    SYSTEM_DOMAIN: domain.optional(),
    CONTROL_PLANE_URL: origin,
    FEED_CREDENTIAL: secret,
    EDGE_UPSTREAM_NETWORKS: upstreamNetworks.default([...LOOPBACK.networks]),
    EDGE_UPSTREAM_HOSTS: upstreamHosts.default([...LOOPBACK.hosts]),
    LOG_LEVEL: LogLevel.default("info"),
    EDGE_ACCESS_LOG: accessLogEvery.optional(),
  })
  .refine(
    ({ LISTEN_FDS, LISTEN_FDNAMES }) =>
      LISTEN_FDNAMES === undefined || namesOf(LISTEN_FDNAMES).length === LISTEN_FDS,
    { path: ["LISTEN_FDNAMES"], error: "must hold as many names as LISTEN_FDS says", when: always },
  )
  .refine((given) => given.EDGE_TLS_CERTIFICATES !== undefined || !asksForTls(given), {
    path: ["EDGE_TLS_CERTIFICATES"],
    error: "must name a directory with certificates, since a port or a socket for https is given",
    when: always,
  })
  .refine((given) => given.EDGE_TLS_CERTIFICATES === undefined || asksForTls(given), {
    path: ["EDGE_TLS_PORT"],
    error: "must be given with EDGE_TLS_CERTIFICATES, where no inherited socket is named https",
    when: always,
  })
  .refine((given) => given.EDGE_HTTPS_REDIRECT === undefined || canComeByHttps(given), {
    path: ["EDGE_HTTPS_REDIRECT"],
    error:
      "would send clients round in circles, since nobody comes by https as far as this edge can know: give EDGE_TLS_PORT with " +
      "EDGE_TLS_CERTIFICATES, or list in EDGE_TRUSTED_PEERS the proxy that ends TLS",
    when: always,
  });

/** What concerns more than one variable is looked at even where another one cannot be used, so that all is told at once. */
function always(): boolean {
  return true;
}

interface TlsGiven {
  readonly EDGE_TLS_PORT?: number | undefined;
  readonly LISTEN_FDNAMES?: string | undefined;
}

function asksForTls({ EDGE_TLS_PORT, LISTEN_FDNAMES }: TlsGiven): boolean {
  return EDGE_TLS_PORT !== undefined || namesOf(LISTEN_FDNAMES).includes(HTTPS_SOCKET);
}

interface HttpsGiven extends TlsGiven {
  readonly EDGE_TLS_CERTIFICATES?: string | undefined;
  /** No array where it cannot be read, which is complained of by itself. */
  readonly EDGE_TRUSTED_PEERS?: readonly Network[] | undefined;
}

/** To us, or to a proxy before us whose word on it counts. */
function canComeByHttps(given: HttpsGiven): boolean {
  const isServed = given.EDGE_TLS_CERTIFICATES !== undefined || asksForTls(given);
  return isServed || given.EDGE_TRUSTED_PEERS?.length !== 0;
}

function namesOf(text: string | undefined): string[] {
  return text?.split(":") ?? [];
}

/** Those for https are the ones that LISTEN_FDNAMES names so; by any other name, or by none, they are for http. */
function inheritedSockets(count: number, names: readonly string[]): { http: number[]; https: number[] } {
  const descriptors = Array.from({ length: count }, (_, i) => FIRST_DESCRIPTOR + i);
  const { http = [], https = [] } = Object.groupBy(descriptors, (fd) =>
    names[fd - FIRST_DESCRIPTOR] === HTTPS_SOCKET ? "https" : "http",
  );
  return { http, https };
}

/** What Kubernetes says in the environment of a Service called `edge`. */
const SERVICE_LINK = /^EDGE_(SERVICE_|PORT_\d)/;

/** Names that look as if they were meant for an edge, and are none that it knows. */
export function unknownVariables(environment: Readonly<Record<string, string | undefined>>): string[] {
  return Object.keys(environment).filter(
    (name) => name.startsWith("EDGE_") && !(name in Environment.shape) && !SERVICE_LINK.test(name),
  );
}

export function readConfig(environment: Readonly<Record<string, string | undefined>>): EdgeConfig {
  const given = readEnv(Environment, environment);
  const inherited = inheritedSockets(given.LISTEN_FDS ?? 0, namesOf(given.LISTEN_FDNAMES));
  return {
    host: given.EDGE_HOST,
    port: given.EDGE_PORT,
    descriptors: inherited.http,
    tls:
      given.EDGE_TLS_CERTIFICATES === undefined
        ? undefined
        : {
            port: given.EDGE_TLS_PORT ?? 0,
            descriptors: inherited.https,
            certificates: given.EDGE_TLS_CERTIFICATES,
            lookEveryMs: CERTIFICATES_LOOK_EVERY_MS,
          },
    httpsRedirectPort: given.EDGE_HTTPS_REDIRECT,
    trustedPeers: given.EDGE_TRUSTED_PEERS,
    role: roleOf(given.EDGE_WORKERS, given.EDGE_WORKER),
    successor: given.EDGE_SUCCESSOR !== undefined,
    adminHost: given.EDGE_ADMIN_HOST,
    adminPort: given.EDGE_ADMIN_PORT,
    adminDescriptors: given.EDGE_ADMIN_FD === undefined ? [] : [given.EDGE_ADMIN_FD],
    dataDirectory: given.EDGE_DATA,
    domains: { functions: given.FUNCTIONS_DOMAIN, system: given.SYSTEM_DOMAIN ?? given.FUNCTIONS_DOMAIN },
    controlPlaneUrl: given.CONTROL_PLANE_URL,
    feedCredential: given.FEED_CREDENTIAL,
    upstreams: { networks: given.EDGE_UPSTREAM_NETWORKS, hosts: given.EDGE_UPSTREAM_HOSTS },
    logLevel: given.LOG_LEVEL,
    // Lines of level info, unless somebody asked for them.
    accessLogEvery: given.EDGE_ACCESS_LOG ?? (TELLS_INFO.has(given.LOG_LEVEL) ? 1 : 0),
    drainMs: given.EDGE_DRAIN_MS,
    timeouts: {
      headersMs: given.EDGE_HEADERS_MS,
      bodyIdleMs: given.EDGE_BODY_IDLE_MS,
      bodyDripMs: given.EDGE_BODY_DRIP_MS,
      writeIdleMs: given.EDGE_WRITE_IDLE_MS,
    },
    plainLane: given.EDGE_PLAIN_LANE === "on",
    systemMaxConcurrency: given.EDGE_SYSTEM_CONCURRENCY,
  };
}

function roleOf(workers: number, slot: number | undefined): Role {
  if (slot !== undefined) return { kind: "worker", slot, workers };
  return workers === 1 ? { kind: "only" } : { kind: "primary", workers };
}
