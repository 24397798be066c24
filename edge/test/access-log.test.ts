import { closeSync, openSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { expect, test } from "vitest";
import { type AccessEntry, AccessLog, traceIdOf } from "../src/access-log.ts";
import { readConfig } from "../src/config.ts";
import { LineOutput } from "../src/line-output.ts";
import { SEED } from "./goals/support/size.ts";
import { FeedServer, route } from "./support/feed-server.ts";
import { deadUrl, exchangeRaw, tempDirectory, testEdge, until, upstream } from "./support/servers.ts";

const ENTRY: AccessEntry = {
  requestId: "id-1",
  address: "192.0.2.1",
  scheme: "http",
  lane: "full",
  method: "GET",
  host: "alice.fn.test",
  rawTarget: "/hello/there?token=secret",
  status: 200,
  bytesReceived: 3,
  bytesSent: 5,
  durationMs: 1.2345,
  route: { owner: "alice", function: "hello" } as AccessEntry["route"],
  upstream: "replica-1",
  reason: undefined,
  traceparent: "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
};

type Line = Record<string, unknown>;

/** The lines that these entries make. */
function linesOf(entries: readonly AccessEntry[]): Line[] {
  const lines: Line[] = [];
  const output = {
    offer(line: string) {
      expect(line.indexOf("\n")).toBe(line.length - 1);
      lines.push(JSON.parse(line));
    },
  };
  const log = new AccessLog(output, { every: 1 });
  for (const entry of entries) log.write(entry);
  return lines;
}

/** mulberry32: small, and the same on every machine. */
function random(seed: number): () => number {
  let state = seed;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let t = Math.imul(state ^ (state >>> 15), 1 | state);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) / 4_294_967_296;
  };
}

/** Text of characters that need escaping, that nearly do, and that are none alone. */
function hostileText(next: () => number, alphabet: number): string {
  let text = "";
  for (let length = Math.floor(next() * 24); length > 0; length--) {
    text += String.fromCharCode(Math.floor(next() * alphabet));
  }
  return text;
}

test("a line has what is known of a request, and neither query nor what was not given", () => {
  const [line] = linesOf([ENTRY]);
  expect(line).toEqual({
    level: 30,
    time: expect.stringMatching(/^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$/),
    requestId: "id-1",
    client: "192.0.2.1",
    scheme: "http",
    lane: "full",
    method: "GET",
    host: "alice.fn.test",
    path: "/hello/there",
    status: 200,
    bytesIn: 3,
    bytes: 5,
    durationMs: 1.235,
    owner: "alice",
    function: "hello",
    upstream: "replica-1",
    traceId: "4bf92f3577b34da6a3ce929d0e0e4736",
  });
  const [bare] = linesOf([
    { ...ENTRY, host: undefined, route: undefined, upstream: undefined, traceparent: undefined },
  ]);
  for (const name of ["host", "owner", "function", "upstream", "traceId", "reason"]) {
    expect(bare).not.toHaveProperty(name);
  }
});

test("times are those of the clock, from one second to the next", async () => {
  let writtenMs = 0;
  const output = {
    offer(line: string) {
      writtenMs = Date.parse(JSON.parse(line).time);
    },
  };
  const log = new AccessLog(output, { every: 1 });
  const firstSecond = Math.floor(Date.now() / 1000);
  await until(() => {
    const beforeMs = Date.now();
    log.write(ENTRY);
    const afterMs = Date.now();
    expect(writtenMs).toBeGreaterThanOrEqual(beforeMs);
    expect(writtenMs).toBeLessThanOrEqual(afterMs);
    return Math.floor(beforeMs / 1000) > firstSecond;
  }, "the next second");
});

test.each([
  [0, 0],
  [0.0004, 0],
  [0.001, 0.001],
  [0.0999, 0.1],
  [9.9996, 10],
  [1.05, 1.05],
  [120_000.5, 120_000.5],
])("a duration of %d ms is written as %d", (durationMs, written) => {
  expect(linesOf([{ ...ENTRY, durationMs }])[0]?.["durationMs"]).toBe(written);
});

