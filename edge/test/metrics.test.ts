import { setImmediate as nextTurn } from "node:timers/promises";
import { describe, expect, test } from "vitest";
import { listenForAdmin } from "../src/admin.ts";
import { Records } from "../src/function-records.ts";
import { Metrics } from "../src/metrics.ts";
import { fallen, parseExposition, type Scrape, seriesOf } from "./support/exposition.ts";
import { FeedServer, route } from "./support/feed-server.ts";
import { deadUrl, exchangeRaw, rawClient, testEdge, until, upstream } from "./support/servers.ts";
import { signer } from "./support/tokens.ts";

/** SECURITY.md §3. */
const MAX_SERIES = 2_000;
const MAX_SERIES_OF_A_FUNCTION = 20;

/** A function that answers with the code that its path asks for, and with `hello`. */
function codes() {
  return upstream((request, response) => {
    request.resume();
    request.on("end", () => {
      response.writeHead(Number(request.url?.slice(1)) || 200).end("hello");
    });
  });
}

async function scrapeOf(edge: { scrape(): Promise<string> }): Promise<Scrape> {
  const scrape = parseExposition(await edge.scrape());
  expect(scrape.problems).toEqual([]);
  return scrape;
}

describe.each(["plain", "full"] as const)("by the %s lane", (lane) => {
  const options = { plainLane: lane === "plain" };

  test("a scrape is legal line for line, and no counter ever falls", async () => {
    const issuer = await signer();
    await using fn = await codes();
    await using feed = await new FeedServer(
      [
        route("alice/f", [fn.url]),
        route("alice/members", [fn.url], { access: "members" }),
        route("alice/dead", [await deadUrl()]),
        route("alice/none", []),
      ],
      { keys: [issuer.key], revoked: [], listOwners: false },
    ).listen();
    await using edge = await testEdge(feed.origin, options);
    let before = await scrapeOf(edge);
    const host = "alice.fn.test";
    const headers = { authorization: `Bearer ${await issuer.sign()}` };
    const acts: (() => Promise<unknown>)[] = [
      () => edge.call(host, "/f", { method: "POST", body: "x".repeat(1000) }),
      () => edge.call(host, "/f/503"),
      () => edge.call(host, "/members"),
      () => edge.call(host, "/members", { headers }),
      () => edge.call(host, "/dead"),
      () => edge.call(host, "/none"),
      () => edge.call("nobody.fn.test", "/"),
      () => exchangeRaw(edge.port, "nonsense\r\n\r\n"),
    ];
    for (const act of [...acts, ...acts]) {
      await act();
      const after = await scrapeOf(edge);
      expect(fallen(before, after)).toEqual([]);
      before = after;
    }
    const { series, types } = before;
    for (const [family, type] of types) {
      if (type !== "histogram" || !family.startsWith("gateway_")) continue;
      for (const [id, count] of series) {
        if (!id.startsWith(`${family}_count`)) continue;
        expect(series.get(id.replace("_count{", "_bucket{").replace("}", ',le="+Inf"}'))).toBe(count);
      }
    }
    expect(Object.fromEntries(series)).toMatchObject({
      'gateway_function_invocation_total{function_name="f.alice",code="503"}': 2,
      'gateway_functions_seconds_count{function_name="f.alice"}': 4,
      'ofc_edge_function_request_bytes_total{function_name="f.alice"}': 2_000,
      'ofc_edge_function_response_bytes_total{function_name="f.alice"}': 20,
      'ofc_edge_refused_total{reason="signed-out"}': 2,
      'ofc_edge_refused_total{reason="upstream-unreachable"}': 2,
      'ofc_edge_refused_total{reason="request-invalid"}': 2,
      'ofc_edge_refused_total{reason="framing-invalid"}': 0,
      ofc_edge_token_cache_hits_total: 1,
      ofc_edge_token_cache_misses_total: 1,
      ofc_edge_token_cache_entries: 1,
      ofc_edge_request_bytes_total: 2_000,
      [`ofc_edge_forwarded_total{lane="${lane}"}`]: 8,
      ofc_edge_route_version: 1,
      ofc_edge_replicas: 2,
    });
  });

  test("a function that invents codes has twenty series, and each invocation counts once", async () => {
    await using fn = await codes();
    await using feed = await new FeedServer([route("alice/f", [fn.url])]).listen();
    await using edge = await testEdge(feed.origin, options);
    const asked = [404, 503, ...Array.from({ length: 60 }, (_, i) => 201 + i * 6)];
    for (const code of asked) await edge.call("alice.fn.test", `/f/${code}`);
    const scrape = await scrapeOf(edge);
    const ids = seriesOf(scrape, "f.alice");
    expect(ids.length).toBe(MAX_SERIES_OF_A_FUNCTION);
    const byCode = ids.flatMap((id) => {
      const code = /^gateway_function_invocation_total.*code="(\d+)"/.exec(id)?.[1];
      return code === undefined ? [] : [[Number(code), scrape.series.get(id) ?? 0] as const];
    });
    expect(byCode.reduce((sum, [, count]) => sum + count, 0)).toBe(asked.length);
    // Those that came first as they are, the others as what stands for their kind.
    expect(byCode.map(([code]) => code)).toEqual(expect.arrayContaining([404, 503, 200, 400, 500]));
    for (const from of [200, 400, 500]) {
      const isOfKind = (code: number): boolean => code >= from && code < (from === 200 ? 400 : from + 100);
      const counted = byCode.filter(([code]) => isOfKind(code)).reduce((sum, [, count]) => sum + count, 0);
      expect(counted).toBe(asked.filter(isOfKind).length);
    }
    expect(scrape.series.get('gateway_functions_seconds_count{function_name="f.alice"}')).toBe(asked.length);
  });

  test("no client makes a series: whatever it asks for, the next scrape has the names of the one before", async () => {
    await using fn = await codes();
    await using feed = await new FeedServer([route("alice/f", [fn.url])]).listen();
    await using edge = await testEdge(feed.origin, options);
    await edge.call("alice.fn.test", "/f");
    const names = async (): Promise<string[]> => [...(await scrapeOf(edge)).series.keys()].sort();
    // Node's own name a garbage collection by its kind when it first happens.
    const ours = async (): Promise<string[]> =>
      (await names()).filter((name) => !/^(nodejs|process)_/.test(name));
    const before = await ours();
    const hostile = [
      "GET /evil-name HTTP/1.1\r\nHost: alice.fn.test\r\nConnection: close\r\n\r\n",
      "GET / HTTP/1.1\r\nHost: evil-name.fn.test\r\nConnection: close\r\n\r\n",
      'GET /f HTTP/1.1\r\nHost: x"}evil-name.fn.test\r\nConnection: close\r\n\r\n',
      "EVIL /f HTTP/1.1\r\nHost: alice.fn.test\r\nConnection: close\r\n\r\n",
      "TRACE /evil-name HTTP/1.1\r\nHost: alice.fn.test\r\nConnection: close\r\n\r\n",
      "GET /f HTTP/1.1\r\nHost: alice.fn.test\r\nX-Request-Id: evil-name\r\nConnection: close\r\n\r\n",
      "GET /f HTTP/1.1\r\nHost: alice.fn.test\r\nConnection: close\r\nEvil_Name: 1\r\n\r\n",
      "GET /f HTTP/3.0\r\nHost: alice.fn.test\r\n\r\n",
      "evil-name\r\n\r\n",
      "GET /evil-name HTTP/1.1\r\nHost: system.console.test\r\nConnection: close\r\n\r\n",
      "GET /f HTTP/1.1\r\nHost: alice.fn.test\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n",
    ];
    for (const bytes of hostile) await exchangeRaw(edge.port, bytes);
    expect(await ours()).toEqual(before);
    expect(await edge.scrape()).not.toMatch(/evil/i);
    expect((await names()).length).toBeLessThan(MAX_SERIES);
  });

  test("what is under way shows, and what was started is never less than it was", async () => {
    let finish: (() => void) | undefined;
    await using fn = await upstream((_request, response) => {
      finish = () => response.end("late");
    });
    await using feed = await new FeedServer([
      route("alice/f", [fn.url], { limits: { maxConcurrency: 1 } }),
    ]).listen();
    await using edge = await testEdge(feed.origin, options);
    const figures = async () => {
      const { series } = await scrapeOf(edge);
      const of = (name: string, more = ""): number =>
        series.get(`${name}{function_name="f.alice"${more}}`) ?? 0;
      return {
        started: of("gateway_function_invocation_started"),
        inFlight: of("gateway_function_invocation_inflight"),
        answered: of("gateway_function_invocation_total", ',code="200"'),
        refused: of("gateway_function_invocation_total", ',code="429"'),
      };
    };
    const first = edge.call("alice.fn.test", "/f");
    await until(() => finish !== undefined, "the request at the function");
    expect(await figures()).toEqual({ started: 1, inFlight: 1, answered: 0, refused: 0 });
    expect((await edge.call("alice.fn.test", "/f")).status).toBe(429);
    expect(await figures()).toEqual({ started: 2, inFlight: 1, answered: 0, refused: 1 });
    finish?.();
    await first;
    await until(async () => (await figures()).inFlight === 0, "the place given back");
    expect(await figures()).toEqual({ started: 2, inFlight: 0, answered: 1, refused: 1 });
  });

  test("open connections show, to clients and to replicas, and are gone when they are", async () => {
    await using fn = await upstream();
    await using feed = await new FeedServer([route("alice/f", [fn.url])]).listen();
    await using edge = await testEdge(feed.origin, options);
    const upstreams = `ofc_edge_upstream_connections{lane="${lane}"}`;
    const clients = `ofc_edge_client_connections{lane="${lane}"}`;
    expect([await edge.metric(upstreams), await edge.metric(clients)]).toEqual([0, 0]);
    {
      using client = rawClient(edge.port, "GET /f HTTP/1.1\r\nHost: alice.fn.test\r\n\r\n");
      await until(() => client.text().includes("from "), "the answer");
      expect([await edge.metric(upstreams), await edge.metric(clients)]).toEqual([1, 1]);
    }
    await until(async () => (await edge.metric(clients)) === 0, "the client to go");
    feed.change({ removals: [route("alice/f", [])] });
    await until(async () => (await edge.metric(upstreams)) === 0, "the replica's connection to go");
  });

  test("a function made anew under its name takes over the series: there is one of each", async () => {
    await using fn = await codes();
    await using feed = await new FeedServer([route("alice/f", [fn.url])]).listen();
    await using edge = await testEdge(feed.origin, options);
    await edge.call("alice.fn.test", "/f");
    const version = feed.change({ upserts: [route("alice/f", [fn.url], { functionId: "another" })] });
    await until(() => feed.applied.at(-1)?.version === version, "the function made anew");
    await edge.call("alice.fn.test", "/f/404");
    const scrape = await scrapeOf(edge);
    const total = seriesOf(scrape, "f.alice").filter((id) =>
      id.startsWith("gateway_function_invocation_total"),
    );
    expect(total).toEqual(['gateway_function_invocation_total{function_name="f.alice",code="404"}']);
    await until(
      () => new Set(feed.usage.flatMap(({ functions }) => functions.map((f) => f.functionId))).size === 2,
      "the report of both",
    );
  });
});

