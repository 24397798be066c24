import { expect, test } from "vitest";
import { FeedServer, NO_KEYS, route } from "./support/feed-server.ts";
import { deadUrl, exchangeRaw, rawClient, testEdge, until, upstream } from "./support/servers.ts";

test("an unknown host says who answers here, and names owners only where it may", async () => {
  await using feed = await new FeedServer([route("alice/hello", [])]).listen();
  await using edge = await testEdge(feed.origin);
  for (const host of ["fn.test", "nobody.fn.test", "127.0.0.1:8080"]) {
    const answer = await edge.call(host, "/x");
    expect(answer.status).toBe(404);
    expect(answer.body).toContain("unknown-host");
    expect(answer.body).toContain("<owner>.fn.test");
    expect(answer.body).toContain("system.console.test");
    expect(answer.body).not.toContain("alice");
  }
  const version = feed.change({ settings: { ...NO_KEYS, listOwners: true } });
  await until(() => feed.applied.at(-1)?.version === version, "the settings");
  const page = await edge.call("nobody.fn.test:8080", "/", { headers: { accept: "text/html" } });
  expect(page.body).toContain('href="//alice.fn.test:8080/"');
});

test("an unknown function says so, and an owner's own page lists functions only where it may", async () => {
  await using feed = await new FeedServer([route("alice/hello", []), route("bob/secret", [])]).listen();
  await using edge = await testEdge(feed.origin);
  const missing = await edge.call("alice.fn.test", "/nope");
  expect([missing.status, JSON.parse(missing.body).error.code]).toEqual([404, "unknown-function"]);
  expect(missing.body).not.toContain("hello");
  expect((await edge.call("alice.fn.test", "/")).body).not.toContain("hello");

  const version = feed.change({ settings: { ...NO_KEYS, listOwners: true } });
  await until(() => feed.applied.at(-1)?.version === version, "the settings");
  expect((await edge.call("alice.fn.test", "/nope")).body).toContain("hello");
  const page = await edge.call("alice.fn.test", "/", { headers: { accept: "text/html" } });
  expect(page.status).toBe(404);
  expect(page.body).toContain('<a href="/hello">hello</a>');
  expect(page.body).not.toContain("secret");
});

test("what a client sent is escaped in pages", async () => {
  await using feed = await new FeedServer([route("alice/hello", [])]).listen();
  await using edge = await testEdge(feed.origin);
  const page = await edge.call("alice.fn.test", '/<script>"x', { headers: { accept: "text/html" } });
  expect(page.status).toBe(404);
  expect(page.body).toContain("&lt;script&gt;&quot;x");
  expect(page.body).not.toContain("<script");
  expect(page.headers["content-security-policy"]).toContain("default-src 'none'");
});

test("a valid request id is passed on and said back, another is replaced", async () => {
  await using fn = await upstream();
  await using feed = await new FeedServer([route("alice/f", [fn.url])]).listen();
  await using edge = await testEdge(feed.origin);
  const given = await edge.call("alice.fn.test", "/f", {
    headers: { "x-request-id": "my.id-1", "x-call-id": "call_1" },
  });
  expect(given.headers["x-request-id"]).toBe("my.id-1");
  expect(fn.requests[0]?.headers).toMatchObject({ "x-request-id": "my.id-1", "x-call-id": "call_1" });
  const refused = await edge.call("alice.fn.test", "/f", { headers: { "x-request-id": "my id" } });
  expect(refused.headers["x-request-id"]).toMatch(/^[A-Za-z0-9._-]{1,128}$/);
  expect(fn.requests[1]?.headers["x-request-id"]).toBe(refused.headers["x-request-id"]);
});

test("the system host is the control plane's, paths and cookies as they came", async () => {
  const seen: (string | undefined)[] = [];
  await using feed = await new FeedServer([]).listen();
  feed.onSystemRequest = (request, response) => {
    seen.push(request.url, request.headers.cookie, request.headers.host);
    response.setHeader("Set-Cookie", "__Host-openfaas_cloud_token=new; Secure; Path=/");
    request.pipe(response);
  };
  await using edge = await testEdge(feed.origin);
  const answer = await edge.call("system.console.test", "/api/trpc/a,b?batch=1&input=%7B%7D", {
    method: "POST",
    body: "payload",
    headers: { cookie: "__Host-openfaas_cloud_token=x" },
  });
  expect([answer.status, answer.body]).toEqual([200, "payload"]);
  expect(seen).toEqual([
    "/api/trpc/a,b?batch=1&input=%7B%7D",
    "__Host-openfaas_cloud_token=x",
    "system.console.test",
  ]);
  expect(answer.headers["set-cookie"]).toEqual(["__Host-openfaas_cloud_token=new; Secure; Path=/"]);
  expect((await edge.call("auth.system.console.test", "/login")).status).toBe(200);
});

