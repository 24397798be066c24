import { must } from "@openfaas-cloud/shared/must.ts";
import { describe, expect, it } from "vitest";
import { Random } from "../../edge/test/goals/support/random.ts";
import { SEED, size } from "../../edge/test/goals/support/size.ts";
import { derivedId } from "../src/ids.ts";
import { HostUnavailable } from "../src/ports/source-host/host-errors.ts";
import { type LinkedPlatform, openLinkedPlatform } from "./support/linked-platform.ts";
import { type Account, type HostedRepository, installationOf, ScriptedHost } from "./support/linked-world.ts";

const HOUR = 60 * 60_000;
const NEVER = new AbortController().signal;

function github() {
  return new ScriptedHost("github.com");
}

/** An account with so many repositories of one function each, live. */
async function live(it: LinkedPlatform, world: ScriptedHost, login: string, count: number) {
  const account = world.addAccount(login);
  const repositories = Array.from({ length: count }, (_, i) =>
    world.addRepository(account, `site-${i}`, [`fn-${i}`]),
  );
  await it.lookAtHost(world);
  for (const repository of repositories) await it.deploy(world, repository);
  return { account, repositories, installation: installationOf(account.id) };
}

function lookAtInstallation(it: LinkedPlatform, world: ScriptedHost, { id }: Account) {
  return it.links.lookAtInstallation(world.host, installationOf(id), NEVER);
}

