import { once } from "node:events";
import { describe, expect, test } from "vitest";
import { FeedServer, route } from "./support/feed-server.ts";
import { hasAnswers, readAnswers } from "./support/raw-answers.ts";
import { exchangeRaw, rawClient, rawUpstream, testEdge, until, upstream } from "./support/servers.ts";

const HOST = "Host: alice.fn.test\r\n";

/** A function that answers each path with bytes of the test's choice, and remembers the requests as they came. */
async function scripted(answers: Readonly<Record<string, string>>) {
  const requests: string[] = [];
  const fn = await rawUpstream((socket) => {
    let text = "";
    socket.on("data", (data) => {
      text += data.toString("latin1");
      for (;;) {
        const end = endOfRequest(text);
        if (end === undefined) return;
        const request = text.slice(0, end);
        text = text.slice(end);
        requests.push(request);
        const answer =
          answers[request.split(" ", 2)[1] ?? ""] ?? "HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n";
        if (/^connection: close/im.test(answer)) socket.end(answer, "latin1");
        else socket.write(answer, "latin1");
      }
    });
  });
  return { url: fn.url, requests, [Symbol.asyncDispose]: () => fn[Symbol.asyncDispose]() };
}

function endOfRequest(text: string): number | undefined {
  const head = text.indexOf("\r\n\r\n");
  if (head === -1) return undefined;
  const begin = head + 4;
  if (!/^transfer-encoding: chunked/im.test(text.slice(0, begin))) {
    const end = begin + Number(/^content-length: (\d+)/im.exec(text.slice(0, begin))?.[1] ?? 0);
    return end <= text.length ? end : undefined;
  }
  const last = /(^|\r\n)0\r\n([^\r\n]+\r\n)*\r\n/.exec(text.slice(begin));
  return last === null ? undefined : begin + last.index + last[0].length;
}

function fieldsOf(request: string): [string, string][] {
  const [, ...lines] = request.slice(0, request.indexOf("\r\n\r\n")).split("\r\n");
  return lines.map((line) => [line.slice(0, line.indexOf(":")), line.slice(line.indexOf(":") + 2)]);
}

test("answers with and without a body follow each other on a connection, each with its own", async () => {
  await using fn = await scripted({
    "/length": "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello",
    "/chunked": "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
    "/to-the-end": "HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nhello",
    "/empty": "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
    "/empty-chunked": "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "/empty-to-the-end": "HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n",
    "/head-length": "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n",
    "/head-chunked": "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
    "/head-bare": "HTTP/1.1 200 OK\r\nX-Bare: 1\r\n\r\n",
    "/head-304": 'HTTP/1.1 304 Not Modified\r\nETag: "x"\r\n\r\n',
    "/204": "HTTP/1.1 204 No Content\r\nContent-Length: 0\r\n\r\n",
    "/205": "HTTP/1.1 205 Reset Content\r\nContent-Length: 0\r\n\r\n",
    "/304": 'HTTP/1.1 304 Not Modified\r\nETag: "x"\r\nContent-Length: 5\r\n\r\n',
    "/hints":
      "HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello",
  });
  await using feed = await new FeedServer([route("alice/f", [fn.url])]).listen();
  await using edge = await testEdge(feed.origin);
  const asked: [string, string, number, string][] = [
    ["GET", "/length", 200, "hello"],
    ["HEAD", "/head-length", 200, ""],
    ["GET", "/204", 204, ""],
    ["GET", "/chunked", 200, "hello"],
    ["HEAD", "/head-chunked", 200, ""],
    ["GET", "/304", 304, ""],
    ["GET", "/to-the-end", 200, "hello"],
    ["HEAD", "/head-bare", 200, ""],
    ["GET", "/205", 205, ""],
    ["GET", "/empty", 200, ""],
    ["HEAD", "/head-304", 304, ""],
    ["GET", "/empty-chunked", 200, ""],
    ["GET", "/empty-to-the-end", 200, ""],
    ["GET", "/hints", 200, "hello"],
    ["GET", "/length", 200, "hello"],
  ];
  const methods = asked.map(([method]) => method);
  const bytes = asked.map(([method, path]) => `${method} /f${path} HTTP/1.1\r\n${HOST}\r\n`);
  const expected = asked.map(([, , status, body]) => [status, body]);

  using oneByOne = rawClient(edge.port, "");
  for (const [i, request] of bytes.entries()) {
    oneByOne.socket.write(request);
    await until(
      () => hasAnswers(oneByOne.text(), methods.slice(0, i + 1)),
      `${asked[i]?.slice(0, 2).join(" ")}`,
    );
  }
  using atOnce = rawClient(edge.port, bytes.join(""));
  await until(() => hasAnswers(atOnce.text(), methods), "all answers");
  for (const client of [oneByOne, atOnce]) {
    const answers = readAnswers(client.text(), methods).filter(({ status }) => status !== 103);
    expect(answers.map(({ status, body }) => [status, body])).toEqual(expected);
    const head = (i: number, name: string) => answers[i]?.headers.get(name);
    // What a HEAD or a 304 says of a body that it has not is the function's word.
    expect(head(1, "content-length")).toEqual(["5"]);
    expect(head(4, "content-length")).toBeUndefined();
    expect(head(2, "content-length")).toBeUndefined();
    expect(head(2, "transfer-encoding")).toBeUndefined();
    expect(head(5, "etag")).toEqual(['"x"']);
    expect(head(5, "transfer-encoding")).toBeUndefined();
    expect(answers[8]?.headers.get("content-length")).toEqual(["0"]);
  }
});

