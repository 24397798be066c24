import { createHash, randomBytes } from "node:crypto";
import { must } from "@openfaas-cloud/shared/must.ts";
import { describe, expect, test } from "vitest";
import { HostUnavailable } from "../src/ports/source-host/host-errors.ts";
import type { Delivery, RawDelivery, RemoteHost } from "../src/ports/source-host/remote-host.ts";
import {
  type FakeRepository,
  type RemoteHostUnderTest,
  remoteHostContract,
} from "./contracts/remote-host.ts";
import { PLATFORM, startCloud, startDataCenter } from "./support/bitbucket-under-test.ts";
import { FakeBitbucketCloud } from "./support/fake-bitbucket-cloud.ts";
import { change } from "./support/fake-bitbucket-data-center.ts";

const signal = () => new AbortController().signal;

/** What the host makes of a delivery that it takes for authentic. */
async function understand(host: RemoteHost, delivery: RawDelivery): Promise<Delivery> {
  const verdict = await host.verify(delivery);
  if (verdict.kind !== "authentic") throw new Error(verdict.reason);
  return host.parse(verdict.event, delivery.body.toString());
}

/** With which credential git came for a repository. */
async function accessOfClone({ host, fake }: RemoteHostUnderTest, { ref, commit }: FakeRepository) {
  const held = fake.holdGit();
  const fetched = host.fetchCommit(ref, commit, { log: { write: () => undefined }, signal: signal() });
  const access = await Promise.race([held.arrived, fetched.then(() => undefined)]);
  held.release();
  await fetched;
  return access;
}

async function signIn({ host, fake }: RemoteHostUnderTest) {
  const provider = must(host.signIn, "a way to sign in");
  const codeVerifier = randomBytes(32).toString("base64url");
  const codeChallenge = createHash("sha256").update(codeVerifier).digest("base64url");
  const { redirectUri } = PLATFORM;
  const { code } = await fake.consent(provider.authorizeUrl({ state: "state", codeChallenge, redirectUri }));
  const { identity, grant } = await provider.exchange({ code, codeVerifier, redirectUri }, signal());
  return { provider, identity, grant };
}

