import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { readdir, readFile } from "node:fs/promises";
import { join } from "node:path";
import type { Readable } from "node:stream";
import { text } from "node:stream/consumers";
import { ReadyMessage } from "@openfaas-cloud/shared/process-message.ts";
import { expect, test } from "vitest";
import { readConfig, unknownVariables } from "../src/config.ts";
import { CREDENTIAL, FeedServer, route } from "./support/feed-server.ts";
import { call, deadUrl, rawClient, tempDirectory, until, upstream } from "./support/servers.ts";

const MAIN = join(import.meta.dirname, "../src/main.ts");

interface EdgeProcess extends AsyncDisposable {
  readonly child: ChildProcess;
  readonly ready: ReadyMessage;
  readonly output: () => string;
  readonly exited: Promise<number | null>;
}

async function startProcess(controlPlane: string, data: string): Promise<EdgeProcess> {
  const child = spawn(process.execPath, [MAIN], {
    env: {
      EDGE_PORT: "0",
      EDGE_DATA: data,
      EDGE_DRAIN_MS: "5000",
      CONTROL_PLANE_URL: controlPlane,
      FEED_CREDENTIAL: CREDENTIAL,
    },
    stdio: ["ignore", "pipe", "inherit", "ipc"],
  });
  let output = "";
  child.stdout?.on("data", (chunk: Buffer) => {
    output += chunk.toString();
  });
  const exited = once(child, "exit").then(([code]) => code as number | null);
  const [message] = await once(child, "message");
  return {
    child,
    ready: ReadyMessage.parse(message),
    output: () => output,
    exited,
    async [Symbol.asyncDispose]() {
      child.kill("SIGKILL");
      await exited;
    },
  };
}

function isReady({ ready }: EdgeProcess): Promise<boolean> {
  return fetch(`http://127.0.0.1:${ready.adminPort}/readyz`).then(({ status }) => status === 200);
}

test("killed and started again with the control plane dead, an edge serves what it served (D14)", async () => {
  await using data = await tempDirectory();
  await using fn = await upstream();
  await using feed = await new FeedServer([]).listen();
  {
    await using edge = await startProcess(feed.origin, data.path);
    await until(() => isReady(edge), "a table");
    const version = feed.change({ upserts: [route("alice/f", [fn.url])] });
    await until(() => feed.applied.at(-1)?.version === version, "the change");
    await until(async () => {
      const newest = (await readdir(data.path))
        .filter((name) => name.endsWith(".json"))
        .toSorted()
        .at(-1);
      return newest !== undefined && (await readFile(join(data.path, newest), "utf8")).includes('"alice"');
    }, "the change on disk");
  }
  const { origin } = feed;
  await feed[Symbol.asyncDispose]();
  await using edge = await startProcess(origin, data.path);
  expect((await call(edge.ready.port, "alice.localhost", "/f")).status).toBe(200);
  expect(await isReady(edge)).toBe(true);
});

test("asked to stop, it finishes what is under way, closes the connection with it, reports, and exits 0", async () => {
  await using data = await tempDirectory();
  let finish: (() => void) | undefined;
  await using fn = await upstream((_request, response) => {
    finish = () => response.end("finished");
  });
  await using feed = await new FeedServer([route("alice/f", [fn.url])]).listen();
  await using edge = await startProcess(feed.origin, data.path);
  await until(() => isReady(edge), "a table");
  using client = rawClient(edge.ready.port, "GET /f HTTP/1.1\r\nHost: alice.localhost\r\n\r\n");
  await until(() => finish !== undefined, "a request under way");
  edge.child.kill("SIGTERM");
  await until(async () => {
    using late = rawClient(edge.ready.port, "");
    return await once(late.socket, "connect").then(
      () => false,
      () => true,
    );
  }, "new connections to be refused");
  finish?.();
  await client.closed;
  expect(client.text()).toMatch(/connection: close/i);
  expect(client.text()).toContain("finished");
  expect(await edge.exited).toBe(0);
  expect(feed.usage.at(-1)?.functions[0]?.codes).toEqual({ "200": 1 });
  const line = edge
    .output()
    .split("\n")
    .find((candidate) => candidate.includes('"function":"f"'));
  expect(JSON.parse(line ?? "{}")).toMatchObject({
    method: "GET",
    host: "alice.localhost",
    path: "/f",
    status: 200,
  });
});

test("asked a second time, it exits at once", async () => {
  await using data = await tempDirectory();
  await using fn = await upstream(() => undefined);
  await using feed = await new FeedServer([route("alice/f", [fn.url])]).listen();
  await using edge = await startProcess(feed.origin, data.path);
  await until(() => isReady(edge), "a table");
  using _client = rawClient(edge.ready.port, "GET /f HTTP/1.1\r\nHost: alice.localhost\r\n\r\n");
  await until(() => fn.requests.length === 1, "a request under way");
  edge.child.kill("SIGTERM");
  edge.child.kill("SIGINT");
  expect(await edge.exited).toBe(1);
});

