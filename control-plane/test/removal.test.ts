import { must } from "@openfaas-cloud/shared/must.ts";
import { describe, expect, it, test } from "vitest";
import { Random } from "../../edge/test/goals/support/random.ts";
import { SEED, size } from "../../edge/test/goals/support/size.ts";
import { eventually } from "../../test/support/eventually.ts";
import { listDeployed } from "../src/ports/store/functions.ts";
import type { FunctionRow, RepositoryRow } from "../src/ports/store/schema.ts";
import { openDeployHead } from "../src/webhooks/deploy-head.ts";
import { type LinkedPlatform, openLinkedPlatform } from "./support/linked-platform.ts";
import { type HostedRepository, ScriptedHost } from "./support/linked-world.ts";
import { DAY, HOUR, type Outcome, RemovalWorld, type Snapshot } from "./support/removal-world.ts";

/** A platform where `alice/site` has the functions `hello` and `bye`, and `bob/site` has `hello`. */
async function open() {
  const platform = await openLinkedPlatform();
  const world = new ScriptedHost("github.com");
  const site = world.addRepository(world.addAccount("alice"), "site", ["bye", "hello"]);
  const other = world.addRepository(world.addAccount("bob"), "site", ["hello"]);
  await platform.lookAtHost(world);
  for (const repository of [site, other]) await platform.deploy(world, repository);
  const unlink = async (repository: HostedRepository) => {
    repository.isLinked = false;
    await platform.look(world, repository);
  };
  const link = async (repository: HostedRepository) => {
    repository.isLinked = true;
    await platform.look(world, repository);
  };
  return { ...platform, world, site, other, unlink, link };
}

function isRunning(it: LinkedPlatform, functionId: string): boolean {
  return [...it.running.values()].some((revision) => revision.functionId === functionId);
}

const rowsOf = (it: LinkedPlatform) =>
  it.store.selectFrom("functions").selectAll().orderBy("name").orderBy("id").execute();

