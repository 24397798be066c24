import { execFileSync } from "node:child_process";
import { once } from "node:events";
import { mkdir, rm, symlink } from "node:fs/promises";
import { request } from "node:http";
import { connect } from "node:net";
import { join } from "node:path";
import { promisify } from "node:util";
import { gzipSync } from "node:zlib";
import { describe, expect, test } from "vitest";
import { eventually } from "../../test/support/eventually.ts";
import { part } from "../../test/support/parts.ts";
import { openProcessPlatform, type ProcessPlatform } from "./support/process-platform.ts";

/** A function of this one file, running. */
async function startFile(name: string, content: string, environment: Record<string, string> = {}) {
  const platform = await openProcessPlatform("unsandboxed");
  const lang = name.endsWith(".py") ? "python3-http" : "node22";
  const artifact = await platform.build(await platform.source({ [`handler/${name}`]: content }), { lang });
  return { platform, ...(await platform.start(artifact, { environment })) };
}

/** Sends exactly these headers: `fetch` would add a content type of its own. */
async function send(url: string, headers: Record<string, string>, body: string): Promise<string> {
  const { promise, resolve, reject } = Promise.withResolvers<string>();
  const asked = request(url, { method: "POST", headers }, async (response) => {
    const chunks: Buffer[] = [];
    for await (const chunk of response) chunks.push(chunk as Buffer);
    resolve(Buffer.concat(chunks).toString());
  });
  asked.on("error", reject);
  asked.end(body);
  return promise;
}

const logOf = (platform: ProcessPlatform) => platform.parts.logs.textOf("function-1");
const ECHO = "module.exports = async (event) => event";

