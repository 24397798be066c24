import { once } from "node:events";
import type { Route } from "@openfaas-cloud/shared/route.ts";
import { describe, expect, test } from "vitest";
import { FeedServer, route } from "../support/feed-server.ts";
import { type RawClient, rawClient, until } from "../support/servers.ts";
import { startEdgeProcess } from "./support/edge-process.ts";
import { LANES, type Lane } from "./support/lanes.ts";
import { Random } from "./support/random.ts";
import { SEED, size } from "./support/size.ts";
import { CallFailed, failureOf, StrictClient } from "./support/strict-client.ts";
import { isWholeStream, Target } from "./support/target.ts";

const REQUESTS = size(20_000, 200_000);
const SWAPS = size(50, 400);
const CONNECTIONS = 64;
const STREAMS = 50;
const WEB_SOCKETS = 20;
/** How long a tunnel to a replica that went away may outlive it. */
const DRAIN_MS = 2_000;
const CONFIRMED_MS = 5_000;

describe.each(LANES)("routes swapped under load with the plain lane %s", (lane) => {
  test(`${SWAPS} swaps under ${REQUESTS} requests lose nothing and mix nothing up (G5)`, async () => {
    await using world = await World.open(lane);
    const random = new Random(SEED);
    const streams = await openStreams(world);
    const sockets = await openWebSockets(world);
    const load = new Load(world);
    const running = load.run();
    const untouched = [...sockets.steady];
    for (let swap = 1; swap <= SWAPS; swap++) {
      await until(() => load.sent >= (swap * REQUESTS) / (SWAPS + 1), "requests between two swaps", 120_000);
      await world.swap(random, swap);
      if (swap % 10 === 0) for (const client of untouched) await expectEcho(client, `<${swap}>`);
    }
    await world.moveWebSockets();
    await Promise.all(sockets.moved.map((client) => within(client.closed, DRAIN_MS, "a tunnel's end")));
    using again = await openWebSocket(world, "chat-moved");
    expect(again.text()).toContain(`[${world.current("chat-moved")}]`);
    for (const client of untouched) await expectEcho(client, "<last>");

    await running;
    world.finishStreams();
    for (const text of await Promise.all(streams)) expect(isWholeStream(text), text.slice(-200)).toBe(true);
    expect(load.faults, `seed ${SEED}`).toEqual([]);
    const late = world.lateArrivals(load.sentAtMs);
    expect(late, `seed ${SEED}`).toEqual([]);
    expect(world.executedTwice(), `seed ${SEED}`).toEqual([]);
    expect(await world.metric("ofc_edge_retries_total")).toBe(0);
    process.stdout.write(
      `goal G05: plain lane ${lane}: ${load.sent} requests, ${world.swaps} swaps, ${STREAMS} streams, ${WEB_SOCKETS} WebSockets, ` +
        `0 failed, 0 wrong, 0 at an old target; swap confirmed in ${world.confirmedMs(0.5).toFixed(1)} ms (p50), ` +
        `${world.confirmedMs(0.99).toFixed(1)} ms (p99)\n`,
    );
    for (const client of [...sockets.steady, ...sockets.moved]) client[Symbol.dispose]();
  });
});

/** What the feed said of one function, and since when. */
interface State {
  /** Names of its targets; empty where it has no route. */
  readonly targets: readonly string[];
  readonly publishedMs: number;
  confirmedMs: number;
}

/** The functions, what they were at which time, and the edge that serves them. */
class World implements AsyncDisposable {
  readonly port: number;
  readonly metric: (line: string) => Promise<number>;
  swaps = 0;
  readonly #feed: FeedServer;
  readonly #stack: AsyncDisposableStack;
  readonly #targets: Target[] = [];
  /** By function name, all of them of owners of the same name: `moved-3.fn.test/moved-3`. */
  readonly #history = new Map<string, State[]>();
  readonly #routes = new Map<string, Route>();
  readonly #tookMs: number[] = [];

  private constructor(feed: FeedServer, stack: AsyncDisposableStack, edge: Pick<World, "port" | "metric">) {
    this.#feed = feed;
    this.#stack = stack;
    this.port = edge.port;
    this.metric = edge.metric;
  }

