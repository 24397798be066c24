import { errorMessage } from "@openfaas-cloud/shared/known-error.ts";
import type { Route } from "@openfaas-cloud/shared/route.ts";
import { admit, checkLength } from "./admit.ts";
import { type Access, type Authenticator, FORBIDDEN, signedOut } from "./authenticate.ts";
import type { Domains } from "./config.ts";
import type { Exchange } from "./exchange.ts";
import { type Failures, type Forwarding, type ForwardParts, forward, type Upgraded } from "./forward.ts";
import { type RequestHead, readHead, requestHeaders } from "./headers.ts";
import { dashboardAt, ownerIndex, unknownFunction, unknownHost } from "./not-found.ts";
import { type Recorder, record } from "./record.ts";
import type { Refusal } from "./refusal.ts";
import { respondError } from "./respond-error.ts";
import type { RouteTable } from "./route-table.ts";
import { findTarget, isInternalPath, type Target } from "./target.ts";
import type { Replica, Upstreams } from "./upstreams.ts";

/** What serving a request takes; made once, by edge.ts. */
export interface RequestParts extends Recorder, ForwardParts {
  readonly domains: Domains;
  readonly table: () => RouteTable | undefined;
  readonly authenticator: () => Authenticator;
  readonly upstreams: Upstreams;
  readonly controlPlane: Replica;
  /** Turns an upgraded exchange into a tunnel; settles when the tunnel has ended. */
  readonly openTunnel: (exchange: Exchange, upgraded: Upgraded) => Promise<void>;
}

const SYSTEM_LIMITS = {
  maxBodyBytes: 200 * 1024 * 1024,
  bodyIdleMs: 300_000,
  firstByteMs: 15 * 60_000,
  totalMs: null,
};
const FUNCTION_BODY_IDLE_MS = 30_000;

/** One request, phase by phase. Everything that is refused is answered here; nothing is thrown to the caller. */
export async function handleRequest(exchange: Exchange, parts: RequestParts): Promise<void> {
  exchange.response.once("close", () => record(exchange, parts));
  try {
    const refusal = await serve(exchange, parts);
    if (refusal !== undefined) respondError(exchange, refusal);
  } catch (error) {
    parts.logger.error({ requestId: exchange.requestId, error: errorMessage(error) }, "request failed");
    respondError(exchange, FAULT);
  }
}

/** Gives the refusal that is still to be written, if it comes to that. */
async function serve(exchange: Exchange, parts: RequestParts): Promise<Refusal | undefined> {
  const { request } = exchange;
  const head = readHead(request.rawHeaders, request.httpVersion);
  if ("status" in head) return head;
  exchange.head = head;
  exchange.requestId = head.requestId ?? exchange.requestId;
  // After a request that asked for an upgrade and got none, Node parses nothing further on the connection.
  if (head.asksUpgrade && exchange.upgradeHead === undefined) exchange.response.shouldKeepAlive = false;
  const target = findTarget(
    {
      method: request.method ?? "",
      target: request.url ?? "",
      httpVersion: request.httpVersion,
      host: head.host,
    },
    parts.domains,
  );
  exchange.target = target;
  switch (target.kind) {
    case "refused":
      return target.refusal;
    case "unknown-host":
      return unknownHost(target.host, parts.domains, parts.table());
    case "system":
      return serveSystem(exchange, head, target, parts);
    case "owner":
      return serveOwner(target, parts);
    case "function":
      return serveFunction(exchange, head, target, parts);
  }
}

async function serveFunction(
  exchange: Exchange,
  head: RequestHead,
  target: Target & { kind: "function" },
  parts: RequestParts,
): Promise<Refusal | undefined> {
  const table = parts.table();
  if (table === undefined) return NOT_READY;
  const route = table.find(target.owner, target.function);
  if (route === undefined) return notFound(target, table, parts.domains);
  exchange.route = route;

  const authenticator = parts.authenticator();
  const decision = authenticator.authenticate(route, head);
  const access = decision instanceof Promise ? await decision : decision;
  // Policy, keys and revocations may have changed meanwhile: what was decided by the ones before is decided again.
  const isCurrent = parts.table()?.find(target.owner, target.function) === route;
  if (!isCurrent || parts.authenticator() !== authenticator)
    return serveFunction(exchange, head, target, parts);
  if (access.kind === "signed-out") return signedOut(dashboardAt(parts.domains, target.host));
  if (access.kind === "forbidden") return FORBIDDEN;

  const permit = admit(route, head, parts.records.of(route));
  if ("status" in permit) return permit;
  using _permit = permit;
  if (route.upstreams.length === 0) return NO_REPLICA;
  // Awaited here, since the permit ends with this function.
  return await send(exchange, functionForwarding(exchange, head, target, route, access, parts), parts);
}

function serveOwner(target: Target & { kind: "owner" }, parts: RequestParts): Refusal {
  const table = parts.table();
  if (table === undefined) return NOT_READY;
  return table.findOwner(target.owner) === undefined
    ? unknownHost(target.host, parts.domains, table)
    : ownerIndex(target.owner, table);
}

function notFound(target: Target & { kind: "function" }, table: RouteTable, domains: Domains): Refusal {
  return table.findOwner(target.owner) === undefined
    ? unknownHost(target.host, domains, table)
    : unknownFunction(target.function, target.owner, table);
}