describe("a repository that is looked at", () => {
  it("is linked with its owner, and found again", async () => {
    await using it = await openLinkedPlatform();
    const world = github();
    const site = world.addRepository(world.addAccount("Alice"), "Site");
    expect(await it.look(world, site)).toMatchObject({
      kind: "linked",
      isNew: true,
      repository: { slug: "alice", name: "Site", full_name: "Alice/Site", default_branch: "main" },
    });
    expect(await it.look(world, site)).toMatchObject({ kind: "linked", isNew: false });
    expect(it.policy.ownersChanged).toBe(1);
    expect(await it.audited()).toEqual(["owner.enrol alice: enrolled", "repository.link alice/Site: linked"]);
  });

  it("of an owner that nobody enrolled is not linked, and says why", async () => {
    await using it = await openLinkedPlatform();
    const world = github();
    it.policy.isAllowed = async () => false;
    const site = world.addRepository(world.addAccount("mallory"), "site");
    expect(await it.look(world, site)).toEqual({ kind: "not-linked", reason: "mallory is not enrolled." });
    expect(await it.store.selectFrom("owners").selectAll().execute()).toEqual([]);
  });

  it("of one owner more than the platform can serve is not linked, and says why", async () => {
    await using it = await openLinkedPlatform();
    it.policy.refusal = "Without a sandbox the platform serves one owner only.";
    const world = github();
    const site = world.addRepository(world.addAccount("alice"), "site");
    expect(await it.look(world, site)).toEqual({ kind: "not-linked", reason: it.policy.refusal });
    expect(await it.store.selectFrom("owners").selectAll().execute()).toEqual([]);
  });

  it("stays as it is where the host gives no answer", async () => {
    await using it = await openLinkedPlatform();
    const world = github();
    const { repositories, account } = await live(it, world, "alice", 1);
    world.repositories.clear();
    world.fails = () => true;
    for (const looking of [
      () => it.look(world, must(repositories[0], "repository")),
      () => lookAtInstallation(it, world, account),
      () => it.lookAtHost(world),
    ])
      await expect(looking()).rejects.toBeInstanceOf(HostUnavailable);
    expect(it.routed()).toEqual(["alice/fn-0"]);
  });

  it("is not waited for longer than somebody wants to, where it is looked at already", async () => {
    await using it = await openLinkedPlatform();
    const world = github();
    const site = world.addRepository(world.addAccount("alice"), "site");
    const { promise: silence, resolve: end } = Promise.withResolvers<void>();
    world.meanwhile = () => silence;
    const slow = it.look(world, site);
    const impatient = it.links.look(world.host, world.keyOf(site), AbortSignal.timeout(20));
    await expect(impatient).rejects.toMatchObject({ name: "TimeoutError" });
    const patient = it.look(world, site);
    end();
    expect([await slow, await patient]).toMatchObject([{ isNew: true }, { isNew: false }]);
    expect(world.countOf("repository")).toBe(2);
  });

  it("stays as it is where it is not known whether its owner may deploy", async () => {
    await using it = await openLinkedPlatform();
    const world = github();
    const { repositories } = await live(it, world, "alice", 1);
    it.policy.isAllowed = () => Promise.reject(new Error("the list cannot be read"));
    await expect(it.look(world, must(repositories[0], "repository"))).rejects.toThrow(
      "the list cannot be read",
    );
    await expect(it.lookAtHost(world)).rejects.toThrow("the list cannot be read");
    expect(it.routed()).toEqual(["alice/fn-0"]);
  });

  it("is not routed any more, and not deleted, when its owner is not enrolled any more", async () => {
    await using it = await openLinkedPlatform();
    const world = github();
    const { repositories } = await live(it, world, "alice", 1);
    it.policy.isAllowed = async () => false;
    await it.look(world, must(repositories[0], "repository"));
    expect(it.routed()).toEqual([]);
    it.time.now += 23 * HOUR;
    await it.removal.sweep();
    it.policy.isAllowed = async () => true;
    expect(await it.look(world, must(repositories[0], "repository"))).toMatchObject({
      kind: "linked",
      isNew: true,
    });
    expect(it.routed()).toEqual(["alice/fn-0"]);
  });

  it("is not taken away by a late delivery that names the installation it was linked by before", async () => {
    await using it = await openLinkedPlatform();
    const world = github();
    const { repositories } = await live(it, world, "alice", 1);
    const site = must(repositories[0], "repository");
    const former = world.keyOf(site);
    site.ownerId = world.addAccount("bob").id;
    await it.look(world, site);
    await it.deploy(world, site);
    expect(await it.links.look(world.host, former, NEVER)).toMatchObject({
      kind: "linked",
      isNew: false,
      repository: { slug: "bob" },
    });
    expect(it.routed()).toEqual(["bob/fn-0"]);
    site.isLinked = false;
    expect(await it.links.look(world.host, former, NEVER)).toMatchObject({ kind: "not-linked" });
    expect(it.routed()).toEqual([]);
  });

  it("is not brought back by an answer to an older question", async () => {
    await using it = await openLinkedPlatform();
    const world = github();
    const { repositories } = await live(it, world, "alice", 2);
    const site = must(repositories[0], "repository");
    world.meanwhile = async (call) => {
      if (call !== "list") return;
      it.time.now += 1;
      site.isLinked = false;
      await it.look(world, site);
    };
    await it.lookAtHost(world);
    expect(it.routed()).toEqual(["alice/fn-1"]);
  });

  it("is not taken away by a list that was made before it was linked", async () => {
    await using it = await openLinkedPlatform();
    const world = github();
    const { account } = await live(it, world, "alice", 1);
    world.meanwhile = async (call) => {
      if (call !== "installation") return;
      it.time.now += 1;
      const later = world.addRepository(account, "later", ["later"]);
      await it.look(world, later);
      await it.deploy(world, later);
    };
    await lookAtInstallation(it, world, account);
    expect(it.routed()).toEqual(["alice/fn-0", "alice/later"]);
  });
});

describe("an owner", () => {
  it("who is renamed keeps slug and functions, and who takes the old login gets neither", async () => {
    await using it = await openLinkedPlatform();
    const world = github();
    const { account, repositories } = await live(it, world, "alice", 1);
    account.login = "alice-cooper";
    const squatted = world.addRepository(world.addAccount("alice"), "site-0", ["fn-0"]);
    expect(await it.look(world, squatted)).toMatchObject({ repository: { slug: "alice-github" } });
    await it.deploy(world, squatted);
    expect(await it.look(world, must(repositories[0], "repository"))).toMatchObject({
      isNew: false,
      repository: { slug: "alice", full_name: "alice-cooper/site-0" },
    });
    expect(it.routed()).toEqual(["alice-github/fn-0", "alice/fn-0"]);
    expect(await it.audited("owner.change")).toEqual(["owner.change alice: changed at its host"]);
  });

  it("is another than the one of the same login at another host", async () => {
    await using it = await openLinkedPlatform();
    const worlds = [github(), new ScriptedHost("gitlab.example.com")];
    for (const world of worlds) await live(it, world, "alice", 1);
    expect(it.routed()).toEqual(["alice-gitlab/fn-0", "alice/fn-0"]);
  });
});

