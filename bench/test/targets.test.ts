import { must } from "@openfaas-cloud/shared/must.ts";
import { expect, test } from "vitest";
import { throughputFigures } from "../src/side-by-side.ts";
import { isMet, type Target, throughputTargets } from "../src/targets.ts";
import type { Measured } from "../src/throughput.ts";
import { CASES } from "../src/workload.ts";

function measured(comparator: string, name: string, requestsPerS: number): Measured {
  const asked = must(
    CASES.find((each) => each.name === name),
    `a case ${name}`,
  );
  const rest = { requestsPerCpuS: requestsPerS, loadCores: 0.5, p50Ms: 1, p99Ms: 2, spread: 0.1 };
  return { comparator, asked, requestsPerS, ...rest };
}

const RUN = [
  measured("direct", "get-100", 50_000),
  measured("ours", "get-100", 30_000),
  measured("ours-full-lane", "get-100", 11_000),
  measured("ours-100k-routes", "get-100", 29_700),
  measured("nginx", "get-100", 33_000),
  measured("http-proxy", "get-100", 5_040),
  measured("http-proxy-3", "get-100", 5_500),
  measured("ours", "get-10k", 24_000),
  measured("nginx", "get-10k", 30_000),
  measured("ours", "post-100", 15_000),
  measured("nginx", "post-100", 32_000),
  measured("ours", "get-100-signed-in", 29_000),
  measured("nginx-auth", "get-100-signed-in", 21_000),
];

test("everybody is compared to those who answer the same case, and to nobody else", () => {
  const figures = throughputFigures(RUN);
  expect(figures.find(({ table, name }) => table === "get-100" && name === "ours")?.values).toMatchObject({
    "req/s": 30_000,
    "÷ direct": 0.6,
    "÷ nginx": 30 / 33,
  });
  const signedIn = figures.find(({ table, name }) => table === "get-100-signed-in" && name === "ours");
  expect(signedIn?.values).toMatchObject({ "÷ nginx-auth": 29 / 21 });
  expect(signedIn?.values).not.toHaveProperty("÷ nginx");
});

test("each target has its ratio from the right pair", () => {
  const byName = new Map(
    throughputTargets(RUN, "requestsPerS").map((target) => [target.name, target.measured]),
  );
  expect(byName.get("÷ nginx")).toBeCloseTo(30 / 33);
  expect(byName.get("÷ nginx, ours with a session verified")).toBeCloseTo(29 / 33);
  expect(byName.get("÷ nginx with cached auth_request")).toBeCloseTo(29 / 21);
  expect(byName.get("÷ http-proxy")).toBeCloseTo(30_000 / 5_040);
  expect(byName.get("the full lane alone ÷ http-proxy")).toBeCloseTo(11_000 / 5_040);
  // http-proxy answers 5,040 where the original answers 5,300, or 2,900 behind its login.
  expect(byName.get("÷ original, public path (by way of http-proxy)")).toBeCloseTo(30_000 / 5_300);
  expect(byName.get("÷ original, protected path (by way of http-proxy)")).toBeCloseTo(29_000 / 2_900);
  expect(byName.get("get-10k: ÷ nginx, in proportion to get-100's")).toBeCloseTo(24 / 30 / (30 / 33));
  expect(byName.get("100,000 routes ÷ 10")).toBeCloseTo(0.99);
});

test("the original counts as it was measured, where it was started beside the others", () => {
  const run = [...RUN, measured("original", "get-100", 4_000)];
  const byName = new Map(
    throughputTargets(run, "requestsPerS").map((target) => [target.name, target.measured]),
  );
  expect(byName.get("÷ original, public path")).toBeCloseTo(30 / 4);
  expect(byName.get("÷ original, protected path")).toBeCloseTo(29_000 / ((4_000 * 2_900) / 5_300));
});

test("a ratio that falls behind for one kind of request is missed by it alone", () => {
  const missed = throughputTargets(RUN, "requestsPerS").filter((target) => !isMet(target));
  expect(missed.map(({ name }) => name)).toEqual([
    "÷ original, public path (by way of http-proxy)",
    "post-100: ÷ nginx, in proportion to get-100's",
  ]);
});

test.each<{ wanted: Target["wanted"]; value: number; met: boolean }>([
  { wanted: { atLeast: 2 }, value: 2, met: true },
  { wanted: { atLeast: 2 }, value: 1.99, met: false },
  { wanted: { atMost: 70 }, value: 70, met: true },
  { wanted: { atMost: 70 }, value: 70.1, met: false },
  { wanted: { atLeast: 2 }, value: Number.NaN, met: false },
  { wanted: { atMost: 2 }, value: Number.NaN, met: false },
])("wanted $wanted, measured $value: met is $met", ({ wanted, value, met }) => {
  expect(isMet({ name: "some", wanted, measured: value, unit: "×" })).toBe(met);
});
