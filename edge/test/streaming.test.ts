import { createHash } from "node:crypto";
import { once } from "node:events";
import { request as httpRequest, type IncomingMessage, type ServerResponse } from "node:http";
import { Socket } from "node:net";
import { gzipSync } from "node:zlib";
import { describe, expect, test } from "vitest";
import { FeedServer, route } from "./support/feed-server.ts";
import { queuedBytes } from "./support/kernel-queues.ts";
import { hasAnswers, readAnswers } from "./support/raw-answers.ts";
import {
  exchangeRaw,
  type RawClient,
  rawClient,
  rawUpstream,
  testEdge,
  until,
  upstream,
} from "./support/servers.ts";

const HOST = "Host: alice.fn.test\r\n";
const MIB = 1024 * 1024;
/** More than what the kernel holds for two connections, which may be several MiB each. */
const LARGE = 64 * MIB;
const PIECE = 8 * 1024;
/**
 * For each of the two connections 16 KiB that make its sender wait, and the read of 64 KiB that went beyond; and what passes
 * between the kernel's tables while they are read.
 */
const MAX_HELD = 2 * (16 + 64) * 1024 + 32 * 1024;
const STREAMING = { totalMs: null, maxBodyBytes: 1024 * MIB };

describe("back-pressure", () => {
  test("an answer that is not read holds the function back, and arrives whole when it is", async () => {
    let pour: Pour | undefined;
    await using fn = await rawUpstream((socket) => {
      socket.once("data", () => {
        socket.write(`HTTP/1.1 200 OK\r\nContent-Length: ${LARGE}\r\n\r\n`);
        pour = new Pour(socket);
      });
    });
    await using canary = await upstream();
    await using feed = await new FeedServer([
      route("alice/f", [fn.url], { limits: STREAMING }),
      route("alice/canary", [canary.url]),
    ]).listen();
    await using edge = await testEdge(feed.origin);
    using reader = unreading(edge.port);
    reader.socket.write(`GET /f HTTP/1.1\r\n${HOST}\r\n`);
    const taken = await standstill(
      () => pour?.takenBytes ?? 0,
      () => edge.call("alice.fn.test", "/canary"),
    );
    expect(taken).toBeLessThan(LARGE / 2);
    const held = taken - (await queuedBytes([edge.port, portOf(fn.url)])) - reader.socket.bytesRead;
    expect(held).toBeLessThanOrEqual(MAX_HELD);
    expect(await bodyDigest(reader.socket)).toBe(pour?.digest());
  });

  test("a body that the function does not read holds the client back, and arrives whole when it is", async () => {
    let unread: Socket | undefined;
    await using fn = await rawUpstream((socket) => {
      unread = socket.pause();
    });
    await using canary = await upstream();
    await using feed = await new FeedServer([
      route("alice/f", [fn.url], { limits: STREAMING }),
      route("alice/canary", [canary.url]),
    ]).listen();
    await using edge = await testEdge(feed.origin);
    using sender = unreading(edge.port);
    sender.socket.write(`POST /f HTTP/1.1\r\n${HOST}Content-Length: ${LARGE}\r\n\r\n`);
    const pour = new Pour(sender.socket);
    const taken = await standstill(
      () => pour.takenBytes,
      () => edge.call("alice.fn.test", "/canary"),
    );
    expect(taken).toBeLessThan(LARGE / 2);
    if (unread === undefined) throw new Error("the function was not asked");
    const held = taken - (await queuedBytes([edge.port, portOf(fn.url)])) - unread.bytesRead;
    expect(held).toBeLessThanOrEqual(MAX_HELD);
    expect(await bodyDigest(unread)).toBe(pour.digest());
  });
});

