import type { IncomingMessage, ServerResponse } from "node:http";
import type { Socket } from "node:net";
import { expect, test } from "vitest";
import { FeedServer, route } from "./support/feed-server.ts";
import {
  deadUrl,
  type RawClient,
  rawClient,
  rawUpstream,
  testEdge,
  until,
  upstream,
} from "./support/servers.ts";

test("a function answers at <owner>.<domain>/<function>, with the rest of the path and the query as they came", async () => {
  await using fn = await upstream();
  await using feed = await new FeedServer([route("alice/hello", [fn.url])]).listen();
  await using edge = await testEdge(feed.origin);

  const answer = await edge.call("alice.fn.test", "/hello/a%20b//c?x=%2F&y");
  expect(answer.status).toBe(200);
  expect(answer.body).toMatch(/^from /);
  expect(fn.requests[0]?.url).toBe("/a%20b//c?x=%2F&y");
  expect(fn.requests[0]?.headers.host).toBe("alice.fn.test");
  expect(answer.headers["x-request-id"]).toBe(fn.requests[0]?.headers["x-request-id"]);
  expect(answer.headers["x-call-id"]).toBe(fn.requests[0]?.headers["x-call-id"]);
});

test("a body and status go through both ways, byte for byte", async () => {
  await using fn = await upstream((request, response) => {
    response.writeHead(418, { "X-Latin": Buffer.from("é", "latin1").toString("latin1") });
    request.pipe(response);
  });
  await using feed = await new FeedServer([route("alice/hello", [fn.url])]).listen();
  await using edge = await testEdge(feed.origin);
  const body = "0123456789".repeat(100_000);
  for (const headers of [{ "content-length": String(body.length) }, { "transfer-encoding": "chunked" }]) {
    const answer = await edge.call("alice.fn.test", "/hello", { method: "POST", body, headers });
    expect(answer.status).toBe(418);
    expect(answer.headers["x-latin"]).toBe("é");
    expect(answer.body === body).toBe(true);
  }
});

test("events of a stream arrive one by one, and the head before the first of them", async () => {
  const steps: (() => void)[] = [];
  await using fn = await upstream((_request, response) => {
    response.writeHead(200, { "Content-Type": "text/event-stream" }).flushHeaders();
    steps.push(
      () => void response.write("data: 1\n\n"),
      () => void response.end("data: 2\n\n"),
    );
  });
  await using feed = await new FeedServer([
    route("alice/sse", [fn.url], { limits: { totalMs: null } }),
  ]).listen();
  await using edge = await testEdge(feed.origin);
  using client = rawClient(edge.port, "GET /sse HTTP/1.1\r\nHost: alice.fn.test\r\n\r\n");
  await until(() => client.text().includes("text/event-stream"), "the head");
  expect(client.text()).not.toContain("data:");
  steps[0]?.();
  await until(() => client.text().includes("data: 1"), "the first event");
  expect(client.text()).not.toContain("data: 2");
  steps[1]?.();
  await until(() => client.text().includes("data: 2"), "the second event");
});

test("answers without a body stay without one", async () => {
  await using fn = await upstream((request, response) => {
    if (request.url === "/204") response.writeHead(204).end();
    else if (request.url === "/304") response.writeHead(304, { ETag: '"x"', "Content-Length": "5" }).end();
    else response.writeHead(200, { "Content-Length": "5" }).end("hello");
  });
  await using feed = await new FeedServer([route("alice/f", [fn.url])]).listen();
  await using edge = await testEdge(feed.origin);
  const head = await edge.call("alice.fn.test", "/f/", { method: "HEAD" });
  expect([head.status, head.headers["content-length"], head.body]).toEqual([200, "5", ""]);
  const none = await edge.call("alice.fn.test", "/f/204");
  expect([none.status, none.headers["content-length"], none.body]).toEqual([204, undefined, ""]);
  const same = await edge.call("alice.fn.test", "/f/304");
  expect([same.status, same.headers.etag, same.body]).toEqual([304, '"x"', ""]);
});