test("a body for the system host may be 200 MiB and no more", async () => {
  await using feed = await new FeedServer([]).listen();
  await using edge = await testEdge(feed.origin);
  const push = (length: number): string =>
    `POST /git/alice/x.git/git-receive-pack HTTP/1.1\r\nHost: system.console.test\r\nContent-Length: ${length}\r\n\r\n`;
  using large = rawClient(edge.port, `${push(200 * 1024 * 1024)}PACK`);
  await until(() => feed.paths.some((path) => path.includes("git-receive-pack")), "the push to be forwarded");
  expect(large.text()).not.toContain("413");
  expect(await exchangeRaw(edge.port, push(200 * 1024 * 1024 + 1))).toMatch(/^HTTP\/1\.1 413 /);
});

test("the system host's first page leads to the dashboard", async () => {
  await using feed = await new FeedServer([]).listen();
  await using edge = await testEdge(feed.origin);
  const answer = await edge.call("system.console.test", "/");
  expect([answer.status, answer.headers.location]).toEqual([307, "/dashboard/"]);
});

test("internal paths are not to be had from outside, however they are spelled", async () => {
  await using feed = await new FeedServer([]).listen();
  await using edge = await testEdge(feed.origin);
  const credential = { authorization: "Bearer feed-credential-for-tests" };
  const before = feed.paths.length;
  for (const path of [
    "/internal/route-feed?edge=x",
    "/x/../internal/usage",
    "/%69nternal/usage",
    "//internal/usage",
    "/INTERNAL",
  ]) {
    expect((await edge.call("system.console.test", path, { headers: credential })).status, path).toBe(404);
  }
  expect(feed.paths.slice(before).filter((path) => !path.includes("/internal/route-feed/applied"))).toEqual(
    [],
  );
});

test("with the control plane down the system host says so, and functions answer (O11)", async () => {
  await using fn = await upstream();
  await using feed = await new FeedServer([route("alice/f", [fn.url])]).listen();
  await using edge = await testEdge(feed.origin);
  await feed[Symbol.asyncDispose]();
  const down = await edge.call("system.console.test", "/dashboard/", { headers: { accept: "text/html" } });
  expect([down.status, down.headers["retry-after"]]).toEqual([503, "5"]);
  expect(down.body).toContain("keep serving");
  expect(down.body).not.toContain("127.0.0.1");
  expect((await edge.call("alice.fn.test", "/f")).status).toBe(200);
});

test("an edge that has no table yet serves the system host, and says 503 for functions", async () => {
  await using edge = await testEdge(await deadUrl(), { wait: false });
  expect((await edge.call("alice.fn.test", "/f")).status).toBe(503);
  expect((await edge.call("system.console.test", "/x")).status).toBe(503);
});

test("metrics carry OpenFaaS's names, count by function, and take no label from a client", async () => {
  await using fn = await upstream();
  await using feed = await new FeedServer([route("alice/hello", [fn.url])]).listen();
  await using edge = await testEdge(feed.origin);
  for (let i = 0; i < 3; i++) await edge.call("alice.fn.test", "/hello", { method: "POST" });
  await edge.call("alice.fn.test", "/evil-label");
  await edge.call("evil-label.fn.test", "/x");
  const line = 'gateway_function_invocation_total{function_name="hello.alice",code="200"}';
  await until(async () => (await edge.metric(line)) === 3, "three invocations");
  const labels = 'function_name="hello.alice"';
  expect(await edge.metric(`gateway_functions_seconds_count{${labels}}`)).toBe(3);
  expect(await edge.metric(`gateway_functions_seconds_bucket{${labels},le="+Inf"}`)).toBe(3);
  expect(await edge.metric('ofc_edge_refused_total{reason="unknown-function"}')).toBe(1);
  const text = await (await fetch(`http://127.0.0.1:${edge.adminPort}/metrics`)).text();
  expect(text).not.toContain("evil-label");
  expect(text).toContain("process_resident_memory_bytes");
  // A new revision of the function counts on.
  feed.change({ upserts: [route("alice/hello", [fn.url], { revision: "r2" })] });
  await until(() => feed.applied.at(-1)?.version === 2, "the revision");
  await edge.call("alice.fn.test", "/hello");
  await until(async () => (await edge.metric(line)) === 4, "four invocations");
});