describe("Bitbucket Cloud", () => {
  remoteHostContract(startCloud);

  describe("deliveries", () => {
    test("tell every branch that a push moved, made and closed, and no tag", async () => {
      await using it = await startCloud();
      const { key, before, commit } = it.linked;
      const changes = await Promise.all([
        it.fake.change(key, { before, commit }),
        it.fake.change(key, { name: "feature/new", commit }),
        it.fake.change(key, { name: "old", before }),
        it.fake.change(key, { type: "tag", name: "v1", commit }),
        it.fake.change(key, { name: "not a plain name", commit }),
      ]);
      const push = { kind: "push", repository: key, pusher: (await signIn(it)).identity.sourceId };
      const said = { message: "go on\n", author: "Alice" };
      expect(
        await understand(it.host, it.fake.delivery("repo:push", it.fake.pushPayload(key, changes))),
      ).toEqual({
        kind: "pushes",
        pushes: [
          { ...push, ...said, branch: "main", before, commit },
          { ...push, ...said, branch: "feature/new", before: undefined, commit },
          { ...push, message: "", author: "", branch: "old", before, commit: undefined },
        ],
      });
    });

    test("of tags only, and of what nothing is done for, are ignored with the reason", async () => {
      await using it = await startCloud();
      const { key, commit } = it.linked;
      const tag = await it.fake.change(key, { type: "tag", name: "v1", commit });
      const deliveries = {
        "no branch": it.fake.delivery("repo:push", it.fake.pushPayload(key, [tag])),
        "no branch that": it.fake.delivery("repo:push", it.fake.pushPayload(key, [])),
        "pullrequest:created": it.fake.delivery("pullrequest:created", it.fake.payload(key)),
      };
      for (const [reason, delivery] of Object.entries(deliveries)) {
        expect(await understand(it.host, delivery)).toEqual({
          kind: "ignored",
          reason: expect.stringContaining(reason),
        });
      }
    });

    for (const event of ["repo:updated", "repo:deleted", "repo:transfer"]) {
      test(`that a repository changed (${event}) name it by its id`, async () => {
        await using it = await startCloud();
        const { key } = it.linked;
        expect(await understand(it.host, it.fake.delivery(event, it.fake.payload(key)))).toEqual({
          kind: "repositories",
          repositories: [key],
        });
      });
    }
  });

  describe("what is linked", () => {
    test("is all of a workspace that has the webhook, for one request and not one each", async () => {
      await using it = await startCloud();
      await it.fake.unlink(it.linked.key);
      await it.fake.addRepository({ isLinked: false });
      expect(await it.host.listRepositories(signal())).toEqual([]);
      it.fake.acme.webhooks.push({ url: PLATFORM.webhookUrl, active: true });
      it.fake.calls.length = 0;
      expect(await it.host.listRepositories(signal())).toHaveLength(2);
      expect(it.fake.calls.map(({ target }) => target.replace(/\?.*/, ""))).toEqual([
        "/2.0/workspaces/acme/hooks",
        "/2.0/repositories/acme",
      ]);
      expect(await it.host.fetchRepository(it.linked.key, signal())).toMatchObject({ kind: "linked" });
    });

    const WEBHOOKS: Readonly<Record<string, { url: string; active: boolean; isLinked: boolean }>> = {
      "is switched off": { url: PLATFORM.webhookUrl, active: false, isLinked: false },
      "points elsewhere": { url: "http://system.localhost/github-event", active: true, isLinked: false },
      "points at another platform": {
        url: "http://system.localhost.example.test/bitbucket-event",
        active: true,
        isLinked: false,
      },
      "is written otherwise": {
        url: "HTTP://system.LOCALHOST:80/bitbucket-event/",
        active: true,
        isLinked: true,
      },
    };
    for (const [name, { isLinked, ...webhook }] of Object.entries(WEBHOOKS)) {
      test(`${isLinked ? "has" : "has not"} a webhook that ${name}`, async () => {
        await using it = await startCloud();
        await it.fake.unlink(it.linked.key);
        it.fake.webhooksOf(it.linked.key).push(webhook);
        const kind = isLinked ? "linked" : "unlinked";
        expect(await it.host.fetchRepository(it.linked.key, signal())).toMatchObject({ kind });
      });
    }

    test("is asked of each repository in turn where there are many, within what the vendor allows", async () => {
      await using it = await startCloud();
      const keys = [it.linked.key];
      for (let i = 0; i < 14; i++) keys.push(await it.fake.addEmptyRepository());
      expect(await it.host.listRepositories(signal())).toHaveLength(15);
      for (const key of keys) await it.fake.unlink(key);
      it.fake.calls.length = 0;
      expect(await it.host.listRepositories(signal())).toHaveLength(5);
      expect(it.fake.calls.filter(({ target }) => target.includes("%7D/hooks"))).toHaveLength(10);
      expect(await it.host.listRepositories(signal())).toEqual([]);
    });

    test("is listed as it was found when it was asked for by its id", async () => {
      await using it = await startCloud();
      for (let i = 0; i < 14; i++) await it.fake.addEmptyRepository();
      await it.host.listRepositories(signal());
      await it.fake.unlink(it.linked.key);
      await it.host.fetchRepository(it.linked.key, signal());
      const ids = (await it.host.listRepositories(signal())).map(({ key }) => key.id);
      expect(ids).not.toContain(it.linked.key.id);
      expect(ids).toHaveLength(14);
    });

    test("shows in the list that something was pushed", async () => {
      await using it = await startCloud();
      const pushedAt = async () => (await it.host.listRepositories(signal()))[0]?.pushedAt;
      const before = await pushedAt();
      expect(await pushedAt()).toBe(before);
      await it.fake.push(it.linked.key, "more");
      expect(await pushedAt()).toBeGreaterThan(must(before, "a time"));
    });

    test("follows a repository to another of our workspaces, and to no other", async () => {
      await using it = await startCloud({ workspaces: ["acme", "umbrella"] });
      const { key } = it.linked;
      const umbrella = it.fake.addWorkspace("umbrella");
      it.fake.transfer(key, umbrella);
      expect(await it.host.fetchRepository(key, signal())).toMatchObject({
        kind: "linked",
        facts: { key, owner: { sourceId: umbrella.uuid, login: "umbrella" } },
      });
      it.fake.transfer(key, it.fake.addWorkspace("stranger", { isForeign: true }));
      expect(await it.host.fetchRepository(key, signal())).toMatchObject({
        kind: "unlinked",
        reason: expect.stringContaining("stranger"),
      });
      await it.fake.makePrivate(key);
      expect(await it.host.fetchRepository(key, signal())).toMatchObject({ kind: "unlinked" });
    });

    test("is unknown where a repository is not found by a token that does not see the whole workspace", async () => {
      await using it = await startCloud();
      await it.fake.remove(it.linked.key);
      it.fake.showsWorkspaceWebhooks = false;
      await expect(it.host.fetchRepository(it.linked.key, signal())).rejects.toMatchObject({
        kind: "platform-unavailable",
        status: 403,
      });
      it.fake.showsWorkspaceWebhooks = true;
      expect(await it.host.fetchRepository(it.linked.key, signal())).toMatchObject({ kind: "unlinked" });
    });

    test("is not looked for where a list would lead away from the API, and no credential goes there", async () => {
      await using it = await startCloud();
      await using stranger = await FakeBitbucketCloud.open(PLATFORM);
      await it.fake.addRepository();
      it.fake.limitPages(1);
      for (const origin of [stranger.url, it.fake.url.replace("127.0.0.1", "user@127.0.0.1")]) {
        it.fake.nextOrigin = origin;
        await expect(it.host.listRepositories(signal())).rejects.toThrow(/which is refused/);
      }
      expect(stranger.calls).toEqual([]);
    });

    test("is of a person where the workspace is somebody's own", async () => {
      await using it = await startCloud({ workspaces: ["acme", "alice"] });
      const { key } = await it.fake.addRepository({ workspace: it.fake.addPersonalWorkspace() });
      const owner = { sourceId: (await signIn(it)).identity.sourceId, login: "alice", kind: "person" };
      expect(await it.host.fetchRepository(key, signal())).toMatchObject({ facts: { owner } });
    });
  });

  test("clones with the token as the vendor names its user, and public repositories with none", async () => {
    await using it = await startCloud();
    expect(await accessOfClone(it, it.linked)).toBeUndefined();
    const secret = await it.fake.addRepository({ isPrivate: true });
    expect(await accessOfClone(it, secret)).toEqual({ username: "x-token-auth", password: it.fake.token });
    it.fake.letsNobodyIn = true;
    await expect(accessOfClone(it, await it.fake.addRepository())).rejects.toBeInstanceOf(HostUnavailable);
  });

  test("works with the API token of an account as well", async () => {
    await using it = await startCloud({ email: "bot@example.test" });
    expect(await it.host.listRepositories(signal())).toHaveLength(1);
    const secret = await it.fake.addRepository({ isPrivate: true });
    expect(await accessOfClone(it, secret)).toMatchObject({ username: "x-bitbucket-api-token-auth" });
  });

  test("shows functions apart whose long names begin alike", async () => {
    await using it = await startCloud();
    const { ref, key, commit } = it.linked;
    const names = ["a", "b"].map((last) => `${"function-".repeat(6)}${last}`);
    const status = {
      state: "success",
      description: "live",
      targetUrl: "http://localhost/",
      runId: "1",
    } as const;
    for (const context of names) await it.host.reportStatus(ref, commit, { ...status, context });
    expect((await it.fake.statuses(key, commit)).map(({ context }) => context)).toEqual(names);
  });

  test("tells of a person's workspaces those that this platform looks at, and which is their own", async () => {
    await using it = await startCloud({ workspaces: ["acme", "alice"] });
    const own = it.fake.addPersonalWorkspace();
    it.fake.addWorkspace("elsewhere").permission = "owner";
    await it.fake.setRole("viewer");
    it.fake.limitPages(1);
    const { provider, grant, identity } = await signIn(it);
    expect(identity).toEqual({ sourceId: own.uuid, login: "alice", name: "Alice" });
    expect((await provider.fetchAccess(grant, signal())).owners).toEqual([
      { owner: { sourceId: it.fake.acme.uuid, login: "acme", kind: "organization" }, role: "viewer" },
      { owner: { sourceId: own.uuid, login: "alice", kind: "person" }, role: "admin" },
    ]);
  });

  test("goes on with a new token where the host ended the old one before its time", async () => {
    await using it = await startCloud();
    const { provider, grant } = await signIn(it);
    for (let time = 0; time < 2; time++) {
      it.fake.oauth.expire();
      const access = await provider.fetchAccess(grant, signal());
      expect(access.grant.accessToken).not.toBe(grant.accessToken);
      expect(access.grant.refreshToken).toBe(grant.refreshToken);
    }
  });
});