test("trailers of an answer arrive", async () => {
  await using fn = await upstream((_request, response) => {
    response.writeHead(200, { Trailer: "X-Sum" });
    response.write("body");
    response.addTrailers({ "X-Sum": "42" });
    response.end();
  });
  await using feed = await new FeedServer([route("alice/f", [fn.url])]).listen();
  await using edge = await testEdge(feed.origin);
  expect((await edge.call("alice.fn.test", "/f")).trailers).toEqual({ "x-sum": "42" });
});

test("a client that leaves takes its request to the function with it", async () => {
  let aborted = false;
  await using fn = await upstream((_request, response) => {
    response.write("first");
    response.on("close", () => {
      aborted = true;
    });
  });
  await using feed = await new FeedServer([route("alice/f", [fn.url])]).listen();
  await using edge = await testEdge(feed.origin);
  {
    using client = rawClient(edge.port, "GET /f HTTP/1.1\r\nHost: alice.fn.test\r\n\r\n");
    await until(() => client.text().includes("first"), "the first bytes");
  }
  await until(() => aborted, "the function to be told");
  await until(async () => (await edge.metric("ofc_edge_requests_in_flight")) === 0, "nothing under way");
  expect(await edge.metric('ofc_edge_refused_total{reason="client-gone"}')).toBe(1);
});

test("a function that breaks off in the middle breaks the answer off, so that nobody takes it for whole", async () => {
  await using fn = await upstream((_request, response) => {
    response.write("half", () => response.destroy());
  });
  await using feed = await new FeedServer([route("alice/f", [fn.url])]).listen();
  await using edge = await testEdge(feed.origin);
  using client = rawClient(edge.port, "GET /f HTTP/1.1\r\nHost: alice.fn.test\r\n\r\n");
  await client.closed;
  expect(client.text()).toContain("half");
  expect(client.text()).not.toMatch(/\r\n0\r\n\r\n$/);
  expect(await edge.metric('ofc_edge_refused_total{reason="upstream-broken"}')).toBe(1);
});

test("an answer that breaks off is no whole one to HTTP/1.0 either", async () => {
  await using fn = await upstream((_request, response) => {
    response.write("half", () => setTimeout(() => response.destroy(), 50));
  });
  await using feed = await new FeedServer([route("alice/f", [fn.url])]).listen();
  await using edge = await testEdge(feed.origin);
  using client = rawClient(edge.port, "GET /f HTTP/1.0\r\nHost: alice.fn.test\r\n\r\n");
  const failed = new Promise<NodeJS.ErrnoException>((resolve) => client.socket.once("error", resolve));
  await client.closed;
  expect((await failed).code).toBe("ECONNRESET");
});

test("an answer that is to end with its connection is no whole one where the connection is reset", async () => {
  await using fn = await rawUpstream((socket) =>
    socket.once("data", () =>
      socket.write("HTTP/1.1 200 OK\r\n\r\nhalf", () => setTimeout(() => socket.resetAndDestroy(), 50)),
    ),
  );
  await using feed = await new FeedServer([route("alice/f", [fn.url])]).listen();
  await using edge = await testEdge(feed.origin);
  using client = rawClient(edge.port, "GET /f HTTP/1.1\r\nHost: alice.fn.test\r\n\r\n");
  await client.closed;
  expect(client.text()).toContain("half");
  expect(client.text()).not.toMatch(/\r\n0\r\n\r\n$/);
  expect(await edge.metric('ofc_edge_refused_total{reason="upstream-broken"}')).toBe(1);
});