test.each([
  ["/a/b?c=d", "/a/b"],
  ["/?", "/"],
  ["?x", ""],
  ["*", "*"],
  ["http://user:secret@alice.fn.test/f?x", "/f"],
  ["http://user:secret@alice.fn.test", ""],
  ["user:secret@alice.fn.test:443", ""],
  ["", ""],
])("of the target %s the log keeps %s", (rawTarget, path) => {
  expect(linesOf([{ ...ENTRY, rawTarget }])[0]?.["path"]).toBe(path);
});

test("100,000 lines of whatever a client may send are read back as they were", () => {
  const next = random(SEED);
  const entries = Array.from({ length: 100_000 }, (_, i): AccessEntry => {
    const text = (): string => hostileText(next, [0x60, 0x100, 0x10000][i % 3] ?? 0x100);
    return {
      ...ENTRY,
      requestId: text(),
      address: text(),
      method: text(),
      host: text(),
      rawTarget: `/${text()}`,
      upstream: text(),
      traceparent: text(),
    };
  });
  const lines = linesOf(entries);
  lines.forEach((line, i) => {
    const { requestId, address, method, host, rawTarget, upstream } = entries[i] ?? ENTRY;
    const read = [line["requestId"], line["client"], line["method"], line["host"], line["upstream"]];
    const path = rawTarget.split("?", 1)[0];
    const same = [requestId, address, method, host, upstream].every((value, at) => value === read[at]);
    if (!same || line["path"] !== path || "traceId" in line) {
      throw new Error(`line ${i} of seed ${SEED} reads otherwise: ${JSON.stringify([entries[i], line])}`);
    }
  });
  expect(lines.length).toBe(entries.length);
});

test.each([
  ["00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01", "4bf92f3577b34da6a3ce929d0e0e4736"],
  ["00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-ff", "4bf92f3577b34da6a3ce929d0e0e4736"],
  ["cc-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-later", "4bf92f3577b34da6a3ce929d0e0e4736"],
  ["cc-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01", "4bf92f3577b34da6a3ce929d0e0e4736"],
  ["00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-later", undefined],
  ["cc-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01.later", undefined],
  ["ff-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01", undefined],
  ["00-00000000000000000000000000000000-00f067aa0ba902b7-01", undefined],
  ["00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01", undefined],
  ["00-4BF92F3577B34DA6A3CE929D0E0E4736-00f067aa0ba902b7-01", undefined],
  ["00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-1", undefined],
  ["00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7", undefined],
  ["", undefined],
])("the traceparent %s names the trace %s", (traceparent, traceId) => {
  expect(traceIdOf(traceparent)).toBe(traceId);
});

test("one request in so many is written down, and each that went wrong", () => {
  const nowhere = { offer: () => expect.unreachable() };
  const tally = (every: number, status: number, reason?: AccessEntry["reason"]): number => {
    const log = new AccessLog(nowhere, { every });
    return Array.from({ length: 100_000 }, () => log.wants(status, reason)).filter(Boolean).length;
  };
  expect(tally(1, 200)).toBe(100_000);
  // Ten standard deviations to either side.
  expect(tally(100, 200)).toBeGreaterThan(685);
  expect(tally(100, 200)).toBeLessThan(1_315);
  expect(tally(100, 500)).toBe(100_000);
  expect(tally(100, 404, "unknown-function")).toBe(100_000);
  expect(tally(100, 200, "client-gone")).toBe(100_000);
  expect(tally(0, 500, "edge-fault")).toBe(0);
});

test.each([
  [undefined, "info", 1],
  [undefined, "warn", 0],
  ["all", "warn", 1],
  ["off", "info", 0],
  ["50", "silent", 50],
])("EDGE_ACCESS_LOG=%s with LOG_LEVEL=%s writes down one in %d", (accessLog, logLevel, every) => {
  const given = { EDGE_ACCESS_LOG: accessLog, LOG_LEVEL: logLevel };
  const needed = { EDGE_DATA: "/x", CONTROL_PLANE_URL: "http://c.test", FEED_CREDENTIAL: "x".repeat(16) };
  expect(readConfig({ ...needed, ...given }).accessLogEvery).toBe(every);
});

