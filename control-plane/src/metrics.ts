import { Counter, collectDefaultMetrics, Gauge, Histogram, Registry } from "prom-client";

export const registry = new Registry();
collectDefaultMetrics({ register: registry });

export const queueDepth = new Gauge({
  name: "ofc_queue_depth",
  help: "Runs that wait or are under way.",
  labelNames: ["state"],
  registers: [registry],
});

export const runsFinished = new Counter({
  name: "ofc_runs_total",
  help: "Runs that ended, by how.",
  labelNames: ["state"],
  registers: [registry],
});

export const runDuration = new Histogram({
  name: "ofc_run_duration_seconds",
  help: "From the start of a run to its end.",
  labelNames: ["state"],
  buckets: [0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300, 600, 1200],
  registers: [registry],
});

export const stageDuration = new Histogram({
  name: "ofc_stage_duration_seconds",
  help: "Duration of a stage, for one function where a stage has one each.",
  labelNames: ["stage", "state"],
  buckets: [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300, 600],
  registers: [registry],
});

export const commitReports = new Counter({
  name: "ofc_commit_reports_total",
  help: "Reports to source hosts: taken, refused for good, or failed and tried again.",
  labelNames: ["result"],
  registers: [registry],
});

export const routePropagation = new Histogram({
  name: "ofc_route_propagation_seconds",
  help: "From publishing a route change to the last connected edge's confirmation.",
  buckets: [
    0.001, 0.002, 0.003, 0.004, 0.005, 0.006, 0.008, 0.01, 0.0125, 0.015, 0.0175, 0.02, 0.025, 0.03, 0.04,
    0.05, 0.075, 0.1, 0.25, 0.5, 1, 5,
  ],
  registers: [registry],
});

export const routeTableVersion = new Gauge({
  name: "ofc_route_version",
  help: "Version of the route table that edges are told.",
  registers: [registry],
});

export const routeTableSize = new Gauge({
  name: "ofc_routes",
  help: "Routes in the table.",
  registers: [registry],
});

export const edgesConnected = new Gauge({
  name: "ofc_edges_connected",
  help: "Edges that listen to the route feed.",
  registers: [registry],
});

export const edgeRouteVersion = new Gauge({
  name: "ofc_edge_confirmed_route_version",
  help: "Lowest version of the route table that a connected edge has confirmed.",
  registers: [registry],
});

export const deliveriesReceived = new Counter({
  name: "ofc_deliveries_received_total",
  help: "Requests that claim to be deliveries, by what was answered: stored, duplicate, or why it was refused.",
  labelNames: ["endpoint", "answer"],
  registers: [registry],
});

export const deliveriesWorkedOff = new Counter({
  name: "ofc_deliveries_worked_off_total",
  help: "Deliveries that came to their end, by how.",
  labelNames: ["state"],
  registers: [registry],
});

export const deliveriesWaiting = new Gauge({
  name: "ofc_deliveries_waiting",
  help: "Deliveries that are stored and not worked off.",
  registers: [registry],
});

export const removalsHeld = new Gauge({
  name: "ofc_removals_held",
  help: "Repositories that a source host says are gone and that stay, since they are too many at once, until an operator confirms.",
  registers: [registry],
});

export const sourceHostUp = new Gauge({
  name: "ofc_source_host_up",
  help: "1 where the last reading of the source host was complete, else 0.",
  labelNames: ["host"],
  registers: [registry],
});

export const sourceHostRead = new Gauge({
  name: "ofc_source_host_last_reading_timestamp_seconds",
  help: "When the source host was last read completely.",
  labelNames: ["host"],
  registers: [registry],
});