test.each<[string, string]>([
  ["two lengths", "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nx"],
  [
    "a length beside chunks",
    "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx\r\n0\r\n\r\n",
  ],
  [
    "an upgrade nobody asked for",
    "HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n",
  ],
  ["status 999", "HTTP/1.1 999 Odd\r\nContent-Length: 0\r\n\r\n"],
  ["not HTTP", "hello there\r\n\r\n"],
  ["lines that end in LF alone", "HTTP/1.1 200 OK\nContent-Length: 2\n\nok"],
  ["20 KiB of headers", `HTTP/1.1 200 OK\r\na: ${"b".repeat(20 * 1024)}\r\n\r\n`],
  ["a closed connection", ""],
])("a function that answers %s is answered for with 502, without its address", async (_what, bytes) => {
  await using fn = await rawUpstream((socket) => {
    socket.once("data", () => (bytes === "" ? socket.destroy() : socket.write(bytes)));
  });
  await using feed = await new FeedServer([route("alice/f", [fn.url])]).listen();
  await using edge = await testEdge(feed.origin);
  const answer = await edge.call("alice.fn.test", "/f", { method: "POST" });
  expect(answer.status).toBe(502);
  expect(JSON.parse(answer.body)).toMatchObject({
    error: { code: "upstream-broken", requestId: answer.headers["x-request-id"] },
  });
  expect(answer.body).not.toContain("127.0.0.1");
});

test("endless 1xx answers do not get past the deadline (L8)", async () => {
  await using fn = await rawUpstream((socket) => {
    socket.once("data", () => {
      const timer = setInterval(() => socket.write("HTTP/1.1 103 Early Hints\r\n\r\n"), 10);
      socket.on("close", () => clearInterval(timer));
    });
  });
  await using feed = await new FeedServer([
    route("alice/f", [fn.url], { limits: { firstByteMs: 200 } }),
  ]).listen();
  await using edge = await testEdge(feed.origin);
  expect((await edge.call("alice.fn.test", "/f")).status).toBe(504);
});

test("a function that does not begin to answer is answered for with 504, and told", async () => {
  let told = false;
  await using fn = await upstream((_request, response) => {
    response.on("close", () => {
      told = true;
    });
  });
  await using feed = await new FeedServer([
    route("alice/f", [fn.url], { limits: { firstByteMs: 200 } }),
  ]).listen();
  await using edge = await testEdge(feed.origin);
  expect((await edge.call("alice.fn.test", "/f")).status).toBe(504);
  await until(() => told, "the function's connection to be dropped");
});

test("the deadline for the whole is absolute, however lively the answer", async () => {
  await using fn = await upstream((_request, response) => {
    const timer = setInterval(() => response.write("x"), 10);
    response.on("close", () => clearInterval(timer));
  });
  await using feed = await new FeedServer([
    route("alice/f", [fn.url], { limits: { totalMs: 300 } }),
  ]).listen();
  await using edge = await testEdge(feed.origin);
  const before = performance.now();
  await expect(edge.call("alice.fn.test", "/f")).rejects.toThrow();
  expect(performance.now() - before).toBeLessThan(2_000);
});

test("a body larger than the limit is refused at once by its length, and while streaming without one", async () => {
  let executed = 0;
  await using fn = await upstream((request, response) => {
    request.resume().on("end", () => {
      executed += 1;
      response.end();
    });
  });
  await using feed = await new FeedServer([
    route("alice/f", [fn.url], { limits: { maxBodyBytes: 1000 } }),
  ]).listen();
  await using edge = await testEdge(feed.origin);
  const send = (headers: Record<string, string>, bytes: number) =>
    edge.call("alice.fn.test", "/f", { method: "POST", body: "x".repeat(bytes), headers });
  expect((await send({ "content-length": "1001" }, 1001)).status).toBe(413);
  expect(fn.requests).toHaveLength(0);
  expect((await send({ "transfer-encoding": "chunked" }, 300_000)).status).toBe(413);
  expect(executed).toBe(0);
  expect((await send({ "transfer-encoding": "chunked" }, 1000)).status).toBe(200);
  expect((await send({ "content-length": "1000" }, 1000)).status).toBe(200);
});