test.each(["some", "-1", "1.5", "1/50", ""])("EDGE_ACCESS_LOG=%j is refused or left out", (accessLog) => {
  const needed = { EDGE_DATA: "/x", CONTROL_PLANE_URL: "http://c.test", FEED_CREDENTIAL: "x".repeat(16) };
  const read = () => readConfig({ ...needed, EDGE_ACCESS_LOG: accessLog });
  if (accessLog === "") expect(read().accessLogEvery).toBe(1);
  else expect(read).toThrow("EDGE_ACCESS_LOG: must be off, all, or a number");
});

/** An edge whose access log is a file, and what is in it. */
async function loggedEdge(
  controlPlane: string,
  options: Pick<
    NonNullable<Parameters<typeof testEdge>[1]>,
    "accessLogEvery" | "plainLane" | "timeouts"
  > = {},
) {
  const directory = await tempDirectory();
  const path = join(directory.path, "log");
  const descriptor = openSync(path, "a");
  const output = new LineOutput(descriptor);
  const edge = await testEdge(controlPlane, { output, ...options });
  return {
    edge,
    lines: (): Line[] =>
      // Of a page that is being written there may be a part of a line.
      readFileSync(path, "utf8")
        .split("\n")
        .slice(0, -1)
        .map((line) => JSON.parse(line)),
    async [Symbol.asyncDispose]() {
      await edge.close();
      await output[Symbol.asyncDispose]();
      closeSync(descriptor);
      await directory[Symbol.asyncDispose]();
    },
  };
}

test.each(["plain", "full"])(
  "what the %s lane writes down of requests that went well and that did not",
  async (lane) => {
    await using fn = await upstream((request, response) => {
      request.resume().on("end", () => response.end("hello"));
    });
    await using feed = await new FeedServer([
      route("alice/f", [fn.url]),
      route("alice/dead", [await deadUrl()]),
    ]).listen();
    await using logged = await loggedEdge(feed.origin, { plainLane: lane === "plain" });
    const { edge, lines } = logged;
    const host = "Alice.fn.test:80";
    const headers = {
      authorization: "Bearer credential-1",
      cookie: "session=credential-2",
      "x-request-id": "asked-for",
      traceparent: ENTRY.traceparent ?? "",
    };
    await edge.call(host, "/f/x?credential-3", { method: "POST", body: "four", headers });
    await edge.call(host, "/dead");
    await edge.call(host, "/absent");
    await until(() => lines().length === 3, "three lines");
    const [good, dead, absent] = lines();
    const replica = new URL(fn.url).port;
    expect(good).toMatchObject({
      requestId: "asked-for",
      client: "127.0.0.1",
      lane,
      method: "POST",
      host: "alice.fn.test",
      path: "/f/x",
      status: 200,
      bytesIn: 4,
      bytes: 5,
      owner: "alice",
      function: "f",
      upstream: `replica-${replica}`,
      traceId: "4bf92f3577b34da6a3ce929d0e0e4736",
    });
    expect(dead).toMatchObject({ status: 502, function: "dead", reason: "upstream-unreachable" });
    expect(absent).toMatchObject({ status: 404, reason: "unknown-function", path: "/absent" });
    expect(JSON.stringify(lines())).not.toContain("credential");
  },
);

test("with one in a million an edge writes down what went wrong", async () => {
  await using fn = await upstream((request, response) => {
    response.writeHead(Number(request.url?.slice(1))).end();
  });
  await using feed = await new FeedServer([route("alice/f", [fn.url])]).listen();
  await using logged = await loggedEdge(feed.origin, { accessLogEvery: 1_000_000 });
  for (const code of [200, 404, 503, 201]) await logged.edge.call("alice.fn.test", `/f/${code}`);
  await logged.edge.call("nobody.fn.test", "/");
  await until(() => logged.lines().length === 2, "two lines");
  expect(logged.lines().map(({ status, reason }) => [status, reason])).toEqual([
    [503, undefined],
    [404, "unknown-host"],
  ]);
});