describe("node22", () => {
  test("gives the event its body, headers, method, query and path", async () => {
    const { call } = await startFile("handler.js", ECHO);
    const response = await call("/a%20b/c?x=1&y=2&y=3&z[k]=4&l[]=5", {
      method: "PUT",
      headers: { "content-type": "application/json", "x-given": "yes" },
      body: '{"n":1}',
    });
    expect(await response.json()).toMatchObject({
      body: { n: 1 },
      method: "PUT",
      query: { x: "1", y: ["2", "3"], z: { k: "4" }, l: ["5"] },
      path: "/a%20b/c",
      headers: { "x-given": "yes" },
    });
  });

  test.each([
    ["text", "text/plain", "words", "words"],
    ["JSON", "application/json; charset=utf-8", '{"a":[1]}', { a: [1] }],
    ["a form", "application/x-www-form-urlencoded", "a=1&b[c]=2", { a: "1", b: { c: "2" } }],
    ["anything else", "application/pdf", "%PDF", {}],
    ["text in Latin-1", "text/plain; charset=latin1", Buffer.from([0xe9]), "é"],
  ])("parses %s by its content type", async (_title, type, body, parsed) => {
    const { call } = await startFile("handler.js", ECHO);
    const response = await call("/", { method: "POST", headers: { "content-type": type }, body });
    expect((await response.json()).body).toEqual(parsed);
  });

  test("takes a body without a content type for text", async () => {
    const { url } = await startFile("handler.js", ECHO);
    expect(JSON.parse(await send(url, {}, "words")).body).toBe("words");
  });

  test("gives the body as bytes where RAW_BODY says so", async () => {
    const handler = "module.exports = async (e) => [Buffer.isBuffer(e.body), String(e.body)]";
    const { call } = await startFile("handler.js", handler, { RAW_BODY: "true" });
    expect(await (await call("/", { method: "POST", body: "{}" })).text()).toBe('[true,"{}"]');
  });

  test("unpacks compressed bodies", async () => {
    const { call } = await startFile("handler.js", ECHO);
    const headers = { "content-type": "application/json", "content-encoding": "gzip" };
    const response = await call("/", { method: "POST", headers, body: gzipSync('{"packed":true}') });
    expect((await response.json()).body).toEqual({ packed: true });
  });

  test.each([
    ["malformed JSON", { "content-type": "application/json" }, "{", 400],
    ["JSON that is no object or array", { "content-type": "application/json" }, "1", 400],
    ["JSON above MAX_JSON_SIZE", { "content-type": "application/json" }, `["${"x".repeat(3000)}"]`, 413],
    ["text above 100 KB", { "content-type": "text/plain" }, "x".repeat(110_000), 413],
    ["an unknown encoding", { "content-type": "text/plain", "content-encoding": "rot13" }, "x", 415],
  ])("refuses %s", async (_title, headers, body, status) => {
    const { call } = await startFile("handler.js", ECHO, { MAX_JSON_SIZE: "2kb" });
    expect((await call("/", { method: "POST", headers, body })).status).toBe(status);
    expect((await call("/")).status).toBe(200);
  });

  test("answers with the status and headers of the context", async () => {
    const handler = `module.exports = async (event, context) =>
      context.status(201).headers({ "Content-Type": "text/plain", "X-List": ["a", "b"] }).succeed("made")`;
    const response = await (await startFile("handler.js", handler)).call("/");
    expect(response.status).toBe(201);
    expect(response.headers.get("content-type")).toBe("text/plain; charset=utf-8");
    expect(response.headers.get("x-list")).toBe("a, b");
    expect(await response.text()).toBe("made");
  });

  test.each([
    ["a returned string", "async () => 'text'", 200, "text/html; charset=utf-8", "text"],
    ["a returned object", "async () => ({ a: 1 })", 200, "text/html; charset=utf-8", '{"a":1}'],
    ["a returned list", "async () => [1]", 200, "text/html; charset=utf-8", "[1]"],
    ["nothing", "async () => {}", 200, null, ""],
    ["bytes", "async () => Buffer.from('b')", 200, "application/octet-stream", "b"],
    ["a callback", "(e, c, cb) => { cb(undefined, 'called') }", 200, "text/html; charset=utf-8", "called"],
    ["context.fail", "async (e, c) => c.fail('no')", 500, "text/html; charset=utf-8", "no"],
    [
      "context.fail with a status",
      "async (e, c) => c.status(404).fail('no')",
      404,
      "text/html; charset=utf-8",
      "no",
    ],
    ["a rejection", "async () => { throw new Error('no') }", 500, "text/html; charset=utf-8", "Error: no"],
    ["an exception", "() => { throw new Error('no') }", 500, "text/html; charset=utf-8", "Error: no"],
    ["204", "async (e, c) => c.status(204).succeed('x')", 204, "text/html; charset=utf-8", ""],
  ])("answers %s", async (_title, handler, status, type, text) => {
    const response = await (await startFile("handler.js", `module.exports = ${handler}`)).call("/");
    expect([response.status, response.headers.get("content-type"), await response.text()]).toEqual([
      status,
      type,
      text,
    ]);
  });

  test("logs what a handler fails with and goes on", async () => {
    const { call, platform } = await startFile(
      "handler.js",
      "module.exports = async () => { throw new Error('told') }",
    );
    await call("/");
    expect((await call("/")).status).toBe(500);
    await eventually("it is logged", () => logOf(platform).includes("Error: told"));
    expect(platform.replica()?.restarts).toBe(0);
  });

  test("answers a header that HTTP does not allow with 500", async () => {
    const { call } = await startFile(
      "handler.js",
      "module.exports = async (e, c) => c.headers({ 'a b': 1 }).succeed()",
    );
    expect((await call("/")).status).toBe(500);
  });

  test("runs ES modules, and folders whose package says they are", async () => {
    const { ask } = await startFile("handler.mjs", "export default async () => 'module'");
    expect(await ask("/")).toBe("module");
    const platform = await openProcessPlatform("unsandboxed");
    const running = await platform.start(await platform.buildFixture("es-module"));
    expect(await (await running.call("/", { method: "POST", body: "x" })).json()).toEqual({
      statusIs: "plain",
      got: "x",
    });
    expect(platform.log.text).not.toContain("npm test");
  });

  test("says so when the handler exports no function", async () => {
    await expect(startFile("handler.js", "module.exports = {}")).rejects.toThrow("must export a function");
  });

  part("npm")("with a package.json", () => {
    const tiny = {
      "handler/tiny/package.json": JSON.stringify({ name: "tiny", version: "1.0.0" }),
      "handler/tiny/index.js": "module.exports = 'from the package'",
      "handler/handler.js": "module.exports = async () => require('tiny')",
    };

    test("installs its packages", async () => {
      const platform = await openProcessPlatform("unsandboxed");
      const manifest = JSON.stringify({ dependencies: { tiny: "file:./tiny" } });
      const source = await platform.source({ ...tiny, "handler/package.json": manifest });
      const running = await platform.start(await platform.build(source));
      expect(await running.ask("/")).toBe("from the package");
      expect(platform.log.text).toContain("$ npm install");
    });

    test("runs its tests, and does not deploy what fails them", async () => {
      const platform = await openProcessPlatform("unsandboxed");
      const manifest = JSON.stringify({ scripts: { test: "echo one is not two; exit 1" } });
      const source = await platform.source({ "handler/handler.js": ECHO, "handler/package.json": manifest });
      await expect(platform.build(source)).rejects.toThrow(/`npm test` failed with exit code 1: /);
    });
  });
});

