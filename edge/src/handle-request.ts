import { errorMessage } from "@openfaas-cloud/shared/known-error.ts";
import { admit, type Bounds, type Load } from "./admit.ts";
import { type Authenticator, denial } from "./authenticate.ts";
import type { Domains } from "./config.ts";
import type { Exchange } from "./exchange.ts";
import type { Destinations } from "./forwarding.ts";
import { redirectToHttps } from "./https-redirect.ts";
import type { Logger } from "./logger.ts";
import { dashboardAt, notFound, ownerIndex, unknownHost } from "./not-found.ts";
import type { Recorder } from "./record.ts";
import type { Refusal } from "./refusal.ts";
import { FAULT, FUNCTION_BUSY, INTERNAL, NO_REPLICA, NOT_READY, SYSTEM_BUSY } from "./refusal-texts.ts";
import { type RequestHead, readHead } from "./request-fields.ts";
import { ALLOWED_METHODS, respondError } from "./respond-error.ts";
import type { RouteTable } from "./route-table.ts";
import { findTarget, isInternalPath, type Target } from "./target.ts";
import { downstreamBehind, type TrustedPeers } from "./trusted-peers.ts";

/** What serving a request takes; made once, by edge.ts. */
export interface RequestParts extends Recorder {
  readonly logger: Logger;
  readonly domains: Domains;
  readonly table: () => RouteTable | undefined;
  readonly authenticator: Authenticator;
  readonly destinations: Destinations;
  readonly systemLoad: Load;
  readonly systemBounds: Bounds;
  readonly trustedPeers: TrustedPeers;
  /** Where requests by http are sent, as the port that clients reach us at by https; `undefined` where they are served. */
  readonly httpsRedirectPort: number | undefined;
  /** How many processes serve the port, this one included. */
  readonly workers: number;
}

/** What a phase comes to: a refusal to be answered, or `undefined` where the answer is given or on its way. */
type Step = Refusal | undefined;

/**
 * One request, phase by phase, whichever lane it came in by. Everything that is refused is answered here; nothing is thrown
 * to the caller, which records the exchange when it is over (record.ts). Waits for nobody, but for a token that was not seen
 * before.
 */
export function handleRequest(exchange: Exchange, parts: RequestParts): void {
  try {
    const step = serve(exchange, parts);
    if (step instanceof Promise)
      step.then(
        (late) => end(exchange, late),
        (error: unknown) => fault(exchange, error, parts),
      );
    else end(exchange, step);
  } catch (error) {
    fault(exchange, error, parts);
  }
}

function end(exchange: Exchange, step: Step): void {
  if (step !== undefined) respondError(exchange, step);
}

function fault(exchange: Exchange, error: unknown, parts: RequestParts): void {
  parts.logger.error({ requestId: exchange.requestId, error: errorMessage(error) }, "request failed");
  exchange.permit?.[Symbol.dispose]();
  respondError(exchange, FAULT);
}

function serve(exchange: Exchange, parts: RequestParts): Step | Promise<Step> {
  const { method, rawTarget, httpVersion } = exchange;
  const head = exchange.head ?? readHead(exchange.rawHeaders, httpVersion);
  if ("status" in head) return head;
  exchange.head = head;
  exchange.requestId = head.requestId ?? exchange.requestId;
  const { client } = exchange;
  if (client.isTrusted) exchange.downstream = downstreamBehind(client, head, parts.trustedPeers);
  const target = findTarget({ method, target: rawTarget, httpVersion, host: head.host }, parts.domains);
  exchange.target = target;
  if (parts.httpsRedirectPort !== undefined && exchange.downstream.scheme === "http") {
    const moved = redirectToHttps(target, rawTarget, parts.httpsRedirectPort);
    if (moved !== undefined) return moved;
  }
  if (method === "OPTIONS" && head.maxForwards === 0 && target.kind !== "refused")
    return answerOptions(exchange);
  switch (target.kind) {
    case "refused":
      return target.refusal;
    case "home":
      return redirect(exchange, `//${dashboardAt(parts.domains, target.host)}`);
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

function serveFunction(
  exchange: Exchange,
  head: RequestHead,
  target: Target & { kind: "function" },
  parts: RequestParts,
): Step | Promise<Step> {
  const table = parts.table();
  if (table === undefined) return NOT_READY;
  const route = table.find(target.owner, target.function);
  if (route === undefined) return notFound(target, table, parts.domains);
  exchange.route = route;

  const access = parts.authenticator.authenticate(route, head, exchange);
  // Whoever had to wait is judged from here on anew: the table and the keys may have changed meanwhile.
  if (access instanceof Promise) {
    return access.then(() => (exchange.recorded ? undefined : serveFunction(exchange, head, target, parts)));
  }
  if (access.kind !== "granted") return denial(access, route, dashboardAt(parts.domains, target.host));
  exchange.session = access.session;

  if (route.upstreams.length === 0) return NO_REPLICA;
  const usage = parts.records.of(route);
  const permit = admit(route.limits, head, usage, FUNCTION_BUSY, parts.workers);
  if ("status" in permit) return permit;
  exchange.permit = permit;
  exchange.usage = usage;
  usage.begin();
  const isOurs = access.credential === "authorization";
  exchange.forward({
    destination: parts.destinations.ofFunction(route),
    path: target.path,
    credentials: isOurs ? "remove-platforms-and-authorization" : "remove-platforms",
  });
  return undefined;
}

function serveOwner(target: Target & { kind: "owner" }, parts: RequestParts): Refusal {
  const table = parts.table();
  if (table === undefined) return NOT_READY;
  return table.findOwner(target.owner) === undefined
    ? unknownHost(target.host, parts.domains, table)
    : ownerIndex(target.owner, table);
}

/** The control plane's own pages and API. It decides itself who may do what; what is internal is not for clients at all. */
function serveSystem(
  exchange: Exchange,
  head: RequestHead,
  target: Target & { kind: "system" },
  parts: RequestParts,
): Step {
  if (isInternalPath(target.path)) return INTERNAL;
  const isRoot = target.path === "/" || target.path.startsWith("/?");
  const { method } = exchange;
  if (isRoot && (method === "GET" || method === "HEAD") && target.host.name.startsWith("system.")) {
    return redirect(exchange, "/dashboard/");
  }
  const permit = admit(parts.systemBounds, head, parts.systemLoad, SYSTEM_BUSY, parts.workers);
  if ("status" in permit) return permit;
  exchange.permit = permit;
  exchange.forward({ destination: parts.destinations.system, path: target.path, credentials: "keep" });
  return undefined;
}

function redirect(exchange: Exchange, location: string): undefined {
  exchange.respond({ status: 307, lines: ["Location", location], body: NOTHING, close: false });
  return undefined;
}

/** RFC 9110 §7.6.2: it is to go no further, so we answer for whoever it was meant for. */
function answerOptions(exchange: Exchange): undefined {
  exchange.respond({ status: 200, lines: ["Allow", ALLOWED_METHODS], body: NOTHING, close: false });
  return undefined;
}

const NOTHING = Buffer.alloc(0);