test.each(["chunked", "close-delimited"])(
  "events of a %s stream arrive one by one, as they are written",
  async (kind) => {
    const chunked = kind === "chunked";
    let open: Socket | undefined;
    await using fn = await rawUpstream((socket) => {
      socket.once("data", () => {
        socket.write(
          `HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n${chunked ? "Transfer-Encoding: chunked" : "Connection: close"}\r\n\r\n`,
        );
        open = socket;
      });
    });
    await using feed = await new FeedServer([route("alice/sse", [fn.url], { limits: STREAMING })]).listen();
    await using edge = await testEdge(feed.origin);
    using client = rawClient(edge.port, `GET /sse HTTP/1.1\r\n${HOST}\r\n`);
    await until(() => client.text().includes("\r\n\r\n"), "the head, before any event");
    const tookMs: number[] = [];
    for (let i = 0; i < 20; i++) {
      const event = `data: event ${i}.\n\n`;
      const arrived = arrival(client, event);
      const writtenMs = performance.now();
      open?.write(chunked ? `${event.length.toString(16)}\r\n${event}\r\n` : event);
      tookMs.push((await arrived) - writtenMs);
    }
    open?.end(chunked ? "0\r\n\r\n" : "");
    if (chunked) await until(() => hasAnswers(client.text(), ["GET"]), "the end");
    else {
      // Whether it is said by an end of chunks or by the connection's, the client must hear that this is all.
      await until(() => hasAnswers(client.text(), ["GET"]) || client.socket.readableEnded, "the end");
    }
    expect(readAnswers(client.text(), ["GET"])[0]?.body.match(/data: event \d+\.\n\n/g)).toHaveLength(20);
    // One hiccup of the machine is none of ours.
    expect(tookMs.toSorted((a, b) => b - a)[1]).toBeLessThan(50);
  },
);

test("ten thousand chunks of one byte arrive, each way, whole", async () => {
  const bytes = Array.from({ length: 10_000 }, (_, i) => String.fromCharCode(97 + (i % 26)));
  const chunks = `${bytes.map((byte) => `1\r\n${byte}\r\n`).join("")}0\r\n\r\n`;
  await using down = await rawUpstream((socket) => {
    socket.once("data", () => socket.write(`HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n${chunks}`));
  });
  await using up = await upstream((request, response) => void request.pipe(response));
  await using feed = await new FeedServer([
    route("alice/down", [down.url]),
    route("alice/up", [up.url]),
  ]).listen();
  await using edge = await testEdge(feed.origin);
  expect((await edge.call("alice.fn.test", "/down")).body).toBe(bytes.join(""));
  const answer = await exchangeRaw(
    edge.port,
    `POST /up HTTP/1.1\r\n${HOST}Connection: close\r\nTransfer-Encoding: chunked\r\n\r\n${chunks}`,
  );
  expect(readAnswers(answer, ["POST"])[0]?.body).toBe(bytes.join(""));
});

test("bodies of no bytes are framed once, and answered", async () => {
  const heads: string[] = [];
  await using fn = await rawUpstream((socket) => {
    socket.on("data", (data) => {
      const text = data.toString("latin1");
      if (!/^[A-Z]+ /.test(text)) return;
      heads.push(text.slice(0, text.indexOf("\r\n\r\n")));
      const framing = ["Content-Length: 0\r\n\r\n", "Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n"][
        heads.length % 2
      ];
      socket.write(`HTTP/1.1 200 OK\r\n${framing}`);
    });
  });
  await using feed = await new FeedServer([route("alice/f", [fn.url])]).listen();
  await using edge = await testEdge(feed.origin);
  const requests = [
    `POST /f HTTP/1.1\r\n${HOST}Content-Length: 0\r\n\r\n`,
    `POST /f HTTP/1.1\r\n${HOST}Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n`,
    `GET /f HTTP/1.1\r\n${HOST}Content-Length: 0\r\n\r\n`,
    `DELETE /f HTTP/1.1\r\n${HOST}\r\n`,
  ];
  for (const [i, bytes] of requests.entries()) {
    using client = rawClient(edge.port, bytes);
    await until(() => hasAnswers(client.text(), ["POST"]), `answer ${i}`);
    expect(readAnswers(client.text(), ["POST"])).toMatchObject([{ status: 200, body: "" }]);
  }
  const framings = heads.map((head) => head.match(/^(content-length|transfer-encoding):.*/gim)?.length ?? 0);
  expect(framings.slice(0, 2)).toEqual([1, 1]);
  for (const lines of framings) expect(lines).toBeLessThanOrEqual(1);
});