describe("a repository", () => {
  it("that is renamed keeps its functions, and so do two that swap their names", async () => {
    await using it = await openLinkedPlatform();
    const world = github();
    const { repositories } = await live(it, world, "alice", 2);
    const [one, other] = [must(repositories[0], "repository"), must(repositories[1], "repository")];
    one.name = "site-1";
    other.name = "site-0";
    expect(await it.look(world, one)).toMatchObject({ isNew: false, repository: { name: "site-1" } });
    expect(await it.look(world, other)).toMatchObject({ isNew: false, repository: { name: "site-0" } });
    expect(it.routed()).toEqual(["alice/fn-0", "alice/fn-1"]);
  });

  it("that is transferred begins anew with its owner, and what it was is not routed any more", async () => {
    await using it = await openLinkedPlatform();
    const world = github();
    const { repositories } = await live(it, world, "alice", 2);
    const moved = must(repositories[0], "repository");
    moved.ownerId = world.addAccount("bob").id;
    expect(await it.look(world, moved)).toMatchObject({ isNew: true, repository: { slug: "bob" } });
    expect(it.routed()).toEqual(["alice/fn-1"]);
    await it.deploy(world, moved);
    expect(it.routed()).toEqual(["alice/fn-1", "bob/fn-0"]);
    expect(await it.audited("repository.unlink")).toEqual([
      "repository.unlink alice/site-0: transferred to bob/site-0",
    ]);
  });

  it("that is deleted and made again under its name takes over the names of its functions", async () => {
    await using it = await openLinkedPlatform();
    const world = github();
    const { account, repositories } = await live(it, world, "alice", 1);
    const gone = must(repositories[0], "repository");
    world.repositories.delete(gone.id);
    await it.look(world, gone);
    const again = world.addRepository(account, "site-0", ["fn-0"]);
    await it.look(world, again);
    expect(await it.deploy(world, again)).toBeUndefined();
    expect(it.routed()).toEqual(["alice/fn-0"]);
    it.time.now += 25 * HOUR;
    await it.removal.sweep();
    expect(it.routed()).toEqual(["alice/fn-0"]);
    expect(await it.find(world, gone)).toBeUndefined();
  });
});

describe("what a list of the host lacks", () => {
  it("stays where the host still has it by its id", async () => {
    await using it = await openLinkedPlatform();
    const world = github();
    const { repositories } = await live(it, world, "alice", 8);
    for (const { id } of repositories) world.unlisted.add(id);
    expect(await it.lookAtHost(world)).toHaveLength(8);
    expect(it.routed()).toHaveLength(8);
  });

  it("goes where the host says so by its id", async () => {
    await using it = await openLinkedPlatform();
    const world = github();
    const { repositories } = await live(it, world, "alice", 3);
    must(repositories[1], "repository").isLinked = false;
    expect(await it.lookAtHost(world)).toHaveLength(2);
    expect(it.routed()).toEqual(["alice/fn-0", "alice/fn-2"]);
  });

  it("stays where the host does not answer for it, and what it answers for goes", async () => {
    await using it = await openLinkedPlatform();
    const world = github();
    const { repositories } = await live(it, world, "alice", 3);
    const [silent, gone] = [must(repositories[0], "repository"), must(repositories[1], "repository")];
    for (const one of [silent, gone]) one.isLinked = false;
    world.fails = (call, of) => call === "repository" && of === silent.id;
    // In any order: sooner or later the one that is answered for is asked for first.
    for (let i = 0; i < 50 && it.routed().length === 3; i++)
      await expect(it.lookAtHost(world)).rejects.toBeInstanceOf(HostUnavailable);
    expect(it.routed()).toEqual(["alice/fn-0", "alice/fn-2"]);
  });
});

