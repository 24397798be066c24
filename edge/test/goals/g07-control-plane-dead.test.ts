import { readdir } from "node:fs/promises";
import { BoundSocket } from "node:net";
import { setTimeout as sleep } from "node:timers/promises";
import { CLOCK_TOLERANCE_S, SESSION_COOKIE } from "@openfaas-cloud/shared/session.ts";
import { describe, expect, test } from "vitest";
import { FeedServer, NO_KEYS, route } from "../support/feed-server.ts";
import { tempDirectory, until, upstream } from "../support/servers.ts";
import { signer } from "../support/tokens.ts";
import { type EdgeProcess, startEdgeProcess } from "./support/edge-process.ts";
import { LANES, type Lane } from "./support/lanes.ts";
import { excessMs, median, NOISE_FLOOR_MS, type P99Pair } from "./support/latency.ts";
import { quantile } from "./support/part.ts";
import { size } from "./support/size.ts";
import { type Ask, StrictClient } from "./support/strict-client.ts";

/** In both lanes together the control plane is dead for 40 s or 20 min of load, and 50,000 or 500,000 calls are made meanwhile. */
const DEAD_MS = size(20_000, 600_000);
const CALLS = size(25_000, 250_000);
const RESTARTS = 5;
const ROUNDS = size(10, 100);
const ROUND_MS = DEAD_MS / ROUNDS;
const CALLERS = 6;
/** Between two calls of one caller: what is measured is the edge and not how long its queue is. */
const THINKING_MS = 2;
/** For how long the session lasts that ends meanwhile, clocks' tolerance included. */
const SHORT_SESSION_S = 10;
const HOST = "alice.fn.test";

describe.each(LANES)("a dead control plane with the plain lane %s", (lane) => {
  test(`of ${CALLS} calls while it is dead and the edge restarted ${RESTARTS} times none fails (G7)`, async () => {
    await using fn = await upstream((request, response) => {
      request.resume().on("end", () => response.end("good"));
    });
    const keys = await signer();
    const routes = [route("alice/open", [fn.url]), route("alice/members", [fn.url], { access: "members" })];
    const settings = { ...NO_KEYS, keys: [keys.key] };
    await using living = await new FeedServer(routes, settings).listen();
    await using dying = await new FeedServer(routes, settings).listen();
    await using live = await Place.open(living.origin, lane);
    await using dead = await Place.open(dying.origin, lane);
    const session = await keys.sign({ exp: nowS() + 2 * 3600 });
    for (const place of [live, dead]) await callFor(place.port, session, ROUND_MS / 2, 500);

    await dying[Symbol.asyncDispose]();
    const diedMs = Date.now();
    const expiresS = nowS() + SHORT_SESSION_S;
    const shortSession = await keys.sign({
      iat: expiresS - 3_600,
      exp: expiresS - CLOCK_TOLERANCE_S,
    });
    const p99: P99Pair[] = [];
    let calls = 0;
    let age = 0;
    let expired = 0;
    for (let round = 0; round < ROUNDS; round++) {
      const restarts = round % (ROUNDS / RESTARTS) === 1;
      // At the same time, so that whatever else the machine does is done to both.
      const [beside, under] = await Promise.all([
        callWhile(live, session, restarts),
        callWhile(dead, session, restarts),
      ]);
      expect(under.faults).toEqual([]);
      calls += under.tookMs.length;
      p99.push({ calmMs: quantile(beside.tookMs, 0.99), troubledMs: quantile(under.tookMs, 0.99) });
      const nextAge = await dead.edge.metric("ofc_edge_route_age_seconds");
      expect(nextAge).toBeGreaterThan(age);
      age = nextAge;
      expect(await dead.edge.metric("ofc_edge_feed_connected")).toBe(0);
      await expectSystemHostDown(dead.port);
      expired += await callWithShort(dead.port, shortSession, expiresS);
    }
    expect(dead.restarts).toBe(RESTARTS);
    // A restart makes the table no younger.
    expect(age).toBeGreaterThanOrEqual((Date.now() - diedMs) / 1_000 - 1);
    expect(expired).toBeGreaterThan(0);
    expect(calls).toBeGreaterThanOrEqual(CALLS);
    process.stdout.write(
      `goal G07: plain lane ${lane}: control plane dead for ${Math.round((Date.now() - diedMs) / 1_000)} s, ` +
        `${dead.restarts} restarts, ${calls} calls, 0 failed; p99 ` +
        `${median(p99.map(({ troubledMs }) => troubledMs)).toFixed(2)} ms, with a live one ` +
        `${median(p99.map(({ calmMs }) => calmMs)).toFixed(2)} ms; table ${Math.round(age)} s old at the end\n`,
    );
    expect(excessMs(p99, 0.1)).toBeLessThanOrEqual(NOISE_FLOOR_MS);
  });
});

