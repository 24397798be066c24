import { connect } from "node:net";
import { describe, expect, test } from "vitest";
import { FeedServer, route } from "./support/feed-server.ts";
import { exchangeRaw, rawClient, testEdge, until, upstream } from "./support/servers.ts";

async function setup() {
  const fn = await upstream();
  const feed = await new FeedServer([route("alice/hello", [fn.url])]).listen();
  const edge = await testEdge(feed.origin);
  return {
    fn,
    edge,
    async [Symbol.asyncDispose]() {
      for (const part of [edge, feed, fn]) await part[Symbol.asyncDispose]();
    },
  };
}

const HOST = "Host: alice.fn.test\r\n";

describe("refused with its connection, and nothing forwarded (SECURITY.md D01-D11)", () => {
  test.each<[string, number, string]>([
    [
      "Content-Length beside chunked",
      400,
      `POST /hello HTTP/1.1\r\n${HOST}Content-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n`,
    ],
    ["`,chunked`", 400, `POST /hello HTTP/1.1\r\n${HOST}Transfer-Encoding: ,chunked\r\n\r\n0\r\n\r\n`],
    [
      "an empty Transfer-Encoding beside a length",
      400,
      `POST /hello HTTP/1.1\r\n${HOST}Transfer-Encoding:\r\nContent-Length: 1\r\n\r\nx`,
    ],
    [
      "chunked on HTTP/1.0",
      400,
      `POST /hello HTTP/1.0\r\n${HOST}Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n`,
    ],
    ["two Hosts", 400, `GET /hello HTTP/1.1\r\n${HOST}${HOST}\r\n`],
    ["no Host", 400, "GET /hello HTTP/1.1\r\n\r\n"],
    ["an empty Host", 400, "GET /hello HTTP/1.1\r\nHost:\r\n\r\n"],
    ["userinfo in Host", 400, "GET /hello HTTP/1.1\r\nHost: a@alice.fn.test\r\n\r\n"],
    ["an absolute target of another host", 400, `GET http://other.fn.test/hello HTTP/1.1\r\n${HOST}\r\n`],
    ["an encoded slash in the function's name", 400, `GET /hello%2fx HTTP/1.1\r\n${HOST}\r\n`],
    ["X_Forwarded_For", 400, `GET /hello HTTP/1.1\r\n${HOST}X_Forwarded_For: 1\r\n\r\n`],
    ["CONNECT", 405, `CONNECT alice.fn.test:80 HTTP/1.1\r\n${HOST}\r\n`],
    ["TRACE", 405, `TRACE /hello HTTP/1.1\r\n${HOST}\r\n`],
    ["150 header lines", 431, `GET /hello HTTP/1.1\r\n${HOST}${"a: b\r\n".repeat(150)}\r\n`],
    [
      "1,100 header lines with a length after them",
      431,
      `POST /hello HTTP/1.1\r\n${HOST}${"a: b\r\n".repeat(1_100)}Content-Length: 1\r\n\r\nx`,
    ],
    ["17 KiB of headers", 431, `GET /hello HTTP/1.1\r\n${HOST}a: ${"b".repeat(17 * 1024)}\r\n\r\n`],
    ["a target of 9 KiB", 414, `GET /hello/${"x".repeat(9 * 1024)} HTTP/1.1\r\n${HOST}\r\n`],
    ["a version that is none", 505, `GET /hello HTTP/9.9\r\n${HOST}\r\n`],
    ["a space before a colon", 400, `GET /hello HTTP/1.1\r\n${HOST}a : b\r\n\r\n`],
    ["a bare line feed in a value", 400, `GET /hello HTTP/1.1\r\n${HOST}a: b\nc\r\n\r\n`],
  ])("%s: %i", async (_what, status, bytes) => {
    await using world = await setup();
    const answer = await exchangeRaw(world.edge.port, bytes);
    expect(answer).toMatch(new RegExp(`^HTTP/1\\.1 ${status} `));
    expect(answer.match(/HTTP\/1\.1 \d/g)).toHaveLength(1);
    expect(answer).toMatch(/connection: close/i);
    expect(world.fn.requests).toEqual([]);
    expect((await world.edge.call("alice.fn.test", "/hello")).status).toBe(200);
  });
});

test("what follows a refused request on its connection is not served", async () => {
  await using world = await setup();
  const smuggled = `GET /hello/smuggled HTTP/1.1\r\n${HOST}\r\n`;
  const answer = await exchangeRaw(world.edge.port, `GET /a%2fb HTTP/1.1\r\n${HOST}\r\n${smuggled}`);
  expect(answer.match(/HTTP\/1\.1 \d/g)).toHaveLength(1);
  expect(world.fn.requests).toEqual([]);
});

