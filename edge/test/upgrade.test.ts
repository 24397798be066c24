import { createHash } from "node:crypto";
import { connect } from "node:net";
import type { Duplex } from "node:stream";
import { expect, test } from "vitest";
import { FeedServer, route } from "./support/feed-server.ts";
import { kernelSockets, queuedBytes } from "./support/kernel-queues.ts";
import { hasAnswers, readAnswers } from "./support/raw-answers.ts";
import {
  deadUrl,
  exchangeRaw,
  type RawClient,
  rawClient,
  rawUpstream,
  testEdge,
  until,
  upstream,
} from "./support/servers.ts";
import { signer } from "./support/tokens.ts";

/** Of what comes before an upgrade is decided. */
const HELD_BYTES = 64 * 1024;
const SWITCHED = "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n";
const KEY = "dGhlIHNhbXBsZSBub25jZQ==";

function handshake(path: string, host = "alice.fn.test", more = ""): string {
  return `GET ${path} HTTP/1.1\r\nHost: ${host}\r\nConnection: Upgrade, X-Hop\r\nUpgrade: websocket\r\nX-Hop: 1\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: ${KEY}\r\n${more}\r\n`;
}

async function within(event: Promise<unknown>, what: string): Promise<void> {
  let happened = false;
  void event.then(() => {
    happened = true;
  });
  await until(() => happened, what);
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

test("with one replica gone every handshake is answered by the other", async () => {
  await using fn = await echo();
  await using feed = await new FeedServer([route("alice/ws", [await deadUrl(), fn.url])]).listen();
  await using edge = await testEdge(feed.origin);
  for (let i = 0; i < 12; i++) {
    using client = rawClient(edge.port, `${handshake("/ws")}early`);
    await until(() => client.text().endsWith("hello early"), "the echo");
  }
  expect(await edge.metric("ofc_edge_retries_total")).toBeGreaterThan(0);
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

test("a tunnel that was open to anybody ends when its function is for members alone", async () => {
  await using fn = await echo();
  await using feed = await new FeedServer([
    route("alice/ws", [fn.url]),
    route("alice/other", [fn.url]),
  ]).listen();
  await using edge = await testEdge(feed.origin);
  using client = rawClient(edge.port, handshake("/ws"));
  using other = rawClient(edge.port, handshake("/other"));
  await until(() => client.text().includes("hello ") && other.text().includes("hello "), "both tunnels");
  feed.change({ upserts: [route("alice/ws", [fn.url], { access: "members", revision: "r2" })] });
  await within(client.closed, "the tunnel to end");
  other.socket.write("still here");
  await until(() => other.text().endsWith("still here"), "the other tunnel to go on");
  expect(await edge.metric("ofc_edge_tunnels_revoked_total")).toBe(1);
});

test("a tunnel lasts no longer than its session: revoked, signed by a retired key, or at its end", async () => {
  const [issuer, retired] = [await signer(), await signer()];
  const settings = { keys: [issuer.key, retired.key], revoked: [] as string[], listOwners: false };
  await using fn = await echo();
  await using feed = await new FeedServer(
    [route("alice/ws", [fn.url], { access: "members" })],
    settings,
  ).listen();
  await using edge = await testEdge(feed.origin);
  const nowS = Math.floor(Date.now() / 1000);
  const open = async (token: string): Promise<RawClient> => {
    const client = rawClient(edge.port, handshake("/ws", undefined, `Authorization: Bearer ${token}\r\n`));
    await until(() => client.text().includes("hello "), "the tunnel");
    return client;
  };
  using good = await open(await issuer.sign());
  using stolen = await open(await issuer.sign({ jti: "stolen" }));
  using old = await open(await retired.sign());
  // Clocks may differ by a minute, so this one counts for two seconds more.
  using brief = await open(await issuer.sign({ exp: nowS - 58 }));

  feed.change({ settings: { ...settings, keys: [issuer.key], revoked: ["stolen"] } });
  await within(Promise.all([stolen.closed, old.closed]), "the tunnels of the settings before to end");
  await within(brief.closed, "the tunnel of the session that ended to end");
  good.socket.write("still here");
  await until(() => good.text().endsWith("still here"), "the good tunnel to go on");
  expect(await edge.metric("ofc_edge_tunnels_revoked_total")).toBe(3);
});

test("a tunnel whose function was closed while it thought about the handshake does not open", async () => {
  let accept: (() => void) | undefined;
  await using fn = await upstream(undefined, (_request, socket) => {
    socket.on("error", () => socket.destroy());
    accept = () =>
      socket.write(
        "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\nsecret",
      );
  });
  await using feed = await new FeedServer([route("alice/ws", [fn.url])]).listen();
  await using edge = await testEdge(feed.origin);
  using client = rawClient(edge.port, handshake("/ws"));
  await until(() => accept !== undefined, "the handshake");
  const version = feed.change({ upserts: [route("alice/ws", [fn.url], { access: "members" })] });
  await until(() => feed.applied.at(-1)?.version === version, "the policy");
  accept?.();
  await within(client.closed, "the refusal");
  expect(client.text()).not.toContain("secret");
});

test.each<[string, string]>([
  ["", ""],
  [" after it sent something along", "early"],
])("a client that leaves during its handshake%s gives its place back at once", async (_how, early) => {
  let asked = 0;
  await using fn = await upstream(undefined, (_request, socket) => {
    asked += 1;
    socket
      .on("error", () => socket.destroy())
      .on("end", () => socket.destroy())
      .resume();
  });
  await using feed = await new FeedServer([
    route("alice/ws", [fn.url], { limits: { maxConcurrency: 1 } }),
  ]).listen();
  await using edge = await testEdge(feed.origin);
  {
    using _client = rawClient(edge.port, handshake("/ws") + early);
    await until(() => asked === 1, "the handshake");
  }
  await until(async () => (await edge.metric("ofc_edge_requests_in_flight")) === 0, "the place given back");
  await until(() => fn.sockets.size === 0, "the function to be told");
  expect(await edge.metric('ofc_edge_refused_total{reason="client-gone"}')).toBe(1);
});

test("what a client sends while its handshake is decided arrives whole, however much", async () => {
  let accept: (() => void) | undefined;
  let heard = 0;
  await using fn = await upstream(undefined, (_request, socket) => {
    socket.on("error", () => socket.destroy());
    socket.on("data", (chunk) => {
      heard += chunk.length;
    });
    accept = () =>
      socket.write("HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n");
  });
  await using feed = await new FeedServer([route("alice/ws", [fn.url])]).listen();
  await using edge = await testEdge(feed.origin);
  using client = rawClient(edge.port, handshake("/ws"));
  await until(() => accept !== undefined, "the handshake");
  client.socket.write(Buffer.alloc(1_000_000));
  await until(async () => {
    const { bytesWritten, writableLength } = client.socket;
    return bytesWritten - writableLength - (await queuedBytes([edge.port])) > HELD_BYTES;
  }, "the edge to have read as much as it holds");
  expect(heard).toBe(0);
  accept?.();
  await until(() => heard === 1_000_000, "everything");
});

test("a function without a replica answers no upgrade, and says so at once", async () => {
  await using feed = await new FeedServer([route("alice/ws", [])]).listen();
  await using edge = await testEdge(feed.origin);
  const answer = await exchangeRaw(edge.port, handshake("/ws"));
  expect(answer).toMatch(/^HTTP\/1\.1 503 [\s\S]*Retry-After: 5[\s\S]*"no-replica"/);
  expect(answer).toContain("being started again");
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

test("the subprotocol and extensions that the two sides agree on pass, and nothing that is for this hop", async () => {
  await using fn = await upstream(undefined, (_request, socket) => {
    socket.on("error", () => socket.destroy());
    socket.write(
      "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade, X-Hop\r\nUpgrade: websocket\r\nX-Hop: 1\r\nKeep-Alive: timeout=5\r\nSec-WebSocket-Accept: x\r\nSec-WebSocket-Protocol: chat.v2\r\nSec-WebSocket-Extensions: permessage-deflate\r\nSet-Cookie: mine=1\r\nSet-Cookie: wide=1; Domain=fn.test\r\nX-Request-Id: forged\r\n\r\n",
    );
  });
  await using feed = await new FeedServer([route("alice/ws", [fn.url])]).listen();
  await using edge = await testEdge(feed.origin);
  const offer =
    "Sec-WebSocket-Protocol: chat.v1, chat.v2\r\nSec-WebSocket-Extensions: permessage-deflate; x=1\r\n";
  using client = rawClient(edge.port, handshake("/ws", undefined, offer));
  await until(() => hasAnswers(client.text(), []) && client.text().endsWith("\r\n\r\n"), "the 101");
  expect(fn.requests[0]?.headers).toMatchObject({
    "sec-websocket-protocol": "chat.v1, chat.v2",
    "sec-websocket-extensions": "permessage-deflate; x=1",
    "sec-websocket-key": KEY,
    "sec-websocket-version": "13",
  });
  const [answer] = readAnswers(client.text(), []);
  expect(answer?.status).toBe(101);
  const given = Object.fromEntries(answer?.headers ?? []);
  expect(given).toMatchObject({
    connection: ["Upgrade"],
    upgrade: ["websocket"],
    "sec-websocket-protocol": ["chat.v2"],
    "sec-websocket-extensions": ["permessage-deflate"],
    "set-cookie": ["mine=1"],
  });
  expect(given["x-hop"]).toBeUndefined();
  expect(given["keep-alive"]).toBeUndefined();
  expect(given["x-request-id"]).toHaveLength(1);
  expect(given["x-request-id"]).not.toEqual(["forged"]);
});

test("a tunnel carries messages of a MiB both ways, whole, and holds back who sends faster than is read", async () => {
  await using fn = await echo();
  await using feed = await new FeedServer([route("alice/ws", [fn.url])]).listen();
  await using edge = await testEdge(feed.origin);
  using client = rawClient(edge.port, handshake("/ws"));
  await until(() => client.text().endsWith("hello "), "the tunnel");
  const begin = client.text().length;
  const message = Buffer.from(Uint8Array.from({ length: 1024 * 1024 }, (_, i) => i % 251));
  for (let i = 1; i <= 4; i++) {
    client.socket.write(message);
    await until(() => client.text().length === begin + i * message.length, `echo ${i}`);
  }
  expect(client.text().slice(begin) === message.toString("latin1").repeat(4)).toBe(true);

  // Nothing is read any more, so that the function cannot say back what it hears, and stops to listen.
  client.socket.pause();
  const flood = Buffer.alloc(64 * 1024 * 1024);
  client.socket.write(flood);
  let before = -1;
  const taken = () => client.socket.bytesWritten - client.socket.writableLength;
  await until(async () => {
    before = taken();
    for (let i = 0; i < 30; i++) await edge.call("alice.fn.test", "/nope");
    return taken() === before;
  }, "the client to be held back");
  expect(client.socket.writableLength).toBeGreaterThan(flood.length / 2);
});

test("no deadline of a request ends a tunnel, and keep-alive finds out when its client is no more", async () => {
  await using fn = await echo();
  await using hung = await upstream(() => undefined);
  const limits = { firstByteMs: 200, totalMs: 600 };
  await using feed = await new FeedServer([
    route("alice/ws", [fn.url], { limits }),
    route("alice/hung", [hung.url], { limits: { firstByteMs: 1_500, totalMs: 1_500 } }),
  ]).listen();
  await using edge = await testEdge(feed.origin, {
    timeouts: { bodyIdleMs: 200, writeIdleMs: 200, headersMs: 200 },
  });
  using client = rawClient(edge.port, handshake("/ws"));
  await until(() => client.text().includes("hello "), "the tunnel");
  expect((await edge.call("alice.fn.test", "/hung")).status).toBe(504);
  client.socket.write("still here");
  await until(() => client.text().endsWith("still here"), "the echo, after twice the time of a request");
  const clientPort = client.socket.localPort;
  await until(async () => {
    const ours = (await kernelSockets()).find(
      ({ localPort, remotePort }) => localPort === edge.port && remotePort === clientPort,
    );
    return ours?.keepAliveMs !== undefined && ours.keepAliveMs <= 60_000;
  }, "the kernel to be asked to probe within a minute");
});

test("a tunnel ends with its replica, and the next one goes to the new replica", async () => {
  await using old = await echo();
  await using next = await echo();
  await using feed = await new FeedServer([route("alice/ws", [old.url])]).listen();
  await using edge = await testEdge(feed.origin);
  using before = rawClient(edge.port, handshake("/ws"));
  await until(() => before.text().includes("hello "), "the tunnel");
  feed.change({ upserts: [route("alice/ws", [next.url], { revision: "r2" })] });
  await within(before.closed, "the tunnel to end");
  using after = rawClient(edge.port, handshake("/ws"));
  await until(() => after.text().includes("hello "), "the next tunnel");
  expect([old.requests.length, next.requests.length]).toEqual([1, 1]);
});

test("a tunnel whose client has ended ends, whether its function notices or not", async () => {
  await using fn = await upstream(undefined, (_request, socket) => {
    // Hears nothing of an end, and says nothing more.
    socket.write(SWITCHED);
    socket.resume();
  });
  await using feed = await new FeedServer([
    route("alice/ws", [fn.url], { limits: { maxConcurrency: 1 } }),
  ]).listen();
  await using edge = await testEdge(feed.origin);
  using client = rawClient(edge.port, handshake("/ws"));
  await until(() => client.text().startsWith("HTTP/1.1 101"), "the tunnel");
  client.socket.end();
  await until(async () => (await edge.metric("ofc_edge_tunnels")) === 0, "the tunnel's end", 10_000);
  using next = rawClient(edge.port, handshake("/ws"));
  await until(() => next.text().startsWith("HTTP/1.1 101"), "a place given back");
});

test("the last words of a tunnel arrive after its other side has ended", async () => {
  await using fn = await upstream(undefined, (_request, socket) => {
    socket.write(SWITCHED);
    socket.on("end", () => socket.end("last words")).resume();
  });
  await using feed = await new FeedServer([route("alice/ws", [fn.url])]).listen();
  await using edge = await testEdge(feed.origin);
  using client = rawClient(edge.port, handshake("/ws"));
  await until(() => client.text().startsWith("HTTP/1.1 101"), "the tunnel");
  client.socket.end();
  await client.closed;
  expect(client.text().endsWith("last words")).toBe(true);
});

test.each(["function", "client"])("a tunnel whose %s reads nothing any more ends in time", async (who) => {
  const piece = Buffer.alloc(64 * 1024);
  const flood = (socket: Duplex): void => {
    const go = (): void => {
      while (!socket.destroyed && socket.write(piece)) {
        // Until it is full.
      }
    };
    socket.on("drain", go);
    go();
  };
  await using fn = await upstream(undefined, (_request, socket) => {
    socket.on("error", () => undefined);
    socket.write(SWITCHED);
    if (who === "client") flood(socket);
    else socket.pause();
  });
  await using feed = await new FeedServer([route("alice/ws", [fn.url])]).listen();
  await using edge = await testEdge(feed.origin, { timeouts: { writeIdleMs: 1_500 } });
  using client = rawClient(edge.port, handshake("/ws"));
  await until(async () => (await edge.metric("ofc_edge_tunnels")) === 1, "the tunnel");
  if (who === "client") client.socket.pause();
  else flood(client.socket);
  await until(async () => (await edge.metric("ofc_edge_tunnels")) === 0, "the tunnel's end", 10_000);
});

test("a tunnel that is full all the time, and read, goes on", async () => {
  const piece = Buffer.alloc(64 * 1024);
  await using fn = await upstream(undefined, (_request, socket) => {
    socket.on("error", () => undefined);
    socket.write(SWITCHED);
    const go = (): void => {
      while (!socket.destroyed && socket.write(piece)) {
        // Until it is full.
      }
    };
    socket.on("drain", go);
    go();
  });
  await using feed = await new FeedServer([route("alice/ws", [fn.url])]).listen();
  await using edge = await testEdge(feed.origin, { timeouts: { writeIdleMs: 1_500 } });
  const client = connect(edge.port, "127.0.0.1");
  client.write(handshake("/ws"));
  let read = 0;
  client.on("data", (chunk: Buffer) => {
    read += chunk.length;
    // Slower than it is sent, by far.
    client.pause();
    setTimeout(() => client.resume(), 10);
  });
  const startedMs = performance.now();
  await until(
    () => client.destroyed || performance.now() - startedMs > 5_000,
    "its end, or time to pass",
    10_000,
  );
  expect(client.destroyed).toBe(false);
  expect(read).toBeGreaterThan(1024 * 1024);
  client.destroy();
});
