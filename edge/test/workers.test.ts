import { readdir, readFile, rm, writeFile } from "node:fs/promises";
import { BoundSocket, type Socket } from "node:net";
import { join } from "node:path";
import { expect, test } from "vitest";
import { part } from "../../test/support/parts.ts";
import { install, makeCertificate } from "./support/certificates.ts";
import { EdgeProcess, isRunning } from "./support/edge-process.ts";
import { FeedServer, route } from "./support/feed-server.ts";
import { echo, RestartLoad } from "./support/restart-load.ts";
import {
  call,
  deadUrl,
  type RawClient,
  rawClient,
  type TempDirectory,
  tempDirectory,
  type Upstream,
  until,
  upstream,
} from "./support/servers.ts";

const HOST = "alice.localhost";
const MAIN = join(import.meta.dirname, "../src/main.ts");
/** Enough answers that every client had several, before and after whatever happens. */
const SOME_ANSWERS = 200;
const INVOCATIONS = 'gateway_function_invocation_total{function_name="f.alice",code="200"}';

interface World extends AsyncDisposable {
  readonly fn: Upstream;
  readonly feed: FeedServer;
  readonly data: TempDirectory;
  start(workers: number, more?: Partial<Parameters<typeof EdgeProcess.start>[0]>): Promise<EdgeProcess>;
}

/** A function, `alice/f`, a control plane that knows it, and a data directory. */
async function world(
  handler: Parameters<typeof upstream>[0] = echo,
  limits: Parameters<typeof route>[2] = {},
): Promise<World> {
  await using stack = new AsyncDisposableStack();
  const fn = stack.use(await upstream(handler));
  const feed = stack.use(await new FeedServer([route("alice/f", [fn.url], limits)]).listen());
  const data = stack.use(await tempDirectory());
  const controlPlane = feed.origin;
  const owned = stack.move();
  return {
    fn,
    feed,
    data,
    start: async (workers, more = {}) => {
      const environment = { EDGE_WORKERS: String(workers), ...more.environment };
      const edge = await EdgeProcess.start({
        controlPlane,
        data: data.path,
        ...more,
        environment,
      });
      await until(() => edge.isReady(), "a worker with a table");
      // Logs are written in batches.
      await until(() => workers === 1 || edge.said("worker ready").length >= workers, "all workers' pids");
      return edge;
    },
    [Symbol.asyncDispose]: () => owned.disposeAsync(),
  };
}

async function answers(load: RestartLoad, more = SOME_ANSWERS): Promise<void> {
  const goal = load.answeredMs.length + more;
  await until(() => load.answeredMs.length >= goal, `${more} more answers`, 20_000);
}

test("connections that are opened at once spread over the workers", async () => {
  await using here = await world();
  await using edge = await here.start(4);
  const rounds: number[] = [];
  const request = `GET /f HTTP/1.1\r\nHost: ${HOST}\r\n\r\n`;
  for (let round = 0; round < 20 && Math.max(0, ...rounds) < 8; round++) {
    const before = servedBy(edge);
    const clients = Array.from({ length: 64 }, () => rawClient(edge.ready.port, request));
    await until(() => clients.every((client) => client.text() !== ""), "all answers");
    await until(() => sum(servedBy(edge)) === sum(before) + 64, "all access log lines");
    rounds.push(Math.min(...servedBy(edge).map((count, i) => count - (before[i] ?? 0))));
    for (const client of clients) client[Symbol.dispose]();
    await until(async () => (await connectionsOf(edge)) === 0, "the connections' end");
  }
  // An even share is 16. Left to the kernel, the worker with the fewest has none in most rounds; how many it has otherwise is
  // for the machine's other work to say, so that one good round is enough.
  expect(Math.max(...rounds)).toBeGreaterThanOrEqual(8);
});

async function connectionsOf(edge: EdgeProcess): Promise<number> {
  const byLane = ["plain", "full"].map((lane) => edge.metric(`ofc_edge_client_connections{lane="${lane}"}`));
  return sum(await Promise.all(byLane));
}