test.each<[string, (bytes: number) => string]>([
  ["with its length", (bytes) => `Content-Length: ${bytes}\r\n\r\n${"x".repeat(bytes)}`],
  [
    "in one chunk",
    (bytes) => `Transfer-Encoding: chunked\r\n\r\n${bytes.toString(16)}\r\n${"x".repeat(bytes)}\r\n0\r\n\r\n`,
  ],
  [
    "in chunks of which the last is too much",
    (bytes) =>
      `Transfer-Encoding: chunked\r\n\r\n3e8\r\n${"x".repeat(1000)}\r\n${(bytes - 1000).toString(16)}\r\n${"x".repeat(bytes - 1000)}\r\n0\r\n\r\n`,
  ],
])("a body sent %s may be as large as the limit, and not one byte larger", async (_how, body) => {
  let executed = 0;
  await using fn = await upstream((request, response) => {
    let bytes = 0;
    request.on("data", (chunk: Buffer) => {
      bytes += chunk.length;
    });
    request.on("end", () => {
      executed += 1;
      response.end(`${bytes} bytes`);
    });
  });
  const limit = 70_000;
  await using feed = await new FeedServer([
    route("alice/f", [fn.url], { limits: { maxBodyBytes: limit } }),
  ]).listen();
  await using edge = await testEdge(feed.origin);
  const head = `POST /f HTTP/1.1\r\n${HOST}Connection: close\r\n`;
  const [whole] = readAnswers(await exchangeRaw(edge.port, head + body(limit)), ["POST"]);
  expect(whole).toMatchObject({ status: 200, body: `${limit} bytes` });
  const [more] = readAnswers(await exchangeRaw(edge.port, head + body(limit + 1)), ["POST"]);
  expect(more?.status).toBe(413);
  expect(executed).toBe(1);
});

describe("Expect: 100-continue", () => {
  const asking = (path: string, framing: string): string =>
    `POST ${path} HTTP/1.1\r\n${HOST}Expect: 100-continue\r\n${framing}\r\n\r\n`;

  test.each<[string, string, string]>([
    ["a length", "Content-Length: 5", "hello"],
    ["chunks", "Transfer-Encoding: chunked", "5\r\nhello\r\n0\r\n\r\n"],
  ])(
    "is answered 100 once the request is let in, and the function sees nothing of it (%s)",
    async (_what, framing, body) => {
      await using fn = await upstream((request, response) => void request.pipe(response));
      await using feed = await new FeedServer([route("alice/f", [fn.url])]).listen();
      await using edge = await testEdge(feed.origin);
      using client = rawClient(edge.port, asking("/f", framing));
      await until(() => client.text() === "HTTP/1.1 100 Continue\r\n\r\n", "100 Continue and nothing else");
      client.socket.write(body);
      await until(() => hasAnswers(client.text(), ["POST"]), "the answer");
      expect(readAnswers(client.text(), ["POST"]).map(({ status, body }) => [status, body])).toEqual([
        [100, ""],
        [200, "hello"],
      ]);
      expect(fn.requests[0]?.headers.expect).toBeUndefined();
      client.socket.write(`GET /f HTTP/1.1\r\n${HOST}\r\n`);
      await until(() => hasAnswers(client.text(), ["POST", "GET"]), "the next answer on the connection");
    },
  );

  test("is answered with the refusal at once, and no 100, where the request is not let in", async () => {
    let release: (() => void) | undefined;
    await using fn = await upstream((_request, response) => {
      release = () => response.end();
    });
    await using feed = await new FeedServer([
      route("alice/small", [fn.url], { limits: { maxBodyBytes: 4 } }),
      route("alice/members", [fn.url], { access: "members" }),
      route("alice/busy", [fn.url], { limits: { maxConcurrency: 1 } }),
      route("alice/absent", []),
    ]).listen();
    await using edge = await testEdge(feed.origin);
    const under = edge.call("alice.fn.test", "/busy");
    await until(() => release !== undefined, "the one request that may be under way");
    for (const [path, status] of [
      ["/small", 413],
      ["/members", 401],
      ["/busy", 429],
      ["/absent", 503],
      ["/nope", 404],
      ["/a%2fb", 400],
    ] as const) {
      using client = rawClient(edge.port, asking(path, "Content-Length: 5"));
      await until(() => hasAnswers(client.text(), ["POST"]), `an answer for ${path}`);
      const answers = readAnswers(client.text(), ["POST"]);
      expect(
        answers.map((answer) => answer.status),
        path,
      ).toEqual([status]);
      expect(answers[0]?.headers.get("connection"), path).toEqual(["close"]);
    }
    expect(fn.requests).toHaveLength(1);
    release?.();
    expect((await under).status).toBe(200);
  });
});

