import type { Route } from "@openfaas-cloud/shared/route.ts";
import { digestOf } from "@openfaas-cloud/shared/route-digest.ts";
import { describe, expect, test } from "vitest";
import { judgeStored, Receiver } from "../src/route-feed/route-feed.ts";
import { RouteTable } from "../src/route-table.ts";
import { NO_KEYS, route, snapshotOf } from "./support/feed-server.ts";
import { loopback } from "./support/servers.ts";

const a = route("alice/a", ["http://127.0.0.1:1"]);
const b = route("alice/b", ["http://127.0.0.1:2"]);
const c = route("bob/c", ["http://127.0.0.1:3"]);

function changeOf(version: number, after: Route[], what: { upserts?: Route[]; removals?: Route[] }) {
  return {
    kind: "change",
    version,
    checksum: digestOf(NO_KEYS, after).hex(),
    upserts: what.upserts ?? [],
    removals: (what.removals ?? []).map(({ owner, function: name }) => ({ owner, function: name })),
  };
}

describe("a table", () => {
  test("finds a route by owner and function, and keeps `a`/`b-c` apart from `a-b`/`c`", () => {
    const one = route("a/b-c", ["http://127.0.0.1:1"]);
    const two = route("a-b/c", ["http://127.0.0.1:2"]);
    const table = RouteTable.fromSnapshot(snapshotOf([one, two]));
    expect(table.find("a", "b-c")).toBe(one);
    expect(table.find("a-b", "c")).toBe(two);
    expect(table.find("a", "c")).toBeUndefined();
    expect(table.find("__proto__", "constructor")).toBeUndefined();
  });

  test("changed is another table; the one before stays as it was, and untouched owners are shared", () => {
    const before = RouteTable.fromSnapshot(snapshotOf([a, b, c]));
    const moved = { ...a, revision: "r2" };
    const after = before.withChange({ version: 2, upserts: [moved], removals: [b] });
    expect(before.find("alice", "a")).toBe(a);
    expect(before.find("alice", "b")).toBe(b);
    expect(after.find("alice", "a")).toBe(moved);
    expect(after.find("alice", "b")).toBeUndefined();
    expect(after.findOwner("bob")).toBe(before.findOwner("bob"));
    expect([before.size, after.size]).toEqual([3, 2]);
    expect(after.checksum).toBe(digestOf(NO_KEYS, [moved, c]).hex());
  });

  test("forgets an owner with the last function", () => {
    const table = RouteTable.fromSnapshot(snapshotOf([a, c])).withChange({
      version: 2,
      upserts: [],
      removals: [c],
    });
    expect(table.findOwner("bob")).toBeUndefined();
    expect([...table.owners()]).toEqual(["alice"]);
  });
});