/** Requests by worker. */
function servedBy(edge: EdgeProcess): number[] {
  const counts = [0, 0, 0, 0];
  for (const { worker = 0 } of edge.log().filter((line) => line["requestId"] !== undefined)) {
    counts[worker - 1] = (counts[worker - 1] ?? 0) + 1;
  }
  return counts;
}

function sum(numbers: readonly number[]): number {
  return numbers.reduce((total, number) => total + number, 0);
}

test("asked to by SIGHUP, it replaces its workers one after the other, and no request and no count is lost", async () => {
  await using here = await world();
  await using edge = await here.start(2);
  const before = [edge.workerPid(1), edge.workerPid(2)];
  await using load = new RestartLoad(edge.ready.port, HOST);
  await answers(load);
  const shown: number[] = [];
  edge.child.kill("SIGHUP");
  await until(
    async () => {
      shown.push(await edge.metric(INVOCATIONS));
      return edge.said("workers replaced").length === 1;
    },
    "the end of it",
    20_000,
  );
  await answers(load);
  await load.end();
  expect(load.failures).toEqual([]);
  expect(here.fn.requests).toHaveLength(load.sent);
  expect(shown).toEqual(shown.toSorted((a, b) => a - b));
  expect(await edge.metric(INVOCATIONS)).toBe(load.sent);
  expect(before.filter(isRunning)).toEqual([]);
  expect([edge.workerPid(1), edge.workerPid(2)].filter(isRunning)).toHaveLength(2);
  // The new one was there before the old one went. Two processes log it, so that only their times tell the order.
  const timesOf = (msg: string): string[] =>
    edge.log().flatMap((line) => (line.worker === 1 && line.msg === msg ? [String(line["time"])] : []));
  const [firstReady = "", secondReady = "", ...others] = timesOf("worker ready");
  const [draining = ""] = timesOf("edge draining");
  expect(others).toEqual([]);
  expect(firstReady < secondReady && secondReady <= draining, `${secondReady}, ${draining}`).toBe(true);
});

test("an edge without workers says at SIGHUP that there are none to replace, and serves on", async () => {
  await using here = await world();
  await using edge = await here.start(1);
  edge.child.kill("SIGHUP");
  await until(
    () =>
      edge.log().some(({ msg = "" }) => msg.startsWith("SIGHUP replaces")) || edge.child.signalCode !== null,
    "the warning",
  );
  expect((await call(edge.ready.port, HOST, "/f/x")).status).toBe(200);
});

test("a program that does not start replaces nobody", async () => {
  await using here = await world();
  const program = join(here.data.path, "program.mjs");
  await writeFile(program, `import ${JSON.stringify(MAIN)};`);
  await using edge = await here.start(2, { program });
  const before = [edge.workerPid(1), edge.workerPid(2)];
  await writeFile(program, "process.exit(3);");
  edge.child.kill("SIGHUP");
  await until(() => edge.said("workers are not replaced any further").length === 1, "the refusal");
  expect(before.filter(isRunning)).toEqual(before);
  expect((await call(edge.ready.port, HOST, "/f/x")).status).toBe(200);
});

test("a worker that is killed takes only its own requests with it, and is started again", async () => {
  await using here = await world();
  await using edge = await here.start(2);
  await using load = new RestartLoad(edge.ready.port, HOST);
  await answers(load);
  const counted = await edge.metric(INVOCATIONS);
  const victim = edge.workerPid(1);
  process.kill(victim, "SIGKILL");
  // On a busy machine it dies a while after it was told to.
  await until(() => !isRunning(victim), "its death");
  const diedMs = performance.now();
  expect((await call(edge.ready.port, HOST, "/f/probe")).status).toBe(200);
  expect(performance.now() - diedMs).toBeLessThan(1_000);
  await until(() => edge.workerPid(1) !== victim, "another one in its place");
  await answers(load);
  await load.end();
  for (const { sentMs } of load.failures) expect(sentMs - diedMs).toBeLessThan(50);
  expect(await edge.metric("ofc_edge_worker_restarts_total")).toBe(1);
  expect(await edge.metric(INVOCATIONS)).toBeGreaterThanOrEqual(counted);
});

