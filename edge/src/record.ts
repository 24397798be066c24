import type { Exchange } from "./exchange.ts";
import type { Records } from "./function-records.ts";
import type { Logger } from "./logger.ts";
import type { Metrics } from "./metrics.ts";

export interface Recorder {
  readonly records: Records;
  readonly metrics: Metrics;
  readonly logger: Logger;
}

/** Writes one request down, when it is over: once for every request, whatever became of it. */
export function record(exchange: Exchange, recorder: Recorder): void {
  if (exchange.recorded) return;
  exchange.recorded = true;
  const durationMs = performance.now() - exchange.startedMs;
  if (!exchange.answered) exchange.reason ??= "client-gone";
  count(exchange, durationMs / 1000, recorder);
  if (!recorder.logger.isLevelEnabled("info")) return;
  recorder.logger.info({
    requestId: exchange.requestId,
    method: exchange.method,
    host: hostOf(exchange),
    path: pathOf(exchange),
    lane: exchange.lane,
    status: exchange.status,
    bytes: exchange.bytesSent,
    durationMs: Math.round(durationMs * 1000) / 1000,
    owner: exchange.route?.owner,
    function: exchange.route?.function,
    upstream: exchange.upstream,
    reason: exchange.reason,
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

/** Without the query, which may hold what nobody should keep. */
function pathOf({ rawTarget }: Exchange): string {
  return rawTarget.split("?", 1)[0] ?? "";
}