test("one request more than the function may have is answered 429, and places are given back exactly once", async () => {
  const waiting: (() => void)[] = [];
  await using fn = await upstream((_request, response) => {
    waiting.push(() => response.end("done"));
  });
  await using feed = await new FeedServer([
    route("alice/f", [fn.url], { limits: { maxConcurrency: 2 } }),
    route("alice/g", [fn.url], { limits: { maxConcurrency: 2 } }),
  ]).listen();
  await using edge = await testEdge(feed.origin);
  for (let round = 0; round < 3; round++) {
    const first = edge.call("alice.fn.test", "/f");
    const second = edge.call("alice.fn.test", "/f");
    await until(() => waiting.length === 2, "two requests");
    const third = await edge.call("alice.fn.test", "/f");
    expect([third.status, third.headers["retry-after"]]).toEqual([429, "1"]);
    const other = edge.call("alice.fn.test", "/g");
    await until(() => waiting.length === 3, "the other function's request");
    for (const finish of waiting.splice(0)) finish();
    for (const answer of [first, second, other]) expect((await answer).status).toBe(200);
  }
});

test("with one replica gone every request, POST too, is answered by another", async () => {
  await using fn = await upstream();
  await using feed = await new FeedServer([route("alice/f", [await deadUrl(), fn.url])]).listen();
  await using edge = await testEdge(feed.origin);
  for (let i = 0; i < 40; i++) {
    const answer = await edge.call("alice.fn.test", "/f", { method: "POST", body: "once" });
    expect(answer.status).toBe(200);
  }
  expect(fn.requests).toHaveLength(40);
  expect(await edge.metric("ofc_edge_retries_total")).toBe(5);
  expect(await edge.metric("ofc_edge_ejections_total")).toBe(1);
});

test("the last replica is never given up", async () => {
  let broken = true;
  await using fn = await upstream((request, response) => {
    if (broken) request.socket.destroy();
    else response.end("well");
  });
  await using feed = await new FeedServer([route("alice/f", [fn.url])]).listen();
  await using edge = await testEdge(feed.origin);
  for (let i = 0; i < 12; i++) expect((await edge.call("alice.fn.test", "/f")).status).toBe(502);
  broken = false;
  expect((await edge.call("alice.fn.test", "/f")).status).toBe(200);
  expect(await edge.metric("ofc_edge_ejections_total")).toBe(0);
});

test("a GET whose connection broke is sent once more; a POST is executed once and answered 502 (D13)", async () => {
  const connections: Socket[] = [];
  await using fn = await upstream((request) => {
    connections.push(request.socket);
    request.once("data", () => request.socket.destroy());
    if (request.method === "GET") request.socket.destroy();
  });
  await using feed = await new FeedServer([route("alice/f", [fn.url])]).listen();
  await using edge = await testEdge(feed.origin);
  expect((await edge.call("alice.fn.test", "/f")).status).toBe(502);
  expect(fn.requests).toHaveLength(2);
  expect((await edge.call("alice.fn.test", "/f", { method: "POST", body: "x".repeat(1000) })).status).toBe(
    502,
  );
  expect(fn.requests).toHaveLength(3);
});

test("a GET that one replica hangs on is sent to another; a POST is executed once and answered 504", async () => {
  await using hung = await upstream((request) => void request.resume());
  await using fn = await upstream();
  await using feed = await new FeedServer([
    route("alice/f", [hung.url, fn.url], { limits: { firstByteMs: 200 } }),
  ]).listen();
  await using edge = await testEdge(feed.origin);
  await until(async () => {
    expect((await edge.call("alice.fn.test", "/f")).status).toBe(200);
    return hung.requests.length === 1;
  }, "a GET that hangs first");
  expect(await edge.metric("ofc_edge_retries_total")).toBe(1);
  let late: Awaited<ReturnType<typeof edge.call>> | undefined;
  await until(async () => {
    const answer = await edge.call("alice.fn.test", "/f", { method: "POST", headers: { "x-once": "1" } });
    if (answer.status === 504) late = answer;
    return late !== undefined;
  }, "a POST that hangs");
  const posts = [...hung.requests, ...fn.requests].filter(({ method }) => method === "POST");
  const ids = posts.map(({ headers }) => headers["x-request-id"]);
  expect(new Set(ids).size).toBe(ids.length);
});