test("a tunnel is counted while it is open, and its bytes while they flow", async () => {
  await using fn = await upstream(undefined, (_request, socket) => {
    socket.write("HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n");
    socket.on("error", () => socket.destroy()).on("end", () => socket.end());
    socket.on("data", () => socket.write("x".repeat(3_000)));
  });
  await using feed = await new FeedServer([route("alice/ws", [fn.url])]).listen();
  await using edge = await testEdge(feed.origin);
  using client = rawClient(
    edge.port,
    "GET /ws HTTP/1.1\r\nHost: alice.fn.test\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n",
  );
  await until(() => client.text().includes("101"), "the tunnel");
  const received = 'ofc_edge_function_request_bytes_total{function_name="ws.alice"}';
  const sent = 'ofc_edge_function_response_bytes_total{function_name="ws.alice"}';
  expect(await edge.metric("ofc_edge_tunnels")).toBe(1);
  expect(await edge.metric('gateway_function_invocation_inflight{function_name="ws.alice"}')).toBe(1);
  client.socket.write("y".repeat(500));
  await until(() => client.text().length > 3_000, "the function's word");
  await until(async () => (await edge.metric(sent)) === 3_000, "what was sent");
  expect(await edge.metric(received)).toBe(500);
  client.socket.write("z".repeat(7));
  await until(() => client.text().length > 6_000, "the function's second word");
  client.socket.destroy();
  await until(async () => (await edge.metric("ofc_edge_tunnels")) === 0, "the tunnel's end");
  expect(await edge.metric(sent)).toBe(6_000);
  expect(await edge.metric(received)).toBe(507);
  expect(await edge.metric('gateway_function_invocation_inflight{function_name="ws.alice"}')).toBe(0);
});

