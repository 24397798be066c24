import { expect, test } from "vitest";
import { RateGate } from "../src/rate-gate.ts";

const TEN: { perS: number; burst: number } = { perS: 10, burst: 3 };

test("lets a burst through at once, then one at a time, and says how long to wait", () => {
  const gate = new RateGate();
  expect([1, 2, 3, 4].map(() => Math.round(gate.pass(TEN, 5_000)))).toEqual([0, 0, 0, 100]);
  expect(gate.pass(TEN, 5_099)).toBeCloseTo(1);
  expect(gate.pass(TEN, 5_100)).toBe(0);
  expect(gate.pass(TEN, 5_100)).toBeCloseTo(100);
});

test("saves up no more than a burst", () => {
  const gate = new RateGate();
  gate.pass(TEN, 0);
  expect([1, 2, 3, 4].filter(() => gate.pass(TEN, 1e9) === 0)).toHaveLength(3);
});

test("lets through what the rate allows, over a long time and at any phase", () => {
  for (const rate of [
    { perS: 3, burst: 2 },
    { perS: 1 / 60, burst: 2 },
    { perS: 977, burst: 50 },
  ]) {
    const gate = new RateGate();
    let passed = 0;
    const stepMs = 1000 / rate.perS / 7.3;
    const startMs = 1e7;
    const steps = 20_000;
    for (let i = 0; i < steps; i++) if (gate.pass(rate, startMs + i * stepMs) === 0) passed += 1;
    const allowed = rate.burst + (steps * stepMs * rate.perS) / 1000;
    expect(passed, JSON.stringify(rate)).toBeGreaterThan(allowed * 0.995 - 1);
    expect(passed, JSON.stringify(rate)).toBeLessThanOrEqual(allowed + 1);
  }
});

test("a rate that is raised owes nothing to the slower one", () => {
  const gate = new RateGate();
  const slow = { perS: 1 / 3600, burst: 10 };
  for (let i = 0; i < 10; i++) gate.pass(slow, 0);
  expect(gate.pass(slow, 0)).toBeGreaterThan(1_000_000);
  expect(gate.pass(TEN, 0)).toBeLessThanOrEqual(100);
  expect(gate.pass(TEN, 101)).toBe(0);
});