describe("a repository that is not linked any more", () => {
  it("is not routed from that moment on, its replicas end, and it is nowhere shown as live", async () => {
    await using it = await open();
    const functions = await rowsOf(it);
    await it.unlink(it.site);
    expect(it.routed()).toEqual(["bob/hello"]);
    const repository = must(await it.find(it.world, it.site), "the repository");
    expect(await listDeployed(it.store, { repositoryId: repository.id })).toEqual([]);
    const gone = functions.filter(({ repository_id }) => repository_id === repository.id);
    await eventually("they end", () => gone.every(({ id }) => !isRunning(it, id)));
    expect(it.running.size).toBe(1);
    expect(await it.audited("function.unroute")).toEqual([
      "function.unroute alice/bye: not routed any more",
      "function.unroute alice/hello: not routed any more",
    ]);
  });

  it("has its runs cancelled, those that wait and those under way, with the reason", async () => {
    await using it = await open();
    const repository = must(await it.find(it.world, it.site), "the repository");
    const running = await it.startRun(repository, "1".repeat(40), ["hello"]);
    const waiting = await it.queue.enqueue({ ...running.run, branch: "other", trigger: "push" });
    await it.unlink(it.site);
    const find = (id: string) =>
      it.store.selectFrom("runs").selectAll().where("id", "=", id).executeTakeFirstOrThrow();
    const end = {
      state: "cancelled",
      reason: "The repository is not linked any more: The platform was taken off it.",
    };
    expect(await find(waiting.id)).toMatchObject(end);
    const { state, stop_reason } = await find(running.run.id);
    expect(state).toBe("running");
    expect(JSON.parse(must(stop_reason, "reason to stop"))).toMatchObject(end);
  });

  it("has the run that was cancelled done again when it is linked again, whoever finds that", async () => {
    await using it = await open();
    const deployHead = openDeployHead(it.queue);
    const look = async () => {
      const repository = must(await it.find(it.world, it.site), "the repository");
      const cause = { trigger: "reconcile", person: "github.com" } as const;
      return (await deployHead(it.world.host, repository, cause, new AbortController().signal)).kind;
    };
    it.site.pushes += 1;
    expect(await look()).toBe("enqueued");
    await it.unlink(it.site);
    await it.link(it.site);
    expect(await look()).toBe("enqueued");
    expect(await look()).toBe("nothing-new");
  });

  it("publishes nothing, however far its run was", async () => {
    await using it = await open();
    const repository = must(await it.find(it.world, it.site), "the repository");
    const run = await it.startRun(repository, "1".repeat(40), ["hello", "new"]);
    await it.unlink(it.site);
    expect(await run.finish()).toBe(
      "The repository is not linked any more: The platform was taken off it. Link it again to deploy.",
    );
    expect(it.routed()).toEqual(["bob/hello"]);
  });

  it("answers again as it did when it is linked again within the grace", async () => {
    await using it = await open();
    const before = await rowsOf(it);
    await it.unlink(it.site);
    it.time.now += 23 * HOUR;
    await it.removal.sweep();
    await it.link(it.site);
    expect(it.routed()).toEqual(["alice/bye", "alice/hello", "bob/hello"]);
    await eventually("they run", () => before.every(({ id }) => isRunning(it, id)));
    it.time.now += 48 * HOUR;
    await it.removal.sweep();
    expect(await rowsOf(it)).toEqual(before);
  });

  it("leaves nothing running that a run replaced which was planned before it was linked again", async () => {
    await using it = await open();
    await it.unlink(it.site);
    await eventually("its replicas end", () => it.running.size === 1);
    const repository = must(await it.find(it.world, it.site), "the repository");
    const run = await it.startRun(repository, "1".repeat(40), ["bye", "hello"]);
    await it.link(it.site);
    await eventually("they run again", async () => it.running.size === 3);
    expect(await run.finish()).toBeUndefined();
    await eventually("what was replaced ends", () => it.running.size === 3);
    const active = (await rowsOf(it)).map(({ active_revision_id }) => active_revision_id);
    expect([...it.running.keys()].toSorted()).toEqual(active.toSorted());
  });

  it("answers again when it is linked again before its replicas have ended", async () => {
    await using it = await open();
    for (let i = 0; i < 20; i++) {
      await it.unlink(it.site);
      await it.link(it.site);
    }
    // Retired after all of that, so that it ends after whatever of that was to end.
    await it.unlink(it.other);
    const functions = await rowsOf(it);
    const canary = must(
      functions.find(({ unrouted_at }) => unrouted_at !== null),
      "the canary",
    );
    await eventually("the canary ends", () => !isRunning(it, canary.id));
    expect(it.routed()).toEqual(["alice/bye", "alice/hello"]);
    expect(it.running.size).toBe(2);
  });

  it("is gone after the grace with its runs, logs, usage, artifacts and copy, and nothing else is", async () => {
    await using it = await open();
    const repository = must(await it.find(it.world, it.site), "the repository");
    const kept = must(await it.find(it.world, it.other), "the other repository");
    const functions = (await rowsOf(it)).filter(({ repository_id }) => repository_id === repository.id);
    const runs = await it.store
      .selectFrom("runs")
      .select("id")
      .where("repository_id", "=", repository.id)
      .execute();
    await it.unlink(it.site);
    it.time.now += 24 * HOUR - 1;
    await it.removal.sweep();
    expect(await rowsOf(it)).toHaveLength(3);
    it.time.now += 1;
    await it.removal.sweep();

    expect(await rowsOf(it)).toMatchObject([{ repository_id: kept.id, name: "hello", unrouted_at: null }]);
    expect(await it.store.selectFrom("repositories").select("id").execute()).toEqual([{ id: kept.id }]);
    const left = await it.store.selectFrom("runs").select("repository_id").execute();
    expect(left.map((run) => run.repository_id)).toEqual([kept.id]);
    const revisions = await it.store.selectFrom("revisions").select("artifact_digest").execute();
    expect(it.kept.at(-1)).toEqual(revisions.map((revision) => revision.artifact_digest));
    expect(revisions).toHaveLength(1);
    const gone = [...functions, ...runs].map(({ id }) => id);
    expect(it.removedLogs.toSorted()).toEqual(gone.toSorted());
    expect(it.forgotten).toEqual([repository.id]);
    expect(await it.audited("repository.delete")).toEqual([
      "repository.delete alice/site: deleted after the grace",
    ]);
    // The owner stays, so that nobody else ever gets its slug.
    expect(await it.store.selectFrom("owners").select("slug").orderBy("slug").execute()).toHaveLength(2);
  });

  it("begins anew when it is linked again after the grace", async () => {
    await using it = await open();
    await it.unlink(it.site);
    it.time.now += 24 * HOUR;
    await it.removal.sweep();
    await it.link(it.site);
    expect(it.routed()).toEqual(["bob/hello"]);
    expect(await it.deploy(it.world, it.site)).toBeUndefined();
    expect(it.routed()).toEqual(["alice/bye", "alice/hello", "bob/hello"]);
  });

  it("is not deleted while a run of it has not ended", async () => {
    await using it = await open();
    const repository = must(await it.find(it.world, it.site), "the repository");
    const run = await it.startRun(repository, "1".repeat(40), ["hello"]);
    await it.unlink(it.site);
    it.time.now += 25 * HOUR;
    await it.removal.sweep();
    expect(await it.find(it.world, it.site)).toBeDefined();
    await run.finish();
    await it.removal.sweep();
    expect(await it.find(it.world, it.site)).toBeUndefined();
  });

  it("is unrouted by the next sweep where the platform died before it could be", async () => {
    await using it = await open();
    const repository = must(await it.find(it.world, it.site), "the repository");
    await it.store
      .updateTable("repositories")
      .set({ unlinked_at: it.time.now, unlinked_reason: "It is gone." })
      .where("id", "=", repository.id)
      .execute();
    await it.removal.sweep();
    expect(it.routed()).toEqual(["bob/hello"]);
  });

  it("has replicas that the platform died before it could end, and the next sweep ends them", async () => {
    await using it = await open();
    const repository = must(await it.find(it.world, it.site), "the repository");
    await it.store
      .updateTable("repositories")
      .set({ unlinked_at: it.time.now, unlinked_reason: "It is gone." })
      .where("id", "=", repository.id)
      .execute();
    await it.store
      .updateTable("functions")
      .set({ unrouted_at: it.time.now })
      .where("repository_id", "=", repository.id)
      .execute();
    await it.removal.sweep();
    expect(it.routed()).toEqual(["bob/hello"]);
    await eventually("they end", () => it.running.size === 1);
  });
});

