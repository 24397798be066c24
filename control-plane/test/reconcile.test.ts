import { BranchName } from "@openfaas-cloud/shared/names.ts";
import { pino } from "pino";
import { describe, expect, it } from "vitest";
import { Random } from "../../edge/test/goals/support/random.ts";
import { SEED, size } from "../../edge/test/goals/support/size.ts";
import { KeyedQueue } from "../src/ports/source-host/keyed-queue.ts";
import type { RemoteHost } from "../src/ports/source-host/remote-host.ts";
import { type NamedRepository, refOf } from "../src/ports/store/repositories.ts";
import { Reconcile } from "../src/webhooks/reconcile.ts";
import { openLinkedPlatform } from "./support/linked-platform.ts";
import { type HostedRepository, ScriptedHost } from "./support/linked-world.ts";
import { ModelClock } from "./support/model-clock.ts";

const SECOND = 1000;
const MINUTE = 60 * SECOND;
const EVENTS = size(60, 300);
const LOST = 0.3;
const NEVER = new AbortController().signal;

/** A platform that follows these hosts, in model time; a delivery is what a test calls `deliver`. */
async function open(...instances: readonly string[]) {
  await using opened = new AsyncDisposableStack();
  const platform = opened.use(await openLinkedPlatform());
  const clock = new ModelClock(platform.time);
  const worlds = instances.map((instance) => new ScriptedHost(instance, () => clock.now()));

  const runs = new KeyedQueue();
  const deployHead = async (host: RemoteHost, repository: NamedRepository, signal: AbortSignal) => {
    const { source } = refOf(repository);
    const head = source && (await host.fetchHead(source, BranchName.parse("main"), signal));
    const world = worlds.find(({ instance }) => instance === host.instance);
    const hosted = world?.repositories.get(source?.id ?? "");
    await runs.run("one after the other", async () => {
      if (!head || !hosted || (await deployedCommit(repository.id)) === head.commit) return;
      const run = await platform.startRun(repository, head.commit, hosted.functions);
      await run.finish();
    });
  };
  const deployedCommit = async (repositoryId: string) => {
    const row = await platform.store
      .selectFrom("functions")
      .select("commit_sha")
      .where("repository_id", "=", repositoryId)
      .where("unrouted_at", "is", null)
      .executeTakeFirst();
    return row?.commit_sha;
  };
  const reconcile = opened.use(
    new Reconcile({
      store: platform.store,
      links: platform.links,
      deployHead,
      logger: pino({ level: "silent" }),
      clock,
    }),
  );
  for (const { host } of worlds) reconcile.follow(host);
  await clock.idle(worlds.length);

  /** What is not as the host has it. */
  const divergence = async (): Promise<string[]> => {
    const wrong: string[] = [];
    for (const world of worlds) {
      for (const hosted of world.repositories.values()) {
        const row = await platform.find(world, hosted);
        const isLinked = row !== undefined && row.unlinked_at === null;
        const commit = row && (await deployedCommit(row.id));
        const expected = hosted.isLinked ? world.headOf(hosted) : undefined;
        if (isLinked !== hosted.isLinked || commit !== expected)
          wrong.push(`${world.instance} ${hosted.name}`);
        else if (hosted.isLinked && row?.name !== hosted.name) wrong.push(`name of ${hosted.name}`);
      }
    }
    return wrong;
  };

  const close = opened.move();
  return {
    ...platform,
    worlds,
    world: worlds[0] as ScriptedHost,
    reconcile,
    divergence,
    advance: (ms: number) => clock.advance(ms, worlds.length),
    async deliver(world: ScriptedHost, hosted: HostedRepository) {
      const looked = await platform.look(world, hosted);
      if (looked.kind === "linked") await deployHead(world.host, looked.repository, NEVER);
    },
    [Symbol.asyncDispose]: () => close.disposeAsync(),
  };
}

