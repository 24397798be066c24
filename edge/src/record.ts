import type { AccessLog } from "./access-log.ts";
import type { Downstream, Exchange } from "./exchange.ts";
import type { Records } from "./function-records.ts";
import type { Lane, Metrics } from "./metrics.ts";

export interface Recorder {
  readonly records: Records;
  readonly metrics: Metrics;
  readonly accessLog: AccessLog;
}

/** Writes one request down, when it is over: once for every request, whatever became of it. */
export function record(exchange: Exchange, recorder: Recorder): void {
  if (exchange.recorded) return;
  exchange.recorded = true;
  const durationMs = performance.now() - exchange.startedMs;
  if (!exchange.answered) exchange.reason ??= "client-gone";
  count(exchange, durationMs / 1000, recorder);
  const { status, reason } = exchange;
  if (!recorder.accessLog.wants(status, reason)) return;
  recorder.accessLog.write({
    requestId: exchange.requestId,
    address: exchange.downstream.address,
    scheme: exchange.downstream.scheme,
    lane: exchange.lane,
    method: exchange.method,
    host: hostOf(exchange),
    rawTarget: exchange.rawTarget,
    status,
    bytesReceived: exchange.bytesReceived,
    bytesSent: exchange.bytesSent,
    durationMs,
    route: exchange.route,
    upstream: exchange.upstream,
    reason,
    traceparent: exchange.head?.traceparent,
  });
}

/** What was refused before it was a request: only who sent it is known. */
export interface Broken {
  readonly requestId: string;
  readonly client: Downstream;
  readonly lane: Lane;
  readonly status: number;
}

/** Writes down what never became a request. */
export function recordBroken({ requestId, client, lane, status }: Broken, recorder: Recorder): void {
  const reason = "request-invalid";
  recorder.metrics.refused[reason] += 1;
  if (!recorder.accessLog.wants(status, reason)) return;
  recorder.accessLog.write({
    requestId,
    address: client.address,
    scheme: client.scheme,
    lane,
    method: "",
    host: undefined,
    rawTarget: "",
    status,
    bytesReceived: 0,
    bytesSent: 0,
    durationMs: 0,
    route: undefined,
    upstream: undefined,
    reason,
    traceparent: undefined,
  });
}

function count(exchange: Exchange, durationS: number, { metrics, records }: Recorder): void {
  const { route, usage, reason, bytesReceived, bytesSent } = exchange;
  usage?.end();
  const counted = usage ?? (route === undefined ? undefined : records.of(route));
  if (counted !== undefined) {
    counted.add(exchange.status, durationS);
    counted.addBytes(bytesReceived, bytesSent);
  }
  metrics.bytesReceived += bytesReceived;
  metrics.bytesSent += bytesSent;
  if (exchange.upstream !== undefined) metrics.forwarded[exchange.lane] += 1;
  if (reason !== undefined) metrics.refused[reason] += 1;
}

function hostOf({ target }: Exchange): string | undefined {
  return target === undefined || target.kind === "refused" ? undefined : target.host.name;
}
