import { expect, test } from "vitest";
import { FeedServer, route } from "./support/feed-server.ts";
import { testEdge, upstream } from "./support/servers.ts";

test("a function that is called too often says when to come back, and its neighbour notices nothing", async () => {
  await using fn = await upstream();
  await using feed = await new FeedServer([
    route("alice/busy", [fn.url], { limits: { rate: { perS: 0.1, burst: 3 } } }),
    route("alice/free", [fn.url]),
  ]).listen();
  await using edge = await testEdge(feed.origin);
  const statuses: number[] = [];
  for (let i = 0; i < 3; i++) statuses.push((await edge.call("alice.fn.test", "/busy")).status);
  expect(statuses).toEqual([200, 200, 200]);
  const refused = await edge.call("alice.fn.test", "/busy");
  expect(refused.status).toBe(429);
  expect(Number(refused.headers["retry-after"])).toBeGreaterThanOrEqual(9);
  expect(Number(refused.headers["retry-after"])).toBeLessThanOrEqual(10);
  expect(refused.body).toContain("rate-exceeded");
  expect((await edge.call("alice.fn.test", "/free")).status).toBe(200);
  expect(fn.requests).toHaveLength(4);
  expect(await edge.metric('ofc_edge_refused_total{reason="rate-exceeded"}')).toBe(1);
});

test("what is refused for another reason does not count against the rate", async () => {
  await using fn = await upstream();
  await using feed = await new FeedServer([
    route("alice/f", [fn.url], { limits: { rate: { perS: 0.01, burst: 1 }, maxBodyBytes: 2 } }),
  ]).listen();
  await using edge = await testEdge(feed.origin);
  const large = { method: "POST", body: "much too large" };
  expect((await edge.call("alice.fn.test", "/f", large)).status).toBe(413);
  expect((await edge.call("alice.fn.test", "/f")).status).toBe(200);
  expect((await edge.call("alice.fn.test", "/f")).status).toBe(429);
});

test("too many at once are told to come back, whatever the rate", async () => {
  const held = Promise.withResolvers<void>();
  const begun = Promise.withResolvers<void>();
  await using fn = await upstream((_request, response) => {
    begun.resolve();
    void held.promise.then(() => response.end("done"));
  });
  await using feed = await new FeedServer([
    route("alice/f", [fn.url], { limits: { maxConcurrency: 1, rate: { perS: 100, burst: 100 } } }),
  ]).listen();
  await using edge = await testEdge(feed.origin);
  const first = edge.call("alice.fn.test", "/f");
  await begun.promise;
  const refused = await edge.call("alice.fn.test", "/f");
  expect([refused.status, refused.headers["retry-after"]]).toEqual([429, "1"]);
  held.resolve();
  expect((await first).status).toBe(200);
});
