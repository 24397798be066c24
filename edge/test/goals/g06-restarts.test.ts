import { afterAll, beforeAll, expect, test } from "vitest";
import { EdgeProcess, isRunning } from "../support/edge-process.ts";
import { FeedServer, route } from "../support/feed-server.ts";
import { echo, type Failure, RestartLoad } from "../support/restart-load.ts";
import {
  call,
  type TempDirectory,
  tempDirectory,
  type Upstream,
  until,
  upstream,
} from "../support/servers.ts";
import { size } from "./support/size.ts";

const HOST = "alice.localhost";
const WORKERS = 2;
const RESTARTS = size(5, 50);
/** Between two restarts: some for every client. */
const ANSWERS_BETWEEN = 200;
const NEW_ONES_SERVED_MS = 1_000;
/** A death is noticed by clients that are about to send a little later than by us, and later still on a busy machine. */
const NOTICED_MS = NEW_ONES_SERVED_MS;
const LONG_MS = RESTARTS * 20_000;

let fn: Upstream;
let feed: FeedServer;
let data: TempDirectory;
let edge: EdgeProcess;

beforeAll(async () => {
  fn = await upstream(echo);
  feed = await new FeedServer([route("alice/f", [fn.url])]).listen();
  data = await tempDirectory();
  edge = await EdgeProcess.start({
    controlPlane: feed.origin,
    data: data.path,
    environment: { EDGE_WORKERS: String(WORKERS) },
  });
  await until(() => edge.said("worker ready").length === WORKERS, "all workers");
  await until(() => edge.isReady(), "a table");
});

afterAll(async () => {
  await edge?.[Symbol.asyncDispose]();
  await feed?.[Symbol.asyncDispose]();
  await fn?.[Symbol.asyncDispose]();
  await data?.[Symbol.asyncDispose]();
});

async function answers(load: RestartLoad): Promise<void> {
  const goal = load.answeredMs.length + ANSWERS_BETWEEN;
  await until(() => load.answeredMs.length >= goal, "more answers", 30_000);
}

test(
  `of ${RESTARTS} rolling restarts of all workers under load no request notices`,
  async () => {
    fn.requests.length = 0;
    await using load = new RestartLoad(edge.ready.port, HOST);
    await answers(load);
    for (let restart = 1; restart <= RESTARTS; restart++) {
      edge.child.kill("SIGHUP");
      await until(() => edge.said("workers replaced").length === restart, "the restart", 60_000);
      await answers(load);
    }
    await load.end();
    report(`${RESTARTS} rolling restarts of ${WORKERS} workers`, load);
    expect(load.failures).toEqual([]);
    // Each executed once.
    expect(fn.requests).toHaveLength(load.sent);
    expect(new Set(fn.requests.map(({ url }) => url)).size).toBe(load.sent);
  },
  LONG_MS,
);

test(
  `of ${RESTARTS} workers that are killed under load each takes only its own requests with it`,
  async () => {
    fn.requests.length = 0;
    await using load = new RestartLoad(edge.ready.port, HOST);
    await answers(load);
    let slowestProbeMs = 0;
    for (let restart = 0; restart < RESTARTS; restart++) {
      const slot = 1 + (restart % WORKERS);
      const victim = edge.workerPid(slot);
      const failedBefore = load.failures.length;
      process.kill(victim, "SIGKILL");
      const killedMs = performance.now();
      expect((await call(edge.ready.port, HOST, "/f/probe")).status).toBe(200);
      slowestProbeMs = Math.max(slowestProbeMs, performance.now() - killedMs);
      await until(() => isReplaced(slot, victim), "another worker in its place", 30_000);
      await answers(load);
      for (const failure of load.failures.slice(failedBefore)) expectInFlight(failure, killedMs);
    }
    await load.end();
    report(`${RESTARTS} kills, a new request answered after ${Math.ceil(slowestProbeMs)} ms at most`, load);
    expect(slowestProbeMs).toBeLessThan(NEW_ONES_SERVED_MS);
    // None twice, in spite of the edge's retry of what was not sent.
    expect(fn.requests.filter(({ method }) => method === "POST").length).toBeLessThanOrEqual(load.sent);
    const urls = fn.requests.filter(({ url }) => url !== "/probe").map(({ url }) => url);
    expect(new Set(urls).size).toBe(urls.length);
  },
  LONG_MS,
);

function isReplaced(slot: number, victim: number): boolean {
  return edge.workerPid(slot) !== victim && isRunning(edge.workerPid(slot));
}

function expectInFlight(failure: Failure, killedMs: number): void {
  expect(failure.sentMs, `${failure.method}: ${failure.what}`).toBeLessThan(killedMs + NOTICED_MS);
}

function report(what: string, load: RestartLoad): void {
  process.stdout.write(`goal G06: ${what}: ${load.failures.length} of ${load.sent} requests failed\n`);
}