test("a conditional request is the function's to answer", async () => {
  await using fn = await upstream((request, response) => {
    if (request.headers["if-none-match"] === '"x"') response.writeHead(304, { ETag: '"x"' }).end();
    else if (request.headers.range === "bytes=1-2")
      response.writeHead(206, { "Content-Range": "bytes 1-2/5" }).end("el");
    else response.end("hello");
  });
  await using feed = await new FeedServer([route("alice/f", [fn.url])]).listen();
  await using edge = await testEdge(feed.origin);
  const ask = (headers: Record<string, string>) => edge.call("alice.fn.test", "/f", { headers });
  const same = await ask({ "if-none-match": '"x"' });
  expect([same.status, same.headers.etag, same.body]).toEqual([304, '"x"', ""]);
  expect((await ask({ "if-none-match": '"y"', "if-modified-since": "x" })).body).toBe("hello");
  const part = await ask({ range: "bytes=1-2", "if-range": '"x"' });
  expect([part.status, part.headers["content-range"], part.body]).toEqual([206, "bytes 1-2/5", "el"]);
  expect(fn.requests[1]?.headers["if-modified-since"]).toBe("x");
  expect(fn.requests[2]?.headers["if-range"]).toBe('"x"');
});

test("pipelined answers keep their order, though the first one takes longest", async () => {
  const finish = new Map<string, () => void>();
  await using fn = await upstream((request, response) => {
    request.resume();
    const { url = "" } = request;
    if (url === "/slow") finish.set(url, () => response.end(`answer ${url}`));
    else response.end(`answer ${url}`);
  });
  await using feed = await new FeedServer([route("alice/f", [fn.url])]).listen();
  await using edge = await testEdge(feed.origin);
  const requests = [
    `GET /f/slow HTTP/1.1\r\n${HOST}\r\n`,
    `GET /f/1 HTTP/1.1\r\n${HOST}\r\n`,
    `POST /f/2 HTTP/1.1\r\n${HOST}Content-Length: 3\r\n\r\nabc`,
    `POST /f/3 HTTP/1.1\r\n${HOST}Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n`,
    `GET /f/4 HTTP/1.1\r\n${HOST}Connection: close\r\n\r\n`,
  ];
  using client = rawClient(edge.port, requests.join(""));
  await until(() => finish.has("/slow"), "the slow request");
  expect((await edge.call("alice.fn.test", "/f/other")).body).toBe("answer /other");
  expect(client.text()).toBe("");
  finish.get("/slow")?.();
  await client.closed;
  const bodies = readAnswers(client.text(), ["GET", "GET", "POST", "POST", "GET"]).map(({ body }) => body);
  expect(bodies).toEqual(["answer /slow", "answer /1", "answer /2", "answer /3", "answer /4"]);
  expect(fn.requests.filter(({ url }) => url !== "/other")).toHaveLength(5);
});

