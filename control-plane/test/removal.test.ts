import { must } from "@openfaas-cloud/shared/must.ts";
import { describe, expect, it, test } from "vitest";
import { Random } from "../../edge/test/goals/support/random.ts";
import { SEED, size } from "../../edge/test/goals/support/size.ts";
import { eventually } from "../../test/support/eventually.ts";
import { listDeployed } from "../src/ports/store/functions.ts";
import type { FunctionRow, RepositoryRow } from "../src/ports/store/schema.ts";
import { type LinkedPlatform, openLinkedPlatform } from "./support/linked-platform.ts";
import { type HostedRepository, installationOf, ScriptedHost } from "./support/scripted-host.ts";

const HOUR = 60 * 60_000;
const NEVER = new AbortController().signal;

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
const DAY = 24 * HOUR;
const FUNCTIONS = ["hello", "b-c", "c", "api"];
/** As in SECURITY.md: more than five and more than half, within an hour. */
const isTooMuch = (going: number, all: number) => going > 5 && going > all / 2;

interface RunUnderWay {
  readonly repositoryId: string;
  /** What its stack file names. */
  readonly kept: readonly string[];
  readonly finish: () => Promise<string | undefined>;
}

interface Snapshot {
  readonly functions: ReadonlyMap<string, FunctionRow>;
  readonly repositories: ReadonlyMap<string, RepositoryRow>;
}

describe("G27: in worlds with colliding names, hosts that fail and lie, and runs that race", () => {
  it(`nothing is deleted wrongly, nothing is left over, and the brake trips when due, for ${STEPS} steps`, {
    timeout: 300_000,
  }, async () => {
    const random = new Random(SEED);
    const seen = new Map<string, number>();
    let left = STEPS;
    while (left > 0) left -= await livingThrough(Math.min(left, 250), random, seen);
    for (const what of ["deleted", "held", "routed again", "refused run", "failed reading", "let go"])
      expect(seen.get(what) ?? 0, `${what} in ${JSON.stringify([...seen])}`).toBeGreaterThan(5);
  });
});

