import { FunctionName, OwnerSlug } from "@openfaas-cloud/shared/names.ts";
import {
  DEFAULT_ROUTE_LIMITS,
  type FeedMessage,
  type Route,
  RouteChange,
  type RouteSettings,
} from "@openfaas-cloud/shared/route.ts";
import { digestOf } from "@openfaas-cloud/shared/route-digest.ts";
import { describe, expect, it } from "vitest";
import { RoutePublisher } from "../src/routes/route-publisher.ts";

const settings: RouteSettings = { keys: [], revoked: [], listOwners: true };

function route(name: string, port = 1000): Route {
  return {
    owner: OwnerSlug.parse("alice"),
    function: FunctionName.parse(name),
    functionId: `id-${name}`,
    revision: `revision-${port}`,
    access: "public",
    upstreams: [{ id: `${name}-1`, url: `http://127.0.0.1:${port}` }],
    limits: DEFAULT_ROUTE_LIMITS,
  };
}

async function open(routes: readonly Route[] = []) {
  const reserved: number[] = [];
  const publisher = await RoutePublisher.open(
    { epoch: "e", next: 5, reserve: async (next) => void reserved.push(next) },
    settings,
    routes,
  );
  return { publisher, reserved };
}

function edge(publisher: RoutePublisher, name: string) {
  const messages: FeedMessage[] = [];
  const connection = publisher.connect(name, (message) => messages.push(message));
  const apply = (version: number) =>
    publisher.applied({ edge: name, epoch: "e", version, checksum: "0".repeat(64) });
  return { messages, apply, [Symbol.dispose]: () => connection[Symbol.dispose]() };
}

const SOON = () => AbortSignal.timeout(100);