function gapsOf(world: ScriptedHost, call: string): number[] {
  const byObject = Map.groupBy(
    world.ledger.filter((entry) => entry.call === call),
    ({ of }) => of,
  );
  return [...byObject.values()].flatMap((entries) =>
    entries.slice(1).map(({ at }, i) => at - (entries[i]?.at ?? 0)),
  );
}

describe("G19: with lost deliveries", () => {
  it(`everything converges within two minutes, and an idle host is hardly asked, for ${EVENTS} events`, async () => {
    await using it = await open("github.com", "gitlab.example.com");
    const random = new Random(SEED);
    const about = () => `GOAL_SEED=${SEED}`;
    const lost = new Map<ScriptedHost, HostedRepository[]>(it.worlds.map((world) => [world, []]));
    // One host sends again what it is asked for; of the other only its list shows what was lost.
    it.world.onRedeliver = () => {
      const again = lost.get(it.world)?.splice(0) ?? [];
      for (const hosted of again) void resent.push(() => it.deliver(it.world, hosted));
      return again.length;
    };
    const resent: (() => Promise<void>)[] = [];
    it.world.showsPushes = false;

    for (let i = 0; i < EVENTS; i++) {
      const world = random.pick(it.worlds);
      const changed = change(world, random, i);
      const isDown = random.chance(0.1);
      if (isDown) world.fails = () => true;
      if (isDown || random.chance(LOST)) lost.get(world)?.push(...changed);
      else for (const hosted of changed) await it.deliver(world, hosted);
      if (isDown) {
        const from = world.ledger.length;
        await it.advance(random.between(1, 10) * MINUTE);
        const calls = world.ledger.slice(from);
        for (const [before, after] of calls.map((call, n) => [call, calls[n + 1]] as const))
          if (before && after) expect(after.at - before.at, about()).toBeGreaterThanOrEqual(SECOND);
        expect(it.reconcile.status().find(({ instance }) => instance === world.instance)).toMatchObject({
          lastError: { message: "The scripted host is not answering." },
        });
        world.fails = () => false;
      }
      if (random.chance(0.5)) continue;
      // Every minute what the host sends again arrives.
      for (let minute = 0; minute < 2; minute++) {
        await it.advance(MINUTE);
        for (const deliver of resent.splice(0)) await deliver();
      }
      expect(await it.divergence(), about()).toEqual([]);
    }

    await it.advance(12 * MINUTE);
    for (const world of it.worlds) world.ledger.length = 0;
    await it.advance(60 * MINUTE);
    for (const world of it.worlds) {
      expect(Math.min(...gapsOf(world, "list")), about()).toBeGreaterThanOrEqual(MINUTE);
      expect(Math.min(...gapsOf(world, "head")), about()).toBeGreaterThanOrEqual(10 * MINUTE);
      expect(world.countOf("list"), about()).toBeGreaterThan(50);
      expect(world.countOf("repository"), about()).toBe(0);
    }
  });
});

/** Something that happens at a host. @returns what it would send deliveries about. */
function change(world: ScriptedHost, random: Random, i: number): HostedRepository[] {
  const all = [...world.repositories.values()];
  const linked = all.filter(({ isLinked }) => isLinked);
  const kind = random.between(0, 10);
  if (linked.length < 5 || kind === 0) {
    const owner = [...world.accounts.values()][0] ?? world.addAccount("alice");
    return [world.addRepository(owner, `site-${i}`, [`fn-${i}`])];
  }
  const hosted = random.pick(all);
  // Never so many that the brake is due: that is not what this is about.
  const mayUnlink = linked.length > 0.7 * all.length;
  if (kind === 1 && (mayUnlink || !hosted.isLinked)) hosted.isLinked = !hosted.isLinked;
  else if (kind === 2) hosted.name = `renamed-${i}`;
  else hosted.pushes += 1;
  return [hosted];
}