test("a GET is not asked for again where nobody else is known to answer, and not past its whole time", async () => {
  await using hung = await upstream(() => undefined);
  await using also = await upstream(() => undefined);
  await using feed = await new FeedServer([
    route("alice/one", [hung.url], { limits: { firstByteMs: 200 } }),
    route("alice/both", [hung.url, also.url], { limits: { firstByteMs: 200, totalMs: 300 } }),
  ]).listen();
  await using edge = await testEdge(feed.origin);
  expect((await edge.call("alice.fn.test", "/one")).status).toBe(504);
  expect(hung.requests).toHaveLength(1);
  const before = performance.now();
  expect((await edge.call("alice.fn.test", "/both")).status).toBe(504);
  expect(performance.now() - before).toBeLessThan(600);
});

test("what has begun to be answered is not asked for again", async () => {
  await using stuck = await rawUpstream((socket) => socket.once("data", () => socket.write("HTTP/1.1 200")));
  await using other = await rawUpstream((socket) => socket.once("data", () => socket.write("HTTP/1.1 200")));
  await using feed = await new FeedServer([
    route("alice/f", [stuck.url, other.url], { limits: { firstByteMs: 200 } }),
  ]).listen();
  await using edge = await testEdge(feed.origin);
  expect((await edge.call("alice.fn.test", "/f")).status).toBe(504);
  expect(await edge.metric("ofc_edge_retries_total")).toBe(0);
});

test("a function that answers before it has read everything is heard", async () => {
  await using fn = await upstream((_request, response) => {
    response.writeHead(403).end("no need");
  });
  await using feed = await new FeedServer([route("alice/f", [fn.url])]).listen();
  await using edge = await testEdge(feed.origin);
  const answer = await edge.call("alice.fn.test", "/f", { method: "POST", body: "x".repeat(500_000) });
  expect([answer.status, answer.body]).toEqual([403, "no need"]);
});

test.each<[string, "text/html" | "application/json"]>([
  ["a page", "text/html"],
  ["JSON", "application/json"],
])("a function without a replica is answered for at once with 503, as %s", async (_what, accept) => {
  await using feed = await new FeedServer([route("alice/f", [])]).listen();
  await using edge = await testEdge(feed.origin);
  for (const method of ["GET", "POST"]) {
    const answer = await edge.call("alice.fn.test", "/f", {
      method,
      body: method === "POST" ? "x".repeat(1000) : "",
      headers: { accept },
    });
    expect([answer.status, answer.headers["retry-after"]]).toEqual([503, "5"]);
    expect(answer.headers["content-type"]).toContain(accept);
    expect(answer.body).toContain("no replica that answers at the moment. It is being started again.");
  }
  expect(await edge.metric('ofc_edge_refused_total{reason="no-replica"}')).toBe(2);
});

/** Sends a byte of a body every 50 ms. */
function slowUpload(port: number, path: string, bytes: number): RawClient {
  const client = rawClient(
    port,
    `POST ${path} HTTP/1.1\r\nHost: alice.fn.test\r\nConnection: close\r\nContent-Length: ${bytes}\r\n\r\n`,
  );
  let left = bytes;
  const timer = setInterval(() => {
    if (left-- > 0 && client.socket.writable) client.socket.write("x");
    else clearInterval(timer);
  }, 50);
  return client;
}

test("a slow but steady upload is no fault of the function: it is answered, and no replica ejected", async () => {
  await using one = await upstream();
  await using two = await upstream();
  await using feed = await new FeedServer([
    route("alice/up", [one.url, two.url], { limits: { firstByteMs: 500 } }),
  ]).listen();
  await using edge = await testEdge(feed.origin);
  const clients = Array.from({ length: 12 }, () => slowUpload(edge.port, "/up", 20));
  await Promise.all(clients.map(({ closed }) => closed));
  for (const client of clients) expect(client.text()).toMatch(/^HTTP\/1\.1 200 /);
  expect(await edge.metric("ofc_edge_ejections_total")).toBe(0);
});