test("trailers of a request end here; those of an answer pass, but for what frames, routes or signs in", async () => {
  await using fn = await scripted({
    "/": `HTTP/1.1 200 OK\r\nTrailer: X-Sum\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\nX-Sum: 42\r\nSet-Cookie: a=b\r\nTrailer: X\r\nConnection: X-Sum\r\nX-Request-Id: forged\r\nServer-Timing: db;dur=1\r\n\r\n`,
  });
  await using feed = await new FeedServer([route("alice/f", [fn.url])]).listen();
  await using edge = await testEdge(feed.origin);
  const chunks = "5\r\nhello\r\n0\r\nX-Sum: 1\r\nX-Forwarded-For: 6.6.6.6\r\nAuthorization: x\r\n\r\n";
  using client = rawClient(
    edge.port,
    `POST /f HTTP/1.1\r\n${HOST}TE: trailers\r\nTrailer: X-Sum\r\nTransfer-Encoding: chunked\r\n\r\n${chunks}GET /f HTTP/1.1\r\n${HOST}Connection: close\r\n\r\n`,
  );
  await client.closed;
  const [answer, next] = readAnswers(client.text(), ["POST", "GET"]);
  expect(answer).toMatchObject({ status: 200, body: "hello" });
  expect(Object.fromEntries(answer?.trailers ?? [])).toEqual({
    "x-sum": ["42"],
    "server-timing": ["db;dur=1"],
  });
  expect(next?.status).toBe(200);
  expect(fn.requests).toHaveLength(2);
  const post = fn.requests.find((request) => request.startsWith("POST "));
  expect(post).toMatch(/\r\n5\r\nhello\r\n0\r\n\r\n$/);
  expect(post).not.toMatch(/x-sum|6\.6\.6\.6|authorization|^te:/im);
});

describe("HTTP/1.0", () => {
  test.each<[string, string]>([
    ["in chunks", "Transfer-Encoding: chunked\r\n\r\n3\r\none\r\n3\r\ntwo\r\n0\r\nX-Sum: 42\r\n\r\n"],
    ["until the connection closes", "Connection: close\r\n\r\nonetwo"],
  ])("gets an answer that comes %s as plain bytes, and the end by the connection's", async (_how, answer) => {
    await using fn = await scripted({ "/": `HTTP/1.1 200 OK\r\n${answer}` });
    await using feed = await new FeedServer([route("alice/f", [fn.url])]).listen();
    await using edge = await testEdge(feed.origin);
    for (const connection of ["", "Connection: keep-alive\r\n"]) {
      const text = await exchangeRaw(edge.port, `GET /f HTTP/1.0\r\n${HOST}${connection}\r\n`);
      expect(readAnswers(text, ["GET"])).toMatchObject([{ status: 200, body: "onetwo", framing: "close" }]);
    }
  });

  test("keeps its connection where it asks to and the answer has a length", async () => {
    await using fn = await scripted({ "/": "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello" });
    await using feed = await new FeedServer([route("alice/f", [fn.url])]).listen();
    await using edge = await testEdge(feed.origin);
    using client = rawClient(edge.port, `GET /f HTTP/1.0\r\n${HOST}Connection: keep-alive\r\n\r\n`);
    await until(() => hasAnswers(client.text(), ["GET"]), "the answer");
    expect(readAnswers(client.text(), ["GET"])[0]?.headers.get("connection")).toEqual(["keep-alive"]);
    client.socket.write(`GET /f HTTP/1.0\r\n${HOST}\r\n`);
    await client.closed;
    expect(readAnswers(client.text(), ["GET", "GET"])).toHaveLength(2);
  });
});