describe("the brake", () => {
  it("keeps a host that forgets more than half from taking it away, until an operator confirms", async () => {
    await using it = await openLinkedPlatform();
    const world = github();
    const { repositories } = await live(it, world, "alice", 10);
    for (const { id } of repositories.slice(0, 6)) world.denied.add(id);
    for (let i = 0; i < 3; i++) {
      it.time.now += 24 * HOUR;
      await it.lookAtHost(world);
      await it.removal.sweep();
    }
    expect(it.routed()).toHaveLength(10);
    const [held, ...more] = await it.brake.list();
    expect(more).toEqual([]);
    expect(held).toMatchObject({ instance: "github.com", functions: 6, confirmedAt: undefined });
    expect(held?.repositories).toHaveLength(6);
    expect(await it.audited("removal.hold")).toHaveLength(1);

    const byOperator = { subject: "local", address: undefined };
    expect(await it.brake.confirm("another", byOperator)).toBe(false);
    expect(await it.brake.confirm(must(held, "what is held").id, byOperator)).toBe(true);
    expect(await it.brake.confirm(must(held, "what is held").id, byOperator)).toBe(false);
    await it.lookAtHost(world);
    expect(it.routed()).toHaveLength(4);
    await it.lookAtHost(world);
    expect(await it.brake.list()).toEqual([]);
  });

  it("is not taken away one by one by deliveries while it is held back", async () => {
    await using it = await openLinkedPlatform();
    const world = github();
    const { repositories } = await live(it, world, "alice", 8);
    for (const { id } of repositories) world.denied.add(id);
    for (const { id } of repositories) world.unlisted.add(id);
    await it.lookAtHost(world);
    for (const repository of repositories)
      expect(await it.look(world, repository)).toMatchObject({
        kind: "not-linked",
        reason: expect.stringContaining("until an operator confirms"),
      });
    expect(it.routed()).toHaveLength(8);
  });

  it("is not gone round by pushes, of which none says that anything went", async () => {
    await using it = await openLinkedPlatform();
    const world = github();
    const { repositories } = await live(it, world, "alice", 8);
    for (const { id } of repositories) world.denied.add(id);
    for (const repository of repositories)
      expect(await it.look(world, repository, "pushed")).toMatchObject({ kind: "not-linked" });
    expect(it.routed()).toHaveLength(8);
    await it.lookAtHost(world);
    expect(it.routed()).toHaveLength(8);
    expect(await it.brake.list()).toHaveLength(1);
  });

  it("is let go by a host that remembers, and what was confirmed counts for nothing else", async () => {
    await using it = await openLinkedPlatform();
    const world = github();
    const { repositories } = await live(it, world, "alice", 10);
    for (const { id } of repositories.slice(0, 6)) world.denied.add(id);
    await it.lookAtHost(world);
    const [held] = await it.brake.list();
    await it.brake.confirm(must(held, "what is held").id, { subject: "local", address: undefined });
    world.denied.clear();
    await it.lookAtHost(world);
    expect(await it.brake.list()).toEqual([]);
    for (const { id } of repositories.slice(0, 7)) world.denied.add(id);
    await it.lookAtHost(world);
    expect(it.routed()).toHaveLength(10);
  });

  it("notices a host that forgets bit by bit", async () => {
    await using it = await openLinkedPlatform();
    const world = github();
    const { repositories } = await live(it, world, "alice", 12);
    for (const { id } of repositories) {
      world.denied.add(id);
      it.time.now += 60_000;
      await it.lookAtHost(world);
    }
    expect(it.routed()).toHaveLength(6);
  });

  it("counts what is not answered for any more, so that a host that dies on the way takes nothing either", async () => {
    await using it = await openLinkedPlatform();
    const world = github();
    const { repositories } = await live(it, world, "alice", 10);
    for (const { id } of repositories) world.denied.add(id);
    let answers = 3;
    world.fails = (call) => call === "repository" && answers-- <= 0;
    await expect(it.lookAtHost(world)).rejects.toBeInstanceOf(HostUnavailable);
    expect(it.routed()).toHaveLength(10);
  });

  it("leaves a person's own act on one repository alone, and what an owner of few functions takes back", async () => {
    await using it = await openLinkedPlatform();
    const world = github();
    const alice = await live(it, world, "alice", 8);
    const bob = await live(it, world, "bob", 5);
    // More than a few repositories, with nothing of theirs live.
    for (let i = 0; i < 3; i++) bob.repositories.push(world.addRepository(bob.account, `empty-${i}`));
    await it.lookAtHost(world);
    for (const repository of alice.repositories) {
      repository.isLinked = false;
      await it.look(world, repository);
    }
    expect(it.routed()).toHaveLength(5);
    for (const repository of bob.repositories) repository.isLinked = false;
    await lookAtInstallation(it, world, bob.account);
    expect(it.routed()).toEqual([]);
    expect(await it.brake.list()).toEqual([]);
  });

  it("lets an installation of many functions go at a second reading, half an hour later", async () => {
    await using it = await openLinkedPlatform();
    const world = github();
    await live(it, world, "bob", 20);
    const { account, repositories } = await live(it, world, "alice", 6);
    for (const repository of repositories) repository.isLinked = false;
    await lookAtInstallation(it, world, account);
    await it.lookAtHost(world);
    expect(it.routed()).toHaveLength(26);
    it.time.now += 29 * 60_000;
    await it.lookAtHost(world);
    expect(it.routed()).toHaveLength(26);
    it.time.now += 60_000;
    await it.lookAtHost(world);
    expect(it.routed()).toHaveLength(20);
  });
});