test("uploads cut by the deadline for the whole eject nobody either", async () => {
  await using one = await upstream();
  await using two = await upstream();
  await using feed = await new FeedServer([
    route("alice/up", [one.url, two.url], { limits: { totalMs: 300 } }),
  ]).listen();
  await using edge = await testEdge(feed.origin);
  const clients = Array.from({ length: 12 }, () => slowUpload(edge.port, "/up", 1000));
  await until(() => clients.every((client) => client.text().includes("504")), "the deadline");
  for (const client of clients) client.socket.destroy();
  expect(await edge.metric("ofc_edge_ejections_total")).toBe(0);
});

test("a function that has the whole body and does not answer is late, and that counts against it", async () => {
  await using hung = await upstream((request) => void request.resume());
  await using fn = await upstream();
  await using feed = await new FeedServer([
    route("alice/f", [hung.url, fn.url], { limits: { firstByteMs: 200 } }),
  ]).listen();
  await using edge = await testEdge(feed.origin);
  await until(async () => {
    const calls = Array.from({ length: 8 }, () =>
      edge.call("alice.fn.test", "/f", { method: "POST", body: "x".repeat(1000) }),
    );
    await Promise.all(calls);
    return (await edge.metric("ofc_edge_ejections_total")) === 1;
  }, "the ejection of the one that hangs");
});

test("a function that takes no more of a body is late, where nothing bounds the whole", async () => {
  await using fn = await rawUpstream((socket) => socket.pause());
  await using feed = await new FeedServer([
    route("alice/f", [fn.url], { limits: { firstByteMs: 300, totalMs: null, maxBodyBytes: 1e9 } }),
  ]).listen();
  await using edge = await testEdge(feed.origin);
  using client = rawClient(
    edge.port,
    "POST /f HTTP/1.1\r\nHost: alice.fn.test\r\nContent-Length: 64000000\r\n\r\n",
  );
  client.socket.write(Buffer.alloc(64_000_000));
  await until(() => client.text().includes("504"), "the answer");
});

test("a client that stops sending its body is answered 408", async () => {
  await using fn = await upstream();
  await using feed = await new FeedServer([route("alice/f", [fn.url])]).listen();
  await using edge = await testEdge(feed.origin, { timeouts: { bodyIdleMs: 200 } });
  using client = rawClient(
    edge.port,
    "POST /f HTTP/1.1\r\nHost: alice.fn.test\r\nContent-Length: 10\r\n\r\nabc",
  );
  await client.closed;
  expect(client.text()).toMatch(/^HTTP\/1\.1 408 [\s\S]*"body-idle"/);
  expect(await edge.metric("ofc_edge_requests_in_flight")).toBe(0);
});

test("a client that drips its body is answered 408; one that pauses is not, nor one that streams", async () => {
  await using fn = await upstream();
  await using feed = await new FeedServer([
    route("alice/f", [fn.url]),
    route("alice/stream", [fn.url], { limits: { totalMs: null } }),
  ]).listen();
  await using edge = await testEdge(feed.origin, { timeouts: { bodyDripMs: 4_200 } });
  const paused = rawClient(
    edge.port,
    "POST /f HTTP/1.1\r\nHost: alice.fn.test\r\nConnection: close\r\nContent-Length: 2000\r\n\r\n",
  );
  paused.socket.write("x");
  const streaming = slowUpload(edge.port, "/stream", 100);
  const dripping = slowUpload(edge.port, "/f", 1_000);
  await until(() => dripping.text().includes("body-idle"), "the drip to be refused", 8_000);
  expect(dripping.text()).toMatch(/^HTTP\/1\.1 408 /);
  paused.socket.write("x".repeat(1_999));
  await Promise.all([paused.closed, streaming.closed, dripping.closed]);
  expect(paused.text()).toMatch(/^HTTP\/1\.1 200 /);
  expect(streaming.text()).toMatch(/^HTTP\/1\.1 200 /);
  expect(await edge.metric("ofc_edge_ejections_total")).toBe(0);
});

