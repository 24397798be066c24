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

const TOKEN = "ofc_token-of-alice-0123456789";
const HOST = "Host: alice.fn.test\r\n";

describe("refused with its connection, and nothing forwarded (SECURITY.md D01-D11)", () => {
  test.each<[string, number, string]>([
    [
      "D01: Content-Length beside chunked",
      400,
      `POST /hello HTTP/1.1\r\n${HOST}Content-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n`,
    ],
    ["D02: `,chunked`", 400, `POST /hello HTTP/1.1\r\n${HOST}Transfer-Encoding: ,chunked\r\n\r\n0\r\n\r\n`],
    [
      "D02: an empty Transfer-Encoding beside a length",
      400,
      `POST /hello HTTP/1.1\r\n${HOST}Transfer-Encoding:\r\nContent-Length: 1\r\n\r\nx`,
    ],
    [
      "D02: chunked on HTTP/1.0",
      400,
      `POST /hello HTTP/1.0\r\n${HOST}Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n`,
    ],
    ["D03: two Hosts", 400, `GET /hello HTTP/1.1\r\n${HOST}${HOST}\r\n`],
    ["no Host", 400, "GET /hello HTTP/1.1\r\n\r\n"],
    ["D03: an empty Host", 400, "GET /hello HTTP/1.1\r\nHost:\r\n\r\n"],
    ["D03: userinfo in Host", 400, "GET /hello HTTP/1.1\r\nHost: a@alice.fn.test\r\n\r\n"],
    ["D03: a slash in Host", 400, "GET /hello HTTP/1.1\r\nHost: alice.fn.test/b\r\n\r\n"],
    ["D03: a list in Host", 400, "GET /hello HTTP/1.1\r\nHost: alice.fn.test, b\r\n\r\n"],
    [
      "D04: an absolute target of another host",
      400,
      `GET http://other.fn.test/hello HTTP/1.1\r\n${HOST}\r\n`,
    ],
    ["D05: an encoded slash in the function's name", 400, `GET /hello%2fx HTTP/1.1\r\n${HOST}\r\n`],
    ["D05: an encoded backslash in it", 400, `GET /hello%5cx HTTP/1.1\r\n${HOST}\r\n`],
    ["D05: no name between two slashes", 400, `GET //hello/x HTTP/1.1\r\n${HOST}\r\n`],
    ["D07: X_Forwarded_For", 400, `GET /hello HTTP/1.1\r\n${HOST}X_Forwarded_For: 1\r\n\r\n`],
    [
      "D07: Transfer_Encoding",
      400,
      `POST /hello HTTP/1.1\r\n${HOST}Transfer_Encoding: chunked\r\n\r\n0\r\n\r\n`,
    ],
    ["D07: Content_Length", 400, `POST /hello HTTP/1.1\r\n${HOST}Content_Length: 1\r\n\r\nx`],
    ["D09: CONNECT", 405, `CONNECT alice.fn.test:80 HTTP/1.1\r\n${HOST}\r\n`],
    ["D09: TRACE", 405, `TRACE /hello HTTP/1.1\r\n${HOST}\r\n`],
    ["D10: 150 header lines", 431, `GET /hello HTTP/1.1\r\n${HOST}${"a: b\r\n".repeat(150)}\r\n`],
    [
      "D10: 1,100 header lines with a length after them",
      431,
      `POST /hello HTTP/1.1\r\n${HOST}${"a: b\r\n".repeat(1_100)}Content-Length: 1\r\n\r\nx`,
    ],
    ["17 KiB of headers", 431, `GET /hello HTTP/1.1\r\n${HOST}a: ${"b".repeat(17 * 1024)}\r\n\r\n`],
    ["a target of 9 KiB", 414, `GET /hello/${"x".repeat(9 * 1024)} HTTP/1.1\r\n${HOST}\r\n`],
    ["D09: a version that is none", 505, `GET /hello HTTP/9.9\r\n${HOST}\r\n`],
    ["D09: HTTP/0.9, by name", 505, `GET /hello HTTP/0.9\r\n${HOST}\r\n`],
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

test("HTTP/0.9 is not served: a request line without a version is none, and closes (D09)", async () => {
  await using world = await setup();
  const answer = await exchangeRaw(world.edge.port, "GET /hello\r\n\r\n");
  expect(answer).toMatch(/^HTTP\/1\.1 (400|505) /);
  expect(answer).toMatch(/connection: close/i);
  expect(world.fn.requests).toEqual([]);
});

test("an absolute target that agrees with Host is served as if it had none (D04)", async () => {
  await using world = await setup();
  const target = "http://ALICE.fn.test./hello/x?y";
  const answer = await exchangeRaw(
    world.edge.port,
    `GET ${target} HTTP/1.1\r\n${HOST}Connection: close\r\n\r\n`,
  );
  expect(answer).toMatch(/^HTTP\/1\.1 200 /);
  expect(world.fn.requests.map(({ url, headers }) => [url, headers.host])).toEqual([
    ["/x?y", "alice.fn.test"],
  ]);
});

test.each([
  ["/hello/../../secret/x", "secret", "/x"],
  ["/hello/%2e%2e/%2E%2e/secret/x", "secret", "/x"],
  ["/secret/../hello/x", "hello", "/x"],
  ["/hello/..%2fsecret", "hello", "/..%2fsecret"],
  ["/hello/..%5csecret", "hello", "/..%5csecret"],
  ["/hello//secret", "hello", "//secret"],
])("%s is decided on and forwarded in one form: of %s, %s (D05)", async (target, name, path) => {
  await using hello = await upstream();
  await using secret = await upstream();
  await using feed = await new FeedServer([
    route("alice/hello", [hello.url]),
    route("alice/secret", [secret.url], { access: "members" }),
  ]).listen();
  await using edge = await testEdge(feed.origin);
  const asked = `GET ${target} HTTP/1.1\r\n${HOST}Connection: close\r\n\r\n`;
  const isOpen = name === "hello";
  expect(await exchangeRaw(edge.port, asked)).toMatch(isOpen ? /^HTTP\/1\.1 200 / : /^HTTP\/1\.1 401 /);
  expect(hello.requests.map(({ url }) => url)).toEqual(isOpen ? [path] : []);
  feed.knowToken(TOKEN);
  const signedIn = asked.replace("\r\n\r\n", `\r\nAuthorization: Bearer ${TOKEN}\r\n\r\n`);
  expect(await exchangeRaw(edge.port, signedIn)).toMatch(/^HTTP\/1\.1 200 /);
  expect(secret.requests.map(({ url }) => url)).toEqual(isOpen ? [] : [path]);
});

test("names in Connection take the client's headers with them, and none of ours (D06)", async () => {
  await using world = await setup();
  const lines =
    "Connection: close, X-Forwarded-For, X-Request-Id, Authorization, X-Mine\r\n" +
    "X-Forwarded-For: 203.0.113.9\r\nAuthorization: Basic YTpi\r\nX-Mine: 1\r\nKeep-Alive: timeout=9\r\nTE: trailers\r\n";
  await exchangeRaw(world.edge.port, `GET /hello HTTP/1.1\r\n${HOST}${lines}\r\n`);
  const headers = world.fn.requests[0]?.headers;
  expect(headers).toMatchObject({ "x-forwarded-for": "127.0.0.1", "x-real-ip": "127.0.0.1" });
  expect(headers?.["x-request-id"]).toMatch(/./);
  for (const gone of ["authorization", "x-mine", "keep-alive", "te"])
    expect(headers).not.toHaveProperty(gone);
});

test("what a client says about who it is and whom it asked is overwritten (D08)", async () => {
  await using world = await setup();
  const lines =
    "X-Forwarded-For: 203.0.113.9\r\nX-Forwarded-Host: bob.fn.test\r\nX-Forwarded-Proto: https\r\n" +
    "X-Forwarded-User: root\r\nX-Real-IP: 203.0.113.9\r\nForwarded: for=203.0.113.9\r\nX-Start-Time: 1\r\n";
  await exchangeRaw(world.edge.port, `GET /hello HTTP/1.1\r\n${HOST}${lines}Connection: close\r\n\r\n`);
  const headers = world.fn.requests[0]?.headers;
  expect(headers).toMatchObject({
    "x-forwarded-for": "127.0.0.1",
    "x-forwarded-host": "alice.fn.test",
    "x-forwarded-proto": "http",
    "x-real-ip": "127.0.0.1",
    forwarded: 'for=127.0.0.1;host="alice.fn.test";proto=http',
  });
  expect(headers).not.toHaveProperty("x-forwarded-user");
  expect(headers?.["x-start-time"]).not.toBe("1");
});

test("headers, paths and functions named like what every object has are only names (D11)", async () => {
  await using world = await setup();
  const lines = "constructor: 1\r\ntoString: 2\r\nhasOwnProperty: 3\r\n";
  const answer = await exchangeRaw(
    world.edge.port,
    `GET /hello/constructor HTTP/1.1\r\n${HOST}${lines}Connection: close\r\n\r\n`,
  );
  expect(answer).toMatch(/^HTTP\/1\.1 200 /);
  expect(world.fn.requests[0]?.rawHeaders).toEqual(expect.arrayContaining(["constructor", "toString"]));
  // Refused as every name with an underscore is.
  for (const name of ["__proto__", "__proto__: 1\r\n__proto__"]) {
    const once = await exchangeRaw(
      world.edge.port,
      `GET /hello HTTP/1.1\r\n${HOST}${name}: 1\r\nConnection: close\r\n\r\n`,
    );
    expect(once).toMatch(/^HTTP\/1\.1 400 /);
  }
  for (const name of ["constructor", "__proto__", "toString"])
    expect((await world.edge.call("alice.fn.test", `/${name}`)).status).toBe(404);
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