test("a connection that the plain lane leaves to the full one is counted by why", async () => {
  await using feed = await new FeedServer([]).listen();
  await using edge = await testEdge(feed.origin, { plainLane: true });
  const counts = async (): Promise<number[]> => [
    await edge.metric('ofc_edge_handed_over_total{reason="form"}'),
    await edge.metric('ofc_edge_handed_over_total{reason="size"}'),
  ];
  await exchangeRaw(edge.port, "GET /f HTTP/1.1\r\nHost: alice.fn.test\r\nConnection: close\r\n\r\n");
  expect(await counts()).toEqual([0, 0]);
  await exchangeRaw(edge.port, "GET /f HTTP/1.0\r\nHost: alice.fn.test\r\n\r\n");
  expect(await counts()).toEqual([1, 0]);
  await exchangeRaw(edge.port, `GET /f HTTP/1.1\r\nHost: alice.fn.test\r\nX: ${"x".repeat(17_000)}\r\n\r\n`);
  expect(await counts()).toEqual([1, 1]);
});

/** Counts the turns that everything else gets while `work` is done. */
async function countingTurns(work: (turns: () => number) => Promise<unknown>): Promise<void> {
  let turns = 0;
  let over = false;
  const count = (async () => {
    for (; !over; turns++) await nextTurn();
  })();
  await work(() => turns);
  over = true;
  await count;
}

