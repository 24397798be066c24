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
  "http://[64:ff9b:1::a9fe:a9fe]",
  "http://[64:ff9b:1:ffff:a9fe:a9fe::]",
  "http://[2001::a9fe:a9fe]",
  "http://[2001:0:a9fe:a9fe:0:0:5601:5601]",
  "http://[::169.254.169.254]",
  "http://[::127.0.0.1]",
  "http://[::2]",
  "http://[::ffff:0:169.254.169.254]",
  "http://[fd00:ec2::254]",
  "http://100.100.100.200",
  "http://[::ffff:100.100.100.200]",
  "http://[fe80::1]",
  "http://0.0.0.0",
  "http://[::]",
  "http://224.0.0.1",
  "http://255.255.255.255",
  "http://[ff02::1]",
])("%s may not, though every network be listed", (url) => {
  expect(new UpstreamRule(placesOf("0.0.0.0/0,::/0")).allows(url)).toBe(false);
});

test.each([
  "http://[::1]:1",
  "http://[0:0:0:0:0:0:0:1]:1",
  "http://[::ffff:127.0.0.1]:1",
  "http://[64:ff9a::1]",
  "http://[64:ff9b:2::1]",
  "http://[2001:1::1]",
  "http://[::1:0:0:1]",
  "http://100.100.100.199",
])("%s beside them may, where every network is listed", (url) => {
  expect(new UpstreamRule(placesOf("0.0.0.0/0,::/0")).allows(url)).toBe(true);
});

test("IPv6's loopback may be listed, alone or among what may not", () => {
  for (const networks of ["::1", "::1/128", "::/96", "::/127"]) {
    expect(new UpstreamRule(placesOf(networks)).allows("http://[::1]:1"), networks).toBe(true);
  }
  expect(new UpstreamRule(placesOf("127.0.0.0/8")).allows("http://[::1]:1")).toBe(false);
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

test("one address alone can be listed, and a list may be separated as that of the peers", () => {
  const rule = new UpstreamRule(placesOf("10.42.0.7 10.43.0.0/16,", "gateway.openfaas *.internal,"));
  const allowed = ["10.42.0.7", "10.43.1.1", "gateway.openfaas", "a.internal"];
  for (const host of allowed) expect(rule.allows(`http://${host}:8080`), host).toBe(true);
  expect(rule.allows("http://10.42.0.8:8080")).toBe(false);
});

test.each([
  ["10.0.0.0/33", "entry 1 has a prefix that is not 0 to 32"],
  ["10.0.0.0/8,::/0,gateway", "entry 3 is not an IP address or a network"],
  ["fe80::1%eth0/64", "entry 1 has a zone"],
  ["::ffff:10.0.0.0/104", "entry 1 is an IPv4 address in IPv6 notation"],
  ["169.254.169.254", "entry 1 is where no upstream may be"],
  ["100.100.100.200", "entry 1 is where no upstream may be"],
  ["::7f00:0/104", "entry 1 is where no upstream may be"],
  ["10.0.0.0/8,fe80::/64", "entry 2 is where no upstream may be"],
  [",", "must hold at least one"],
])("%s is no list of networks, and the start says so", (networks, problem) => {
  expect(() => placesOf(networks)).toThrow(`EDGE_UPSTREAM_NETWORKS: ${problem}`);
});

test("nobody takes routes in who was not told where upstreams may be", () => {
  // Judged by the compiler: an argument with a default would be `undefined` as well.
  expectTypeOf<ConstructorParameters<typeof Receiver>[1]>().toEqualTypeOf<UpstreamRule>();
  expectTypeOf<ConstructorParameters<typeof RouteFiles>[2]>().toEqualTypeOf<UpstreamRule>();
  expectTypeOf<Parameters<typeof judgeStored>[1]>().toEqualTypeOf<UpstreamRule>();
});

test.each(["*", "*.", "http://x", "a_b", "*.*.x", "x:80", "a/b", "x.5", "*.5", "a..b"])(
  "%s is no host name, and the start says so",
  (host) => {
    expect(() => placesOf("127.0.0.0/8", `x,${host}`)).toThrow(
      /EDGE_UPSTREAM_HOSTS: entry 2 is not a host name/,
    );
  },
);

test.each(["10.0.0.5", "10.0.0.0/8", "::1", "[::1]", "fe80::/64", "0x7f.1", "2130706433", "10.5"])(
  "%s among the host names would never be compared, and the start says where it belongs",
  (address) => {
    expect(() => placesOf("127.0.0.0/8", `x,${address}`)).toThrow(
      /EDGE_UPSTREAM_HOSTS: entry 2 is an address.*EDGE_UPSTREAM_NETWORKS/,
    );
  },
);

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