test("a client that does not finish its head is answered 408", async () => {
  await using feed = await new FeedServer([]).listen();
  await using edge = await testEdge(feed.origin, { timeouts: { headersMs: 200 } });
  using client = rawClient(edge.port, "GET /f HTTP/1.1\r\nHost: alice.fn");
  await client.closed;
  expect(client.text()).toMatch(/^HTTP\/1\.1 408 [\s\S]*"request-invalid"/);
});

test.each<[string, string, string]>([
  ["a streaming function", "alice.fn.test", "/s"],
  ["the system host", "system.console.test", "/s"],
])("a client that never reads gives its place at %s back", async (_what, host, path) => {
  const flood = (_request: IncomingMessage, response: ServerResponse): void => {
    const chunk = Buffer.alloc(64 * 1024);
    const more = (): void => {
      while (response.write(chunk));
    };
    response.on("drain", more).on("error", () => undefined);
    more();
  };
  await using fn = await upstream(flood);
  await using feed = await new FeedServer([
    route("alice/s", [fn.url], { limits: { totalMs: null, maxConcurrency: 2 } }),
  ]).listen();
  feed.onSystemRequest = flood;
  await using edge = await testEdge(feed.origin, {
    timeouts: { writeIdleMs: 1_000 },
    systemMaxConcurrency: 2,
  });
  const clients = [0, 1].map(() => {
    const client = rawClient(edge.port, `GET ${path} HTTP/1.1\r\nHost: ${host}\r\n\r\n`);
    client.socket.pause();
    return client;
  });
  await until(async () => (await edge.metric("ofc_edge_requests_in_flight")) === 2, "both places taken");
  expect((await edge.call(host, path)).status).toBe(429);
  await until(async () => (await edge.metric("ofc_edge_requests_in_flight")) === 0, "the places given back");
  expect(await edge.metric('ofc_edge_refused_total{reason="client-stalled"}')).toBe(2);
  for (const client of clients) client.socket.destroy();
});

test("one request more than the system host may have is answered 429, and functions are served on", async () => {
  const waiting: (() => void)[] = [];
  await using fn = await upstream();
  await using feed = await new FeedServer([route("alice/f", [fn.url])]).listen();
  feed.onSystemRequest = (_request, response) => void waiting.push(() => response.end("done"));
  await using edge = await testEdge(feed.origin, { systemMaxConcurrency: 2 });
  for (let round = 0; round < 2; round++) {
    const under = [edge.call("system.console.test", "/x"), edge.call("auth.system.console.test", "/x")];
    await until(() => waiting.length === 2, "two requests");
    const third = await edge.call("system.console.test", "/x");
    expect([third.status, third.headers["retry-after"]]).toEqual([429, "1"]);
    expect((await edge.call("alice.fn.test", "/f")).status).toBe(200);
    for (const finish of waiting.splice(0)) finish();
    for (const answer of under) expect((await answer).status).toBe(200);
  }
});

test.each([502, 503, 504])("a replica that answers %i five times in a row is left alone", async (status) => {
  await using ill = await upstream((request, response) => {
    request.resume();
    response.writeHead(status).end("ill");
  });
  await using fn = await upstream();
  await using feed = await new FeedServer([route("alice/f", [ill.url, fn.url])]).listen();
  await using edge = await testEdge(feed.origin);
  let answeredIll = 0;
  for (let i = 0; i < 60; i++)
    if ((await edge.call("alice.fn.test", "/f")).status === status) answeredIll += 1;
  expect(answeredIll).toBe(5);
  expect(await edge.metric("ofc_edge_ejections_total")).toBe(1);
});

test("the last replica serves on, though it answers 503 and nothing else", async () => {
  await using ill = await upstream((_request, response) => void response.writeHead(503).end("ill"));
  await using feed = await new FeedServer([route("alice/f", [ill.url])]).listen();
  await using edge = await testEdge(feed.origin);
  for (let i = 0; i < 12; i++) expect((await edge.call("alice.fn.test", "/f")).body).toBe("ill");
  expect(await edge.metric("ofc_edge_ejections_total")).toBe(0);
});