  static async open(lane: Lane): Promise<World> {
    await using stack = new AsyncDisposableStack();
    const feed = stack.use(await new FeedServer([]).listen());
    const edge = stack.use(await startEdgeProcess(feed.origin, lane));
    const world = new World(feed, stack.move(), edge);
    const names = [
      ...numbered("steady", 4),
      ...numbered("moved", 8),
      ...numbered("scaled", 2),
      ...numbered("brief", 4),
      ...numbered("stream", 10),
      "chat-steady",
      "chat-moved",
    ];
    for (const name of names) await world.#publish(name, 1);
    world.#tookMs.length = 0;
    world.swaps = 0;
    return world;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await Promise.all(this.#targets.map((target) => target[Symbol.asyncDispose]()));
    await this.#stack.disposeAsync();
  }

  /** Functions that requests are sent to. */
  get called(): readonly string[] {
    return [...this.#history.keys()].filter((name) => /^(steady|moved|scaled|brief)/.test(name));
  }

  current(name: string): string | undefined {
    return this.#history.get(name)?.at(-1)?.targets[0];
  }

  confirmedMs(share: number): number {
    const sorted = this.#tookMs.toSorted((a, b) => a - b);
    return sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * share))] ?? Number.NaN;
  }

  /** One change of the table, confirmed by the edge. */
  async swap(random: Random, count: number): Promise<void> {
    const name = random.pick(
      [...this.#history.keys()].filter((each) => /^(moved|scaled|brief|stream)/.test(each)),
    );
    const isPresent = this.#routes.has(name);
    // Now and then the change is missed, and a snapshot brings it.
    const missed = count % 8 === 0;
    if (name.startsWith("scaled")) await this.#publish(name, random.between(1, 4), missed);
    else if (isPresent && (name.startsWith("brief") || random.chance(0.2) !== name.startsWith("moved"))) {
      await (name.startsWith("moved") ? this.#publish(name, 1, missed) : this.#remove(name, missed));
    } else await this.#publish(name, 1, missed);
  }

  moveWebSockets(): Promise<void> {
    return this.#publish("chat-moved", 1);
  }

  finishStreams(): void {
    for (const target of this.#targets) target.finishStreams();
  }

  /** Which targets may have answered a request that was under way in this time; `undefined` stands for a 404. */
  allowed(name: string, sentMs: number, doneMs: number): (string | undefined)[] {
    const history = this.#history.get(name) ?? [];
    return history.flatMap((state, i): readonly (string | undefined)[] => {
      const next = history[i + 1];
      const begun = state.publishedMs <= doneMs;
      const over = next !== undefined && next.confirmedMs < sentMs;
      if (!begun || over) return [];
      return state.targets.length === 0 ? [undefined] : state.targets;
    });
  }

  /** Requests that reached a target although they were sent after it was confirmed to be none any more. */
  lateArrivals(sentAtMs: ReadonlyMap<number, number>): string[] {
    return this.#targets.flatMap((target) => {
      const name = target.name.split("#", 1)[0] ?? "";
      const history = this.#history.get(name) ?? [];
      const last = history.findLastIndex(({ targets }) => targets.includes(target.name));
      const retiredMs = history[last + 1]?.confirmedMs ?? Number.POSITIVE_INFINITY;
      return target.arrivals
        .filter(({ seq }) => (sentAtMs.get(seq) ?? 0) > retiredMs)
        .map(({ seq }) => `request ${seq} at ${target.name}`);
    });
  }

  executedTwice(): number[] {
    const seen = new Set<number>();
    return this.#targets
      .flatMap(({ arrivals }) => arrivals.map(({ seq }) => seq))
      .filter((seq) => !Number.isNaN(seq) && seen.size === seen.add(seq).size);
  }

  async #publish(name: string, replicas: number, missed = false): Promise<void> {
    const state = this.#history.get(name) ?? [];
    const targets: Target[] = [];
    for (let i = 0; i < replicas; i++) targets.push(await Target.listen(`${name}#${state.length}.${i}`));
    // A scaled function keeps a replica of those it had.
    const kept = name.startsWith("scaled")
      ? this.#targets.filter((each) => state.at(-1)?.targets[0] === each.name)
      : [];
    const all = [...targets, ...kept];
    this.#targets.push(...targets);
    const next = route(
      `${name}/${name}`,
      all.map(({ url }) => url),
      { limits: { totalMs: null } },
    );
    this.#routes.set(name, { ...next, revision: `r${state.length}` });
    await this.#tell(
      name,
      all.map((target) => target.name),
      missed,
    );
  }

  async #remove(name: string, missed: boolean): Promise<void> {
    this.#routes.delete(name);
    await this.#tell(name, [], missed);
  }

  async #tell(name: string, targets: readonly string[], missed: boolean): Promise<void> {
    const state: State = { targets, publishedMs: performance.now(), confirmedMs: Number.POSITIVE_INFINITY };
    this.#history.set(name, [...(this.#history.get(name) ?? []), state]);
    const next = this.#routes.get(name);
    const { send } = this.#feed;
    if (missed) this.#feed.send = () => undefined;
    const gone = route(`${name}/${name}`, []);
    const version = this.#feed.change(next === undefined ? { removals: [gone] } : { upserts: [next] });
    this.#feed.send = send;
    if (missed) this.#feed.cut();
    await until(
      () => (this.#feed.applied.at(-1)?.version ?? 0) >= version,
      `version ${version}`,
      CONFIRMED_MS,
    );
    state.confirmedMs = this.#feed.applied.find((report) => report.version >= version)?.atMs ?? Number.NaN;
    if (!missed) this.#tookMs.push(state.confirmedMs - state.publishedMs);
    this.swaps += 1;
  }
}

