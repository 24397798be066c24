import { setImmediate as nextTurn } from "node:timers/promises";
import { collectDefaultMetrics, Registry } from "prom-client";
import { countersFor, family, type Sample, samplesBy } from "./exposition.ts";
import { functionMetrics } from "./function-metrics.ts";
import type { Records } from "./function-records.ts";
import { REFUSAL_CODES } from "./refusal.ts";
import { REJECT_REASONS } from "./route-feed/route-feed.ts";
import type { RouteTable } from "./route-table.ts";
import type { CertificateWatch } from "./tls/certificate-watch.ts";
import type { TlsListener } from "./tls/tls-listener.ts";

/** Which code moves the bytes. */
export const LANES = ["plain", "full"] as const;
export type Lane = (typeof LANES)[number];

/** Why the plain lane leaves a connection to the full one: for the form or for the size of a request's head. */
const HAND_OVER_REASONS = ["form", "size"] as const;
export type HandOverReason = (typeof HAND_OVER_REASONS)[number];

/** What only others know, asked for at each scrape. */
export interface MetricSources {
  readonly records: Records;
  readonly table: () => RouteTable | undefined;
  readonly feedConnected: () => boolean;
  readonly clientConnections: () => Readonly<Record<Lane, number>>;
  readonly upstreamConnections: () => Readonly<Record<Lane, number>>;
  readonly replicas: () => number;
  readonly requestsInFlight: () => number;
  readonly tunnels: () => number;
  readonly verdicts: () => number;
  readonly logLinesDropped: () => number;
}

/** In how many requests a token's verdict was known, and in how many it had to be looked into. */
export interface TokenCounts {
  known: number;
  verified: number;
}

export interface TlsSources {
  readonly listener: TlsListener;
  readonly certificates: CertificateWatch;
}

/**
 * Everything this edge counts. What happens for every request is a plain number here or in function-records.ts, and becomes
 * text at a scrape; label values come from fixed sets and from the route table, never from a client.
 */
export class Metrics {
  /** When the table was replaced last, by the wall clock. */
  tableReplacedAtMs: number | undefined;
  readonly refused = countersFor([...REFUSAL_CODES, "client-gone"]);
  readonly forwarded = countersFor(LANES);
  readonly handedOver = countersFor(HAND_OVER_REASONS);
  readonly feedRejected = countersFor(REJECT_REASONS);
  readonly tokens: TokenCounts = { known: 0, verified: 0 };
  bytesReceived = 0;
  bytesSent = 0;
  retries = 0;
  ejections = 0;
  tunnelsRevoked = 0;
  usageDropped = 0;
  readonly #sources: MetricSources;
  #tls: TlsSources | undefined;
  readonly #process = new Registry();