test("pipelined requests are answered in order, each once", async () => {
  await using world = await setup();
  const one = `GET /hello/1 HTTP/1.1\r\n${HOST}X-Request-Id: one\r\n\r\n`;
  const two = `GET /hello/2 HTTP/1.1\r\n${HOST}X-Request-Id: two\r\nConnection: close\r\n\r\n`;
  const answer = await exchangeRaw(world.edge.port, one + two);
  expect(answer.match(/x-request-id: \w+/gi)).toEqual(["X-Request-Id: one", "X-Request-Id: two"]);
});

test("a forwarded body has exactly one framing header", async () => {
  await using world = await setup();
  await exchangeRaw(
    world.edge.port,
    `POST /hello HTTP/1.1\r\n${HOST}Connection: close\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n`,
  );
  await exchangeRaw(
    world.edge.port,
    `POST /hello HTTP/1.1\r\n${HOST}Connection: close\r\nContent-Length: 3\r\n\r\nabc`,
  );
  const framing = world.fn.requests.map(({ headers }) => [
    headers["content-length"],
    headers["transfer-encoding"],
  ]);
  expect(framing).toEqual([
    [undefined, "chunked"],
    ["3", undefined],
  ]);
});

test("an HTTP/1.0 client gets an answer without chunks, and the connection closes", async () => {
  await using fn = await upstream((_request, response) => {
    response.write("one");
    response.end("two");
  });
  await using feed = await new FeedServer([route("alice/hello", [fn.url])]).listen();
  await using edge = await testEdge(feed.origin);
  const answer = await exchangeRaw(edge.port, `GET /hello HTTP/1.0\r\n${HOST}\r\n`);
  expect(answer).not.toMatch(/transfer-encoding/i);
  expect(answer.endsWith("\r\n\r\nonetwo")).toBe(true);
});

test("a request that asks for h2c is served as if it had not, and its connection closed (L11)", async () => {
  await using world = await setup();
  const upgrade = `GET /hello HTTP/1.1\r\n${HOST}Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: x\r\n\r\n`;
  const answer = await exchangeRaw(world.edge.port, upgrade);
  expect(answer).toMatch(/^HTTP\/1\.1 200 /);
  expect(world.fn.requests[0]?.headers.upgrade).toBeUndefined();
});

test("a client that asks before it sends is told to continue only when it may", async () => {
  await using world = await setup();
  const head = `POST /hello HTTP/1.1\r\n${HOST}Connection: close\r\nExpect: 100-continue\r\n`;
  using client = rawClient(world.edge.port, `${head}Content-Length: 3\r\n\r\n`);
  await until(() => client.text().startsWith("HTTP/1.1 100 Continue\r\n\r\n"), "100 Continue");
  client.socket.write("abc");
  await client.closed;
  expect(client.text()).toMatch(/HTTP\/1\.1 200/);

  const refused = await exchangeRaw(world.edge.port, `${head}Content-Length: 99999999\r\n\r\n`);
  expect(refused).toMatch(/^HTTP\/1\.1 413 /);
});

test("a HEAD whose body breaks off is refused without a body, which its client would read as the next answer", async () => {
  await using world = await setup();
  const head = `HEAD /hello HTTP/1.1\r\n${HOST}Transfer-Encoding: chunked\r\n\r\nzz\r\n`;
  const answer = await exchangeRaw(world.edge.port, head);
  expect(answer).toMatch(/^HTTP\/1\.1 400 /);
  expect(answer).toMatch(/\r\n\r\n$/);
});

test.each([
  ["refused", "GET /a%2fb HTTP/1.1\r\n", 400],
  ["not understood", "GET /hello HTTP/1.1\r\nX : y\r\n", 400],
  ["served as the last", "GET /hello HTTP/1.1\r\nConnection: close\r\n", 200],
  ["served as the last, and of HTTP/1.0", "GET /hello HTTP/1.0\r\n", 200],
])(
  "a client that goes on sending when it was %s reads its answer, and is not reset",
  async (_what, head, status) => {
    await using world = await setup();
    // Does not take the edge's end for its own, as a client does not that is in the middle of a sentence.
    const client = connect({ port: world.edge.port, host: "127.0.0.1", allowHalfOpen: true, noDelay: true });
    const closed = new Promise((resolve) => client.once("close", resolve));
    const errors: Error[] = [];
    client.on("error", (error) => errors.push(error));
    let text = "";
    client.on("data", (chunk: Buffer) => {
      text += chunk.toString("latin1");
    });
    client.write(`${head}${HOST}\r\n`);
    await until(() => text.includes("\r\n\r\n"), "the answer");
    for (let i = 0; i < 20 && !client.destroyed; i++) {
      await new Promise((resolve) => client.write(`GET /hello/${i} HTTP/1.1\r\n${HOST}\r\n`, resolve));
      await new Promise((resolve) => setImmediate(resolve));
    }
    client.end();
    await closed;
    expect(errors).toEqual([]);
    expect(text).toMatch(new RegExp(`^HTTP/1\\.1 ${status} `));
    expect(text.match(/^HTTP\/1\.1 /gm)).toHaveLength(1);
    expect(world.fn.requests.length).toBeLessThan(2);
  },
);