describe("a host that is followed", () => {
  it("without any sign of pushes has each branch read every ten minutes", async () => {
    await using it = await open("git.example.com");
    it.world.showsPushes = false;
    const site = it.world.addRepository(it.world.addAccount("alice"), "site", ["hello"]);
    await it.advance(2 * MINUTE);
    expect(it.routed()).toEqual(["alice/hello"]);
    site.pushes += 1;
    await it.advance(12 * MINUTE);
    expect(await it.divergence()).toEqual([]);
    expect(it.world.countOf("head")).toBe(2);
  });

  it("has every branch read soon when somebody knows that something was lost, and not more often for many who do", async () => {
    await using it = await open("git.example.com");
    it.world.showsPushes = false;
    const site = it.world.addRepository(it.world.addAccount("alice"), "site", ["hello"]);
    await it.advance(2 * MINUTE);
    site.pushes += 1;
    it.world.ledger.length = 0;
    for (let i = 0; i < 100; i++) {
      it.reconcile.soon("git.example.com");
      await it.advance(100);
    }
    expect(await it.divergence()).toEqual([]);
    expect(it.world.countOf("list")).toBeLessThanOrEqual(3);
  });

  it("is asked less and less often while it is away, says so, and is read at once when it is back", async () => {
    await using it = await open("git.example.com");
    it.world.addRepository(it.world.addAccount("alice"), "site", ["hello"]);
    await it.advance(2 * MINUTE);
    const [well] = it.reconcile.status();
    expect(well).toMatchObject({ failingSince: undefined, lastError: undefined });
    it.world.fails = () => true;
    it.world.ledger.length = 0;
    await it.advance(60 * MINUTE);
    expect(it.world.countOf("redeliver")).toBeLessThan(130);
    expect(it.world.countOf("list") + it.world.countOf("head")).toBe(0);
    expect(Math.min(...gapsOf(it.world, "redeliver"))).toBeGreaterThanOrEqual(SECOND);
    const [away] = it.reconcile.status();
    expect(away?.readAt).toBeGreaterThanOrEqual(well?.readAt ?? 0);
    expect(it.time.now - (away?.failingSince ?? 0)).toBeGreaterThan(58 * MINUTE);
    expect(away?.lastError?.message).toBe("The scripted host is not answering.");
    expect(it.routed()).toEqual(["alice/hello"]);
    it.world.fails = () => false;
    await it.advance(MINUTE);
    expect(it.reconcile.status()[0]?.failingSince).toBeUndefined();
  });

  it("does not wait for the branch of a repository that cannot be read", async () => {
    await using it = await open("git.example.com");
    const alice = it.world.addAccount("alice");
    const silent = it.world.addRepository(alice, "silent", ["silent"]);
    it.world.fails = (call, of) => call === "head" && of === silent.id;
    for (let i = 0; i < 5; i++) it.world.addRepository(alice, `site-${i}`, [`fn-${i}`]);
    await it.advance(2 * MINUTE);
    expect(await it.divergence()).toEqual(["git.example.com silent"]);
    expect(it.reconcile.status()[0]?.failingSince).toBeUndefined();
    it.world.fails = () => false;
    await it.advance(2 * MINUTE);
    expect(await it.divergence()).toEqual([]);
  });

  it("is asked to send again what it could not deliver since it was last read", async () => {
    await using it = await open("git.example.com");
    const since: number[] = [];
    const { redeliver } = it.world.host;
    it.world.host.redeliver = (date, signal) => {
      since.push(it.time.now - date.getTime());
      return redeliver(date, signal);
    };
    await it.advance(2 * MINUTE);
    it.world.fails = () => true;
    await it.advance(30 * MINUTE);
    it.world.fails = () => false;
    await it.advance(2 * MINUTE);
    expect(Math.max(...since)).toBeGreaterThan(35 * MINUTE);
    expect(since.at(-1)).toBeLessThan(8 * MINUTE);
  });
});
