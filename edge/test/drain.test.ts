import { readdir, readFile } from "node:fs/promises";
import type { ServerResponse } from "node:http";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { describe, expect, test } from "vitest";
import { FeedServer, route } from "./support/feed-server.ts";
import { rawClient, tempDirectory, testEdge, until, upstream } from "./support/servers.ts";

const LONG_DRAIN_MS = 10_000;
/** How long a client thinks before its next request: less than a connection may be quiet, more than the edge takes to look. */
const THINKING_MS = 400;
const REQUEST = "GET /f HTTP/1.1\r\nHost: alice.fn.test\r\n\r\n";

function answers(text: string): number {
  return text.split("HTTP/1.1 200").length - 1;
}

describe.each([
  ["plain", true],
  ["full", false],
])("in the %s lane", (_lane, plainLane) => {
  test("an idle connection brings its next request to an edge that goes, and it is the last one", async () => {
    await using fn = await upstream();
    await using feed = await new FeedServer([route("alice/f", [fn.url])]).listen();
    await using edge = await testEdge(feed.origin, { drainMs: LONG_DRAIN_MS, plainLane });
    using client = rawClient(edge.port, REQUEST);
    await until(() => answers(client.text()) === 1, "the first answer");
    expect(client.text()).not.toMatch(/connection: close/i);

    const closed = edge.close();
    await sleep(THINKING_MS);
    client.socket.write(REQUEST);
    await client.closed;
    expect(answers(client.text())).toBe(2);
    expect(client.text()).toMatch(/connection: close/i);
    await closed;
  });

  test("connections that stay quiet are closed, whether they were used or not, and nobody waits for them any longer", async () => {
    await using fn = await upstream();
    await using feed = await new FeedServer([route("alice/f", [fn.url])]).listen();
    await using edge = await testEdge(feed.origin, { drainMs: LONG_DRAIN_MS, plainLane });
    using used = rawClient(edge.port, REQUEST);
    await until(() => answers(used.text()) === 1, "the answer");
    using unused = rawClient(edge.port, "");
    const connections = `ofc_edge_client_connections{lane="${plainLane ? "plain" : "full"}"}`;
    await until(async () => (await edge.metric(connections)) === 2, "both connections");
    const startedMs = performance.now();
    await edge.close();
    await Promise.all([used.closed, unused.closed]);
    expect(performance.now() - startedMs).toBeLessThan(LONG_DRAIN_MS / 2);
  });

  test("a request whose head is on its way when the others are closed is answered", async () => {
    await using fn = await upstream();
    await using feed = await new FeedServer([route("alice/f", [fn.url])]).listen();
    await using edge = await testEdge(feed.origin, { drainMs: LONG_DRAIN_MS, plainLane });
    using quiet = rawClient(edge.port, REQUEST);
    using slow = rawClient(edge.port, REQUEST);
    await until(() => answers(quiet.text()) + answers(slow.text()) === 2, "both answers");
    const closed = edge.close();
    slow.socket.write(REQUEST.slice(0, 20));
    await quiet.closed;
    slow.socket.write(REQUEST.slice(20));
    await slow.closed;
    expect(answers(slow.text())).toBe(2);
    await closed;
  });

  test("a connection that was promised to stay when its answer began brings its next request after the answer's end", async () => {
    let stream: ServerResponse | undefined;
    await using fn = await upstream((request, response) => {
      if (request.url === "/stream") {
        stream = response;
        response.write("begun");
      } else response.end("short");
    });
    await using feed = await new FeedServer([route("alice/f", [fn.url])]).listen();
    await using edge = await testEdge(feed.origin, { drainMs: LONG_DRAIN_MS, plainLane });
    using quiet = rawClient(edge.port, REQUEST);
    using client = rawClient(edge.port, REQUEST.replace("/f", "/f/stream"));
    await until(
      () => client.text().includes("begun") && answers(quiet.text()) === 1,
      "the answers' beginnings",
    );
    const closed = edge.close();
    await quiet.closed;
    // Longer than anything may be quiet: from here on only the time since its own end counts.
    stream?.end("ended");
    await until(() => client.text().includes("ended"), "the answer's end");
    await sleep(THINKING_MS);
    client.socket.write(REQUEST);
    await client.closed;
    expect(client.text()).toContain("short");
    await closed;
  });

  test("a request that does not end is cut off when the drain is over", async () => {
    await using fn = await upstream(() => undefined);
    await using feed = await new FeedServer([route("alice/f", [fn.url])]).listen();
    await using edge = await testEdge(feed.origin, { drainMs: 300, plainLane });
    using client = rawClient(edge.port, REQUEST);
    await until(() => fn.requests.length === 1, "the request");
    await edge.close();
    await client.closed;
    expect(client.text()).toBe("");
  });
});

test("a tunnel that opens when the edge is going is not waited for", async () => {
  let answer: (() => void) | undefined;
  await using fn = await upstream(undefined, (_request, socket) => {
    answer = () => {
      socket.write("HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n");
    };
  });
  await using feed = await new FeedServer([route("alice/f", [fn.url])]).listen();
  await using edge = await testEdge(feed.origin, { drainMs: LONG_DRAIN_MS });
  using client = rawClient(
    edge.port,
    "GET /f HTTP/1.1\r\nHost: alice.fn.test\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n" +
      "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n",
  );
  await until(() => answer !== undefined, "the request");
  const startedMs = performance.now();
  const closed = edge.close();
  answer?.();
  await client.closed;
  await closed;
  expect(performance.now() - startedMs).toBeLessThan(LONG_DRAIN_MS / 2);
});

test("an edge that goes says so to whoever asks whether it is ready", async () => {
  let finish: ServerResponse | undefined;
  await using fn = await upstream((_request, response) => {
    finish = response;
  });
  await using feed = await new FeedServer([route("alice/f", [fn.url])]).listen();
  await using edge = await testEdge(feed.origin, { drainMs: LONG_DRAIN_MS });
  using client = rawClient(edge.port, REQUEST);
  await until(() => finish !== undefined, "a request under way");
  const closed = edge.close();
  const answer = await fetch(`http://127.0.0.1:${edge.adminPort}/readyz`);
  expect([answer.status, await answer.text()]).toEqual([503, "draining\n"]);
  finish?.end();
  await client.closed;
  await closed;
});

test("the newest routes are on the disk before a control plane that does not answer is waited for", async () => {
  await using fn = await upstream();
  await using feed = await new FeedServer([route("alice/f", [fn.url])]).listen();
  // Kept back until the end.
  feed.usageStatus = 503;
  await using data = await tempDirectory();
  await using edge = await testEdge(feed.origin, { dataDirectory: data.path });
  await until(() => isStored(data.path, '"f"'), "the first routes");
  expect((await edge.call("alice.fn.test", "/f")).status).toBe(200);
  const version = feed.change({ upserts: [route("alice/g", [fn.url])] });
  await until(() => feed.applied.at(-1)?.version === version, "the change");
  feed.usageStatus = undefined;
  const closed = edge.close();
  await until(() => feed.heldReports === 1, "the last report");
  expect(await isStored(data.path, '"g"')).toBe(true);
  await closed;
});

async function isStored(directory: string, what: string): Promise<boolean> {
  const names = (await readdir(directory)).filter((name) => name.endsWith(".json")).toSorted();
  const newest = names.at(-1);
  return newest !== undefined && (await readFile(join(directory, newest), "utf8")).includes(what);
}