test("each invocation is reported once, though reports are lost and sent again", async () => {
  await using fn = await upstream();
  await using feed = await new FeedServer([route("alice/hello", [fn.url])]).listen();
  let made = 0;
  {
    await using edge = await testEdge(feed.origin);
    const invoke = async (times: number): Promise<void> => {
      for (let i = 0; i < times; i++) await edge.call("alice.fn.test", "/hello");
      made += times;
    };
    feed.usageStatus = 500;
    await invoke(3);
    await until(() => feed.usage.length >= 2, "a report and its repetition", 8_000);
    await invoke(2);
    feed.usageStatus = 204;
    const seen = feed.usage.length;
    await until(() => feed.usage.length > seen, "the report that is accepted");
    await invoke(4);
  }
  const bySequence = new Map(feed.usage.map((report) => [report.sequence, report]));
  expect(
    new Set(feed.usage.map(({ sequence, functions }) => JSON.stringify([sequence, functions]))).size,
  ).toBe(bySequence.size);
  let counted = 0;
  for (const { functions } of bySequence.values()) {
    for (const { functionId, codes, durationCounts } of functions) {
      expect(functionId).toBe("id-alice-hello");
      expect(durationCounts.reduce((sum, count) => sum + count)).toBe(codes["200"]);
      counted += codes["200"] ?? 0;
    }
  }
  expect(counted).toBe(made);
});

test("while upstreams are swapped under load no request fails, and none reaches one that was taken out", async () => {
  const fns = await Promise.all(Array.from({ length: 4 }, () => upstream()));
  await using feed = await new FeedServer([route("alice/f", [fns[0]?.url ?? ""])]).listen();
  await using edge = await testEdge(feed.origin);
  let stop = false;
  let answered = 0;
  const failed: unknown[] = [];
  const client = async (): Promise<void> => {
    while (!stop) {
      const answer = await edge.call("alice.fn.test", "/f", { method: "POST", body: "x" });
      if (answer.status === 200) answered += 1;
      else failed.push(answer);
    }
  };
  const clients = Array.from({ length: 16 }, client);
  for (let swap = 1; swap <= 30; swap++) {
    const url = fns[swap % fns.length]?.url ?? "";
    const version = feed.change({ upserts: [route("alice/f", [url], { revision: `r${swap}` })] });
    await until(() => feed.applied.at(-1)?.version === version, "the swap");
    const gone = fns[(swap - 1) % fns.length];
    const before = gone?.requests.length;
    await until(() => answered > swap * 20, "traffic");
    // What was sent before the confirmation may still have been on its way.
    expect((gone?.requests.length ?? 0) - (before ?? 0)).toBeLessThanOrEqual(16);
  }
  stop = true;
  await Promise.all(clients);
  expect(failed).toEqual([]);
  await until(
    () => fns.slice(0, 2).every((fn) => fn.sockets.size === 0),
    "old connections to close, sooner than idle ones do",
    2_000,
  );
  for (const fn of fns) await fn[Symbol.asyncDispose]();
}, 30_000);

test("a stream that runs while its route goes away ends as it would have", async () => {
  let finish: (() => void) | undefined;
  await using fn = await upstream((_request, response) => {
    response.write("begun ");
    finish = () => response.end("finished");
  });
  await using feed = await new FeedServer([route("alice/f", [fn.url])]).listen();
  await using edge = await testEdge(feed.origin);
  const answer = edge.call("alice.fn.test", "/f");
  await until(() => finish !== undefined, "the stream");
  const version = feed.change({ removals: [route("alice/f", [])] });
  await until(() => feed.applied.at(-1)?.version === version, "the removal");
  expect((await edge.call("alice.fn.test", "/f")).status).toBe(404);
  finish?.();
  expect((await answer).body).toBe("begun finished");
});
