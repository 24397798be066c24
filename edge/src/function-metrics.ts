import { DURATION_BUCKETS_S } from "@openfaas-cloud/shared/route.ts";
import { familyHead } from "./exposition.ts";
import type { FunctionRecord } from "./function-records.ts";

/** So much text is made in one turn, and no more: 100,000 functions are more than 100 MB of it. */
const PIECE_CHARACTERS = 32 * 1024;

/** Every other one of the bounds that are counted by: all of them would not leave a function series for its codes. */
const RENDERED_BUCKETS = DURATION_BUCKETS_S.flatMap((bound, i) => (i % 2 === 0 ? [{ bound, i }] : []));

interface Family {
  readonly name: string;
  readonly type: "counter" | "gauge" | "histogram";
  readonly help: string;
  readonly lines: (record: FunctionRecord) => string;
}

/**
 * Under the names of OpenFaaS's gateway where it has one: boards that know `function_name` and `code` show this edge. A
 * function is `<function>.<owner>` there. Without `code` at the durations, as OpenFaaS documents them: the boards divide sum
 * by count.
 */
const FAMILIES: readonly Family[] = [
  {
    name: "gateway_function_invocation_total",
    type: "counter",
    help: "Function invocations.",
    lines: ({ label, codes, counts }) => {
      let lines = "";
      for (let i = 0; i < codes.length && codes[i] !== 0; i++) {
        lines += `gateway_function_invocation_total{${label},code="${codes[i]}"} ${counts[i]}\n`;
      }
      return lines;
    },
  },
  {
    name: "gateway_function_invocation_started",
    type: "counter",
    help: "Function invocations, those under way included.",
    lines: ({ label, started }) => `gateway_function_invocation_started{${label}} ${started}\n`,
  },
  {
    name: "gateway_function_invocation_inflight",
    type: "gauge",
    help: "Function invocations under way, tunnels included.",
    lines: ({ label, underWay }) => `gateway_function_invocation_inflight{${label}} ${underWay}\n`,
  },
  {
    name: "gateway_functions_seconds",
    type: "histogram",
    help: "Function time taken.",
    lines: durationLines,
  },
  {
    name: "ofc_edge_function_request_bytes_total",
    type: "counter",
    help: "Bytes of request bodies and of what clients sent through tunnels.",
    lines: ({ label, bytesReceived }) => `ofc_edge_function_request_bytes_total{${label}} ${bytesReceived}\n`,
  },
  {
    name: "ofc_edge_function_response_bytes_total",
    type: "counter",
    help: "Bytes of answers' bodies and of what clients were sent through tunnels.",
    lines: ({ label, bytesSent }) => `ofc_edge_function_response_bytes_total{${label}} ${bytesSent}\n`,
  },
];

/** Everything that is counted for these functions, in pieces that are each soon made. */
export function* functionMetrics(records: readonly FunctionRecord[]): Generator<string> {
  let piece = "";
  for (const { name, type, help, lines } of FAMILIES) {
    piece += familyHead(name, type, help);
    for (const record of records) {
      piece += lines(record);
      if (piece.length < PIECE_CHARACTERS) continue;
      yield piece;
      piece = "";
    }
  }
  yield piece;
}

function durationLines({ label, durationCounts, durationSumS }: FunctionRecord): string {
  let lines = "";
  let cumulated = 0;
  let from = 0;
  for (const { bound, i } of RENDERED_BUCKETS) {
    for (; from <= i; from++) cumulated += durationCounts[from] ?? 0;
    lines += `gateway_functions_seconds_bucket{${label},le="${bound}"} ${cumulated}\n`;
  }
  for (; from < durationCounts.length; from++) cumulated += durationCounts[from] ?? 0;
  return (
    `${lines}gateway_functions_seconds_bucket{${label},le="+Inf"} ${cumulated}\n` +
    `gateway_functions_seconds_sum{${label}} ${durationSumS}\n` +
    `gateway_functions_seconds_count{${label}} ${cumulated}\n`
  );
}
