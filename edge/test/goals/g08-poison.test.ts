import { readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { headChecksumOf } from "@openfaas-cloud/shared/route-digest.ts";
import { describe, expect, test } from "vitest";
import { FeedServer, route, snapshotOf } from "../support/feed-server.ts";
import { deadUrl, tempDirectory, testEdge, until, upstream } from "../support/servers.ts";
import { type EdgeProcess, startEdgeProcess } from "./support/edge-process.ts";
import { LANES } from "./support/lanes.ts";
import { DISK_POISONS, type Poison, WIRE_POISONS } from "./support/poison.ts";
import { Random } from "./support/random.ts";
import { SEED, size } from "./support/size.ts";
import { StrictClient } from "./support/strict-client.ts";

const TRIALS = size(100, 500);
/** So many that ten times as many are more than any platform gets to while its edge looks away. */
const ROUTES = 1_100;
const CALLERS = 4;

describe.each(LANES)("poison on the wire with the plain lane %s", (lane) => {
  test(`of ${TRIALS} poison messages none is adopted, each is counted, and no request is lost (G8)`, async () => {
    await using fn = await upstream((_request, response) => void response.end("good"));
    const routes = Array.from({ length: ROUTES }, (_, i) => route(`alice/f${i}`, [fn.url]));
    await using feed = await new FeedServer(routes).listen();
    feed.version = 7;
    await using edge = await startEdgeProcess(feed.origin, lane);
    using load = new Load(edge.port);
    const random = new Random(SEED);
    const counted = new Map<string, number>();
    let given: Poison[] = [];
    for (let trial = 0; trial < TRIALS; trial++) {
      if (given.length === 0) given = random.shuffled(WIRE_POISONS);
      const poison = given.pop();
      if (poison === undefined) throw new Error("no poison");
      const message = Buffer.from(poison.spoil(feed.snapshot, random));
      const reason = await refusalOf(edge, feed, message, trial % 10 === 9).catch((error: Error) => {
        throw new Error(`${poison.name}, seed ${SEED}: ${error.message}`);
      });
      expect(poison.reasons, `${poison.name}, seed ${SEED}`).toContain(reason);
      counted.set(reason, (counted.get(reason) ?? 0) + 1);
      expect(await edge.metric("ofc_edge_route_version"), poison.name).toBe(7);
      expect(await edge.metric("ofc_edge_routes"), poison.name).toBe(ROUTES);
    }
    const { calls, faults } = await load.stop();
    expect(faults, `seed ${SEED}`).toEqual([]);
    expect(edge.child.exitCode).toBeNull();
    // None of it has made the edge deaf to what is good.
    feed.change({ upserts: [route("bob/new", [fn.url])] });
    await until(async () => (await edge.metric("ofc_edge_route_version")) === 8, "the next good table");
    process.stdout.write(
      `goal G08: plain lane ${lane}: wire: ${TRIALS} poisons, 0 adopted (${told(counted)}), ${calls} requests meanwhile, 0 lost\n`,
    );
  });
});

describe("poison on the disk", () => {
  test(`of ${TRIALS} poisoned newest generations none is served, the one before is (G8)`, async () => {
    const random = new Random(SEED);
    await using fn = await upstream((_request, response) => void response.end("good"));
    let given: Poison[] = [];
    const reasons = new Map<string, number>();
    let asked = 0;
    for (let trial = 0; trial < TRIALS; trial++) {
      if (given.length === 0) given = random.shuffled(DISK_POISONS);
      const poison = given.pop();
      if (poison === undefined) throw new Error("no poison");
      await using directory = await tempDirectory();
      await store(directory.path, fn.url, [1, 2, 3]);
      const bad = trial % 5 === 4 ? [3, 2] : [3];
      for (const version of bad) {
        const spoilt = poison.spoil(storedSnapshot(fn.url, version - 1), random);
        await writeFile(fileOf(directory.path, version), spoilt);
      }
      await using edge = await testEdge(await deadUrl(), { dataDirectory: directory.path, wait: false });
      expect(await edge.metric("ofc_edge_route_version"), `${poison.name}, seed ${SEED}`).toBe(
        3 - bad.length,
      );
      const counted = refusals(await edge.scrape());
      const fitting = [...counted].filter(([reason]) => poison.reasons.includes(reason));
      expect(sum(fitting), `${poison.name}, seed ${SEED}`).toBe(bad.length);
      expect(sum([...counted]), poison.name).toBe(bad.length);
      for (const [reason, count] of fitting) reasons.set(reason, (reasons.get(reason) ?? 0) + count);
      expect((await edge.call("alice.fn.test", "/f0")).status).toBe(200);
      asked += 1;
    }
    process.stdout.write(
      `goal G08: disk: ${TRIALS} newest generations poisoned, 0 adopted (${told(reasons)}), ${asked} requests, 0 lost\n`,
    );
  });

  test("with every generation bad the edge is not ready, and nobody is told that a function does not exist (G8)", async () => {
    const random = new Random(SEED);
    for (const poison of DISK_POISONS) {
      await using directory = await tempDirectory();
      await store(directory.path, "http://127.0.0.1:1", [1, 2, 3]);
      for (const version of [1, 2, 3]) {
        const spoilt = poison.spoil(storedSnapshot("http://127.0.0.1:1", version - 1), random);
        await writeFile(fileOf(directory.path, version), spoilt);
      }
      await using edge = await testEdge(await deadUrl(), { dataDirectory: directory.path, wait: false });
      expect((await fetch(`http://127.0.0.1:${edge.adminPort}/readyz`)).status, poison.name).toBe(503);
      for (const path of ["/f0", "/nobody"]) {
        const answer = await edge.call("alice.fn.test", path);
        expect([answer.status, answer.headers["retry-after"]], poison.name).toEqual([503, "1"]);
      }
    }
  });

  test("what the edge stores is what it would take: an unspoilt file is served", async () => {
    await using fn = await upstream((_request, response) => void response.end("good"));
    await using directory = await tempDirectory();
    await store(directory.path, fn.url, [1, 2, 3]);
    await using edge = await testEdge(await deadUrl(), { dataDirectory: directory.path });
    expect(await edge.metric("ofc_edge_route_version")).toBe(3);
  });

  test("a stored table from before heads had a checksum is served", async () => {
    await using directory = await tempDirectory();
    await store(directory.path, "http://127.0.0.1:1", [1]);
    const path = fileOf(directory.path, 1);
    const { headChecksum, ...older } = JSON.parse(await readFile(path, "utf8"));
    expect(headChecksum).toBe(headChecksumOf(older));
    await writeFile(path, JSON.stringify(older));
    await using edge = await testEdge(await deadUrl(), { dataDirectory: directory.path });
    expect(await edge.metric("ofc_edge_route_version")).toBe(1);
  });
});

/** Gives a message to the edge, as the first of a connection or as a later one, and tells under which reason it was refused. */
async function refusalOf(
  edge: EdgeProcess,
  feed: FeedServer,
  message: Buffer,
  first: boolean,
): Promise<string> {
  const before = refusals(await edge.metrics());
  const { connections } = feed;
  if (first) {
    feed.poison = () => message;
    feed.cut();
  } else {
    feed.sendRaw(message);
  }
  let reason: string | undefined;
  await until(
    async () => {
      const now = refusals(await edge.metrics());
      reason = [...now].find(([label, count]) => count > (before.get(label) ?? 0))?.[0];
      return reason !== undefined;
    },
    `the refusal of ${message.toString("utf8", 0, 100)}`,
    20_000,
  );
  feed.poison = undefined;
  // Whatever connection began with poison was refused as well, so that one more has to come.
  const bad = first ? feed.connections : connections;
  await until(() => feed.connections > bad && feed.isHeard, "a connection that begins well", 20_000);
  return reason ?? "";
}

function refusals(metrics: string): Map<string, number> {
  const lines = metrics.matchAll(/^ofc_edge_feed_rejected_total\{reason="([^"]+)"\} (\d+)$/gm);
  return new Map([...lines].map(([, reason = "", count]) => [reason, Number(count)]));
}

function sum(counted: readonly (readonly [string, number])[]): number {
  return counted.reduce((total, [, count]) => total + count, 0);
}

function told(counted: ReadonlyMap<string, number>): string {
  return [...counted]
    .map(([reason, count]) => `${reason} ${count}`)
    .toSorted()
    .join(", ");
}

function storedSnapshot(url: string, version: number) {
  const routes = Array.from({ length: 12 }, (_, i) =>
    route(`alice/f${i}`, [url], { revision: `r${version}` }),
  );
  return snapshotOf(routes, { version });
}

async function store(directory: string, url: string, versions: readonly number[]): Promise<void> {
  for (const version of versions) {
    await writeFile(fileOf(directory, version), JSON.stringify(storedSnapshot(url, version)));
  }
}

function fileOf(directory: string, version: number): string {
  return join(directory, `routes-${String(version).padStart(12, "0")}.json`);
}

/** Calls over and over, and remembers what was not as it should be. */
class Load implements Disposable {
  #stopped = false;
  #calls = 0;
  readonly #faults: string[] = [];
  readonly #running: Promise<unknown>;

  constructor(port: number) {
    this.#running = Promise.all(Array.from({ length: CALLERS }, (_, i) => this.#keepCalling(port, i)));
  }

  async stop(): Promise<{ calls: number; faults: readonly string[] }> {
    this.#stopped = true;
    await this.#running;
    return { calls: this.#calls, faults: this.#faults };
  }

  [Symbol.dispose](): void {
    this.#stopped = true;
  }

  async #keepCalling(port: number, first: number): Promise<void> {
    using client = new StrictClient(port);
    for (let i = first; !this.#stopped; i = (i + CALLERS) % ROUTES) {
      this.#calls += 1;
      const reply = await client
        .call({ host: "alice.fn.test", path: `/f${i}` })
        .catch((error: Error) => error);
      const isGood = !(reply instanceof Error) && reply.status === 200 && reply.body.toString() === "good";
      if (!isGood)
        this.#faults.push(reply instanceof Error ? reply.message : `${reply.status} ${reply.body}`);
    }
  }
}
