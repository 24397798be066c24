import { describe, expect, test } from "vitest";
import { readConfig } from "../src/config.ts";
import type { Client, Downstream } from "../src/exchange.ts";
import { parseNetwork } from "../src/networks.ts";
import { connectedClient, downstreamBehind, TrustedPeers } from "../src/trusted-peers.ts";
import { CREDENTIAL, FeedServer, route } from "./support/feed-server.ts";
import { rawClient, testEdge, type Upstream, until, upstream } from "./support/servers.ts";

const TRUSTED = new TrustedPeers(["10.0.0.0/8", "192.0.2.1", "fd00::/8"].map(parseNetwork));
const PEER = connectedClient("10.0.0.1", "http", TRUSTED);

function behind(forwardedFor: string | undefined, forwardedProto?: string, peer: Client = PEER): Downstream {
  return downstreamBehind(peer, { forwardedFor, forwardedProto }, TRUSTED);
}

describe("whose word counts", () => {
  test.each<[string, string, boolean]>([
    ["an address of a range", "10.255.0.1", true],
    ["an address named alone", "192.0.2.1", true],
    ["the one beside it", "192.0.2.2", false],
    ["an IPv6 address of a range", "fd12::1", true],
    ["another one", "2001:db8::1", false],
    ["an IPv4 address as an IPv6 socket says it", "::ffff:10.1.2.3", true],
    ["the same of another network", "::ffff:11.1.2.3", false],
    ["a socket that is gone already", "", false],
  ])("%s", (_what, address, isTrusted) => {
    expect(connectedClient(address === "" ? undefined : address, "http", TRUSTED).isTrusted).toBe(isTrusted);
  });

  test("nobody's, where nobody is listed", () => {
    expect(connectedClient("127.0.0.1", "http", new TrustedPeers([])).isTrusted).toBe(false);
  });

  test("a client's address has one spelling, without zone and without IPv6 around IPv4", () => {
    const spelled = (address: string) => connectedClient(address, "http", TRUSTED).address;
    expect(spelled("::ffff:192.0.2.7")).toBe("192.0.2.7");
    expect(spelled("::FFFF:192.0.2.7")).toBe("192.0.2.7");
    expect(spelled("0:0:0:0:0:ffff:c000:207")).toBe("192.0.2.7");
    expect(spelled("fe80::1%eth0")).toBe("fe80::1");
    expect(spelled("2001:db8::1")).toBe("2001:db8::1");
  });
});