/** Sends these bytes and hangs up in the middle of them, when another client was served since. */
async function sendAndHangUp(
  url: string,
  bytes: string,
  ask: (path: string) => Promise<string>,
): Promise<void> {
  const socket = connect(Number(new URL(url).port), "127.0.0.1");
  await once(socket, "connect");
  await promisify(socket.write.bind(socket) as (data: string, done: () => void) => void)(bytes);
  await ask("/");
  socket.resetAndDestroy();
}

/** Sends these bytes and gives the first line of the answer. */
async function sendBytes(url: string, bytes: string): Promise<string> {
  const socket = connect(Number(new URL(url).port), "127.0.0.1");
  socket.end(bytes);
  let answer = "";
  for await (const chunk of socket) answer += String(chunk);
  return answer.split("\r\n")[0] ?? "";
}

const CUT_OFF = [
  ["of a known length", 'content-length: 100\r\n\r\n{"a"'],
  ["in chunks", 'transfer-encoding: chunked\r\n\r\n5\r\n{"a":\r\n64\r\n{"a"'],
  ["before its first byte", "content-length: 100\r\n\r\n"],
] as const;

describe("a client that hangs up in the middle of an upload", () => {
  test.each(CUT_OFF)("%s does not end a node function", async (_title, rest) => {
    const { ask, url, platform } = await startFile("handler.js", "module.exports = async () => process.pid");
    const pid = await ask("/");
    await sendAndHangUp(url, `POST / HTTP/1.1\r\nhost: f\r\ncontent-type: application/json\r\n${rest}`, ask);
    for (let i = 0; i < 20; i++) expect(await ask("/")).toBe(pid);
    expect(platform.replica()?.restarts).toBe(0);
  });

  part("python3")("with python", () => {
    test.each(CUT_OFF)("%s does not have a handler run on what came", async (_title, rest) => {
      const source =
        "seen = []\ndef handle(event, context):\n    seen.append(1)\n    return str(len(seen))\n";
      const { ask, url, platform } = await startFile("handler.py", source);
      let asked = 0;
      const count = (path: string): Promise<string> => {
        asked += 1;
        return ask(path);
      };
      await sendAndHangUp(url, `POST / HTTP/1.1\r\nhost: f\r\n${rest}`, count);
      for (let i = 0; i < 20; i++) expect(await count("/")).toBe(String(asked));
      expect(logOf(platform)).toBe("");
    });
  });
});

describe("a request that is malformed", () => {
  test("is refused by a node function, which goes on", async () => {
    const { ask, url } = await startFile("handler.js", "module.exports = async () => process.pid");
    const pid = await ask("/");
    const answer = await sendBytes(url, "GET http://[ HTTP/1.1\r\nhost: f\r\nconnection: close\r\n\r\n");
    expect(answer).toBe("HTTP/1.1 400 Bad Request");
    expect(await ask("/")).toBe(pid);
  });

  part("python3")("with python", () => {
    test.each(["-1", "+5", "1_0"])("is refused where its length is %s", async (length) => {
      const { url } = await startFile("handler.py", "def handle(event, context):\n    return 'called'\n");
      const answer = await sendBytes(url, `POST / HTTP/1.1\r\ncontent-length: ${length}\r\n\r\nwords`);
      expect(answer).toBe("HTTP/1.1 400 Bad Request");
    });
  });
});

part("python3")("python3-http", () => {
  test("gives the event and takes status, headers and body from a dict", async () => {
    const platform = await openProcessPlatform("unsandboxed");
    const running = await platform.start(await platform.buildFixture("python", "python3-http"));
    const response = await running.call("/p%20q?a=1&a=2", {
      method: "PATCH",
      headers: { "X-Given": "yes" },
      body: "words",
    });
    expect([response.status, response.headers.get("x-method")]).toEqual([202, "PATCH"]);
    expect(await response.json()).toEqual({ body: "words", header: "yes", query: "1", path: "/p q" });
  });

  test.each([
    ["/tuple", 201, "made"],
    ["/text", 200, "text"],
    ["/none", 200, ""],
    ["/throw", 500, "Internal Server Error"],
  ])("answers %s", async (path, status, text) => {
    const platform = await openProcessPlatform("unsandboxed");
    const running = await platform.start(await platform.buildFixture("python", "python3-http"));
    const response = await running.call(path);
    expect([response.status, await response.text()]).toEqual([status, text]);
    if (status === 500) await eventually("it is logged", () => logOf(platform).includes("thrown on request"));
  });

  test("takes bodies in chunks and keeps the connection", async () => {
    const { url } = await startFile("handler.py", "def handle(event, context):\n    return event.body\n");
    const chunked = await send(
      url,
      { "transfer-encoding": "chunked", connection: "keep-alive" },
      "in chunks",
    );
    expect(chunked).toBe("in chunks");
  });

  test("runs the classic handler of one argument", async () => {
    const platform = await openProcessPlatform("unsandboxed");
    const running = await platform.start(await platform.buildFixture("classic-python", "python3"));
    expect(await (await running.call("/", { method: "POST", body: "é" })).text()).toBe("got é");
  });

  test("finishes requests under way when it is asked to end", async () => {
    const source =
      "import time\ndef handle(event, context):\n    print('begun')\n    time.sleep(0.4)\n    return 'slow'\n";
    const { ask, platform, ref } = await startFile("handler.py", source);
    const slow = ask("/");
    await eventually("it is under way", () => logOf(platform).includes("begun"));
    const since = performance.now();
    await platform.runtime.stop(ref, { graceMs: 5000 });
    expect(await slow).toBe("slow");
    expect(performance.now() - since).toBeLessThan(3000);
  });

  test("is not healthy when the handler cannot be loaded, and tells why", async () => {
    await expect(startFile("handler.py", "import absent_module")).rejects.toThrow(
      "No module named 'absent_module'",
    );
  });

  test("tells which requirement could not be installed", async () => {
    const platform = await openProcessPlatform("unsandboxed");
    const source = await platform.source({
      "handler/handler.py": "",
      "handler/requirements.txt": "# comment\n./absent.whl\n",
    });
    await expect(platform.build(source, { lang: "python3" })).rejects.toThrow(
      /`pip install .*` failed with exit code 1: .*absent/,
    );
  });
});