  constructor(sources: MetricSources) {
    this.#sources = sources;
    collectDefaultMetrics({ register: this.#process });
  }

  /** Only where https is served: an expiry that is not there must not look like one that has passed. */
  followTls(sources: TlsSources): void {
    this.#tls = sources;
  }

  /** In Prometheus' text format, in pieces with turns for requests between them. */
  async *render(): AsyncGenerator<string> {
    yield this.#edge();
    if (this.#tls !== undefined) yield tlsMetrics(this.#tls);
    yield `${await this.#process.metrics()}\n`;
    for (const piece of functionMetrics(this.#sources.records.all())) {
      await nextTurn();
      yield piece;
    }
  }

  #edge(): string {
    const sources = this.#sources;
    const table = sources.table();
    const ageS = this.tableReplacedAtMs === undefined ? 0 : (Date.now() - this.tableReplacedAtMs) / 1000;
    return [
      gauge("ofc_edge_route_version", "Version of the route table.", table?.version ?? 0),
      gauge("ofc_edge_routes", "Routes in the table.", table?.size ?? 0),
      gauge("ofc_edge_route_age_seconds", "Time since the route table was replaced.", ageS),
      gauge("ofc_edge_feed_connected", "1 while the route feed is open.", sources.feedConnected() ? 1 : 0),
      counters(
        "ofc_edge_feed_rejected_total",
        "Route tables and changes not adopted, from the feed or from the disk.",
        samplesBy("reason", this.feedRejected),
      ),
      counters(
        "ofc_edge_refused_total",
        "Requests that ended without a whole answer from upstream.",
        samplesBy("reason", this.refused),
      ),
      counters(
        "ofc_edge_forwarded_total",
        "Requests that were sent upstream.",
        samplesBy("lane", this.forwarded),
      ),
      counters(
        "ofc_edge_handed_over_total",
        "Connections that the plain lane left to the full one.",
        samplesBy("reason", this.handedOver),
      ),
      counter("ofc_edge_retries_total", "Requests sent to a function a second time.", this.retries),
      counter("ofc_edge_ejections_total", "Replicas left alone for a while after failures.", this.ejections),
      counter(
        "ofc_edge_request_bytes_total",
        "Bytes of request bodies, tunnels included.",
        this.bytesReceived,
      ),
      counter("ofc_edge_response_bytes_total", "Bytes of answers' bodies, tunnels included.", this.bytesSent),
      gauge("ofc_edge_requests_in_flight", "Requests under way.", sources.requestsInFlight()),
      gauges("ofc_edge_client_connections", "Open client connections.", sources.clientConnections()),
      gauges("ofc_edge_upstream_connections", "Open upstream connections.", sources.upstreamConnections()),
      gauge("ofc_edge_replicas", "Replicas that requests were sent to.", sources.replicas()),
      gauge("ofc_edge_tunnels", "Open tunnels.", sources.tunnels()),
      counter(
        "ofc_edge_tunnels_revoked_total",
        "Tunnels ended, since who opened them may not any more.",
        this.tunnelsRevoked,
      ),
      counter(
        "ofc_edge_token_cache_hits_total",
        "Requests with a token whose verdict was remembered.",
        this.tokens.known,
      ),
      counter(
        "ofc_edge_token_cache_misses_total",
        "Requests with a token that had to be looked into.",
        this.tokens.verified,
      ),
      gauge(
        "ofc_edge_token_cache_entries",
        "Tokens whose verdict is remembered, good and bad.",
        sources.verdicts(),
      ),
      counter(
        "ofc_edge_usage_dropped_total",
        "Usage reports given up, since the control plane refused them for good.",
        this.usageDropped,
      ),
      counter(
        "ofc_edge_log_lines_dropped_total",
        "Log lines dropped, those of the access log first, since they could not be written as fast.",
        sources.logLinesDropped(),
      ),
    ].join("");
  }
}

function tlsMetrics({ listener, certificates: { set, rejections } }: TlsSources): string {
  return [
    gauge("ofc_edge_tls_handshakes", "TLS handshakes under way.", listener.handshakes),
    counters(
      "ofc_edge_tls_handshakes_failed_total",
      "Connections to the https port that did not become secure.",
      samplesBy("reason", listener.failures),
    ),
    gauge("ofc_edge_tls_certificates", "Certificates served.", set.certificates.length),
    gauge(
      "ofc_edge_tls_soonest_expiry_seconds",
      "When the first of the certificates served expires, as Unix time.",
      set.soonestExpiryMs / 1000,
    ),
    counter(
      "ofc_edge_tls_rejections_total",
      "Readings of the certificates' directory that found one of no use; they repeat while it lies there.",
      rejections,
    ),
  ].join("");
}

function gauge(name: string, help: string, value: number): string {
  return family(name, "gauge", help, [["", value]]);
}

function gauges(name: string, help: string, byLane: Readonly<Record<Lane, number>>): string {
  return family(name, "gauge", help, samplesBy("lane", byLane));
}

function counter(name: string, help: string, value: number): string {
  return counters(name, help, [["", value]]);
}

function counters(name: string, help: string, samples: readonly Sample[]): string {
  return family(name, "counter", help, samples);
}