/** Nothing is known of any route, and there is nobody to ask. */
async function withoutTable(workers: number, data: string, environment = {}): Promise<EdgeProcess> {
  const edge = await EdgeProcess.start({
    controlPlane: await deadUrl(),
    data,
    environment: { EDGE_WORKERS: String(workers), ...environment },
  });
  await until(() => edge.said("worker ready").length === workers, "all workers");
  return edge;
}

test("a worker that is killed before there is a table is started again", async () => {
  await using data = await tempDirectory();
  await using edge = await withoutTable(2, data.path);
  const victim = edge.workerPid(1);
  process.kill(victim, "SIGKILL");
  await until(() => edge.workerPid(1) !== victim || edge.child.exitCode !== null, "another one in its place");
  expect(edge.child.exitCode).toBeNull();
  expect((await call(edge.ready.port, HOST, "/f")).status).toBe(503);
});

test("told to go before there is a table, it lets all workers finish, and exits 0", async () => {
  await using data = await tempDirectory();
  await using edge = await withoutTable(2, data.path);
  const workers = [edge.workerPid(1), edge.workerPid(2)];
  edge.child.kill("SIGTERM");
  expect(await edge.exited).toBe(0);
  expect(workers.filter(isRunning)).toEqual([]);
  expect(edge.said("edge stopped").map(({ worker }) => worker)).toEqual(
    expect.arrayContaining([1, 2, undefined]),
  );
});

test("asked to replace its workers while it starts, it does so when it has", async () => {
  await using here = await world();
  const adminPort = await freePort();
  const isReady = async (): Promise<boolean> =>
    await fetch(`http://127.0.0.1:${adminPort}/readyz`).then(
      ({ status }) => status === 200,
      () => false,
    );
  await using edge = await here.start(2, {
    environment: { EDGE_ADMIN_PORT: String(adminPort) },
    // At first while nobody is ready, then as soon as one is.
    whileStarting: async (child) => {
      await until(() => isRunning(child.pid ?? 0), "the process");
      await until(isReady, "the first worker");
      child.kill("SIGHUP");
    },
  });
  await until(() => edge.said("workers replaced").length === 1 || edge.ended, "the new workers", 20_000);
  expect(edge.ended).toBe(false);
  expect((await call(edge.ready.port, HOST, "/f")).status).toBe(200);
});

test("a successor whose worker was killed before it had a table takes over once it has one", async () => {
  await using here = await world();
  await using edge = await here.start(2, { supervised: false });
  const { port } = here.feed;
  await here.feed[Symbol.asyncDispose]();
  await forgetRoutes(here.data.path);
  edge.child.kill("SIGUSR2");
  await until(() => edge.said("worker ready").length === 4, "the successor's workers");
  const victim = edge.workerPid(1);
  process.kill(victim, "SIGKILL");
  await until(() => edge.workerPid(1) !== victim, "another one in its place");
  await here.feed.listen(port);
  expect(await edge.exited).toBe(0);
  expect((await call(edge.ready.port, HOST, "/f")).status).toBe(200);
  process.kill(edge.said("the successor serves").at(-1)?.pid ?? 0, "SIGTERM");
  await until(() => isRefused(edge.ready.port), "the port to be free");
});

async function freePort(): Promise<number> {
  const bound = new BoundSocket({ host: "127.0.0.1", port: 0 });
  const { port } = bound.address();
  await bound.close();
  return port;
}

async function forgetRoutes(directory: string): Promise<void> {
  await until(async () => (await readdir(directory)).some((name) => name.endsWith(".json")), "stored routes");
  for (const name of await readdir(directory)) await rm(join(directory, name));
}