/** What sends requests until there were enough, and what was wrong with their answers. */
class Load {
  readonly faults: string[] = [];
  readonly sentAtMs = new Map<number, number>();
  sent = 0;
  readonly #world: World;

  constructor(world: World) {
    this.#world = world;
  }

  async run(): Promise<void> {
    await Promise.all(Array.from({ length: CONNECTIONS }, (_, i) => this.#keepCalling(new Random(SEED + i))));
  }

  async #keepCalling(random: Random): Promise<void> {
    using client = new StrictClient(this.#world.port);
    let announced = 0;
    while (this.sent < REQUESTS) {
      this.sent += 1;
      if (await this.#call(client, random, this.sent)) announced += 1;
    }
    // A refusal that comes before the request's body says that it closes; nothing else in this goal closes a connection.
    const unannounced = client.connections - 1 - announced;
    if (unannounced > 0) this.faults.push(`${unannounced} connections closed without a word`);
  }

  /** Tells whether the answer said that it was the last on its connection. */
  async #call(client: StrictClient, random: Random, seq: number): Promise<boolean> {
    const name = random.pick(this.#world.called);
    const sentMs = performance.now();
    this.sentAtMs.set(seq, sentMs);
    const isPost = random.chance(0.5);
    const answered = await client
      .call({
        host: `${name}.fn.test`,
        path: `/${name}`,
        lines: `X-Seq: ${seq}\r\n`,
        ...(isPost ? { method: "POST", body: "x".repeat(random.between(0, 2_000)) } : {}),
      })
      .catch(failureOf);
    if (answered instanceof CallFailed) {
      this.faults.push(`${seq} ${name}: ${answered.message}`);
      return false;
    }
    const allowed = this.#world.allowed(name, sentMs, performance.now());
    const got = answered.status === 404 ? undefined : answered.body.toString();
    const isGood = (answered.status === 200 || answered.status === 404) && allowed.includes(got);
    if (!isGood) this.faults.push(`${seq} ${name}: ${answered.status} ${got}, allowed ${allowed.join(", ")}`);
    return answered.closes;
  }
}

function numbered(name: string, count: number): string[] {
  return Array.from({ length: count }, (_, i) => `${name}-${i}`);
}

/** Each gives the whole text when it has ended. */
async function openStreams(world: World): Promise<Promise<string>[]> {
  const streams: Promise<string>[] = [];
  for (let i = 0; i < STREAMS; i++) {
    const name = `stream-${i % 10}`;
    const client = new StrictClient(world.port);
    streams.push(
      client
        .call({ host: `${name}.fn.test`, path: `/${name}/stream`, timeoutMs: 3_600_000 })
        .then((reply) => reply.body.toString())
        .finally(() => client[Symbol.dispose]()),
    );
  }
  await until(async () => (await world.metric("ofc_edge_requests_in_flight")) === STREAMS, "the streams");
  return streams;
}

async function openWebSockets(world: World): Promise<{ steady: RawClient[]; moved: RawClient[] }> {
  const open = (name: string): Promise<RawClient[]> =>
    Promise.all(Array.from({ length: WEB_SOCKETS / 2 }, () => openWebSocket(world, name)));
  return { steady: await open("chat-steady"), moved: await open("chat-moved") };
}

async function openWebSocket(world: World, name: string): Promise<RawClient> {
  const client = rawClient(
    world.port,
    `GET /${name} HTTP/1.1\r\nHost: ${name}.fn.test\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n` +
      "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n",
  );
  await until(() => client.text().includes(`[${name}#`), "the tunnel");
  return client;
}

async function expectEcho(client: RawClient, words: string): Promise<void> {
  expect(client.socket.writable).toBe(true);
  client.socket.write(words);
  while (!client.text().endsWith(words)) await once(client.socket, "data");
}

async function within(event: Promise<unknown>, ms: number, what: string): Promise<void> {
  let happened = false;
  void event.then(() => {
    happened = true;
  });
  await until(() => happened, what, ms);
}