describe("large heads", () => {
  test("of a request pass up to 100 lines and 16 KiB, every line as it came", async () => {
    await using fn = await scripted({ "/": "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n" });
    await using feed = await new FeedServer([route("alice/f", [fn.url])]).listen();
    await using edge = await testEdge(feed.origin);
    const lines = Array.from({ length: 98 }, (_, i) => `X-Line-${i}: value ${i}\r\n`).join("");
    const begin = `GET /f HTTP/1.1\r\n${HOST}${lines}X-Long: `;
    const head = `${begin}${"v".repeat(16 * 1024 - begin.length - 4)}\r\n\r\n`;
    expect(head).toHaveLength(16 * 1024);
    using client = rawClient(edge.port, head);
    await until(() => hasAnswers(client.text(), ["GET"]), "the answer");
    expect(readAnswers(client.text(), ["GET"])[0]?.status).toBe(200);
    const seen = new Map(fieldsOf(fn.requests[0] ?? ""));
    for (let i = 0; i < 98; i++) expect(seen.get(`X-Line-${i}`)).toBe(`value ${i}`);
    expect(seen.get("X-Long")).toMatch(/^v{14000,}$/);
  });

  test.each<[string, string]>([
    ["101 lines", "a: b\r\n".repeat(100)],
    ["a line too long", `a: ${"b".repeat(16 * 1024)}\r\n`],
    ["lines too long together", `a: ${"b".repeat(800)}\r\n`.repeat(21)],
  ])("of a request are refused beyond that: %s", async (_what, lines) => {
    await using fn = await scripted({});
    await using feed = await new FeedServer([route("alice/f", [fn.url])]).listen();
    await using edge = await testEdge(feed.origin);
    const text = await exchangeRaw(edge.port, `GET /f HTTP/1.1\r\n${HOST}${lines}\r\n`);
    expect(readAnswers(text, ["GET"]).map(({ status }) => status)).toEqual([431]);
    expect(text).toMatch(/^connection: close/im);
    expect(fn.requests).toEqual([]);
  });

  test("of an answer pass, every line as it came and in its order", async () => {
    const lines = Array.from({ length: 98 }, (_, i) => `X-Line-${i % 7}: value ${i}`);
    const long = `X-Long: ${"v".repeat(13_000)}`;
    await using fn = await scripted({
      "/": `HTTP/1.1 200 OK\r\n${[...lines, long].join("\r\n")}\r\nContent-Length: 5\r\n\r\nhello`,
    });
    await using feed = await new FeedServer([route("alice/f", [fn.url])]).listen();
    await using edge = await testEdge(feed.origin);
    const text = await exchangeRaw(edge.port, `GET /f HTTP/1.1\r\n${HOST}Connection: close\r\n\r\n`);
    const passed = text.split("\r\n").filter((line) => line.startsWith("X-L"));
    expect(passed).toEqual([...lines, long]);
    expect(readAnswers(text, ["GET"])[0]?.body).toBe("hello");
  });
});

test("a connection serves on after every kind of request that was read to its end", async () => {
  await using fn = await upstream(
    (request, response) => void request.resume().on("end", () => response.end("ok")),
  );
  await using feed = await new FeedServer([
    route("alice/f", [fn.url]),
    route("alice/members", [fn.url], { access: "members" }),
  ]).listen();
  await using edge = await testEdge(feed.origin);
  const rows: [string, number][] = [
    [`GET /f HTTP/1.1\r\n${HOST}\r\n`, 200],
    [`POST /f HTTP/1.1\r\n${HOST}Content-Length: 3\r\n\r\nabc`, 200],
    [`GET /nope HTTP/1.1\r\n${HOST}\r\n`, 404],
    [`GET /members HTTP/1.1\r\n${HOST}\r\n`, 401],
    [`GET / HTTP/1.1\r\nHost: nobody.fn.test\r\n\r\n`, 404],
    [`GET / HTTP/1.1\r\nHost: system.console.test\r\n\r\n`, 307],
    [`GET /x HTTP/1.1\r\nHost: system.console.test\r\n\r\n`, 200],
    [`PATCH /f HTTP/1.1\r\n${HOST}Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n`, 200],
    [`OPTIONS /f HTTP/1.1\r\n${HOST}\r\n`, 200],
  ];
  using client = rawClient(edge.port, "");
  await once(client.socket, "connect");
  for (const [i, [request]] of rows.entries()) {
    client.socket.write(request);
    await until(() => hasAnswers(client.text(), rows.slice(0, i + 1).map(methodOf)), request);
  }
  const answers = readAnswers(client.text(), rows.map(methodOf));
  expect(answers.map(({ status }) => status)).toEqual(rows.map(([, status]) => status));
  for (const { headers } of answers) expect(headers.get("connection")).not.toEqual(["close"]);
});

function methodOf([request]: readonly [string, number]): string {
  return request.slice(0, request.indexOf(" "));
}
