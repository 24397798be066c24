import { join } from "node:path";
import type { UsageReport } from "@openfaas-cloud/shared/route.ts";
import { DURATION_BUCKETS_S } from "@openfaas-cloud/shared/route.ts";
import { describe, expect, it } from "vitest";
import { temporaryFolder } from "../../test/support/temporary-folder.ts";
import { openSqliteStore } from "../src/ports/store/sqlite.ts";
import { openEdgeUsage } from "../src/ports/usage-source/edge.ts";

const MINUTE = 60_000;

async function open() {
  const stack = new AsyncDisposableStack();
  const dir = stack.use(await temporaryFolder());
  const store = stack.adopt(await openSqliteStore(join(dir.path, "store.sqlite")), (it) => it.destroy());
  let now = 1000 * MINUTE;
  return {
    usage: openEdgeUsage(store, () => now),
    advance: (ms: number) => {
      now += ms;
    },
    [Symbol.asyncDispose]: () => stack.disposeAsync(),
  };
}

function report(sequence: number, codes: Record<string, number>): UsageReport {
  const durationCounts = [...DURATION_BUCKETS_S.map((_, i) => (i === 2 ? 4 : 0)), 1];
  return { edge: "e", sequence, functions: [{ functionId: "f", codes, durationSumS: 1.5, durationCounts }] };
}

describe("usage as edges report it", () => {
  it("adds up by minute", async () => {
    await using it = await open();
    await it.usage.record(report(0, { "200": 3 }));
    await it.usage.record(report(1, { "200": 2, "500": 1 }));
    it.advance(MINUTE);
    await it.usage.record(report(2, { "404": 1 }));
    expect(await it.usage.minutes("f", 0)).toMatchObject([
      { minute: 1000, codes: { "200": 5, "500": 1 }, durationSumS: 3 },
      { minute: 1001, codes: { "404": 1 } },
    ]);
    const [first] = await it.usage.minutes("f", 0);
    expect(first?.durationCounts[2]).toBe(8);
    expect(first?.durationCounts.at(-1)).toBe(2);
    expect(await it.usage.totals(["f", "absent"], 1001)).toEqual(new Map([["f", 1]]));
    expect(await it.usage.totals(["f"], 0)).toEqual(new Map([["f", 7]]));
  });

  it("counts a report that is sent twice once", async () => {
    await using it = await open();
    await it.usage.record(report(0, { "200": 3 }));
    await it.usage.record(report(0, { "200": 3 }));
    expect(await it.usage.totals(["f"], 0)).toEqual(new Map([["f", 3]]));
  });

  it("forgets what is older than a day and an hour", async () => {
    await using it = await open();
    await it.usage.record(report(0, { "200": 3 }));
    it.advance(26 * 60 * MINUTE);
    await it.usage.record(report(1, { "200": 1 }));
    expect(await it.usage.totals(["f"], 0)).toEqual(new Map([["f", 1]]));
  });
});
