import { Secret } from "@openfaas-cloud/shared/env.ts";
import { expect, test } from "vitest";
import { Records } from "../src/function-records.ts";
import { RouteTable } from "../src/route-table.ts";
import { UsageReporter } from "../src/usage-report.ts";
import { CREDENTIAL, FeedServer, route, snapshotOf } from "./support/feed-server.ts";
import { deadUrl, quiet, until } from "./support/servers.ts";

const hello = route("alice/hello", []);
const gone = route("alice/gone", []);

function reporter(origin: string, records: Records) {
  let dropped = 0;
  const usage = new UsageReporter({
    origin,
    credential: new Secret(CREDENTIAL),
    edgeId: "e",
    records,
    table: () => RouteTable.fromSnapshot(snapshotOf([hello])),
    logger: quiet,
    onDropped: () => {
      dropped += 1;
    },
    everyMs: 10,
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
  await until(() => !records.render().includes("gone.alice"), "the record to go");
  expect(records.render()).toContain("hello.alice");
});