test("100,000 functions are rendered between requests, not instead of them", async () => {
  const records = new Records();
  const base = route("alice/f", []);
  for (let i = 0; i < 100_000; i++) {
    records.of({ ...base, functionId: `id-${i}`, function: `f-${i}` as typeof base.function }).add(200, 0.01);
  }
  const metrics = new Metrics({
    records,
    table: () => undefined,
    feedConnected: () => false,
    clientConnections: () => ({ plain: 0, full: 0 }),
    upstreamConnections: () => ({ plain: 0, full: 0 }),
    replicas: () => 0,
    requestsInFlight: () => 0,
    tunnels: () => 0,
    verdicts: () => 0,
    logLinesDropped: () => 0,
  });
  let lines = 0;
  let pieces = 0;
  const turnOfPiece = new Set<number>();
  await countingTurns(async (turns) => {
    for await (const piece of metrics.render()) {
      // What a piece costs is its length, a fifth of a millisecond or so; all of it at once is a quarter of a second.
      expect(piece.length).toBeLessThan(40_000);
      for (let at = piece.indexOf("\n"); at !== -1; at = piece.indexOf("\n", at + 1)) lines += 1;
      pieces += 1;
      turnOfPiece.add(turns());
    }
  });
  expect(lines).toBeGreaterThan(100_000 * 14);
  // The first two are the edge's own and Node's.
  expect(turnOfPiece.size).toBeGreaterThanOrEqual(pieces - 2);
});

test("a scraper that leaves in the middle ends the scrape", async () => {
  let ended = false;
  await using admin = await listenForAdmin({
    host: "127.0.0.1",
    port: 0,
    descriptors: [],
    whyNotReady: () => undefined,
    async *renderMetrics() {
      try {
        for (;;) yield `# ${"x".repeat(30_000)}\n`;
      } finally {
        ended = true;
      }
    },
  });
  const scrape = await fetch(`http://127.0.0.1:${admin.port}/metrics`);
  const reader = scrape.body?.getReader();
  expect((await reader?.read())?.done).toBe(false);
  expect(ended).toBe(false);
  await reader?.cancel();
  await until(() => ended, "the end");
});

test("a scrape that fails half-way does not look whole", async () => {
  await using admin = await listenForAdmin({
    host: "127.0.0.1",
    port: 0,
    descriptors: [],
    whyNotReady: () => undefined,
    // biome-ignore lint/correctness/useYield: what it would yield is what goes wrong
    async *renderMetrics() {
      throw new Error("cannot be rendered");
    },
  });
  const text = fetch(`http://127.0.0.1:${admin.port}/metrics`).then((scrape) => scrape.text());
  await expect(text).rejects.toThrow();
});