const STEPS = size(10_000, 100_000);
const LOGINS = ["alice", "Alice", "ALICE", "bob", "alice-gitlab", "a", "a-b", "admin", "été"];
const NAMES = ["site", "Site", "api", "b-c", "c"];
const FUNCTIONS = ["hello", "b-c", "c", "api"];

describe("G25: in a world of two hosts where everything is renamed, reused and moved", () => {
  it(`functions follow the id and squatters get nothing, for ${STEPS} steps`, {
    timeout: size(300_000, 3_600_000),
  }, async () => {
    const random = new Random(SEED);
    await using it = await openLinkedPlatform(() => random.fraction());
    const about = `GOAL_SEED=${SEED}`;
    const worlds = [github(), new ScriptedHost("gitlab.example.com")];
    /** Who deployed a function, by its id. */
    const accountOf = new Map<string, string>();
    const slugOf = new Map<string, string>();
    const account = (world: ScriptedHost, id: string) => `${world.instance} ${id}`;

    const deploy = async (world: ScriptedHost, hosted: HostedRepository) => {
      const row = await it.find(world, hosted);
      if (!row || row.unlinked_at !== null) return;
      const owner = await it.store
        .selectFrom("owners")
        .select("source_owner_id")
        .where("id", "=", row.owner_id)
        .executeTakeFirstOrThrow();
      hosted.pushes += 1;
      hosted.functions = random.shuffled(FUNCTIONS).slice(0, random.between(1, 3));
      await it.deploy(world, hosted);
      for (const name of hosted.functions)
        accountOf.set(derivedId(row.owner_id, row.id, name), account(world, owner.source_owner_id));
    };

    /** Each route leads to a function of the account whose slug it has; a slug has had one account ever. */
    const check = async (step: string) => {
      for (const route of it.routes.routes) {
        const whose = accountOf.get(route.functionId) ?? "nobody";
        const slug = slugOf.get(whose);
        if (slug === undefined || slug !== route.owner)
          expect.fail(`after ${step}: ${route.owner}/${route.function} is of ${whose} (${slug}), ${about}`);
      }
    };
    const learnSlugs = async (step: string) => {
      for (const { source_host, source_owner_id, slug } of await it.store
        .selectFrom("owners")
        .selectAll()
        .execute()) {
        const key = `${source_host} ${source_owner_id}`;
        if ((slugOf.get(key) ?? slug) !== slug)
          expect.fail(`after ${step}: ${key} was ${slugOf.get(key)} and is ${slug}, ${about}`);
        slugOf.set(key, slug);
      }
      if (new Set(slugOf.values()).size !== slugOf.size)
        expect.fail(`after ${step}: a slug has two owners, ${about}`);
    };

    /** All is linked as the hosts have it, under the account that owns it there. */
    const converge = async () => {
      for (const world of worlds) {
        await it.lookAtHost(world);
        for (const { id } of await it.brake.list())
          await it.brake.confirm(id, { subject: "local", address: undefined });
        await it.lookAtHost(world);
        for (const hosted of world.repositories.values()) {
          const row = await it.find(world, hosted);
          const isLinked = row !== undefined && row.unlinked_at === null;
          if (isLinked !== hosted.isLinked)
            expect.fail(`${world.instance} ${hosted.id} is linked: ${isLinked}, ${about}`);
          if (!isLinked) continue;
          const owner = must(world.accounts.get(hosted.ownerId), "its owner");
          expect(row, about).toMatchObject({
            name: hosted.name,
            full_name: `${owner.login}/${hosted.name}`,
            slug: slugOf.get(account(world, owner.id)) ?? row.slug,
          });
        }
      }
    };

    let enrolled = 0;
    for (let i = 0; i < STEPS; i++) {
      const world = random.pick(worlds);
      const { kind, changed } = happen(world, random);
      for (const hosted of changed) if (random.chance(0.6)) await it.look(world, hosted);
      const all = [...world.repositories.values()];
      if (all.length > 0 && random.chance(0.12)) await deploy(world, random.pick(all));
      if (random.chance(0.05)) await it.lookAtHost(world);
      if (random.chance(0.02)) it.time.now += random.between(1, 20) * HOUR;
      if (random.chance(0.02)) await it.removal.sweep();
      if (it.policy.ownersChanged !== enrolled || i % 50 === 0) await learnSlugs(kind);
      enrolled = it.policy.ownersChanged;
      await check(`step ${i}, ${kind}`);
      if (i % 100 === 99) await converge();
    }
    expect(slugOf.size).toBeGreaterThan(50);
    expect(accountOf.size).toBeGreaterThan(300);
  });
});

