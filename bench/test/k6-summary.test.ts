import { expect, test } from "vitest";
import { readSummary } from "../src/k6/summary.ts";

interface Crossed {
  readonly failed?: boolean;
  readonly wrong?: number;
}

/** As k6 1.8 writes it, shortened. */
function summary({ failed = false, wrong = 0 }: Crossed = {}): string {
  const trend = { min: 0.1, med: 0.5, "p(95)": 2, "p(99)": 9, max: 20 };
  return JSON.stringify({
    root_group: {
      name: "",
      checks: { "answered 200": { name: "answered 200", passes: 100 - wrong, fails: wrong } },
    },
    metrics: {
      http_reqs: { count: 100, rate: 50 },
      iterations: { count: 100, rate: 50 },
      dropped_iterations: { count: 3, rate: 1 },
      http_req_duration: trend,
      "http_req_duration{expected_response:true}": trend,
      http_req_waiting: trend,
      http_req_failed: { passes: failed ? 4 : 0, fails: 96, value: 0, thresholds: { "rate==0": failed } },
      checks: { passes: 100 - wrong, fails: wrong, value: 1, thresholds: { "rate==1": wrong > 0 } },
      upload: trend,
      socket_errors: { count: 7, rate: 1 },
      vus: { value: 64, min: 64, max: 64 },
    },
  });
}

test("counts, the rate, and quantiles of requests and of a script's own trends are read", () => {
  const { figures, failures } = readSummary(summary(), "mixed");
  expect(failures).toEqual([]);
  expect(figures.map(({ name, values, met }) => ({ name, values, met }))).toEqual([
    {
      name: "mixed",
      values: {
        requests: 100,
        iterations: 100,
        "not sent in time": 3,
        "socket errors": 7,
        "req/s": 50,
        failed: 0,
      },
      met: true,
    },
    {
      name: "mixed: requests",
      values: { "p50 ms": 0.5, "p95 ms": 2, "p99 ms": 9, "max ms": 20 },
      met: undefined,
    },
    {
      name: "mixed: upload",
      values: { "p50 ms": 0.5, "p95 ms": 2, "p99 ms": 9, "max ms": 20 },
      met: undefined,
    },
  ]);
});

test("a threshold that was crossed and a check that failed are failures of the run", () => {
  expect(readSummary(summary({ failed: true }), "mixed").failures).toEqual([
    "mixed: http_req_failed is not rate==0",
  ]);
  const { figures, failures } = readSummary(summary({ wrong: 2 }), "mixed");
  expect(failures).toEqual(["mixed: checks is not rate==1", "mixed: 2 of 100 not answered 200"]);
  expect(figures[0]?.met).toBe(false);
});