describe("Bitbucket Data Center", () => {
  remoteHostContract(startDataCenter);

  describe("deliveries", () => {
    test("tell every branch that a push moved, made and deleted, and no tag", async () => {
      await using it = await startDataCenter();
      const { key, before, commit } = it.linked;
      const changes = [
        change({ before, commit }),
        change({ name: "feature/new", commit }),
        change({ name: "old", before }),
        change({ type: "TAG", name: "v1", commit }),
        change({ name: "not a plain name", commit }),
      ];
      const delivery = it.fake.delivery("repo:refs_changed", it.fake.pushPayload(key, changes));
      const push = {
        kind: "push",
        repository: key,
        pusher: (await signIn(it)).identity.sourceId,
        message: "",
        author: "Alice",
      };
      expect(await understand(it.host, delivery)).toEqual({
        kind: "pushes",
        pushes: [
          { ...push, branch: "main", before, commit },
          { ...push, branch: "feature/new", before: undefined, commit },
          { ...push, branch: "old", before, commit: undefined },
        ],
      });
    });

    test("say more of the commit where the version does", async () => {
      await using it = await startDataCenter();
      const { key, before, commit } = it.linked;
      const toCommit = {
        id: commit,
        message: "go on",
        author: { name: "Bob", emailAddress: "bob@example.test" },
      };
      const payload = { ...it.fake.pushPayload(key, [change({ before, commit })]), toCommit };
      expect(await understand(it.host, it.fake.delivery("repo:refs_changed", payload))).toMatchObject({
        kind: "push",
        message: "go on",
        author: "Bob",
      });
    });

    test("that a repository was renamed name it by its id", async () => {
      await using it = await startDataCenter();
      const { key } = it.linked;
      const { repository, ...said } = it.fake.payload(key);
      const payload = { ...said, old: repository, new: { ...repository, slug: "renamed" } };
      expect(await understand(it.host, it.fake.delivery("repo:modified", payload))).toEqual({
        kind: "repositories",
        repositories: [key],
      });
    });

    test("of tests and of what nothing is done for are ignored with the reason", async () => {
      await using it = await startDataCenter();
      const { key, commit } = it.linked;
      const tag = it.fake.pushPayload(key, [change({ type: "TAG", name: "v1", commit })]);
      const deliveries = {
        tested: it.fake.delivery("diagnostics:ping", { test: true }),
        "pr:opened": it.fake.delivery("pr:opened", {}),
        "no branch": it.fake.delivery("repo:refs_changed", tag),
      };
      for (const [reason, delivery] of Object.entries(deliveries)) {
        expect(await understand(it.host, delivery)).toEqual({
          kind: "ignored",
          reason: expect.stringContaining(reason),
        });
      }
    });

    test("are refused without a signature, those that test the connection too", async () => {
      await using it = await startDataCenter();
      const { headers, body } = it.fake.delivery("diagnostics:ping", { test: true });
      const { "x-hub-signature": _, ...unsigned } = headers;
      expect(await it.host.verify({ headers: unsigned, body })).toMatchObject({ kind: "refused" });
    });
  });

  describe("what is linked", () => {
    test("is all of a project that has the webhook", async () => {
      await using it = await startDataCenter();
      await it.fake.unlink(it.linked.key);
      expect(await it.host.fetchRepository(it.linked.key, signal())).toMatchObject({ kind: "unlinked" });
      it.fake.acme.webhooks.push({ url: PLATFORM.webhookUrl, active: true });
      expect(await it.host.fetchRepository(it.linked.key, signal())).toMatchObject({ kind: "linked" });
    });

    test("is asked of each repository in turn where there are many", async () => {
      await using it = await startDataCenter();
      const keys = [it.linked.key];
      for (let i = 0; i < 69; i++) keys.push(await it.fake.addEmptyRepository());
      expect(await it.host.listRepositories(signal())).toHaveLength(70);
      for (const key of keys) await it.fake.unlink(key);
      it.fake.calls.length = 0;
      expect(await it.host.listRepositories(signal())).toHaveLength(10);
      expect(it.fake.calls.filter(({ target }) => target.includes("/webhooks/"))).toHaveLength(60);
      expect(await it.host.listRepositories(signal())).toEqual([]);
    });

    test("is of a person where the project is somebody's own", async () => {
      await using it = await startDataCenter();
      const project = it.fake.addProject("~ALICE");
      const repository = await it.fake.addRepository({ project, isPrivate: true });
      expect(await it.host.fetchRepository(repository.key, signal())).toMatchObject({
        kind: "linked",
        facts: {
          owner: { sourceId: String(project.id), login: "~alice", kind: "person" },
          fullName: `~ALICE/${repository.ref.name}`,
        },
      });
      await accessOfClone(it, repository);
    });

    test("follows a repository by its id to another name and another project, whatever took its place", async () => {
      await using it = await startDataCenter();
      const { key, ref, branch, commit } = it.linked;
      await it.host.fetchRepository(key, signal());
      const other = await it.fake.addRepository();
      it.fake.move(key, it.fake.addProject("UMBRELLA"));
      it.fake.rename(key, "moved");
      it.fake.rename(other.key, ref.name);
      const facts = { key, fullName: "UMBRELLA/moved", owner: { login: "umbrella" } };
      expect(await it.host.fetchRepository(key, signal())).toMatchObject({ kind: "linked", facts });
      expect(await it.host.fetchHead(key, branch, signal())).toMatchObject({ commit });
      expect(await accessOfClone(it, it.linked)).toBeUndefined();
    });

    test("is asked where a delivery says that it is, and looked for nowhere else", async () => {
      await using it = await startDataCenter();
      await understand(it.host, await it.fake.pushDelivery(it.linked, { secret: 0 }));
      it.fake.calls.length = 0;
      await it.host.fetchRepository(it.linked.key, signal());
      expect(it.fake.calls.filter(({ target }) => target.includes("/latest/repos?"))).toEqual([]);
    });

    test("is unknown where the platform's account may not see it any more, or not its webhooks", async () => {
      await using it = await startDataCenter();
      const { key } = it.linked;
      await it.host.fetchRepository(key, signal());
      for (const may of ["nothing", "read"] as const) {
        it.fake.letBot(key, may);
        await expect(it.host.fetchRepository(key, signal())).rejects.toBeInstanceOf(HostUnavailable);
        expect(await it.host.listRepositories(signal())).toEqual([]);
      }
    });

    test("is unknown where the server takes the platform for nobody, and so shows what is public", async () => {
      await using it = await startDataCenter();
      it.fake.namesUsers = false;
      await expect(it.host.listRepositories(signal())).rejects.toBeInstanceOf(HostUnavailable);
      await expect(it.host.fetchRepository(it.linked.key, signal())).rejects.toBeInstanceOf(HostUnavailable);
    });
  });

  test("is known by its address with the path", async () => {
    await using it = await startDataCenter();
    expect(it.host.instance).toBe(it.fake.url.replace("http://", ""));
    expect(it.host.title).toBe(`Bitbucket (${it.host.instance})`);
  });

  test("clones with the token as its account's password, where it is asked for one", async () => {
    await using it = await startDataCenter();
    expect(await accessOfClone(it, it.linked)).toBeUndefined();
    const access = { username: "openfaas bot", password: it.fake.token };
    expect(await accessOfClone(it, await it.fake.addRepository({ isPrivate: true }))).toEqual(access);
    it.fake.letsNobodyIn = true;
    expect(await accessOfClone(it, await it.fake.addRepository())).toEqual(access);
  });

  test("asks people for no more than to read, and tells what more they may do for projects it serves", async () => {
    await using it = await startDataCenter();
    const unserved = it.fake.addProject("UNSERVED");
    unserved.role = "admin";
    const own = it.fake.addProject("~ALICE");
    it.fake.limitPages(1);
    const { provider, grant } = await signIn(it);
    const url = provider.authorizeUrl({ state: "s", codeChallenge: "c", redirectUri: PLATFORM.redirectUri });
    expect(url.searchParams.get("scope")).toBe("REPO_READ");
    for (const role of ["viewer", "developer", "admin"] as const) {
      await it.fake.setRole(role);
      it.fake.listsOwnProjects = role !== "viewer";
      expect((await provider.fetchAccess(grant, signal())).owners).toEqual([
        { owner: { sourceId: String(it.fake.acme.id), login: "acme", kind: "organization" }, role },
        { owner: { sourceId: String(unserved.id), login: "unserved", kind: "organization" }, role: "viewer" },
        { owner: { sourceId: String(own.id), login: "~alice", kind: "person" }, role: "admin" },
      ]);
    }
  });

  test("uses up a grant once, for all who ask at once and where something fails after it", async () => {
    await using it = await startDataCenter();
    const { provider, grant } = await signIn(it);
    const ending = { ...grant, expiresAt: Date.now() };
    it.fake.trouble({ kind: "answer", status: 500, after: 1 });
    await expect(provider.fetchAccess(ending, signal())).rejects.toBeInstanceOf(HostUnavailable);
    it.fake.trouble(undefined);
    it.fake.calls.length = 0;
    const [one, other] = await Promise.all([1, 2].map(() => provider.fetchAccess(ending, signal())));
    expect(one?.grant).toEqual(other?.grant);
    expect(it.fake.calls.filter(({ target }) => target.endsWith("/oauth2/latest/token"))).toEqual([]);

    const next = { ...must(one, "a grant").grant, expiresAt: Date.now() };
    await Promise.all([1, 2].map(() => provider.fetchAccess(next, signal())));
    expect(it.fake.calls.filter(({ target }) => target.endsWith("/oauth2/latest/token"))).toHaveLength(1);
  });

  test("takes a wrong client secret for its own fault, and not for the person's", async () => {
    await using it = await startDataCenter({ clientSecret: "wrong" });
    await expect(signIn(it)).rejects.toMatchObject({
      kind: "platform-unavailable",
      message: expect.stringContaining("invalid_client"),
    });
  });
});