describe("a receiver", () => {
  function receiver(): Receiver {
    return new Receiver(() => undefined, loopback);
  }

  test("applies a snapshot and the changes that follow it", async () => {
    const it = receiver();
    expect((await it.receive(snapshotOf([a]))).kind).toBe("applied");
    expect((await it.receive(changeOf(2, [a, b], { upserts: [b] }))).kind).toBe("applied");
    expect((await it.receive({ kind: "heartbeat", version: 2 })).kind).toBe("heartbeat");
    expect(it.table?.version).toBe(2);
    expect(it.table?.find("alice", "b")).toEqual(b);
  });

  test("knows a snapshot of what it serves", async () => {
    const it = receiver();
    await it.receive(snapshotOf([a]));
    const table = it.table;
    expect((await it.receive(snapshotOf([a]))).kind).toBe("current");
    expect(it.table).toBe(table);
  });

  function routesOf(count: number): Route[] {
    return Array.from({ length: count }, (_, i) => route(`bob/f${i}`, []));
  }

  const many = Array.from({ length: 20 }, (_, i) => route(`alice/f${i}`, ["http://127.0.0.1:1"]));
  test.each<[string, string, (served: Receiver) => unknown]>([
    ["a change that skips a version", "gap", () => changeOf(9, [...many, a], { upserts: [a] })],
    ["a change sent again", "gap", () => changeOf(5, many, {})],
    ["a change with a wrong checksum", "checksum", () => changeOf(6, [a], { upserts: [b] })],
    ["a heartbeat of another version", "gap", () => ({ kind: "heartbeat", version: 7 })],
    [
      "a snapshot with a wrong checksum",
      "checksum",
      () => ({ ...snapshotOf(many, { version: 6 }), checksum: "0".repeat(64) }),
    ],
    ["an older snapshot", "stale", () => snapshotOf(many, { version: 4 })],
    ["an empty snapshot", "collapse", () => snapshotOf([], { version: 6 })],
    ["a snapshot less than half as large", "collapse", () => snapshotOf(many.slice(0, 9), { version: 6 })],
    ["a collapse in a new epoch", "collapse", () => snapshotOf([], { version: 1, epoch: "epoch-2" })],
    [
      "a snapshot of 10,001 routes after one of twenty",
      "collapse",
      () => snapshotOf(routesOf(10_001), { version: 6 }),
    ],
    ["duplicate routes", "checksum", () => snapshotOf([...many, many[0] ?? a], { version: 6 })],
    [
      "a route without limits",
      "schema",
      () => ({ ...snapshotOf(many, { version: 6 }), routes: [{ ...a, limits: undefined }] }),
    ],
    [
      "an upstream that is no URL",
      "schema",
      () => snapshotOf([{ ...a, upstreams: [{ id: "x", url: "javascript:1" }] }], { version: 6 }),
    ],
    ["JSON of another shape", "schema", () => ({ items: [] })],
    ["what was not JSON", "schema", () => undefined],
  ])("refuses %s as %s and serves on", async (_what, reason, message) => {
    const it = receiver();
    await it.receive(snapshotOf(many, { version: 5 }));
    const served = it.table;
    expect(await it.receive(message(it))).toMatchObject({ kind: "rejected", reason });
    expect(it.table).toBe(served);
  });

  test("lets a collapse through that an operator forced, and any loss of small tables", async () => {
    const it = receiver();
    await it.receive(snapshotOf(many));
    expect((await it.receive(snapshotOf([a], { version: 2, forced: true }))).kind).toBe("applied");
    expect((await it.receive(snapshotOf(many.slice(0, 9), { version: 3 }))).kind).toBe("applied");
    expect((await it.receive(snapshotOf([], { version: 4 }))).kind).toBe("applied");
  });

  test.each<[number, number]>([
    [0, 10],
    [5, 11],
    [20, 10_000],
    [6_000, 12_000],
  ])("lets a table of %i grow to %i, since that takes a route from nobody", async (before, after) => {
    const it = receiver();
    await it.receive(snapshotOf(routesOf(before)));
    const grown = snapshotOf(routesOf(after), { version: 1, epoch: "epoch-2" });
    expect((await it.receive(grown)).kind).toBe("applied");
    expect(it.table?.size).toBe(after);
  });

  test("takes a change of 500 routes, and refuses a larger one before it looks at any of them", async () => {
    const it = receiver();
    await it.receive(snapshotOf(many));
    const added = routesOf(500);
    expect((await it.receive(changeOf(2, [...many, ...added], { upserts: added }))).kind).toBe("applied");
    let looked = 0;
    const watched = new Proxy(a, { get: () => (looked += 1) });
    const tooMany = Array.from({ length: 501 }, () => watched);
    const before = it.table;
    for (const what of [{ upserts: tooMany }, { removals: tooMany }]) {
      const message = { ...changeOf(3, [], {}), ...what };
      expect(await it.receive(message)).toEqual({ kind: "rejected", reason: "schema" });
    }
    expect(looked).toBe(0);
    expect(it.table).toBe(before);
  });

  test("does not take a change for a collapse, since it was made from the table that is served", async () => {
    const it = receiver();
    await it.receive(snapshotOf(many));
    expect((await it.receive(changeOf(2, [], { removals: many }))).kind).toBe("applied");
    expect(it.table?.size).toBe(0);
  });

  test("judges a large snapshot between other work, and replaces the table in one step", async () => {
    const it = receiver();
    await it.receive(snapshotOf(many));
    const sizes = new Set<number | undefined>();
    let turns = 0;
    let judged = false;
    const watch = (): void => {
      turns += 1;
      sizes.add(it.table?.size);
      if (!judged) setImmediate(watch);
    };
    setImmediate(watch);
    await it.receive(snapshotOf(routesOf(5_000), { version: 2 }));
    judged = true;
    expect(turns).toBeGreaterThan(10);
    expect([...sizes]).toEqual([20]);
    expect(it.table?.size).toBe(5_000);
  });
});

/** As an edge before rates wrote it. */
const STORED =
  '{"kind":"snapshot","epoch":"epoch-1","version":1,' +
  '"checksum":"a3f9a3a1e513b5879b8d2633fde902028de69eff7e294a293f7a967d3b205f96","forced":false,"routes":[' +
  '{"owner":"alice","function":"hello","functionId":"id-alice-hello","revision":"r1","access":"public",' +
  '"upstreams":[{"id":"replica-1","url":"http://127.0.0.1:1"}],' +
  '"limits":{"maxBodyBytes":10485760,"maxConcurrency":1000,"firstByteMs":60000,"totalMs":120000}},' +
  '{"owner":"bob","function":"x","functionId":"id-bob-x","revision":"r1","access":"members","upstreams":[],' +
  '"limits":{"maxBodyBytes":10485760,"maxConcurrency":1000,"firstByteMs":60000,"totalMs":120000}}],' +
  '"settings":{"keys":[],"revoked":[],"listOwners":false}}';

test("a table stored before limits had a rate is as whole as one with rates", () => {
  expect(judgeStored(JSON.parse(STORED), loopback)).toMatchObject({ size: 2 });
  const limited = route("alice/a", [], { limits: { rate: { perS: 0.5, burst: 3 } } });
  const stored = judgeStored(JSON.parse(JSON.stringify(snapshotOf([limited]))), loopback);
  if (!(stored instanceof RouteTable)) throw new Error(stored.reason);
  expect(stored.find("alice", "a")?.limits.rate).toEqual({ perS: 0.5, burst: 3 });
});