test("with the control plane dead, killed workers come back with the routes, and so does an edge with fewer or more", async () => {
  await using here = await world();
  {
    await using edge = await here.start(3);
    const version = here.feed.change({ upserts: [route("alice/g", [here.fn.url])] });
    const confirmed = () => here.feed.applied.filter((report) => report.version === version).length === 3;
    await until(confirmed, "all workers' confirmation");
    await until(async () => (await edge.metric("ofc_edge_route_version")) === version, "the new version");
    await until(() => isStored(here.data.path, '"g"'), "the change on disk");
    await here.feed[Symbol.asyncDispose]();
    const before = [1, 2, 3].map((slot) => edge.workerPid(slot));
    for (const pid of before) process.kill(pid, "SIGKILL");
    await until(() => [1, 2, 3].every((slot) => !before.includes(edge.workerPid(slot))), "new workers");
    await until(async () => (await edge.metric("ofc_edge_route_version")) === version, "the same routes");
  }
  for (const workers of [1, 2]) {
    await using edge = await here.start(workers);
    expect((await call(edge.ready.port, HOST, "/g/x")).status).toBe(200);
  }
});

async function isStored(directory: string, what: string): Promise<boolean> {
  const names = (await readdir(directory)).filter((name) => name.endsWith(".json")).toSorted();
  return (await readFile(join(directory, names.at(-1) ?? ""), "utf8")).includes(what);
}

test("told to go, it lets all workers finish what is under way, and exits 0", async () => {
  const unfinished: (() => void)[] = [];
  await using here = await world(
    (_request, response) => void unfinished.push(() => response.end("finished")),
  );
  await using edge = await here.start(2);
  const workers = [edge.workerPid(1), edge.workerPid(2)];
  const clients = Array.from({ length: 8 }, () =>
    rawClient(edge.ready.port, `GET /f HTTP/1.1\r\nHost: ${HOST}\r\n\r\n`),
  );
  await until(() => unfinished.length === clients.length, "all requests under way");
  edge.child.kill("SIGTERM");
  await until(() => isRefused(edge.ready.port), "new connections to be refused");
  for (const finish of unfinished) finish();
  await Promise.all(clients.map((client) => client.closed));
  for (const client of clients) {
    expect(client.text()).toContain("finished");
    expect(client.text()).toMatch(/connection: close/i);
  }
  expect(await edge.exited).toBe(0);
  expect(workers.filter(isRunning)).toEqual([]);
  expect(
    sum(here.feed.usage.flatMap(({ functions }) => functions.map(({ codes }) => codes["200"] ?? 0))),
  ).toBe(8);
});

async function isRefused(port: number): Promise<boolean> {
  using late = rawClient(port, "");
  return await new Promise<boolean>((resolve) => {
    (late.socket as Socket).once("connect", () => resolve(false)).once("error", () => resolve(true));
  });
}

test("told a second time, it ends at once, its workers with it", async () => {
  await using here = await world(() => undefined);
  await using edge = await here.start(2);
  const workers = [edge.workerPid(1), edge.workerPid(2)];
  using _client = rawClient(edge.ready.port, `GET /f HTTP/1.1\r\nHost: ${HOST}\r\n\r\n`);
  await until(() => here.fn.requests.length === 1, "a request under way");
  edge.child.kill("SIGTERM");
  edge.child.kill("SIGINT");
  expect(await edge.exited).toBe(1);
  await until(() => !workers.some(isRunning), "the workers' end");
});

test("when the primary is killed its workers finish and go", async () => {
  let finish: (() => void) | undefined;
  await using here = await world((_request, response) => {
    finish = () => response.end("finished");
  });
  await using edge = await here.start(2);
  const workers = [edge.workerPid(1), edge.workerPid(2)];
  using client = rawClient(edge.ready.port, `GET /f HTTP/1.1\r\nHost: ${HOST}\r\n\r\n`);
  await until(() => finish !== undefined, "a request under way");
  edge.child.kill("SIGKILL");
  await until(() => isRefused(edge.ready.port), "new connections to be refused");
  finish?.();
  await client.closed;
  expect(client.text()).toContain("finished");
  await until(() => !workers.some(isRunning), "the workers' end");
});