describe("an answer before the body has come", () => {
  /** Answers when it has seen the head, and reads on as long as the other side sends, as servers should. */
  const early = () =>
    rawUpstream((socket) => {
      socket.once("data", () => {
        socket.end(
          "HTTP/1.1 413 Payload Too Large\r\nContent-Length: 8\r\nConnection: close\r\n\r\ntoo much",
        );
        socket.resume();
      });
    });

  test("is read by a client that goes on sending, and its connection does not stay for long", async () => {
    await using fn = await early();
    await using feed = await new FeedServer([route("alice/f", [fn.url], { limits: STREAMING })]).listen();
    await using edge = await testEdge(feed.origin);
    // Goes on when it has heard the end of the connection, too.
    using stack = new DisposableStack();
    const socket = new Socket({ allowHalfOpen: true }).connect(edge.port, "127.0.0.1");
    stack.defer(() => void socket.destroy());
    let text = "";
    socket.on("data", (chunk) => {
      text += chunk.toString("latin1");
    });
    socket.on("error", () => socket.destroy());
    socket.write(`POST /f HTTP/1.1\r\n${HOST}Content-Length: ${512 * MIB}\r\n\r\n`);
    const chunk = Buffer.alloc(64 * 1024);
    const timer = setInterval(() => socket.writable && socket.write(chunk), 20);
    stack.defer(() => clearInterval(timer));
    await until(() => text.endsWith("too much"), "the answer");
    await until(() => socket.destroyed, "the connection to close", 10_000);
    expect(readAnswers(text, ["POST"])).toMatchObject([{ status: 413, body: "too much" }]);
    await until(() => fn.sockets.size === 0, "the function's connection to be let go of");
  });

  test("does not get what is left of the body taken for the next request", async () => {
    await using fn = await early();
    await using next = await upstream((_request, response) => void response.end("next"));
    await using feed = await new FeedServer([
      route("alice/f", [fn.url]),
      route("alice/next", [next.url]),
    ]).listen();
    await using edge = await testEdge(feed.origin);
    const hidden = `GET /next/smuggled HTTP/1.1\r\n${HOST}\r\n`;
    using client = rawClient(
      edge.port,
      `POST /f HTTP/1.1\r\n${HOST}Content-Length: ${hidden.length + 1}\r\n\r\n.`,
    );
    await until(() => client.text().endsWith("too much"), "the answer");
    client.socket.write(`${hidden}GET /next/honest HTTP/1.1\r\n${HOST}Connection: close\r\n\r\n`);
    await closesWithin(client, 10_000);
    const answers = readAnswers(client.text(), ["POST", "GET"]);
    expect(answers[0]).toMatchObject({ status: 413, body: "too much" });
    // Whether the connection goes on is for the edge to say; what comes on it is not.
    expect(next.requests.map(({ url }) => url)).toEqual(answers.length === 2 ? ["/honest"] : []);
  });
});

test("a refusal before the body has come says that the connection ends with it", async () => {
  await using feed = await new FeedServer([]).listen();
  await using edge = await testEdge(feed.origin);
  using client = rawClient(edge.port, `POST /nope HTTP/1.1\r\n${HOST}Content-Length: 1000\r\n\r\nabc`);
  await closesWithin(client, 10_000);
  const [answer] = readAnswers(client.text(), ["POST"]);
  expect([answer?.status, answer?.headers.get("connection")]).toEqual([404, ["close"]]);
});

