import { Counter, collectDefaultMetrics, Gauge, Registry } from "prom-client";
import type { Records } from "./function-records.ts";
import { REJECT_REASONS } from "./route-feed/route-feed.ts";
import type { RouteTable } from "./route-table.ts";

/** What only others know, asked for at each scrape. */
export interface MetricSources {
  readonly records: Records;
  readonly table: () => RouteTable | undefined;
  readonly feedConnected: () => boolean;
  readonly clientConnections: () => number;
  readonly requestsInFlight: () => number;
  readonly verdicts: () => number;
}

/**
 * Everything this edge counts. What happens for every request is a plain number here or in record.ts; label values come from
 * fixed sets and from the route table, never from a client.
 */
export class Metrics {
  /** When the table was replaced last, by the wall clock. */
  tableReplacedAtMs: number | undefined;
  readonly #registry = new Registry();
  readonly #records: Records;

  readonly refused = new Counter({
    name: "ofc_edge_refused_total",
    help: "Requests that ended without a whole answer from upstream.",
    labelNames: ["reason"],
    registers: [this.#registry],
  });
  readonly feedRejected = new Counter({
    name: "ofc_edge_feed_rejected_total",
    help: "Route feed messages not adopted.",
    labelNames: ["reason"],
    registers: [this.#registry],
  });
  readonly retries = new Counter({
    name: "ofc_edge_retries_total",
    help: "Requests sent to a function a second time.",
    registers: [this.#registry],
  });
  readonly ejections = new Counter({
    name: "ofc_edge_ejections_total",
    help: "Replicas left alone for a while after failures.",
    registers: [this.#registry],
  });

  readonly tunnelsRevoked = new Counter({
    name: "ofc_edge_tunnels_revoked_total",
    help: "Tunnels ended, since who opened them may not any more.",
    registers: [this.#registry],
  });
  readonly usageDropped = new Counter({
    name: "ofc_edge_usage_dropped_total",
    help: "Usage reports given up, since the control plane refused them for good.",
    registers: [this.#registry],
  });

  constructor(sources: MetricSources) {
    this.#records = sources.records;
    for (const reason of REJECT_REASONS) this.feedRejected.inc({ reason }, 0);
    const gauge = (name: string, help: string, value: () => number): Gauge =>
      new Gauge({
        name,
        help,
        registers: [this.#registry],
        collect() {
          this.set(value());
        },
      });
    gauge("ofc_edge_route_version", "Version of the route table.", () => sources.table()?.version ?? 0);
    gauge("ofc_edge_routes", "Routes in the table.", () => sources.table()?.size ?? 0);
    gauge("ofc_edge_route_age_seconds", "Time since the route table was replaced.", () =>
      this.tableReplacedAtMs === undefined ? 0 : (Date.now() - this.tableReplacedAtMs) / 1000,
    );
    gauge("ofc_edge_feed_connected", "1 while the route feed is open.", () =>
      sources.feedConnected() ? 1 : 0,
    );
    gauge("ofc_edge_requests_in_flight", "Requests under way.", sources.requestsInFlight);
    gauge("ofc_edge_token_verdicts", "Tokens whose verdict is remembered, good and bad.", sources.verdicts);
    gauge("ofc_edge_client_connections", "Open client connections.", sources.clientConnections);
    collectDefaultMetrics({ register: this.#registry });
  }

  async render(): Promise<string> {
    return `${await this.#registry.metrics()}\n${this.#records.render()}`;
  }
}