test("a function's bound on requests at once is shared by the workers", async () => {
  const unfinished: (() => void)[] = [];
  await using here = await world((_request, response) => void unfinished.push(() => response.end()), {
    limits: { maxConcurrency: 4 },
  });
  await using edge = await here.start(2);
  const calls: Promise<number>[] = [];
  const one = async (): Promise<number> => (await call(edge.ready.port, HOST, "/f")).status;
  // Whichever worker comes first takes a connection, and may have its share of requests already.
  await until(async () => {
    const before = unfinished.length;
    const next = one();
    const isUnderWay = until(() => unfinished.length > before, "the request at the function");
    if ((await Promise.race([next, isUnderWay])) === undefined) calls.push(next);
    else isUnderWay.catch(() => undefined);
    return calls.length === 4;
  }, "as many requests under way as there may be");
  for (let i = 0; i < 8; i++) expect(await one()).toBe(429);
  for (const finish of unfinished) finish();
  expect(await Promise.all(calls)).toEqual([200, 200, 200, 200]);
});

test.each([1, 2])(
  "a second edge of %i workers on the same sockets takes over without a loss",
  async (workers) => {
    await using here = await world();
    using held = new BoundSocket({ host: "127.0.0.1" });
    const { port } = held.address();
    await using old = await here.start(workers, { descriptors: [held.fd()] });
    await using load = new RestartLoad(port, HOST);
    await answers(load);
    await using _next = await here.start(workers, { descriptors: [held.fd()] });
    old.child.kill("SIGTERM");
    expect(await old.exited).toBe(0);
    await answers(load);
    await load.end();
    expect(load.failures).toEqual([]);
    expect(here.fn.requests).toHaveLength(load.sent);
  },
);

test.each([1, 2])(
  "an edge of %i workers that has its own port is followed by another at SIGUSR2, twice",
  async (workers) => {
    await using here = await world();
    await using edge = await here.start(workers, { supervised: false });
    await using load = new RestartLoad(edge.ready.port, HOST);
    await answers(load);

    edge.child.kill("SIGUSR2");
    expect(await edge.exited).toBe(0);
    const [first] = edge.said("the successor serves");
    await answers(load);
    process.kill(first?.pid ?? 0, "SIGUSR2");
    await until(() => edge.said("the successor serves").length === 2, "the successor's successor", 20_000);
    await until(() => !isRunning(first?.pid ?? 0), "the first successor's end", 20_000);
    await answers(load);
    await load.end();

    expect(load.failures).toEqual([]);
    expect(here.fn.requests).toHaveLength(load.sent);
    // At the same admin port.
    expect(await edge.isReady()).toBe(true);
    process.kill(edge.said("the successor serves").at(-1)?.pid ?? 0, "SIGTERM");
    await until(() => isRefused(edge.ready.port), "the port to be free");
  },
);

part("openssl")("by https", () => {
  test.each([1, 2])(
    "an edge of %i workers is followed by another at SIGUSR2 without a loss",
    async (workers) => {
      await using here = await world();
      await using certificates = await tempDirectory();
      const certificate = await makeCertificate([HOST]);
      await install(certificates.path, "alice", certificate);
      const environment = { EDGE_TLS_PORT: "0", EDGE_TLS_CERTIFICATES: certificates.path };
      await using edge = await here.start(workers, { supervised: false, environment });
      const tlsPorts = (): unknown[] => edge.said("edge listening").flatMap(({ tlsPort }) => tlsPort ?? []);
      await until(() => tlsPorts().length === workers, "every process that serves");
      const [port] = tlsPorts();
      expect(new Set(tlsPorts()).size).toBe(1);
      await using load = new RestartLoad(Number(port), HOST, [certificate.chain]);
      await answers(load);

      edge.child.kill("SIGUSR2");
      expect(await edge.exited).toBe(0);
      await answers(load);
      await load.end();
      expect(load.failures).toEqual([]);
      expect(here.fn.requests).toHaveLength(load.sent);
      expect(new Set(tlsPorts()).size).toBe(1);
      expect((await call(edge.ready.port, HOST, "/f")).status).toBe(200);
      process.kill(edge.said("the successor serves").at(-1)?.pid ?? 0, "SIGTERM");
      await until(() => isRefused(Number(port)), "the port to be free");
    },
  );
});