test("a function's connection serves on after an answer that was too large to be taken at once", async () => {
  const large = Buffer.alloc(MIB, "x");
  await using fn = await upstream((_request, response) => void response.end(large));
  await using feed = await new FeedServer([route("alice/f", [fn.url])]).listen();
  await using edge = await testEdge(feed.origin);
  for (let i = 0; i < 5; i++) expect((await edge.call("alice.fn.test", "/f")).body).toHaveLength(MIB);
  expect(fn.sockets.size).toBe(1);
});

describe("a client that leaves", () => {
  test.each<[string, string, (response: ServerResponse) => void]>([
    ["while it waits for an answer", "GET", () => undefined],
    ["while it reads the answer", "GET", (response) => void response.write("first")],
    [
      "while it has stopped reading the answer",
      "GET",
      (response) => void response.write(Buffer.alloc(32 * MIB)),
    ],
    ["while it sends its body", "POST", () => undefined],
  ])("%s takes its request to the function with it, within a second", async (_when, method, begin) => {
    const told = Promise.withResolvers<void>();
    await using fn = await upstream((request, response) => {
      request.resume().on("error", () => undefined);
      response.on("error", () => undefined).on("close", () => told.resolve());
      begin(response);
    });
    await using feed = await new FeedServer([route("alice/f", [fn.url], { limits: STREAMING })]).listen();
    await using edge = await testEdge(feed.origin);
    using client = rawClient(
      edge.port,
      `${method} /f HTTP/1.1\r\n${HOST}${method === "POST" ? "Content-Length: 100\r\n\r\nabc" : "\r\n"}`,
    );
    await until(() => fn.requests.length === 1, "the request");
    if (_when.includes("reads")) await until(() => client.text().includes("first"), "the first bytes");
    if (_when.includes("stopped")) {
      await once(client.socket, "data");
      client.socket.pause();
    }
    const leftMs = performance.now();
    client.socket.destroy();
    await told.promise;
    expect(performance.now() - leftMs).toBeLessThan(1_000);
    await until(
      async () => (await edge.metric('ofc_edge_refused_total{reason="client-gone"}')) === 1,
      "it to be counted",
    );
    expect(await edge.metric("ofc_edge_requests_in_flight")).toBe(0);
  });

  // A client that closes its connection and one that closes only its own half look the same until it is too late.
  test("is one that closes its half of the connection, too", async () => {
    const told = Promise.withResolvers<void>();
    await using fn = await upstream((_request, response) => void response.on("close", () => told.resolve()));
    await using feed = await new FeedServer([route("alice/f", [fn.url])]).listen();
    await using edge = await testEdge(feed.origin);
    using client = rawClient(edge.port, `GET /f HTTP/1.1\r\n${HOST}\r\n`);
    await until(() => fn.requests.length === 1, "the request");
    const leftMs = performance.now();
    client.socket.end();
    await Promise.all([told.promise, client.closed]);
    expect(performance.now() - leftMs).toBeLessThan(1_000);
    expect(client.text()).toBe("");
  });
});