test("when its supervisor goes, it goes", async () => {
  await using data = await tempDirectory();
  await using feed = await new FeedServer([]).listen();
  await using edge = await startProcess(feed.origin, data.path);
  edge.child.disconnect();
  expect(await edge.exited).toBe(0);
});

/** What it says on standard error that ends before it is ready, and how. */
async function refusal(environment: Record<string, string>): Promise<{ code: number | null; said: string }> {
  await using data = await tempDirectory();
  const child = spawn(process.execPath, [MAIN], {
    env: {
      EDGE_PORT: "0",
      EDGE_DATA: data.path,
      CONTROL_PLANE_URL: await deadUrl(),
      FEED_CREDENTIAL: CREDENTIAL,
      LOG_LEVEL: "silent",
      ...environment,
    },
    stdio: ["ignore", "ignore", "pipe", "ipc"],
  });
  child.once("message", () => child.kill("SIGKILL"));
  const [said, [code]] = await Promise.all([text(child.stderr as Readable), once(child, "exit")]);
  return { code, said };
}

test.each([
  ["its port", "EDGE_PORT"],
  ["its admin port", "EDGE_ADMIN_PORT"],
])("where %s is in use, an edge says so in a sentence", async (_what, variable) => {
  await using other = await upstream();
  const { port } = new URL(other.url);
  for (const workers of ["1", "2"]) {
    const { code, said } = await refusal({ [variable]: port, EDGE_WORKERS: workers });
    expect(said).toBe(
      `127.0.0.1:${port} cannot be listened at: it is in use. Stop what listens there, or choose another port (EDGE_PORT, EDGE_TLS_PORT, EDGE_ADMIN_PORT).\n`,
    );
    expect(code).toBe(1);
  }
});

test.each([
  [
    "has no address",
    "no-such-host.invalid",
    /^no-such-host\.invalid:0 cannot be listened at: (that host is not known|whoever knows that host did not answer)\. /,
  ],
  [
    "is another machine's",
    "192.0.2.1",
    /^192\.0\.2\.1:0 cannot be listened at: it is no address of this machine\. Choose/,
  ],
])("a host that %s is told in a sentence", async (_what, host, sentence) => {
  const { code, said } = await refusal({ EDGE_HOST: host });
  expect(said).toMatch(sentence);
  expect(said).toMatch(/^.*\(EDGE_HOST, EDGE_ADMIN_HOST\)\.\n$/);
  expect(code).toBe(1);
});

test("an inherited socket that is none is told in a sentence", async () => {
  const { code, said } = await refusal({ LISTEN_FDS: "1" });
  expect(said).toMatch(
    /^The socket inherited as descriptor 3 cannot be listened at: .*\. Look at LISTEN_FDS, .*\.\n$/,
  );
  expect(code).toBe(1);
});

test("a data directory that cannot be one is told in a sentence", async () => {
  const { code, said } = await refusal({ EDGE_DATA: join(MAIN, "data") });
  expect(said).toMatch(
    /^The data directory \S+main\.ts\/data cannot be used: ENOTDIR.*\. Choose .* \(EDGE_DATA\)\.\n$/,
  );
  expect(code).toBe(1);
});

test("an unusable environment is told whole, without its values", () => {
  const read = () =>
    readConfig({
      EDGE_PORT: "99999",
      CONTROL_PLANE_URL: "http://x/path",
      FEED_CREDENTIAL: "short",
      EDGE_DATA: "/x",
    });
  expect(read).toThrow(/EDGE_PORT[\s\S]*CONTROL_PLANE_URL[\s\S]*FEED_CREDENTIAL/);
  expect(read).not.toThrow(/short/);
  const config = readConfig({
    CONTROL_PLANE_URL: "http://127.0.0.1:1/",
    FEED_CREDENTIAL: CREDENTIAL,
    EDGE_DATA: "/x",
    FUNCTIONS_DOMAIN: "Fn.Test",
  });
  expect(config).toMatchObject({ port: 8080, controlPlaneUrl: "http://127.0.0.1:1" });
  // Those of the contract.
  expect(config.timeouts).toEqual({
    headersMs: 10_000,
    bodyIdleMs: 30_000,
    bodyDripMs: 10_000,
    writeIdleMs: 120_000,
  });
  expect(config.systemMaxConcurrency).toBe(1_000);
  expect(config.domains).toEqual({ functions: "fn.test", system: "fn.test" });
  expect(JSON.stringify(config)).not.toContain(CREDENTIAL);
});

