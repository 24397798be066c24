import { errorMessage } from "@openfaas-cloud/shared/known-error.ts";
import { admit, type Load } from "./admit.ts";
import { type Authenticator, denial } from "./authenticate.ts";
import type { Exchange } from "./exchange.ts";
import {
  type Forwarding,
  type ForwardingParts,
  functionForwarding,
  systemBounds,
  systemForwarding,
} from "./forwarding.ts";
import { type RequestHead, readHead } from "./headers.ts";
import type { Logger } from "./logger.ts";
import { dashboardAt, notFound, ownerIndex, unknownHost } from "./not-found.ts";
import type { Recorder } from "./record.ts";
import type { Refusal } from "./refusal.ts";
import { FAULT, FUNCTION_BUSY, INTERNAL, NO_REPLICA, NOT_READY, SYSTEM_BUSY } from "./refusal-texts.ts";
import { respondError } from "./respond-error.ts";
import { findTarget, isInternalPath, type Target } from "./target.ts";

/** What serving a request takes; made once, by edge.ts. */
export interface RequestParts extends Recorder, ForwardingParts {
  readonly logger: Logger;
  readonly authenticator: Authenticator;
  readonly systemLoad: Load;
  /** How many processes serve the port, this one included. */
  readonly workers: number;
}

/**
 * One request, phase by phase, whichever lane it came in by. Everything that is refused is answered here; nothing is thrown
 * to the caller, which records the exchange when it is over (record.ts).
 */
export async function handleRequest(exchange: Exchange, parts: RequestParts): Promise<void> {
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
  const { method, rawTarget, httpVersion } = exchange;
  const head = exchange.head ?? readHead(exchange.rawHeaders, httpVersion);
  if ("status" in head) return head;
  exchange.head = head;
  exchange.requestId = head.requestId ?? exchange.requestId;
  const target = findTarget({ method, target: rawTarget, httpVersion, host: head.host }, parts.domains);
  exchange.target = target;
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

  const access = parts.authenticator.authenticate(route, head, exchange);
  if (access instanceof Promise) {
    // Whoever had to wait is judged from here on anew: the table and the keys may have changed meanwhile.
    await access;
    return serveFunction(exchange, head, target, parts);
  }
  if (access.kind !== "granted") return denial(access, route, dashboardAt(parts.domains, target.host));
  exchange.session = access.session;

  if (route.upstreams.length === 0) return NO_REPLICA;
  const usage = parts.records.of(route);
  const permit = admit(route.limits, head, usage, FUNCTION_BUSY, parts.workers);
  if ("status" in permit) return permit;
  using _permit = permit;
  exchange.usage = usage;
  usage.begin();
  // Awaited here, since the permit ends with this function.
  return await send(exchange, functionForwarding(exchange, head, target, route, access, parts));
}

function serveOwner(target: Target & { kind: "owner" }, parts: RequestParts): Refusal {
  const table = parts.table();
  if (table === undefined) return NOT_READY;
  return table.findOwner(target.owner) === undefined
    ? unknownHost(target.host, parts.domains, table)
    : ownerIndex(target.owner, table);
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
  const { method } = exchange;
  if (isRoot && (method === "GET" || method === "HEAD") && target.host.name.startsWith("system.")) {
    return redirect(exchange, "/dashboard/");
  }
  const permit = admit(systemBounds(parts), head, parts.systemLoad, SYSTEM_BUSY, parts.workers);
  if ("status" in permit) return permit;
  using _permit = permit;
  return await send(exchange, systemForwarding(exchange, head, target, parts));
}

function redirect(exchange: Exchange, location: string): undefined {
  exchange.respond({ status: 307, lines: ["Location", location], body: NOTHING, close: false });
  return undefined;
}

const NOTHING = Buffer.alloc(0);

async function send(exchange: Exchange, forwarding: Forwarding): Promise<Refusal | undefined> {
  const outcome = await exchange.forward(forwarding);
  return outcome.kind === "refused" ? outcome.refusal : undefined;
}