test.each<[string, string, Line]>([
  ["a head that is none", "GET / HTTP/1.1\r\nX: a\0\r\n\r\n", { status: 400, method: "", path: "" }],
  ["a head that is too large", `GET /f HTTP/1.1\r\nX: ${"v".repeat(20_000)}\r\n\r\n`, { status: 431 }],
  ["a head in lines of its own kind", "GET /f HTTP/1.1\r\nHost: alice.fn.test\n\n", { status: 400 }],
  [
    "a body that is none",
    "POST /f HTTP/1.1\r\nHost: alice.fn.test\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\nzz\r\n",
    { status: 400, method: "POST", path: "/f" },
  ],
])("%s is written down with what it was answered, and the client's address", async (_what, sent, line) => {
  await using fn = await upstream((request) => void request.resume());
  await using feed = await new FeedServer([route("alice/f", [fn.url])]).listen();
  await using logged = await loggedEdge(feed.origin);
  expect(await exchangeRaw(logged.edge.port, sent)).toMatch(`HTTP/1.1 ${line["status"]} `);
  await until(() => logged.lines().length === 1, "its line");
  expect(logged.lines()[0]).toMatchObject({ ...line, reason: "request-invalid", client: "127.0.0.1" });
  expect(await logged.edge.metric('ofc_edge_refused_total{reason="request-invalid"}')).toBe(1);
});

test("a head that is late is written down too", async () => {
  await using feed = await new FeedServer([]).listen();
  await using logged = await loggedEdge(feed.origin, { timeouts: { headersMs: 300 } });
  expect(await exchangeRaw(logged.edge.port, "GET /f HTTP/1.1\r\nHost: alice")).toMatch("HTTP/1.1 408 ");
  await until(() => logged.lines().length === 1, "its line");
  expect(logged.lines()[0]).toMatchObject({ status: 408, reason: "request-invalid", client: "127.0.0.1" });
});

test.each(["plain", "full"])(
  "whatever comes over the wire to the %s lane, each line is JSON",
  async (lane) => {
    await using fn = await upstream();
    await using feed = await new FeedServer([route("alice/f", [fn.url])]).listen();
    await using logged = await loggedEdge(feed.origin, { plainLane: lane === "plain" });
    const next = random(SEED);
    // What gets past llhttp and needs escaping all the same.
    const alphabet = `ab%2/.:;@"\\{}<>|^\`'é\xff\t`;
    const bytes = (): string =>
      Array.from({ length: 12 }, () => alphabet[Math.floor(next() * alphabet.length)]).join("");
    let sent = 0;
    for (let i = 0; i < 400; i++) {
      const [method, target, host, id] = ["GET", `/f/${bytes()}`, "alice.fn.test", bytes()];
      const lines = {
        target: [method, target, host, id],
        host: [method, "/f", bytes(), id],
        method: [bytes(), "/f", host, id],
        absolute: [method, `http://${bytes()}@alice.fn.test/`, host, id],
      };
      for (const [m, t, h, r] of Object.values(lines)) {
        await exchangeRaw(
          logged.edge.port,
          `${m} ${t} HTTP/1.1\r\nHost: ${h}\r\nX-Request-Id: ${r}\r\ntraceparent: ${r}\r\nConnection: close\r\n\r\n`,
        );
        sent += 1;
      }
    }
    await logged.edge.call("alice.fn.test", "/f/last");
    await until(() => logged.lines().at(-1)?.["path"] === "/f/last", "the last line");
    expect(logged.lines()).toHaveLength(sent + 1);
  },
);

test.each([
  [
    "valid",
    "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
    "congo=t61rcWkgMzE,rojo=00f067aa0ba902b7",
  ],
  ["invalid", "00-not-a-trace", "=,,=="],
])(
  "a trace context that is %s passes on as it came by either lane",
  async (_kind, traceparent, tracestate) => {
    await using fn = await upstream();
    await using feed = await new FeedServer([route("alice/f", [fn.url])]).listen();
    for (const plainLane of [true, false]) {
      await using edge = await testEdge(feed.origin, { plainLane });
      await edge.call("alice.fn.test", "/f", { headers: { Traceparent: traceparent, tracestate } });
      const raw = fn.requests.at(-1)?.rawHeaders ?? [];
      const passed = raw.flatMap((name, i) => (/^trace/i.test(name) ? [[name, raw[i + 1]]] : []));
      expect(passed).toEqual([
        ["Traceparent", traceparent],
        ["tracestate", tracestate],
      ]);
    }
    expect(fn.requests.length).toBe(2);
  },
);