/** A port and a data directory, and the edge that has them at the time. */
class Place implements AsyncDisposable {
  readonly port: number;
  restarts = 0;
  readonly #start: () => Promise<EdgeProcess>;
  readonly #stack: AsyncDisposableStack;
  #edge: EdgeProcess;

  private constructor(
    port: number,
    edge: EdgeProcess,
    start: () => Promise<EdgeProcess>,
    stack: AsyncDisposableStack,
  ) {
    this.port = port;
    this.#edge = edge;
    this.#start = start;
    this.#stack = stack;
  }

  /** With the control plane's table served, and stored. */
  static async open(controlPlane: string, lane: Lane): Promise<Place> {
    await using stack = new AsyncDisposableStack();
    const held = stack.use(new BoundSocket({ host: "127.0.0.1" }));
    const data = stack.use(await tempDirectory());
    const start = (): Promise<EdgeProcess> =>
      startEdgeProcess(controlPlane, lane, {}, { data: data.path, descriptors: [held.fd()] });
    const edge = await start();
    await until(
      async () => (await readdir(data.path)).some((name) => name.endsWith(".json")),
      "the table on disk",
    );
    return new Place(held.address().port, edge, start, stack.move());
  }

  get edge(): EdgeProcess {
    return this.#edge;
  }

  /** The next edge starts when the one before has ended: who connects between them waits at the socket. */
  async restart(): Promise<void> {
    expect(await this.#edge.stop()).toBe(0);
    await this.#edge[Symbol.asyncDispose]();
    this.#edge = await this.#start();
    this.restarts += 1;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#edge[Symbol.asyncDispose]();
    await this.#stack.disposeAsync();
  }
}

interface Round {
  readonly tookMs: readonly number[];
  readonly faults: readonly string[];
}

/** One round of load, with a restart in its midst or without. */
async function callWhile(place: Place, session: string, restarts: boolean): Promise<Round> {
  const restarted = restarts ? sleep(ROUND_MS / 4).then(() => place.restart()) : undefined;
  const calls = callFor(place.port, session, ROUND_MS, CALLS / ROUNDS, restarted);
  await Promise.all([calls, restarted]);
  return calls;
}

/** For so long at least, so many at least, and until `event` has happened. */
async function callFor(
  port: number,
  session: string,
  ms: number,
  least: number,
  event: Promise<void> = Promise.resolve(),
): Promise<Round> {
  const tookMs: number[] = [];
  const faults: string[] = [];
  const endMs = performance.now() + ms;
  let happened = false;
  const noted = event.finally(() => {
    happened = true;
  });
  const keepCalling = async (caller: number): Promise<void> => {
    using client = new StrictClient(port);
    for (let i = caller; !happened || performance.now() < endMs || tookMs.length < least; i++) {
      const reply = await client.call(askOf(i, session)).catch((error: Error) => error);
      if (reply instanceof Error) faults.push(reply.message);
      else if (reply.status !== 200 || reply.body.toString() !== "good") {
        faults.push(`${reply.status} ${reply.body}`);
      } else tookMs.push(reply.tookMs);
      if (faults.length > 100) return;
      await sleep(THINKING_MS);
    }
  };
  await Promise.all([noted, ...Array.from({ length: CALLERS }, (_, i) => keepCalling(i))]);
  return { tookMs, faults };
}

function askOf(i: number, session: string): Ask {
  const method = i % 4 < 2 ? {} : { method: "POST", body: "x".repeat(i % 1_000) };
  if (i % 2 === 0) return { host: HOST, path: "/open", ...method };
  return { host: HOST, path: "/members", lines: `Authorization: Bearer ${session}\r\n`, ...method };
}

async function expectSystemHostDown(port: number): Promise<void> {
  using client = new StrictClient(port);
  for (const path of ["/dashboard/", "/auth/login", "/.well-known/jwks.json"]) {
    const reply = await client.call({ host: "system.console.test", path });
    expect([reply.status, reply.headers.get("retry-after")], path).toEqual([503, ["5"]]);
  }
}

/** Tells how many times it was found expired. */
async function callWithShort(port: number, session: string, expiresS: number): Promise<number> {
  using client = new StrictClient(port);
  const sentMs = Date.now();
  const lines = `Cookie: ${SESSION_COOKIE}=${session}\r\n`;
  const { status } = await client.call({ host: HOST, path: "/members", lines });
  const isPast = sentMs >= expiresS * 1_000;
  // Neither, where it expired on the way.
  if (isPast || Date.now() < expiresS * 1_000) expect(status).toBe(isPast ? 401 : 200);
  return status === 401 ? 1 : 0;
}

function nowS(): number {
  return Math.floor(Date.now() / 1_000);
}
