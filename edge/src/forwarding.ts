import type { Route } from "@openfaas-cloud/shared/route.ts";
import type { Bounds } from "./admit.ts";
import type { Access } from "./authenticate.ts";
import type { Domains } from "./config.ts";
import type { Exchange } from "./exchange.ts";
import { type CredentialsRule, type RequestHead, requestHeaders } from "./headers.ts";
import type { Failures, Refusal } from "./refusal.ts";
import { FUNCTION_FAILURES, SYSTEM_FAILURES } from "./refusal-texts.ts";
import type { RouteTable } from "./route-table.ts";
import type { Target } from "./target.ts";
import type { Replica, Upstreams } from "./upstreams.ts";

/** A request that may go upstream, and by which bounds. */
export interface Forwarding {
  /** Asked again before a second attempt, since the table may have moved on. */
  readonly replicas: () => readonly Replica[];
  readonly path: string;
  /** Name, value, name, value; all but the ones of framing and connection, which the HTTP client writes. */
  readonly headers: string[];
  readonly hasBody: boolean;
  readonly maxBodyBytes: number;
  /** How long the client may keep us waiting for the next piece of its body. */
  readonly bodyIdleMs: number;
  /** How long the client may send its body by drips. */
  readonly bodyDripMs: number;
  /** How long the client may leave us with what it has not read. */
  readonly writeIdleMs: number;
  /** How long the upstream may keep us waiting: for room for the body, and for its answer when the body was sent. */
  readonly firstByteMs: number;
  /** The whole, from the request's first byte to the answer's last. */
  readonly totalMs: number | null;
  /** Set where a function answers, which is trusted with less than the control plane. */
  readonly domains: Domains | undefined;
  /** Lines added to every answer. */
  readonly responseLines: readonly string[];
  readonly failures: Failures;
}

/** What became of it: `refused` still needs an answer; everything else is over. */
export type Outcome =
  | { readonly kind: "answered" }
  | { readonly kind: "refused"; readonly refusal: Refusal }
  /** The connection to the client was cut, since the answer could not be finished honestly. */
  | { readonly kind: "cut" }
  | { readonly kind: "client-gone" };

export interface ForwardingParts {
  readonly domains: Domains;
  readonly table: () => RouteTable | undefined;
  readonly upstreams: Upstreams;
  readonly controlPlane: Replica;
  readonly bodyIdleMs: number;
  readonly bodyDripMs: number;
  readonly writeIdleMs: number;
  readonly systemMaxConcurrency: number;
}

const SYSTEM_BODY_BYTES = 200 * 1024 * 1024;
/** A push is answered when Git has taken it in. */
const SYSTEM_BODY_IDLE_MS = 300_000;
const SYSTEM_FIRST_BYTE_MS = 15 * 60_000;

export function systemBounds(parts: ForwardingParts): Bounds {
  return { maxBodyBytes: SYSTEM_BODY_BYTES, maxConcurrency: parts.systemMaxConcurrency };
}

/** A request as its function is to see it. */
export function functionForwarding(
  exchange: Exchange,
  head: RequestHead,
  target: Target & { kind: "function" },
  route: Route,
  access: Access & { kind: "granted" },
  parts: ForwardingParts,
): Forwarding {
  const { table, upstreams, domains, bodyIdleMs, bodyDripMs, writeIdleMs } = parts;
  const { maxBodyBytes, firstByteMs, totalMs } = route.limits;
  const isOurs = access.credential === "authorization";
  return {
    ...common(exchange, head, isOurs ? "remove-platforms-and-authorization" : "remove-platforms"),
    replicas: () => {
      const current = table()?.find(route.owner, route.function);
      return current === undefined ? [] : upstreams.replicasOf(current);
    },
    path: target.path,
    maxBodyBytes,
    bodyIdleMs,
    // Who streams says little and often.
    bodyDripMs: totalMs === null ? Number.POSITIVE_INFINITY : bodyDripMs,
    writeIdleMs,
    firstByteMs,
    totalMs,
    domains,
    failures: FUNCTION_FAILURES,
  };
}

/** A request as the control plane is to see it: with its credentials, and with more time. */
export function systemForwarding(
  exchange: Exchange,
  head: RequestHead,
  target: Target & { kind: "system" },
  parts: ForwardingParts,
): Forwarding {
  exchange.upstream = parts.controlPlane.id;
  return {
    ...common(exchange, head, "keep"),
    replicas: () => [parts.controlPlane],
    path: target.path,
    maxBodyBytes: SYSTEM_BODY_BYTES,
    bodyIdleMs: SYSTEM_BODY_IDLE_MS,
    bodyDripMs: Number.POSITIVE_INFINITY,
    writeIdleMs: parts.writeIdleMs,
    firstByteMs: SYSTEM_FIRST_BYTE_MS,
    totalMs: null,
    domains: undefined,
    failures: SYSTEM_FAILURES,
  };
}

function common(
  exchange: Exchange,
  head: RequestHead,
  credentials: CredentialsRule,
): Pick<Forwarding, "headers" | "hasBody" | "responseLines"> {
  const callId = head.callId ?? exchange.requestId;
  const headers = requestHeaders({
    raw: exchange.rawHeaders,
    head,
    credentials,
    assertions: {
      host: head.host ?? "",
      clientAddress: exchange.client.address,
      scheme: exchange.client.scheme,
      requestId: exchange.requestId,
      callId,
      startTime: `${Date.now()}000000`,
    },
  });
  const responseLines = ["X-Request-Id", exchange.requestId, "X-Call-Id", callId];
  return { headers, hasBody: head.hasBody, responseLines };
}