/** Go compiles its whole standard library for an owner's first build: half a minute that no test needs to see again. */
const GO_CACHE = join(import.meta.dirname, "../../node_modules/.cache/openfaas-cloud-test");

part("go", "bubblewrap")("golang-middleware", () => {
  const openWarm = async () => {
    const platform = await openProcessPlatform("sandboxed");
    await mkdir(GO_CACHE, { recursive: true });
    const cache = join(platform.parts.dataDir, "cache");
    await rm(cache, { recursive: true });
    await symlink(GO_CACHE, cache);
    return platform;
  };

  test("serves Handle, with the files of its static folder", async () => {
    const platform = await openWarm();
    const running = await platform.start(await platform.buildFixture("go", "golang-middleware"));
    const response = await running.call("/path?a=1", { method: "PUT", body: "words" });
    expect([response.status, response.headers.get("x-method")]).toEqual([202, "PUT"]);
    expect(await response.text()).toBe("/path 1 words static page");
  }, 240_000);

  test("builds modules of any name with their own packages, after their tests", async () => {
    const platform = await openWarm();
    const running = await platform.start(await platform.buildFixture("go-module", "golang-middleware"));
    expect(await running.ask("/?name=you")).toBe("good day, you");
    expect(platform.log.text).toContain("$ go test ./...");
  }, 240_000);

  test("tells what does not compile", async () => {
    const platform = await openWarm();
    const source = await platform.source({
      "handler/handler.go": "package function\n\nfunc Handle() int { return absent }\n",
    });
    const build = platform.build(source, { lang: "golang-middleware" });
    await expect(build).rejects.toThrow(/`go build` failed with exit code 1: .*undefined: absent/);
  }, 240_000);
});

part("python3", "bubblewrap")("python3-http, sandboxed", () => {
  test("runs", async () => {
    const platform = await openProcessPlatform("sandboxed");
    const running = await platform.start(await platform.buildFixture("python", "python3-http"));
    expect(await running.ask("/text")).toBe("text");
  });
});

part("python3", "bubblewrap")("python3-http with requirements", () => {
  test("gives the same image for the same requirements", async () => {
    const platform = await openProcessPlatform("sandboxed");
    const source = await platform.source({
      "handler/handler.py": "import six\n",
      "handler/requirements.txt": "./six-1.0-py3-none-any.whl\n",
      "wheel/six.py": "SIX = 6\n",
      "wheel/six-1.0.dist-info/METADATA": "Metadata-Version: 2.1\nName: six\nVersion: 1.0\n",
      "wheel/six-1.0.dist-info/WHEEL": "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
      "wheel/six-1.0.dist-info/RECORD":
        "six.py,,\nsix-1.0.dist-info/METADATA,,\nsix-1.0.dist-info/WHEEL,,\nsix-1.0.dist-info/RECORD,,\n",
    });
    // A wheel is a zip file of these (PEP 427).
    const pack = [
      "-m",
      "zipfile",
      "-c",
      "../handler/six-1.0-py3-none-any.whl",
      "six.py",
      "six-1.0.dist-info/",
    ];
    execFileSync("python3", pack, { cwd: join(source, "wheel") });
    const first = await platform.build(source, { lang: "python3" });
    expect(await platform.build(source, { lang: "python3" })).toEqual(first);
  });
});