/** One world from its beginning. @returns how many steps. */
async function livingThrough(steps: number, random: Random, seen: Map<string, number>): Promise<number> {
  await using it = await openLinkedPlatform(() => random.fraction());
  const world = new ScriptedHost("github.com", () => it.time.now);
  const accounts = ["a", "a-b", "alice"].map((login) => world.addAccount(login));
  let isAllowed = true;
  it.policy.isAllowed = async () => isAllowed;
  let pending: RunUnderWay | undefined;
  const count = (what: string, times = 1) => void seen.set(what, (seen.get(what) ?? 0) + times);
  const size = random.between(4, 16);
  for (let i = 0; i < size; i++) {
    const hosted = world.addRepository(random.pick(accounts), random.pick(["site", "Site", "api"]) + i, []);
    hosted.functions = random.shuffled(FUNCTIONS).slice(0, random.between(1, 4));
  }

  const snapshot = async (): Promise<Snapshot> => ({
    functions: new Map(
      (await it.store.selectFrom("functions").selectAll().execute()).map((row) => [row.id, row]),
    ),
    repositories: new Map(
      (await it.store.selectFrom("repositories").selectAll().execute()).map((row) => [row.id, row]),
    ),
  });
  const isThere = (hosted: HostedRepository | undefined): hosted is HostedRepository =>
    hosted?.isLinked === true && !world.denied.has(hosted.id) && isAllowed;
  const hostedOf = (row: RepositoryRow) => world.repositories.get(row.source_id ?? "");
  const pickRow = (state: Snapshot) => {
    const rows = [...state.repositories.values()].filter((row) => row.source_id !== null);
    return rows.length > 0 ? random.pick(rows) : undefined;
  };
  const start = async (row: RepositoryRow, names: readonly string[]) => {
    const slug = must(
      await it.store.selectFrom("owners").select("slug").where("id", "=", row.owner_id).executeTakeFirst(),
      "owner",
    );
    count("run");
    return it.startRun({ ...row, ...slug }, random.word(40).replaceAll(/[^0-9a-f]/g, "0"), names);
  };
  /** What a reading of all, or of an installation, says is gone, and whether that is too much. */
  const due = (state: Snapshot, held: ReadonlySet<string>, installation?: string) => {
    const isListed = ({ id }: HostedRepository) => installation !== undefined || !world.unlisted.has(id);
    const isWithin = (of: string | null) => installation === undefined || of === installation;
    const rows = [...state.repositories.values()].filter((row) => isWithin(row.installation));
    const staying = rows.filter((row) => {
      const hosted = hostedOf(row);
      // Nobody asks again for what is held back: it is back when it is listed.
      const isAskedFor = row.unlinked_at === null && !held.has(row.id);
      return isThere(hosted) && (isAskedFor || isListed(hosted));
    });
    const going = rows.filter(
      (row) =>
        !staying.includes(row) &&
        row.source_id !== null &&
        (row.unlinked_at === null || row.unlinked_at > it.time.now - HOUR),
    );
    const known = new Set(rows.map(({ source_id }) => source_id));
    const newcomers = [...world.repositories.values()].filter(
      (one) => !known.has(one.id) && isThere(one) && isListed(one) && isWithin(installationOf(one.ownerId)),
    );
    const functionsOf = (some: readonly RepositoryRow[]) =>
      [...state.functions.values()].filter((one) => some.some(({ id }) => id === one.repository_id)).length;
    return {
      gone: going.filter((row) => row.unlinked_at === null),
      tooMuch:
        isTooMuch(going.length, going.length + staying.length + newcomers.length) ||
        isTooMuch(functionsOf(going), functionsOf(going) + functionsOf(staying)),
    };
  };

  for (let step = 0; step < steps; step++) {
    const before = await snapshot();
    const held = await it.brake.heldAt(world.instance);
    const wasHeld = new Set(
      (await it.brake.list()).flatMap(({ repositories }) =>
        repositories.map(({ repositoryId }) => repositoryId),
      ),
    );
    const row = pickRow(before);
    const hosted = row && hostedOf(row);
    const any = random.pick([...world.repositories.values(), ...(hosted ? [hosted] : [])]);
    /** Functions that this step may delete since a newer stack file lacks them. */
    let mayPrune: RunUnderWay | undefined;
    /** Of what this step may find gone all at once. */
    let reading: ReturnType<typeof due> | undefined;
    let failed = false;
    let what: string;
    switch (random.between(0, 16)) {
      case 0:
        what = "is unlinked or linked";
        any.isLinked = !any.isLinked;
        break;
      case 1:
        what = "many are unlinked or linked";
        for (const one of world.repositories.values())
          if (random.chance(0.7)) one.isLinked = random.chance(0.3);
        break;
      case 2:
        what = "the host denies";
        if (random.chance(0.5)) world.denied.clear();
        else for (const { id } of world.repositories.values()) if (random.chance(0.6)) world.denied.add(id);
        break;
      case 3:
        what = "the list lacks some";
        world.unlisted.clear();
        for (const { id } of world.repositories.values()) if (random.chance(0.3)) world.unlisted.add(id);
        break;
      case 4:
        what = "the host fails, or not";
        {
          const kinds = random
            .shuffled(["list", "repository", "installation"])
            .slice(0, random.between(0, 3));
          const part = random.fraction();
          world.fails = (call) => kinds.includes(call) && random.chance(part);
        }
        break;
      case 5:
        what = "the operator's list changes";
        isAllowed = random.chance(0.8);
        break;
      case 6: {
        what = "everything is well, and read";
        world.fails = () => false;
        world.denied.clear();
        world.unlisted.clear();
        isAllowed = true;
        for (const one of world.repositories.values()) one.isLinked = true;
        await it.lookAtHost(world);
        break;
      }
      case 7:
        what = "time goes on";
        it.time.now += random.pick([HOUR / 60, HOUR / 2, 5 * HOUR, 13 * HOUR]);
        break;
      case 8:
        what = "an operator confirms";
        for (const { id } of await it.brake.list())
          if (random.chance(0.5)) await it.brake.confirm(id, { subject: "local", address: undefined });
        break;
      case 9:
        what = "sweep";
        await it.removal.sweep();
        break;
      case 10:
      case 11:
        what = "look";
        try {
          await it.look(world, any);
        } catch {
          failed = true;
        }
        break;
      case 12: {
        what = "look at the host";
        reading = due(before, held);
        try {
          await it.lookAtHost(world);
        } catch {
          failed = true;
        }
        break;
      }
      case 13: {
        what = "look at an installation";
        const installation = installationOf(random.pick(accounts).id);
        reading = due(before, held, installation);
        const owners = new Set(reading.gone.map(({ owner_id }) => owner_id));
        const routed = [...before.functions.values()].filter(
          (one) => owners.has(one.owner_id) && one.unrouted_at === null,
        );
        const isRemoved = reading.gone.length > 0 && routed.length <= 5;
        try {
          const looked = await it.links.lookAtInstallation(world.host, installation, NEVER);
          // The host says `removed` where nothing of it is linked; then a few functions may go at once.
          if (isRemoved && !looked.some(({ kind }) => kind === "linked")) reading = undefined;
        } catch {
          failed = true;
        }
        break;
      }
      case 14:
        what = "a run begins";
        if (!pending && row && row.unlinked_at === null && hosted) {
          hosted.functions = random.shuffled(FUNCTIONS).slice(0, random.between(1, 4));
          const kept = hosted.functions;
          const { finish } = await start(row, kept);
          pending = { repositoryId: row.id, kept, finish };
        }
        break;
      default:
        what = "the run ends";
        if (pending) {
          if ((await pending.finish()) === undefined) mayPrune = pending;
          else count("refused run");
          pending = undefined;
        }
    }
    count(what);
    if (failed) count("failed reading");
    check(before, await snapshot(), what, mayPrune, reading, wasHeld, failed);
  }
  if (pending) await pending.finish();
  world.fails = () => false;
  await it.lookAtHost(world);
  it.time.now += DAY;
  await it.removal.sweep();
  const end = await snapshot();
  expect(leftOver(end), `at the end, GOAL_SEED=${SEED}`).toEqual([]);
  return steps;

  function check(
    before: Snapshot,
    after: Snapshot,
    what: string,
    mayPrune: RunUnderWay | undefined,
    reading: ReturnType<typeof due> | undefined,
    wasHeld: ReadonlySet<string>,
    failed: boolean,
  ): void {
    const about = `by "${what}", GOAL_SEED=${SEED}`;
    const cutoff = it.time.now - DAY;
    for (const [id, row] of before.functions) {
      if (after.functions.has(id)) continue;
      const isPruned = mayPrune?.repositoryId === row.repository_id && !mayPrune.kept.includes(row.name);
      const isOverdue = what === "sweep" && row.unrouted_at !== null && row.unrouted_at <= cutoff;
      if (!isPruned && !isOverdue) expect.fail(`${row.name} was deleted ${about}`);
      count("deleted");
    }
    const unlinked: RepositoryRow[] = [];
    for (const [id, row] of before.repositories) {
      const now = after.repositories.get(id);
      if (now === undefined) {
        const isOverdue = row.unlinked_at !== null && row.unlinked_at <= cutoff;
        if (what !== "sweep" || !isOverdue) expect.fail(`the repository ${row.name} was deleted ${about}`);
        continue;
      }
      if (row.unlinked_at !== null && now.unlinked_at === null) count("routed again");
      if (row.unlinked_at !== null || now.unlinked_at === null) continue;
      unlinked.push(row);
      if (isThere(hostedOf(row))) expect.fail(`${row.name} was unlinked although it is linked ${about}`);
    }
    if (reading) checkBrake(reading, unlinked, after, wasHeld, failed, about);
    if (what === "sweep" && leftOver(after).length > 0)
      expect.fail(`left over: ${leftOver(after).join()} ${about}`);
    const live = [...after.functions.values()].filter(({ unrouted_at }) => unrouted_at === null);
    expect(it.routes.routes.map(({ functionId }) => functionId).toSorted(), about).toEqual(
      live.map(({ id }) => id).toSorted(),
    );
    for (const { repository_id, name } of live)
      if (after.repositories.get(repository_id)?.unlinked_at !== null)
        expect.fail(`${name} is routed although its repository is not linked ${about}`);
  }

  function checkBrake(
    { gone, tooMuch }: ReturnType<typeof due>,
    unlinked: readonly RepositoryRow[],
    after: Snapshot,
    wasHeld: ReadonlySet<string>,
    failed: boolean,
    about: string,
  ): void {
    const fresh = unlinked.filter(({ id }) => !wasHeld.has(id));
    if (tooMuch && fresh.length > 0) expect.fail(`${fresh.length} of ${gone.length} went at once ${about}`);
    if (tooMuch && gone.some(({ id }) => !wasHeld.has(id))) count("held");
    if (tooMuch || failed) return;
    count("let go", fresh.length);
    const stayed = gone.filter(
      ({ id }) => !wasHeld.has(id) && after.repositories.get(id)?.unlinked_at === null,
    );
    if (stayed.length > 0) expect.fail(`${stayed.map(({ name }) => name).join()} stayed ${about}`);
  }

  /** What should have been deleted by now. */
  function leftOver({ functions, repositories }: Snapshot): string[] {
    const cutoff = it.time.now - DAY;
    const waits = pending?.repositoryId;
    const late = (at: number | null) => at !== null && at <= cutoff;
    return [
      ...[...functions.values()].filter((row) => late(row.unrouted_at)),
      ...[...repositories.values()].filter((row) => late(row.unlinked_at) && row.id !== waits),
    ].map(({ name }) => name);
  }
}