describe("who stands behind a trusted peer", () => {
  const long = Array.from({ length: 40 }, (_, i) => `10.0.1.${i}`).join(",");
  test.each<[string, string | undefined, string, string]>([
    ["nobody, where it says nothing", undefined, "10.0.0.1", "10.0.0.1"],
    ["whom it names", "203.0.113.7", "203.0.113.7", "203.0.113.7, 10.0.0.1"],
    [
      "the last that is not trusted, whatever that one said before",
      "8.8.8.8, 203.0.113.7",
      "203.0.113.7",
      "203.0.113.7, 10.0.0.1",
    ],
    [
      "the first before all that are trusted",
      "203.0.113.7, 10.0.0.3,192.0.2.1",
      "203.0.113.7",
      "203.0.113.7, 10.0.0.3, 192.0.2.1, 10.0.0.1",
    ],
    ["the farthest, where all are trusted", "10.0.0.3, 10.0.0.2", "10.0.0.3", "10.0.0.3, 10.0.0.2, 10.0.0.1"],
    ["an IPv6 client", "2001:db8::1", "2001:db8::1", "2001:db8::1, 10.0.0.1"],
    ["an IPv6 client in brackets, with a port", "[2001:db8::1]:443", "2001:db8::1", "2001:db8::1, 10.0.0.1"],
    ["an IPv4 client with a port", "203.0.113.7:5678", "203.0.113.7", "203.0.113.7, 10.0.0.1"],
    ["an IPv4 client in IPv6 notation", "::ffff:203.0.113.7", "203.0.113.7", "203.0.113.7, 10.0.0.1"],
    ["only the peer, before garbage", "203.0.113.7, nonsense", "10.0.0.1", "10.0.0.1"],
    ["the last trusted, before garbage", "203.0.113.7, unknown, 10.0.0.9", "10.0.0.9", "10.0.0.9, 10.0.0.1"],
    ["only the peer, before an empty entry", "203.0.113.7,", "10.0.0.1", "10.0.0.1"],
    ["only the peer, for an empty text", "", "10.0.0.1", "10.0.0.1"],
    ["only the peer, for commas", ",,,", "10.0.0.1", "10.0.0.1"],
    ["only the peer, for an address with a zone", "fe80::1%eth0", "10.0.0.1", "10.0.0.1"],
    ["only the peer, for an address with leading zeros", "010.0.0.1", "10.0.0.1", "10.0.0.1"],
    ["only the peer, for a header in an address", "203.0.113.7\r\nX: y", "10.0.0.1", "10.0.0.1"],
    ["only the peer, for a quoted address", '"203.0.113.7"', "10.0.0.1", "10.0.0.1"],
  ])("%s", (_who, forwardedFor, address, chain) => {
    expect(behind(forwardedFor)).toMatchObject({ address, forwardedFor: chain });
  });

  test("no more than sixteen proxies are followed", () => {
    const { address, forwardedFor } = behind(long);
    expect(address).toBe("10.0.1.24");
    expect(forwardedFor.split(", ")).toHaveLength(17);
  });

  test("a text as long as a head may be costs no time", () => {
    const startedMs = performance.now();
    for (let i = 0; i < 1_000; i++) behind(`${"1,".repeat(8_000)}x`);
    expect(performance.now() - startedMs).toBeLessThan(500);
  });

  test.each<[string, string | undefined, Client["scheme"]]>([
    ["https where the peer says so", "https", "https"],
    ["https in capitals too", "HTTPS", "https"],
    ["http where the peer says so", "http", "http"],
    ["the connection's own, where it says nothing", undefined, "http"],
    ["the connection's own, where it says something else", "wss", "http"],
    ["the connection's own, where it says two things", "https, http", "http"],
    ["the connection's own, where it says it twice", "", "http"],
  ])("came by %s", (_what, proto, scheme) => {
    expect(behind("203.0.113.7", proto).scheme).toBe(scheme);
  });

  test("the connection's own scheme is https for a peer that came by https", () => {
    expect(behind("203.0.113.7", undefined, { ...PEER, scheme: "https" }).scheme).toBe("https");
  });
});

describe("a list of peers", () => {
  test("is read from the environment, and all that is wrong with it told at once", () => {
    const rest = { CONTROL_PLANE_URL: "http://127.0.0.1:1", FEED_CREDENTIAL: CREDENTIAL, EDGE_DATA: "/x" };
    const { trustedPeers } = readConfig({ ...rest, EDGE_TRUSTED_PEERS: "10.0.0.0/8, 192.0.2.1 ::1," });
    expect(trustedPeers).toEqual(["10.0.0.0/8", "192.0.2.1", "::1"].map(parseNetwork));
    expect(readConfig(rest).trustedPeers).toEqual([]);
    expect(() => readConfig({ ...rest, EDGE_TRUSTED_PEERS: "10.0.0.0/99,::1,nobody" })).toThrow(
      /EDGE_TRUSTED_PEERS: entry 1 has a prefix[\s\S]*EDGE_TRUSTED_PEERS: entry 3 is not an IP address/,
    );
    expect(() => readConfig({ ...rest, EDGE_TRUSTED_PEERS: "0:0:0:0:0:ffff:10.0.0.1" })).toThrow(
      /EDGE_TRUSTED_PEERS: entry 1 is an IPv4 address in IPv6 notation; write it as IPv4/,
    );
  });
});