describe("route publisher", () => {
  it("sends a snapshot on connect and changes in order after it, each with the checksum of what results", async () => {
    const { publisher } = await open([route("hello")]);
    using one = edge(publisher, "one");
    await publisher.publish({ upserts: [route("bye")] });
    await publisher.publish({ removals: [route("hello")] });
    expect(one.messages.map((message) => [message.kind, message.version])).toEqual([
      ["snapshot", 5],
      ["change", 6],
      ["change", 7],
    ]);
    expect(one.messages.at(-1)).toMatchObject({
      checksum: digestOf(settings, [route("bye")]).hex(),
      removals: [{ owner: "alice", function: "hello" }],
    });
    using two = edge(publisher, "two");
    expect(two.messages[0]).toMatchObject({ kind: "snapshot", version: 7, routes: [route("bye")] });
  });

  it("sends what is more than a change may hold as several, in order, and never as a snapshot", async () => {
    const old = Array.from({ length: 1_100 }, (_, i) => route(`old${i}`));
    const young = Array.from({ length: 300 }, (_, i) => route(`new${i}`));
    const { publisher } = await open(old);
    using one = edge(publisher, "one");
    const revoked = { ...settings, revoked: ["x"] };
    const version = await publisher.publish({ removals: old, upserts: young, settings: revoked });
    expect(version).toBe(8);
    expect(publisher.version).toBe(8);
    const changes = one.messages.slice(1).map((message) => RouteChange.parse(message));
    expect(changes.map((it) => [it.version, it.removals.length, it.upserts.length])).toEqual([
      [6, 500, 0],
      [7, 500, 0],
      [8, 100, 300],
    ]);
    // What was revoked must not wait for the others.
    expect(changes.map((it) => it.settings)).toEqual([revoked, undefined, undefined]);
    expect(changes.map((it) => it.checksum)).toEqual([
      digestOf(revoked, old.slice(500)).hex(),
      digestOf(revoked, old.slice(1_000)).hex(),
      digestOf(revoked, young).hex(),
    ]);
  });

  it("reserves a version for each of several changes", async () => {
    const { publisher, reserved } = await open();
    for (let i = 0; i < 998; i++) await publisher.publish({ upserts: [route("hello", 1000 + i)] });
    expect([publisher.version, ...reserved]).toEqual([1003, 1005]);
    await publisher.publish({ upserts: Array.from({ length: 2_500 }, (_, i) => route(`f${i}`)) });
    expect([publisher.version, ...reserved]).toEqual([1008, 1005, 2005]);
  });

  it("publishes nothing where nothing changed", async () => {
    const { publisher } = await open([route("hello")]);
    using one = edge(publisher, "one");
    expect(await publisher.publish({ upserts: [route("hello")], removals: [route("absent")] })).toBe(5);
    expect(one.messages).toHaveLength(1);
  });

  it("counts a version as confirmed when the last connected edge serves it", async () => {
    const { publisher } = await open();
    using one = edge(publisher, "one");
    using two = edge(publisher, "two");
    const version = await publisher.publish({ upserts: [route("hello")] });
    one.apply(version);
    await expect(publisher.confirmed(version, SOON())).rejects.toThrow();
    two.apply(version);
    await publisher.confirmed(version, SOON());
  });

  it("waits for an edge where none is connected", async () => {
    const { publisher } = await open();
    const version = await publisher.publish({ upserts: [route("hello")] });
    await expect(publisher.confirmed(version, SOON())).rejects.toThrow();
    const confirmed = publisher.confirmed(version, AbortSignal.timeout(5000));
    using one = edge(publisher, "one");
    one.apply(version);
    await confirmed;
  });

  it("waits no longer for an edge that left", async () => {
    const { publisher } = await open();
    using one = edge(publisher, "one");
    const two = edge(publisher, "two");
    const version = await publisher.publish({ upserts: [route("hello")] });
    const confirmed = publisher.confirmed(version, AbortSignal.timeout(5000));
    one.apply(version);
    two[Symbol.dispose]();
    await confirmed;
  });

  it("does not take the confirmation of another history for one of this", async () => {
    const { publisher } = await open();
    using _one = edge(publisher, "one");
    publisher.applied({ edge: "one", epoch: "other", version: 99, checksum: "0".repeat(64) });
    expect(publisher.edges()).toMatchObject([{ edge: "one", version: -1 }]);
  });

  it("reserves versions before it uses them, so that none is used again after a crash", async () => {
    const { publisher, reserved } = await open();
    for (let i = 0; i < 1500; i++) {
      const version = await publisher.publish({ upserts: [route("hello", 1000 + i)] });
      expect(version).toBeLessThan(reserved.at(-1) ?? 0);
    }
    expect(reserved).toEqual([1005, 2005]);
  });

  it("keeps publishing cheap with 100,000 routes", async () => {
    const { publisher } = await open(Array.from({ length: 100_000 }, (_, i) => route(`f${i}`)));
    const began = performance.now();
    for (let i = 0; i < 100; i++) await publisher.publish({ upserts: [route("f7", 2000 + i)] });
    expect((performance.now() - began) / 100).toBeLessThan(5);
  });

  it("publishes settings as they are read at their turn, so that no older reading replaces a newer one", async () => {
    const { publisher } = await open();
    const stored: string[] = [];
    const held = Promise.withResolvers<void>();
    const revoke = (id: string, read: () => Promise<void>) => {
      stored.push(id);
      return publisher.publishSettings(async (current) => {
        const revoked = [...stored];
        await read();
        return { ...current, revoked };
      });
    };
    const first = revoke("first", () => held.promise);
    const second = revoke("second", async () => undefined);
    held.resolve();
    await Promise.all([first, second]);
    expect(publisher.settings.revoked).toEqual(["first", "second"]);
  });

  it("publishes settings after a reading that failed", async () => {
    const { publisher } = await open();
    await expect(publisher.publishSettings(() => Promise.reject(new Error("no store")))).rejects.toThrow(
      "no store",
    );
    await publisher.publishSettings(async (current) => ({ ...current, revoked: ["x"] }));
    expect(publisher.settings.revoked).toEqual(["x"]);
  });
});
