import { expect, expectTypeOf, test } from "vitest";
import { readConfig } from "../src/config.ts";
import type { RouteFiles } from "../src/route-feed/file.ts";
import type { judgeStored, Receiver } from "../src/route-feed/route-feed.ts";
import { LOOPBACK, UpstreamRule } from "../src/upstream-rule.ts";
import { CREDENTIAL, FeedServer, route, snapshotOf } from "./support/feed-server.ts";
import { tempDirectory, testEdge, until, upstream } from "./support/servers.ts";

function placesOf(networks: string, hosts = "") {
  return readConfig({
    CONTROL_PLANE_URL: "http://127.0.0.1:1",
    FEED_CREDENTIAL: CREDENTIAL,
    EDGE_DATA: "/x",
    EDGE_UPSTREAM_NETWORKS: networks,
    EDGE_UPSTREAM_HOSTS: hosts,
  }).upstreams;
}

test.each([
  "http://127.0.0.1:8080",
  "http://127.9.9.9:1/",
  "http://[::1]:8080",
  "http://2130706433:1",
  "http://[::ffff:127.0.0.1]:1",
])("on this machine alone, %s may be an upstream", (url) => {
  expect(new UpstreamRule(LOOPBACK).allows(url)).toBe(true);
});

test.each([
  "http://10.0.0.1:8080",
  "http://192.168.1.1",
  "http://172.17.0.2:8080",
  "http://93.184.216.34",
  "http://169.254.169.254",
  "http://0.0.0.0:8080",
  "http://[::]:8080",
  "http://[fe80::1]:1",
  "http://[::ffff:10.0.0.1]:1",
  "http://localhost:8080",
  "http://metadata.google.internal",
])("on this machine alone, %s may not", (url) => {
  expect(new UpstreamRule(LOOPBACK).allows(url)).toBe(false);
});

test.each([
  "http://169.254.169.254",
  "http://0xa9fea9fe",
  "http://[::ffff:169.254.169.254]",
  "http://[64:ff9b::a9fe:a9fe]",
  "http://[2002:a9fe:a9fe::]",
  "http://[fd00:ec2::254]",
  "http://[fe80::1]",
  "http://0.0.0.0",
  "http://[::]",
  "http://224.0.0.1",
  "http://255.255.255.255",
  "http://[ff02::1]",
])("%s may not, though every network be listed", (url) => {
  expect(new UpstreamRule(placesOf("0.0.0.0/0,::/0")).allows(url)).toBe(false);
});

test("listed networks and names may, and nothing that only looks like them", () => {
  const rule = new UpstreamRule(
    placesOf("10.42.0.0/16, fd12::/16", "gateway.openfaas,*.Functions.svc.cluster.local"),
  );
  const allowed = (url: string): boolean => rule.allows(url);
  expect(allowed("http://10.42.7.1:8080")).toBe(true);
  expect(allowed("http://[fd12::7]:8080")).toBe(true);
  expect(allowed("http://gateway.openfaas:8080")).toBe(true);
  expect(allowed("http://hello.functions.svc.cluster.local:8080")).toBe(true);
  expect(allowed("http://10.43.7.1:8080")).toBe(false);
  expect(allowed("http://127.0.0.1:8080")).toBe(false);
  expect(allowed("http://functions.svc.cluster.local")).toBe(false);
  expect(allowed("http://evilfunctions.svc.cluster.local")).toBe(false);
  expect(allowed("http://gateway.openfaas.evil.test")).toBe(false);
  expect(allowed("http://xgateway.openfaas")).toBe(false);
});

test.each([
  "10.0.0.0",
  "10.0.0.0/33",
  "10.0.0/8",
  "::/129",
  "10.0.0.0/8;::/0",
  "/8",
  "10.0.0.0/8/8",
  "10.0.0.0/-1",
])("%s is no list of networks, and the start says so", (networks) => {
  expect(() => placesOf(networks)).toThrow(/EDGE_UPSTREAM_NETWORKS: must be networks/);
});

test.each(["*", "*.", "http://x", "a b", "*.*.x", "x:80"])("%s is no list of host names", (hosts) => {
  expect(() => placesOf("127.0.0.0/8", hosts)).toThrow(/EDGE_UPSTREAM_HOSTS: must be host names/);
});

test("nobody takes routes in who was not told where upstreams may be", () => {
  // Judged by the compiler: an argument with a default would be `undefined` as well.
  expectTypeOf<ConstructorParameters<typeof Receiver>[1]>().toEqualTypeOf<UpstreamRule>();
  expectTypeOf<ConstructorParameters<typeof RouteFiles>[2]>().toEqualTypeOf<UpstreamRule>();
  expectTypeOf<Parameters<typeof judgeStored>[1]>().toEqualTypeOf<UpstreamRule>();
});

test("a table with an upstream elsewhere is refused from the wire, whole or as a change, and counted", async () => {
  await using fn = await upstream();
  const good = route("alice/f", [fn.url]);
  const astray = route("alice/g", ["http://169.254.169.254"]);
  await using feed = await new FeedServer([good]).listen();
  await using edge = await testEdge(feed.origin);
  const refused = 'ofc_edge_feed_rejected_total{reason="upstream"}';
  feed.poison = ({ epoch }) => snapshotOf([good, astray], { epoch, version: 2 });
  feed.send({ ...feed.snapshot, ...snapshotOf([good, astray], { version: 2 }) });
  await until(async () => (await edge.metric(refused)) >= 2, "refusals of snapshots");
  feed.poison = undefined;
  const { connections } = feed;
  await until(() => feed.connections > connections, "a connection that begins well");
  const before = await edge.metric(refused);
  feed.send({ ...changeOf(feed, astray), version: 2 });
  await until(async () => (await edge.metric(refused)) > before, "the refusal of a change");
  expect(await edge.metric("ofc_edge_route_version")).toBe(1);
  expect((await edge.call("alice.fn.test", "/f")).status).toBe(200);
  expect((await edge.call("alice.fn.test", "/g")).status).toBe(404);
});

function changeOf(feed: FeedServer, added: ReturnType<typeof route>) {
  const { checksum } = snapshotOf([...feed.snapshot.routes, added]);
  return { kind: "change", checksum, upserts: [added], removals: [] };
}

test("what was stored is held to the rule of today", async () => {
  await using directory = await tempDirectory();
  await using feed = await new FeedServer([route("alice/f", ["http://127.0.0.2:1"])]).listen();
  {
    await using _edge = await testEdge(feed.origin, { dataDirectory: directory.path });
  }
  const { origin } = feed;
  await feed[Symbol.asyncDispose]();
  const narrow = { upstreams: placesOf("127.0.0.1/32"), dataDirectory: directory.path };
  {
    await using edge = await testEdge(origin, { ...narrow, wait: false });
    expect((await edge.call("alice.fn.test", "/f")).status).toBe(503);
    expect(await edge.metric("ofc_edge_routes")).toBe(0);
  }
  await using edge = await testEdge(origin, { dataDirectory: directory.path });
  expect(await edge.metric("ofc_edge_routes")).toBe(1);
});