describe.each(["plain", "full"] as const)("by the %s lane a function hears", (lane) => {
  const plainLane = lane === "plain";
  const SAID = {
    "X-Forwarded-For": "8.8.8.8, 203.0.113.7",
    "X-Forwarded-Proto": "https",
    "X-Forwarded-Host": "evil.test",
    "X-Forwarded-Port": "1",
    "X-Forwarded-User": "root",
    "X-Real-IP": "8.8.8.8",
    Forwarded: "for=8.8.8.8;proto=https",
  };

  async function heard(
    trustedPeers: readonly string[],
    connection?: string,
  ): Promise<Upstream["requests"][0]> {
    await using fn = await upstream();
    await using feed = await new FeedServer([route("alice/f", [fn.url])]).listen();
    await using edge = await testEdge(feed.origin, {
      trustedPeers: trustedPeers.map(parseNetwork),
      plainLane,
    });
    const headers = connection === undefined ? SAID : { ...SAID, Connection: connection };
    expect((await edge.call("alice.fn.test", "/f", { headers })).status).toBe(200);
    await until(() => fn.requests.length === 1, "the request");
    const [request] = fn.requests;
    if (request === undefined) throw new Error("no request");
    return request;
  }

  test("of the client that a trusted peer speaks for, and nothing of what that client said", async () => {
    const { headers } = await heard(["127.0.0.0/8"]);
    expect(headers).toMatchObject({
      "x-forwarded-for": "203.0.113.7, 127.0.0.1",
      "x-forwarded-proto": "https",
      "x-forwarded-host": "alice.fn.test",
      "x-real-ip": "203.0.113.7",
      forwarded: 'for=203.0.113.7;host="alice.fn.test";proto=https, for=127.0.0.1',
    });
    expect(headers["x-forwarded-user"]).toBeUndefined();
    expect(headers["x-forwarded-port"]).toBeUndefined();
  });

  test("the same where Connection names what the peer says", async () => {
    const { headers } = await heard(["127.0.0.0/8"], "close, X-Forwarded-For, X-Forwarded-Proto, X-Real-IP");
    expect(headers).toMatchObject({
      "x-forwarded-for": "203.0.113.7, 127.0.0.1",
      "x-forwarded-proto": "https",
      "x-real-ip": "203.0.113.7",
    });
  });

  test.each<[string, string[]]>([
    ["nobody is trusted", []],
    ["only others are trusted", ["10.0.0.0/8"]],
  ])("of the peer alone where %s (D08)", async (_who, trustedPeers) => {
    const { headers } = await heard(trustedPeers);
    expect(headers).toMatchObject({
      "x-forwarded-for": "127.0.0.1",
      "x-forwarded-proto": "http",
      "x-forwarded-host": "alice.fn.test",
      "x-real-ip": "127.0.0.1",
      forwarded: 'for=127.0.0.1;host="alice.fn.test";proto=http',
    });
    expect(headers["x-forwarded-user"]).toBeUndefined();
  });

  test("of another client with each request of one connection, and of the peer where it names nobody", async () => {
    await using fn = await upstream();
    await using feed = await new FeedServer([route("alice/f", [fn.url])]).listen();
    await using edge = await testEdge(feed.origin, { trustedPeers: [parseNetwork("127.0.0.1")], plainLane });
    using peer = rawClient(edge.port, "");
    const named = ["203.0.113.1", undefined, "203.0.113.2", "203.0.113.2, 203.0.113.3", undefined];
    for (const [i, client] of named.entries()) {
      const said = client === undefined ? "" : `X-Forwarded-For: ${client}\r\nX-Forwarded-Proto: https\r\n`;
      peer.socket.write(`GET /f HTTP/1.1\r\nHost: alice.fn.test\r\n${said}\r\n`);
      await until(() => peer.text().split("HTTP/1.1 200").length === i + 2, `answer ${i + 1}`);
    }
    const heardOf = fn.requests.map(({ headers }) => [headers["x-real-ip"], headers["x-forwarded-proto"]]);
    expect(heardOf).toEqual([
      ["203.0.113.1", "https"],
      ["127.0.0.1", "http"],
      ["203.0.113.2", "https"],
      ["203.0.113.3", "https"],
      ["127.0.0.1", "http"],
    ]);
    expect(await edge.metric(`ofc_edge_forwarded_total{lane="${lane}"}`)).toBe(named.length);
  });

  test("its own name, whatever a trusted peer says of the host", async () => {
    const { url, headers } = await heard(["127.0.0.1"]);
    expect(url).toBe("/");
    expect(headers.host).toBe("alice.fn.test");
  });
});