test.each(["SIGTERM", "SIGTERM and SIGINT"])(
  "an edge that is told to go by %s while its successor waits for routes takes the successor along",
  async (signals) => {
    await using here = await world();
    await using edge = await here.start(1, { supervised: false });
    await here.feed[Symbol.asyncDispose]();
    await forgetRoutes(here.data.path);
    edge.child.kill("SIGUSR2");
    await until(() => edge.said("edge listening").length === 2, "a successor without routes");
    const [{ pid: successor = 0 } = {}] = edge.said("starting a successor");
    expect(isRunning(successor)).toBe(true);
    for (const signal of signals.split(" and ")) edge.child.kill(signal as NodeJS.Signals);
    await edge.exited;
    await until(() => !isRunning(successor), "the successor's end");
    await until(() => isRefused(edge.ready.port), "the port to be free");
  },
);

test("the lines of an edge and its successor stay whole where both write to one output", async () => {
  await using here = await world();
  await using edge = await here.start(1, { supervised: false });
  await here.feed[Symbol.asyncDispose]();
  await forgetRoutes(here.data.path);
  edge.child.kill("SIGUSR2");
  await until(() => edge.said("edge listening").length === 2, "a successor without routes");
  const request = `GET /f/${"x".repeat(500)} HTTP/1.1\r\nHost: ${HOST}\r\n\r\n`;
  const clients: RawClient[] = [];
  const servedWith = (status: number): RawClient[] =>
    clients.filter((client) => client.text().startsWith(`HTTP/1.1 ${status}`));
  while (Math.min(servedWith(200).length, servedWith(503).length) < 4) {
    const client = rawClient(edge.ready.port, request);
    clients.push(client);
    await until(() => client.text() !== "", "an answer of either edge");
  }
  // Nobody reads, until both have more to write than the output takes in.
  edge.child.stdout?.pause();
  const busy = [...servedWith(200).slice(0, 4), ...servedWith(503).slice(0, 4)];
  const each = 300;
  for (const { socket } of busy) socket.write(request.repeat(each));
  const answered = ({ text }: RawClient): number => text().split("HTTP/1.1 ").length - 2;
  await until(() => busy.every((client) => answered(client) === each), "all answers", 20_000);
  edge.child.stdout?.resume();
  const lines = (): string[] => edge.output().split("\n").slice(0, -1);
  const written = (): string[] => lines().filter((line) => line.includes("x".repeat(500)));
  await until(() => written().length >= clients.length + busy.length * each, "all lines");
  for (const client of clients) client[Symbol.dispose]();
  for (const line of lines()) expect(() => JSON.parse(line), line).not.toThrow();
});

test("where no successor can start, the edge serves on", async () => {
  await using here = await world();
  const program = join(here.data.path, "program.mjs");
  await writeFile(program, `import ${JSON.stringify(MAIN)};`);
  await using edge = await here.start(1, { program, supervised: false });
  await writeFile(program, "process.exit(3);");
  edge.child.kill("SIGUSR2");
  await until(() => edge.said("no successor").length === 1, "the refusal");
  expect((await call(edge.ready.port, HOST, "/f/x")).status).toBe(200);
  expect(await edge.isReady()).toBe(true);
});

test("an edge that somebody keeps running leaves its succession to them", async () => {
  await using here = await world();
  await using edge = await here.start(1);
  edge.child.kill("SIGUSR2");
  await until(() => edge.log().some(({ msg = "" }) => msg.startsWith("SIGUSR2 is for")), "the refusal");
  expect((await call(edge.ready.port, HOST, "/f/x")).status).toBe(200);
});

test("workers that do not start are told of, and the edge ends", async () => {
  await using data = await tempDirectory();
  await writeFile(join(data.path, "file"), "");
  const options = {
    controlPlane: "http://127.0.0.1:1",
    data: join(data.path, "file"),
    environment: { EDGE_WORKERS: "2" },
  };
  await expect(EdgeProcess.start(options)).rejects.toThrow(/ended \(1\)[\s\S]*worker \d does not start/);
});