test("compression is between the client and the function alone", async () => {
  const zipped = gzipSync(Buffer.alloc(100_000, "compress me, "));
  const plain = Buffer.alloc(100_000, "compress me not, ");
  const received: Buffer[] = [];
  await using fn = await upstream((request, response) => {
    request.on("data", (chunk: Buffer) => received.push(chunk));
    request.on("end", () => {
      if (request.url === "/zipped")
        response.writeHead(200, { "Content-Encoding": "gzip", Vary: "Accept-Encoding" });
      response.end(request.url === "/zipped" ? zipped : plain);
    });
  });
  await using feed = await new FeedServer([route("alice/f", [fn.url])]).listen();
  await using edge = await testEdge(feed.origin);
  const ask = async (path: string, encodings: string | undefined) => {
    const headers = encodings === undefined ? {} : { "accept-encoding": encodings };
    const request = httpRequest({
      port: edge.port,
      path,
      method: "POST",
      headers: {
        host: "alice.fn.test",
        "content-encoding": "gzip",
        "content-length": zipped.length,
        ...headers,
      },
      agent: false,
    });
    request.end(zipped);
    const [answer] = (await once(request, "response")) as [IncomingMessage];
    const chunks: Buffer[] = [];
    for await (const chunk of answer) chunks.push(chunk as Buffer);
    return { headers: answer.headers, body: Buffer.concat(chunks) };
  };
  const zip = await ask("/f/zipped", "br;q=0.1, gzip;q=0.5,*;q=0");
  expect(zip.headers).toMatchObject({ "content-encoding": "gzip", vary: "Accept-Encoding" });
  expect(zip.body.equals(zipped)).toBe(true);
  const asIs = await ask("/f/plain", "gzip, br, zstd");
  expect([asIs.headers["content-encoding"], asIs.headers.vary]).toEqual([undefined, undefined]);
  expect(asIs.body.equals(plain)).toBe(true);
  await ask("/f/plain", undefined);
  expect(fn.requests.map(({ headers }) => headers["accept-encoding"])).toEqual([
    "br;q=0.1, gzip;q=0.5,*;q=0",
    "gzip, br, zstd",
    undefined,
  ]);
  expect(fn.requests.every(({ headers }) => headers["content-encoding"] === "gzip")).toBe(true);
  expect(Buffer.concat(received).equals(Buffer.concat([zipped, zipped, zipped]))).toBe(true);
});

/** Writes a large body of bytes that tell where they belong, as fast as they are taken. */
class Pour {
  readonly #into: Socket;
  readonly #beforeBytes: number;
  readonly #hash = createHash("sha256");

  constructor(into: Socket) {
    this.#into = into;
    this.#beforeBytes = into.bytesWritten;
    let poured = 0;
    const next = (): void => {
      if (poured === LARGE) return;
      const piece = Buffer.alloc(PIECE, poured / PIECE);
      poured += PIECE;
      this.#hash.update(piece);
      into.write(piece, next);
    };
    next();
  }

  /** By the kernel, to a piece. */
  get takenBytes(): number {
    return this.#into.bytesWritten - this.#into.writableLength - this.#beforeBytes;
  }

  /** Of everything; to be asked once it was poured. */
  digest(): string {
    return this.#hash.digest("hex");
  }
}

/** A connection of which nothing is read until somebody does. */
function unreading(port: number): { readonly socket: Socket } & Disposable {
  const socket = new Socket().pause().connect(port, "127.0.0.1");
  socket.on("error", () => socket.destroy());
  return { socket, [Symbol.dispose]: () => void socket.destroy() };
}

/** Reads a head, and the large body that follows it. */
async function bodyDigest(socket: Socket): Promise<string> {
  const hash = createHash("sha256");
  let head = "";
  let bytes = 0;
  for await (const chunk of socket as AsyncIterable<Buffer>) {
    let body = chunk;
    if (!head.endsWith("\r\n\r\n")) {
      const end = chunk.indexOf("\r\n\r\n");
      head += chunk.toString("latin1", 0, end === -1 ? chunk.length : end + 4);
      if (end === -1) continue;
      body = chunk.subarray(end + 4);
    }
    bytes += body.length;
    hash.update(body);
    if (bytes >= LARGE) break;
  }
  return hash.digest("hex");
}

/** What a count comes to when it moves no more, though other requests are served meanwhile. */
async function standstill(count: () => number, canary: () => Promise<unknown>): Promise<number> {
  await until(async () => {
    const before = count();
    for (let i = 0; i < 30; i++) await canary();
    return before > 0 && count() === before;
  }, "nothing more to be taken");
  return count();
}

async function arrival(client: RawClient, what: string): Promise<number> {
  while (!client.text().includes(what)) await once(client.socket, "data");
  return performance.now();
}

function portOf(url: string): number {
  return Number(new URL(url).port);
}

async function closesWithin(client: RawClient, withinMs: number): Promise<void> {
  await until(() => client.socket.destroyed, "the connection to close", withinMs);
}
