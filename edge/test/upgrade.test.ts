import { createHash } from "node:crypto";
import { expect, test } from "vitest";
import { FeedServer, route } from "./support/feed-server.ts";
import { exchangeRaw, rawClient, rawUpstream, testEdge, until, upstream } from "./support/servers.ts";

const KEY = "dGhlIHNhbXBsZSBub25jZQ==";

function handshake(path: string, host = "alice.fn.test", more = ""): string {
  return `GET ${path} HTTP/1.1\r\nHost: ${host}\r\nConnection: Upgrade, X-Hop\r\nUpgrade: websocket\r\nX-Hop: 1\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: ${KEY}\r\n${more}\r\n`;
}

/** A function that accepts every upgrade and says back what it hears. */
function echo() {
  return upstream(undefined, (request, socket, head) => {
    const accept = createHash("sha1")
      .update(`${request.headers["sec-websocket-key"]}258EAFA5-E914-47DA-95CA-C5AB0DC85B11`)
      .digest("base64");
    socket.write(
      `HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Accept: ${accept}\r\nKeep-Alive: x\r\n\r\nhello `,
    );
    if (head.length > 0) socket.write(head);
    socket.on("error", () => socket.destroy());
    socket.pipe(socket);
  });
}

test("a WebSocket goes through, both ways, and ends with either side", async () => {
  await using fn = await echo();
  await using feed = await new FeedServer([route("alice/ws", [fn.url])]).listen();
  await using edge = await testEdge(feed.origin);
  {
    using client = rawClient(edge.port, handshake("/ws/room?a=1"));
    await until(() => client.text().includes("hello "), "the function's first bytes");
    expect(client.text()).toMatch(/^HTTP\/1\.1 101 .*Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK\+xOo=/s);
    expect(client.text()).not.toMatch(/keep-alive: x/i);
    client.socket.write("ping");
    await until(() => client.text().endsWith("hello ping"), "the echo");
  }
  await until(() => fn.sockets.size === 0, "the function's side to close");
  const { url, headers } = fn.requests[0] ?? {};
  expect(url).toBe("/room?a=1");
  expect(headers).toMatchObject({
    upgrade: "websocket",
    connection: "upgrade",
    "x-forwarded-host": "alice.fn.test",
  });
  expect(headers?.["x-hop"]).toBeUndefined();

  using client = rawClient(edge.port, handshake("/ws"));
  await until(() => client.text().includes("hello "), "the tunnel");
  for (const socket of fn.sockets) socket.destroy();
  await client.closed;
});

test("what a client sends along with its handshake arrives", async () => {
  await using fn = await echo();
  await using feed = await new FeedServer([route("alice/ws", [fn.url])]).listen();
  await using edge = await testEdge(feed.origin);
  using client = rawClient(edge.port, `${handshake("/ws")}early`);
  await until(() => client.text().endsWith("hello early"), "the echo");
});

test("the same phases decide: unknown, protected, too many", async () => {
  await using fn = await echo();
  await using feed = await new FeedServer([
    route("alice/ws", [fn.url], { limits: { maxConcurrency: 1 } }),
    route("alice/members", [fn.url], { access: "members" }),
  ]).listen();
  await using edge = await testEdge(feed.origin);
  expect(await exchangeRaw(edge.port, handshake("/nope"))).toMatch(/^HTTP\/1\.1 404 /);
  expect(await exchangeRaw(edge.port, handshake("/members"))).toMatch(/^HTTP\/1\.1 401 /);
  expect(await exchangeRaw(edge.port, handshake("/ws", "a@b"))).toMatch(/^HTTP\/1\.1 400 /);
  {
    using client = rawClient(edge.port, handshake("/ws"));
    await until(() => client.text().includes("hello "), "the tunnel");
    expect(await exchangeRaw(edge.port, handshake("/ws"))).toMatch(/^HTTP\/1\.1 429 /);
  }
  await until(async () => (await edge.metric("ofc_edge_requests_in_flight")) === 0, "the tunnel's end");
  using again = rawClient(edge.port, handshake("/ws"));
  await until(() => again.text().includes("hello "), "a place given back");
});

test("an answer that is no 101 is an answer", async () => {
  await using fn = await upstream(undefined, (_request, socket) => {
    socket.end("HTTP/1.1 403 Forbidden\r\nContent-Length: 2\r\nConnection: close\r\n\r\nno");
  });
  await using feed = await new FeedServer([route("alice/ws", [fn.url])]).listen();
  await using edge = await testEdge(feed.origin);
  const answer = await exchangeRaw(edge.port, handshake("/ws"));
  expect(answer).toMatch(/^HTTP\/1\.1 403 /);
  expect(answer).toMatch(/connection: close/i);
  expect(answer.endsWith("\r\n\r\nno")).toBe(true);
});

test("a function that answers garbage to an upgrade gets no tunnel", async () => {
  await using fn = await rawUpstream((socket) => {
    socket.once("data", () => socket.end("no idea\r\n\r\n"));
  });
  await using feed = await new FeedServer([route("alice/ws", [fn.url])]).listen();
  await using edge = await testEdge(feed.origin);
  expect(await exchangeRaw(edge.port, handshake("/ws"))).toMatch(/^HTTP\/1\.1 502 /);
});

test("a tunnel closes when its route goes away", async () => {
  await using fn = await echo();
  await using feed = await new FeedServer([route("alice/ws", [fn.url])]).listen();
  await using edge = await testEdge(feed.origin);
  using client = rawClient(edge.port, handshake("/ws"));
  await until(() => client.text().includes("hello "), "the tunnel");
  feed.change({ removals: [route("alice/ws", [])] });
  await client.closed;
  await until(() => fn.sockets.size === 0, "the function's side to close");
});

test("an upgrade on the system host reaches the control plane", async () => {
  await using controlPlane = await echo();
  await using edge = await testEdge(controlPlane.url, { wait: false });
  using client = rawClient(edge.port, handshake("/api/live", "system.console.test"));
  await until(() => client.text().includes("hello "), "the tunnel");
  expect(controlPlane.requests.some(({ url }) => url === "/api/live")).toBe(true);
  expect(await exchangeRaw(edge.port, handshake("/internal/x", "system.console.test"))).toMatch(
    /^HTTP\/1\.1 404 /,
  );
});
