import { SESSION_COOKIE } from "@openfaas-cloud/shared/session.ts";
import { describe, expect, test } from "vitest";
import { FeedServer, NO_KEYS, route } from "../support/feed-server.ts";
import { until, upstream } from "../support/servers.ts";
import { signer } from "../support/tokens.ts";
import { startEdgeProcess } from "./support/edge-process.ts";
import { BEHAVIOURS, type Behaviour, HostileFunction } from "./support/hostile-function.ts";
import { LANES, type Lane } from "./support/lanes.ts";
import { Random } from "./support/random.ts";
import { SEED, size } from "./support/size.ts";
import { CallFailed, failureOf, type Reply, StrictClient } from "./support/strict-client.ts";

const REQUESTS = size(2_000, 10_000);
const CLIENTS = 12;
/** Short, so that behaviours that take all the time there is take little of it. */
const LIMITS = { firstByteMs: 700, totalMs: 1_200 };
/** The deadlines, their grain, and a busy machine. */
const BOUNDED_MS = LIMITS.totalMs + 2_000;
/** How long a connection that cannot be trusted may stay open. */
const DISCARDED_MS = 2_000;

describe.each(LANES)("hostile answers with the plain lane %s", (lane) => {
  test(`${REQUESTS} of them: one bounded answer each, and the next one clean (G10)`, async () => {
    await using world = await World.open(lane);
    const rounds = Math.ceil(REQUESTS / BEHAVIOURS.length / CLIENTS);
    const findings = await Promise.all(
      world.functions.map(async (fn, i) => {
        const random = new Random(SEED + i);
        using caller = new Caller(world, fn, i);
        for (let round = 0; round < rounds; round++) {
          for (const behaviour of random.shuffled(BEHAVIOURS)) await caller.provoke(behaviour);
        }
        return caller;
      }),
    );
    const faults = findings.flatMap(({ faults: found }) => found);
    expect(faults, `seed ${SEED}`).toEqual([]);
    expect(
      world.functions.flatMap((fn) => fn.reused),
      `seed ${SEED}`,
    ).toEqual([]);
    await until(
      () => world.functions.every((fn) => fn.stillOpen(DISCARDED_MS).length === 0),
      "spoilt connections to be closed",
    );
    // I2: whatever a function does to be told, it is told no credential.
    const heads = world.functions.flatMap((fn) => fn.heads);
    expect(heads.filter((head) => head.includes(SESSION_COOKIE) || head.includes(world.token))).toEqual([]);
    const provoked = findings.reduce((sum, caller) => sum + caller.provoked, 0);
    expect(provoked).toBeGreaterThanOrEqual(REQUESTS);
    const slowest = Math.max(...findings.map(({ slowestMs }) => slowestMs));
    process.stdout.write(
      `goal G10: plain lane ${lane}: ${provoked} requests, ${BEHAVIOURS.length} behaviours, 0 faults, ` +
        `slowest answer ${Math.round(slowest)} ms (total ${LIMITS.totalMs} ms)\n`,
    );
  });

  test.each([
    ["a whole answer", "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\neager"],
    ["half an answer", "HTTP/1.1 200 OK\r\nContent-Length: 50\r\n\r\neager"],
    ["no HTTP at all", "220 ready\r\n"],
  ])(
    "a function that speaks before it is asked, with %s, spoils no other's answer",
    async (_what, greeting) => {
      await using fn = await HostileFunction.listen(greeting);
      await using canary = await upstream();
      await using feed = await new FeedServer([
        route("alice/eager", [fn.url], { limits: LIMITS }),
        route("bob/canary", [canary.url]),
      ]).listen();
      await using edge = await startEdgeProcess(feed.origin, lane);
      using client = new StrictClient(edge.port);
      for (let i = 0; i < 6; i++) {
        const reply = await client.call({ host: "alice.fn.test", path: `/eager/good/${i}` }).catch(failureOf);
        if (!(reply instanceof CallFailed)) expect(reply.raw).not.toContain("127.0.0.1");
        const good = await client.call({ host: "bob.fn.test", path: "/canary" });
        expect(good.body.toString()).toMatch(/^from \d+$/);
      }
    },
  );
});

class World implements AsyncDisposable {
  readonly functions: readonly HostileFunction[];
  readonly port: number;
  readonly token: string;
  readonly #stack: AsyncDisposableStack;

  private constructor(
    parts: { functions: readonly HostileFunction[]; port: number; token: string },
    stack: AsyncDisposableStack,
  ) {
    this.functions = parts.functions;
    this.port = parts.port;
    this.token = parts.token;
    this.#stack = stack;
  }