test("a function whose name went to another meanwhile stays without a route, and ends after its grace", async () => {
  await using it = await open();
  const alice = must(
    [...it.world.accounts.values()].find(({ login }) => login === "alice"),
    "alice",
  );
  await it.unlink(it.site);
  const rival = it.world.addRepository(alice, "rival", ["hello"]);
  await it.look(it.world, rival);
  expect(await it.deploy(it.world, rival)).toBeUndefined();
  await it.link(it.site);
  expect(it.routed()).toEqual(["alice/bye", "alice/hello", "bob/hello"]);
  const rivalId = must(await it.find(it.world, rival), "the rival").id;
  const holder = (await rowsOf(it)).find((row) => row.repository_id === rivalId);
  expect(holder).toMatchObject({ name: "hello", unrouted_at: null });
  it.time.now += 25 * HOUR;
  await it.removal.sweep();
  expect(await rowsOf(it)).toHaveLength(3);
  expect(it.routed()).toEqual(["alice/bye", "alice/hello", "bob/hello"]);
});

test("D27: function b-c of owner a and function c of owner a-b are two, and the end of one leaves the other", async () => {
  await using it = await openLinkedPlatform();
  const world = new ScriptedHost("github.com");
  const one = world.addRepository(world.addAccount("a"), "site", ["b-c"]);
  const other = world.addRepository(world.addAccount("a-b"), "site", ["c"]);
  await it.lookAtHost(world);
  for (const repository of [one, other]) await it.deploy(world, repository);
  expect(it.routed()).toEqual(["a-b/c", "a/b-c"]);
  const [b, a] = (await rowsOf(it)).toReversed();
  expect(must(a, "one").id).not.toBe(must(b, "other").id);
  one.isLinked = false;
  await it.look(world, one);
  expect(it.routed()).toEqual(["a-b/c"]);
  it.time.now += 24 * HOUR;
  await it.removal.sweep();
  const left = await rowsOf(it);
  expect(left).toMatchObject([{ name: "c", unrouted_at: null }]);
  expect(it.removedLogs).not.toContain(left[0]?.id);
  await eventually("one of them runs", () => it.running.size === 1);
  expect(isRunning(it, must(left[0], "what is left").id)).toBe(true);
});

const STEPS = size(10_000, 100_000);
const STEPS_OF_WORLD = 250;

describe("G27: in worlds with colliding names, hosts that fail and lie, and runs that race", () => {
  it(`nothing is deleted wrongly, nothing is left over, and the brake trips when due, for ${STEPS} steps`, {
    timeout: size(300_000, 3_600_000),
  }, async () => {
    const random = new Random(SEED);
    const seen = new Map<string, number>();
    for (let steps = 0; steps < STEPS; steps += STEPS_OF_WORLD) await liveThrough(random, seen);
    for (const what of ["deleted", "pruned", "held", "let go", "linked again", "refused", "failed"])
      expect(seen.get(what) ?? 0, `${what} of ${JSON.stringify([...seen])}`).toBeGreaterThan(5);
  });
});

