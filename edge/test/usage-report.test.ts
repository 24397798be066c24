import { Secret } from "@openfaas-cloud/shared/env.ts";
import { expect, test } from "vitest";
import { Records } from "../src/function-records.ts";
import { RouteTable } from "../src/route-table.ts";
import { UsageReporter } from "../src/usage-report.ts";
import { CREDENTIAL, FeedServer, route, snapshotOf } from "./support/feed-server.ts";
import { deadUrl, quiet, until } from "./support/servers.ts";

const hello = route("alice/hello", []);
const gone = route("alice/gone", []);

function reporter(origin: string, records: Records, routes = [hello], everyMs = 10) {
  let dropped = 0;
  const table = RouteTable.fromSnapshot(snapshotOf(routes));
  const usage = new UsageReporter({
    origin,
    credential: new Secret(CREDENTIAL),
    edgeId: "e",
    records,
    table: () => table,
    logger: quiet,
    onDropped: () => {
      dropped += 1;
    },
    everyMs,
  });
  return { dropped: () => dropped, [Symbol.asyncDispose]: () => usage[Symbol.asyncDispose]() };
}

test("a report that is refused for what it says is dropped and counted, and the next one goes out", async () => {
  await using feed = await new FeedServer([]).listen();
  feed.usageStatus = 400;
  const records = new Records();
  records.of(hello).add(200, 0.1);
  await using usage = reporter(feed.origin, records);
  await until(() => feed.usage.length >= 1, "the report that is refused");
  feed.usageStatus = 204;
  records.of(hello).add(503, 0.1);
  await until(() => feed.usage.some(({ sequence }) => sequence === 1), "the one after it");
  expect(feed.usage.map(({ sequence, functions }) => [sequence, functions[0]?.codes])).toEqual([
    [0, { 200: 1 }],
    [1, { 503: 1 }],
  ]);
  expect(usage.dropped()).toBe(1);
});

test.each([401, 408, 429, 500, 503])("a report answered %i is sent again as it was", async (status) => {
  await using feed = await new FeedServer([]).listen();
  feed.usageStatus = status;
  const records = new Records();
  records.of(hello).add(200, 0.1);
  await using usage = reporter(feed.origin, records);
  await until(() => feed.usage.length >= 3, "repetitions");
  expect(new Set(feed.usage.map((report) => JSON.stringify(report))).size).toBe(1);
  expect(usage.dropped()).toBe(0);
});

test("functions without a route are forgotten though nobody takes reports", async () => {
  const records = new Records();
  records.of(hello).add(200, 0.1);
  records.of(gone).add(200, 0.1);
  await using _usage = reporter(await deadUrl(), records);
  await until(() => records.all().every((record) => record.function !== "gone"), "the record to go");
  expect(records.all().map((record) => record.function)).toEqual(["hello"]);
});

test("what many functions did is told in several reports, each a thousand functions at most and with its own sequence", async () => {
  await using feed = await new FeedServer([]).listen();
  feed.usageStatus = 503;
  const records = new Records();
  const many = Array.from({ length: 2_500 }, (_, i) => route(`alice/f-${i}`, []));
  for (const each of many) records.of(each).add(200, 0.1);
  await using _usage = reporter(feed.origin, records, many);
  await until(() => feed.usage.length >= 2, "a report and its repetition");
  // Counted while the first report is under way again and again: that one stays as it was.
  for (const each of many) records.of(each).add(404, 1);
  feed.usageStatus = 204;
  const bySequence = (): Map<number, (typeof feed.usage)[number]> =>
    new Map(feed.usage.map((report) => [report.sequence, report]));
  const totals = () => {
    const told = [...bySequence().values()].flatMap(({ functions }) => functions);
    const sum = (numbers: number[]): number => numbers.reduce((total, n) => total + n, 0);
    return {
      ok: sum(told.map(({ codes }) => codes["200"] ?? 0)),
      absent: sum(told.map(({ codes }) => codes["404"] ?? 0)),
      durations: sum(told.flatMap(({ durationCounts }) => durationCounts)),
      seconds: sum(told.map(({ durationSumS }) => durationSumS)),
    };
  };
  await until(() => totals().absent === many.length, "everything");
  expect(totals()).toEqual({
    ok: 2_500,
    absent: 2_500,
    durations: 5_000,
    seconds: expect.closeTo(2_750, 6),
  });
  expect(Math.max(...feed.usage.map(({ functions }) => functions.length))).toBe(1_000);
  expect([...bySequence().keys()]).toEqual(Array.from({ length: bySequence().size }, (_, i) => i));
  const first = feed.usage.filter(({ sequence }) => sequence === 0).map((report) => JSON.stringify(report));
  expect(new Set(first).size).toBe(1);
});

test("at the end everything is told, however many functions it is about", async () => {
  await using feed = await new FeedServer([]).listen();
  const records = new Records();
  {
    await using _usage = reporter(feed.origin, records);
    for (let i = 0; i < 3_500; i++) records.of(route(`alice/f-${i}`, [])).add(200, 0.1);
  }
  const told = feed.usage.flatMap(({ functions }) => functions.map(({ functionId }) => functionId));
  expect(new Set(told).size).toBe(3_500);
  expect(told.length).toBe(3_500);
});

test.each(["its last words", "a report under way"])(
  "at the end a control plane that accepts and does not answer is not waited for long, for %s",
  async (what) => {
    await using feed = await new FeedServer([]).listen();
    feed.usageStatus = undefined;
    const records = new Records();
    records.of(hello).add(200, 0.1);
    // Its first round is far off, or has begun.
    const usage = reporter(feed.origin, records, [hello], what === "its last words" ? 60_000 : 10);
    if (what === "a report under way") await until(() => feed.heldReports === 1, "the report");
    const startedMs = performance.now();
    await usage[Symbol.asyncDispose]();
    expect(performance.now() - startedMs).toBeLessThan(1_500);
    expect(feed.usage).toHaveLength(1);
  },
);