/** The control plane's own pages and API. It decides itself who may do what; what is internal is not for clients at all. */
async function serveSystem(
  exchange: Exchange,
  head: RequestHead,
  target: Target & { kind: "system" },
  parts: RequestParts,
): Promise<Refusal | undefined> {
  if (isInternalPath(target.path)) return INTERNAL;
  const isRoot = target.path === "/" || target.path.startsWith("/?");
  const method = exchange.request.method;
  if (isRoot && (method === "GET" || method === "HEAD") && target.host.name.startsWith("system.")) {
    exchange.response.writeHead(307, { Location: "/dashboard/", "Content-Length": "0" }).end();
    return undefined;
  }
  const tooLarge = checkLength(head, SYSTEM_LIMITS.maxBodyBytes);
  if (tooLarge !== undefined) return tooLarge;
  return send(exchange, systemForwarding(exchange, head, target, parts), parts);
}

async function send(
  exchange: Exchange,
  forwarding: Forwarding,
  parts: RequestParts,
): Promise<Refusal | undefined> {
  let tunnel: Promise<void> | undefined;
  if (exchange.expectsContinue) exchange.response.writeContinue();
  const onUpgraded = (upgraded: Upgraded): void => {
    tunnel = parts.openTunnel(exchange, upgraded);
    record(exchange, parts);
  };
  const isUpgrade = exchange.upgradeHead !== undefined;
  const outcome = await forward(isUpgrade ? { ...forwarding, onUpgraded } : forwarding, parts);
  await tunnel;
  return outcome.kind === "refused" ? outcome.refusal : undefined;
}

function functionForwarding(
  exchange: Exchange,
  head: RequestHead,
  target: Target & { kind: "function" },
  route: Route,
  access: Access & { kind: "granted" },
  parts: RequestParts,
): Forwarding {
  const { table, upstreams, domains } = parts;
  const { maxBodyBytes, firstByteMs, totalMs } = route.limits;
  const usedBearer = access.credential === "bearer";
  return {
    ...common(exchange, head, usedBearer ? "remove-cookies-and-authorization" : "remove-cookies"),
    replicas: () => {
      const current = table()?.find(route.owner, route.function);
      return current === undefined ? [] : upstreams.replicasOf(current);
    },
    path: target.path,
    maxBodyBytes,
    bodyIdleMs: FUNCTION_BODY_IDLE_MS,
    firstByteMs,
    totalMs,
    domains,
    failures: FUNCTION_FAILURES,
  };
}

function systemForwarding(
  exchange: Exchange,
  head: RequestHead,
  target: Target & { kind: "system" },
  parts: RequestParts,
): Forwarding {
  exchange.upstream = parts.controlPlane.id;
  return {
    ...common(exchange, head, "keep"),
    ...SYSTEM_LIMITS,
    replicas: () => [parts.controlPlane],
    path: target.path,
    domains: undefined,
    failures: SYSTEM_FAILURES,
  };
}

function common(
  exchange: Exchange,
  head: RequestHead,
  credentials: "keep" | "remove-cookies" | "remove-cookies-and-authorization",
): Pick<Forwarding, "exchange" | "headers" | "hasBody" | "responseLines"> {
  const callId = head.callId ?? exchange.requestId;
  const headers = requestHeaders({
    raw: exchange.request.rawHeaders,
    head,
    credentials,
    assertions: {
      host: head.host ?? "",
      clientAddress: exchange.clientAddress,
      scheme: "http",
      requestId: exchange.requestId,
      callId,
      startTime: `${Date.now()}000000`,
    },
  });
  const responseLines = ["X-Request-Id", exchange.requestId, "X-Call-Id", callId];
  return { exchange, headers, hasBody: head.hasBody, responseLines };
}

const FAULT: Refusal = {
  status: 500,
  code: "edge-fault",
  message: "Something went wrong here. The request id will help to find out what.",
  close: true,
};

const NOT_READY: Refusal = {
  status: 503,
  code: "not-ready",
  message: "The platform has just started and does not know its functions yet. Try again shortly.",
  retryAfterS: 1,
};

const INTERNAL: Refusal = { status: 404, code: "not-found", message: "There is nothing here." };

const NO_REPLICA: Refusal = {
  status: 503,
  code: "no-replica",
  message: "No replica of this function is running at present. Try again shortly.",
  retryAfterS: 5,
};

const FUNCTION_FAILURES: Failures = {
  unreachable: {
    status: 502,
    code: "upstream-unreachable",
    message: "The function cannot be reached at present. Try again shortly.",
    retryAfterS: 1,
  },
  broken: {
    status: 502,
    code: "upstream-broken",
    message: "The function broke off or did not answer in HTTP.",
  },
  late: { status: 504, code: "upstream-late", message: "The function did not answer in time." },
};

const SYSTEM_FAILURES: Failures = {
  unreachable: {
    status: 503,
    code: "control-plane-down",
    message:
      "The dashboard and the API are not available at present. Functions that are live keep serving. Try again shortly.",
    retryAfterS: 5,
  },
  broken: {
    status: 502,
    code: "control-plane-broken",
    message: "The dashboard or the API broke off. Try again.",
  },
  late: {
    status: 504,
    code: "control-plane-late",
    message: "The dashboard or the API did not answer in time.",
  },
};