/** One world from its beginning to its end. */
async function liveThrough(random: Random, seen: Map<string, number>): Promise<void> {
  await using it = await openLinkedPlatform(() => random.fraction());
  const worlds = new RemovalWorld(it, random);
  const count = (what: string, times = 1) => void seen.set(what, (seen.get(what) ?? 0) + times);
  for (let i = 0; i < STEPS_OF_WORLD; i++) {
    const before = await worlds.snapshot();
    const outcome = await worlds.step(before);
    const after = await worlds.snapshot();
    if (outcome.failed) count("failed");
    if (outcome.refused) count("refused");
    const faults = [
      ...deletedWrongly(before, after, outcome, it.time.now, count),
      ...unlinkedWrongly(before, after, worlds, count),
      ...brakedWrongly(before, after, outcome, count),
      ...routedWrongly(after, it),
      ...(outcome.swept ? leftOver(after, worlds, it.time.now) : []),
    ];
    if (faults.length > 0)
      expect.fail(`step ${i}, "${outcome.what}": ${faults.join("; ")}, GOAL_SEED=${SEED}`);
  }
  await worlds.settle();
  it.time.now += DAY;
  await it.removal.sweep();
  expect(leftOver(await worlds.snapshot(), worlds, it.time.now), `GOAL_SEED=${SEED}`).toEqual([]);
}

type Count = (what: string, times?: number) => void;

/** What is gone although neither a newer stack file lacks it nor it was without a route, or a link, for a day. */
function deletedWrongly(
  before: Snapshot,
  after: Snapshot,
  { swept, published }: Outcome,
  now: number,
  count: Count,
): string[] {
  const isOverdue = (at: number | null) => swept === true && at !== null && at <= now - DAY;
  const functions = [...before.functions.values()].filter(({ id }) => !after.functions.has(id));
  const repositories = [...before.repositories.values()].filter(({ id }) => !after.repositories.has(id));
  const isPruned = ({ repository_id, name }: FunctionRow) =>
    published?.repositoryId === repository_id && !published.names.includes(name);
  count("pruned", functions.filter(isPruned).length);
  count("deleted", functions.filter((row) => isOverdue(row.unrouted_at)).length);
  return [
    ...functions.filter((row) => !isPruned(row) && !isOverdue(row.unrouted_at)),
    ...repositories.filter((row) => !isOverdue(row.unlinked_at)),
  ].map(({ name }) => `${name} was deleted`);
}

function unlinkedWrongly(before: Snapshot, after: Snapshot, worlds: RemovalWorld, count: Count): string[] {
  for (const { id, unlinked_at } of before.repositories.values())
    if (unlinked_at !== null && after.repositories.get(id)?.unlinked_at === null) count("linked again");
  return unlinkedBy(before, after)
    .filter((row) => worlds.isThere(row))
    .map(({ name }) => `${name} was unlinked, and it is linked`);
}

/** What an operator was told of may go once confirmed; all else goes at once where it is not too much, and not where it is. */
function brakedWrongly(before: Snapshot, after: Snapshot, { due, failed }: Outcome, count: Count): string[] {
  if (due === undefined) return [];
  const isFresh = ({ id }: RepositoryRow) => !before.told.has(id);
  const went = unlinkedBy(before, after).filter(isFresh);
  const gone = due.gone.filter(isFresh);
  if (due.tooMuch) {
    if (gone.length > 0) count("held");
    return went.map(({ name }) => `${name} went with too much else`);
  }
  count("let go", went.length);
  if (failed) return [];
  return gone.filter((row) => !went.includes(row)).map(({ name }) => `${name} stayed`);
}

function unlinkedBy(before: Snapshot, after: Snapshot): RepositoryRow[] {
  return [...before.repositories.values()].filter(({ id, unlinked_at }) => {
    const now = after.repositories.get(id);
    return unlinked_at === null && now !== undefined && now.unlinked_at !== null;
  });
}

/** Routes are those of what is live, and nothing is live whose repository is not linked. */
function routedWrongly(after: Snapshot, it: LinkedPlatform): string[] {
  const live = [...after.functions.values()].filter(({ unrouted_at }) => unrouted_at === null);
  const routed = new Set<string>(it.routes.routes.map(({ functionId }) => functionId));
  return [
    ...live.filter(({ id }) => !routed.delete(id)).map(({ name }) => `${name} has no route`),
    ...[...routed].map((id) => `${after.functions.get(id)?.name ?? id} has a route`),
    ...live
      .filter(({ repository_id }) => after.repositories.get(repository_id)?.unlinked_at !== null)
      .map(({ name }) => `${name} is live, and its repository is not linked`),
  ];
}

/** What should have been deleted by now. */
function leftOver({ functions, repositories }: Snapshot, worlds: RemovalWorld, now: number): string[] {
  const isLate = (at: number | null) => at !== null && at <= now - DAY;
  return [
    ...[...functions.values()].filter((row) => isLate(row.unrouted_at)),
    ...[...repositories.values()].filter((row) => isLate(row.unlinked_at) && row.id !== worlds.runningFor),
  ].map(({ name }) => `${name} is left over`);
}