/** Something that happens at a host. @returns what, and the repositories that a delivery would be about. */
function happen(world: ScriptedHost, random: Random): { kind: string; changed: HostedRepository[] } {
  const accounts = [...world.accounts.values()];
  const repositories = [...world.repositories.values()];
  const isFree = (login: string) =>
    accounts.every((account) => account.login.toLowerCase() !== login.toLowerCase());
  const nameFor = (ownerId: string) =>
    random
      .shuffled(NAMES)
      .find((name) => repositories.every((one) => one.ownerId !== ownerId || one.name !== name));
  const one = repositories.length > 0 ? random.pick(repositories) : undefined;
  const who = accounts.length > 0 ? random.pick(accounts) : undefined;
  const ofWho = repositories.filter(({ ownerId }) => ownerId === who?.id);
  const login = random.pick(LOGINS);
  switch (random.between(0, 11)) {
    case 0:
      if (accounts.length < 5 && isFree(login)) world.addAccount(login);
      return { kind: "an account is made", changed: [] };
    case 1:
      if (who && isFree(login)) who.login = login;
      return { kind: "an account is renamed", changed: random.shuffled(ofWho).slice(0, 1) };
    case 2:
      if (who) who.login = random.chance(0.5) ? who.login.toUpperCase() : who.login.toLowerCase();
      return { kind: "an account changes its case", changed: ofWho.slice(0, 1) };
    case 3:
      if (who && accounts.length > 2) {
        world.accounts.delete(who.id);
        for (const { id } of ofWho) world.repositories.delete(id);
        return { kind: "an account is deleted", changed: ofWho };
      }
      return { kind: "nothing", changed: [] };
    case 4:
    case 5: {
      const name = who && nameFor(who.id);
      if (!who || name === undefined || repositories.length > 10) return { kind: "nothing", changed: [] };
      return { kind: "a repository is made", changed: [world.addRepository(who, name)] };
    }
    case 6: {
      const name = one && nameFor(one.ownerId);
      if (one && name !== undefined) one.name = name;
      return { kind: "a repository is renamed", changed: one ? [one] : [] };
    }
    case 7: {
      const other = ofWho[1];
      const first = ofWho[0];
      if (!first || !other) return { kind: "nothing", changed: [] };
      [first.name, other.name] = [other.name, first.name];
      return { kind: "two repositories swap their names", changed: [first, other] };
    }
    case 8: {
      const name = who && nameFor(who.id);
      if (one && who && name !== undefined) Object.assign(one, { ownerId: who.id, name });
      return { kind: "a repository is transferred", changed: one ? [one] : [] };
    }
    case 9:
      if (one) one.isLinked = !one.isLinked;
      return { kind: "a repository is linked or unlinked", changed: one ? [one] : [] };
    default:
      if (one && random.chance(0.3)) world.repositories.delete(one.id);
      return { kind: "a repository is deleted", changed: one ? [one] : [] };
  }
}
