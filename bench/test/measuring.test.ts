import { expect, test } from "vitest";
import { parseWrk } from "../src/load/wrk.ts";
import { parseStat } from "../src/process-use.ts";
import { ownTimes } from "../src/profile.ts";
import { median, rank } from "../src/quantiles.ts";
import { reportForPeople, reportForPrograms } from "../src/report.ts";

const WRK_OUTPUT = `Running 1s test @ http://127.0.0.1:1/fn/100
  1 threads and 64 connections
Requests/sec:   9999.00
result: {"requests":1000,"durationUs":500000,"wrong":0,"firstWrong":"","errors":{"connect":0,"read":0,"write":0,"timeout":0},"p50Us":250,"p99Us":1500}
`;

test("what wrk measured is read from the line that our script prints", () => {
  expect(parseWrk(WRK_OUTPUT)).toEqual({ requestsPerS: 2000, p50Ms: 0.25, p99Ms: 1.5, failures: [] });
});

test.each([
  {
    what: "wrong answers",
    from: '"wrong":0,"firstWrong":""',
    to: '"wrong":3,"firstWrong":"502 with 11 bytes"',
  },
  { what: "read errors", from: '"read":0', to: '"read":2' },
  { what: "timeouts", from: '"timeout":0', to: '"timeout":1' },
  { what: "no answers", from: '"requests":1000', to: '"requests":0' },
])("$what are failures", ({ from, to }) => {
  expect(parseWrk(WRK_OUTPUT.replace(from, to)).failures).toHaveLength(1);
});

test("an output without a result is refused with what was printed", () => {
  expect(() => parseWrk("unable to connect to 127.0.0.1:1")).toThrow(/unable to connect/);
});

test("quantiles by nearest rank are values that were measured", () => {
  const sorted = Array.from({ length: 199 }, (_, i) => i + 1);
  expect([0, 0.5, 0.99, 1].map((share) => rank(sorted, share))).toEqual([1, 100, 198, 199]);
  expect(rank([], 0.5)).toBeNaN();
});

test("the median does not depend on the order, and lies between the middle two", () => {
  expect(median([9, 1, 5])).toBe(5);
  expect(median([8, 1, 2, 4])).toBe(3);
  expect(median([])).toBeNaN();
});

test("processor time is read of a process whatever its name is", () => {
  const rest = `S 7 1 1 0 -1 4194304 100 0 0 0 250 50 30 20 20 0 1 0 5 1000 10 ${"0 ".repeat(30)}`;
  expect(parseStat(`42 (a (strange) name) ${rest}`)).toEqual({
    cpuS: 3,
    endedChildrenCpuS: 0.5,
  });
});

test("a profile tells each function's own part of the busy time, waiting aside", () => {
  const frame = (functionName: string, url = "") => ({ functionName, url, lineNumber: 9 });
  const profile = {
    nodes: [
      { id: 1, callFrame: frame("(idle)") },
      { id: 2, callFrame: frame("serve", "file:///somewhere/edge/src/handle-request.ts") },
      { id: 3, callFrame: frame("", "node:internal/timers") },
      // The same function, called by another one.
      { id: 4, callFrame: frame("serve", "file:///somewhere/edge/src/handle-request.ts") },
    ],
    samples: [1, 2, 3, 4],
    timeDeltas: [1000, 50, 25, 25],
  };
  const [first, second] = ownTimes(JSON.stringify(profile));
  expect(first).toEqual({ place: "serve edge/src/handle-request.ts:10", percent: 75 });
  expect(second?.percent).toBe(25);
});

const REPORT = {
  bench: "some",
  figures: [
    { table: "case", name: "one", unit: "count", values: { "req/s": 1000, ratio: 0.5 } },
    { table: "case", name: "another", unit: "count", values: { "req/s": 2, ratio: Number.NaN } },
    { name: "target", unit: "ms", values: { measured: 3 }, aim: "≤ 2 ms", met: false },
  ],
  failures: ["one: 3 wrong answers"],
} as const;

test("a report has its tables with columns below each other, what was missed, and what failed", () => {
  const lines = reportForPeople(REPORT).split("\n");
  expect(lines).toContain("  case     req/s  ratio");
  expect(lines).toContain("  one       1000   0.50");
  expect(lines).toContain("  another      2      –");
  expect(lines).toContain("  target  measured 3 ms   aim: ≤ 2 ms   MISSED");
  expect(lines).toContain("    one: 3 wrong answers");
});

test("a report for programs is one line", () => {
  const text = reportForPrograms(REPORT);
  expect(text.indexOf("\n")).toBe(text.length - 1);
  expect(JSON.parse(text)).toMatchObject({ bench: "some", failures: ["one: 3 wrong answers"] });
});