test("inherited sockets are for http, but for those that are named https", () => {
  const rest = { CONTROL_PLANE_URL: "http://127.0.0.1:1/", FEED_CREDENTIAL: CREDENTIAL, EDGE_DATA: "/x" };
  const named = { ...rest, LISTEN_FDS: "3", LISTEN_FDNAMES: "edge.socket:https:http" };
  const config = readConfig({ ...named, EDGE_TLS_CERTIFICATES: "/c" });
  expect(config.descriptors).toEqual([3, 5]);
  expect(config.tls).toMatchObject({ descriptors: [4], certificates: "/c" });
  expect(readConfig({ ...rest, LISTEN_FDS: "2" })).toMatchObject({ descriptors: [3, 4], tls: undefined });
  expect(() => readConfig(named)).toThrow(/EDGE_TLS_CERTIFICATES: must name a directory/);
  expect(() => readConfig({ ...rest, EDGE_TLS_PORT: "0" })).toThrow(/EDGE_TLS_CERTIFICATES/);
  expect(() => readConfig({ ...rest, EDGE_TLS_CERTIFICATES: "/c" })).toThrow(/EDGE_TLS_PORT/);
  expect(() => readConfig({ ...named, LISTEN_FDS: "2", EDGE_TLS_CERTIFICATES: "/c" })).toThrow(
    /LISTEN_FDNAMES: must hold as many names/,
  );
});

test("every variable that is read is in the README's table, and no other", async () => {
  const read = new Set<string>();
  const environment = new Proxy<Record<string, string>>(
    { CONTROL_PLANE_URL: "http://127.0.0.1:1/", FEED_CREDENTIAL: CREDENTIAL, EDGE_DATA: "/x" },
    {
      get: (given, name) => {
        read.add(String(name));
        return Reflect.get(given, name);
      },
    },
  );
  readConfig(environment);
  const text = await readFile(new URL("../README.md", import.meta.url), "utf8");
  const [, section = ""] = text.split("\n## Configuration\n");
  const [table = ""] = section.split("\n## ");
  const rows = [...table.matchAll(/^\| `([A-Z_]+)` \| .+ \| .+ \|$/gm)].map(([, name]) => name);
  expect(rows.toSorted()).toEqual([...read].toSorted());
});

test("who comes by http is sent to https only where somebody can come by https", () => {
  const rest = {
    CONTROL_PLANE_URL: "http://127.0.0.1:1/",
    FEED_CREDENTIAL: CREDENTIAL,
    EDGE_DATA: "/x",
    EDGE_HTTPS_REDIRECT: "443",
  };
  expect(() => readConfig(rest)).toThrow(
    /EDGE_HTTPS_REDIRECT: .*EDGE_TLS_PORT with EDGE_TLS_CERTIFICATES.*EDGE_TRUSTED_PEERS/,
  );
  const byPeer = readConfig({ ...rest, EDGE_TRUSTED_PEERS: "10.0.0.0/8" });
  const byItself = readConfig({ ...rest, EDGE_TLS_PORT: "8443", EDGE_TLS_CERTIFICATES: "/c" });
  const bySocket = readConfig({
    ...rest,
    LISTEN_FDS: "1",
    LISTEN_FDNAMES: "https",
    EDGE_TLS_CERTIFICATES: "/c",
  });
  for (const { httpsRedirectPort } of [byPeer, byItself, bySocket]) expect(httpsRedirectPort).toBe(443);
  // Half of what is needed is complained about once.
  const { message } = problemOf({ ...rest, EDGE_TLS_PORT: "8443" });
  expect(message).toContain("EDGE_TLS_CERTIFICATES: must name a directory");
  expect(message).not.toContain("EDGE_HTTPS_REDIRECT");
  expect(problemOf({ ...rest, EDGE_TRUSTED_PEERS: "ingress" }).message).not.toContain("EDGE_HTTPS_REDIRECT");
  expect(() => readConfig({ ...rest, EDGE_PORT: "nonsense" })).toThrow(/EDGE_PORT[\s\S]*EDGE_HTTPS_REDIRECT/);
});

function problemOf(environment: Record<string, string>): Error {
  try {
    readConfig(environment);
  } catch (error) {
    if (error instanceof Error) return error;
  }
  throw new Error("the environment can be used");
}

test.each([
  ["nothing", {}, { kind: "only" }],
  ["one worker", { EDGE_WORKERS: "1" }, { kind: "only" }],
  ["three workers", { EDGE_WORKERS: "3" }, { kind: "primary", workers: 3 }],
  [
    "three workers and which one it is",
    { EDGE_WORKERS: "3", EDGE_WORKER: "2" },
    { kind: "worker", slot: 2, workers: 3 },
  ],
])("told %s, a process knows what it is of an edge", (_what, environment, role) => {
  const rest = { CONTROL_PLANE_URL: "http://127.0.0.1:1/", FEED_CREDENTIAL: CREDENTIAL, EDGE_DATA: "/x" };
  expect(readConfig({ ...rest, ...environment }).role).toEqual(role);
  expect(() => readConfig({ ...rest, EDGE_WORKERS: "129" })).toThrow(/EDGE_WORKERS: must be 1 to 128/);
});

test("variables that are missing are told as such, and those that are no edge's are named", async () => {
  expect(() => readConfig({})).toThrow(/CONTROL_PLANE_URL: is needed/);
  expect(() => readConfig({})).toThrow(/EDGE_DATA: is needed/);
  const given = {
    EDGE_DATTA: "/x",
    EDGE_PORT: "1",
    EDGE_SERVICE_HOST: "x",
    EDGE_PORT_80_TCP: "x",
    PATH: "/",
  };
  expect(unknownVariables(given)).toEqual(["EDGE_DATTA"]);
});