  static async open(lane: Lane): Promise<World> {
    await using stack = new AsyncDisposableStack();
    const functions: HostileFunction[] = [];
    for (let i = 0; i < CLIENTS; i++) functions.push(stack.use(await HostileFunction.listen()));
    const canary = stack.use(await upstream());
    const issuer = await signer();
    const feed = stack.use(
      await new FeedServer(
        [
          ...functions.map((fn, i) => route(`alice/h${i}`, [fn.url], { limits: LIMITS })),
          route("bob/canary", [canary.url]),
        ],
        { ...NO_KEYS, keys: [issuer.key] },
      ).listen(),
    );
    const { port } = stack.use(await startEdgeProcess(feed.origin, lane));
    return new World({ functions, port, token: await issuer.sign() }, stack.move());
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.#stack.disposeAsync();
  }
}

/** Provokes one function over one connection, and looks after each answer whether the next ones are what they should be. */
class Caller implements Disposable {
  readonly faults: string[] = [];
  provoked = 0;
  slowestMs = 0;
  readonly #world: World;
  readonly #fn: HostileFunction;
  readonly #name: string;
  readonly #client: StrictClient;

  constructor(world: World, fn: HostileFunction, i: number) {
    this.#world = world;
    this.#fn = fn;
    this.#name = `h${i}`;
    this.#client = new StrictClient(world.port);
  }

  async provoke(behaviour: Behaviour): Promise<void> {
    const { method = "GET" } = behaviour;
    this.provoked += 1;
    const startedMs = performance.now();
    const reply = await this.#client
      .call({
        method,
        host: "alice.fn.test",
        path: `/${this.#name}/x/${BEHAVIOURS.indexOf(behaviour)}`,
        lines:
          `Cookie: own=1; ${SESSION_COOKIE}=${this.#world.token}\r\n` +
          `Authorization: Bearer ${this.#world.token}\r\n`,
        ...(method === "POST" ? { body: "x".repeat(10_000) } : {}),
        timeoutMs: BOUNDED_MS,
      })
      .catch(failureOf);
    this.slowestMs = Math.max(this.slowestMs, performance.now() - startedMs);
    const fault = faultOf(behaviour, reply, this.#fn.port);
    if (fault !== undefined) this.faults.push(`${behaviour.name}: ${fault}`);
    if (behaviour.spoilsLater)
      await until(() => this.#fn.stillOpen(0).length === 0, "the connection to be closed");
    await this.#expectClean(behaviour);
  }

  /** The same function on the same connection, where that is open still, and another owner's. */
  async #expectClean(after: Behaviour): Promise<void> {
    const nonce = `${this.#name}-${this.provoked}`;
    for (const [host, path, expected] of [
      ["alice.fn.test", `/${this.#name}/good/${nonce}`, nonce],
      ["bob.fn.test", "/canary", undefined],
    ] as const) {
      const reply = await this.#client.call({ host, path }).catch(failureOf);
      const body = reply instanceof CallFailed ? reply.message : reply.body.toString("latin1");
      const isClean = expected === undefined ? /^from \d+$/.test(body) : body === expected;
      if (!isClean) this.faults.push(`after ${after.name}: ${host}${path} answered ${body.slice(0, 200)}`);
    }
  }

  [Symbol.dispose](): void {
    this.#client[Symbol.dispose]();
  }
}

/** What is wrong with what the client got; `undefined` where nothing is. */
function faultOf(behaviour: Behaviour, reply: Reply | CallFailed, port: number): string | undefined {
  const { outcomes, check } = behaviour;
  if (reply instanceof CallFailed) {
    if (reply.failure !== "cut") return reply.message;
    return outcomes.includes("cut") ? undefined : `cut, where ${outcomes.join(" or ")} was to be`;
  }
  if (isOwnRefusal(reply)) {
    if (!outcomes.includes("refused")) return `refused: ${reply.body.toString()}`;
    const leak = ["127.0.0.1", String(port), "alice.fn.test:"].find((secret) => reply.raw.includes(secret));
    return leak === undefined ? undefined : `tells ${leak}`;
  }
  if (!outcomes.includes("passed")) return `passed on: ${reply.raw.slice(0, 200)}`;
  return check?.(reply);
}

function isOwnRefusal(reply: Reply): boolean {
  return (
    (reply.status === 502 || reply.status === 504) &&
    /"code":"upstream-(broken|unreachable|late)"/.test(reply.body.toString("latin1"))
  );
}
