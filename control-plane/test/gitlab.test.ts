import { createHash, randomBytes } from "node:crypto";
import { must } from "@openfaas-cloud/shared/must.ts";
import { BranchName, CommitSha } from "@openfaas-cloud/shared/names.ts";
import { describe, expect, test, vi } from "vitest";
import { part } from "../../test/support/parts.ts";
import { GrantRevoked, HostUnavailable, SignInRefused } from "../src/ports/source-host/host-errors.ts";
import type { PersonGrant, RepositoryFacts } from "../src/ports/source-host/remote-host.ts";
import { type FakeRepository, remoteHostContract } from "./contracts/remote-host.ts";
import type { GitAccess } from "./support/fake-git.ts";
import { makeAuthority } from "./support/fake-gitlab/authority.ts";
import type { CallName } from "./support/fake-gitlab/calls.ts";
import {
  describeProject,
  type GitLabSetting,
  type GitLabUnderTest,
  startGitLab,
  TOPIC,
} from "./support/fake-gitlab/host-under-test.ts";
import type { FakeProject } from "./support/fake-gitlab/world.ts";

// Every test has real repositories, and the machine may be busy.
vi.setConfig({ testTimeout: 60_000 });

const signal = () => new AbortController().signal;
const quietly = () => ({ log: { write: () => undefined }, signal: signal() });

async function factsOf(it: GitLabUnderTest, project: FakeProject): Promise<RepositoryFacts> {
  const state = await it.host.fetchRepository(keyOf(project), signal());
  if (state.kind !== "linked") throw new Error(state.reason);
  return state.facts;
}

function keyOf({ id }: FakeProject) {
  return { id: id.toString(), installation: undefined };
}

function linkedProject(it: GitLabUnderTest): FakeProject {
  return must(it.gitlab.world.projects.get(Number(it.linked.key.id)), "the linked project");
}

const redirectUri = "http://auth.system.localhost/sign-in/callback";
const provider = ({ host }: GitLabUnderTest) => must(host.signIn, "a way to sign in");

async function signIn(it: GitLabUnderTest): Promise<PersonGrant> {
  const codeVerifier = randomBytes(32).toString("base64url");
  const codeChallenge = createHash("sha256").update(codeVerifier).digest("base64url");
  const url = provider(it).authorizeUrl({ state: "s", codeChallenge, redirectUri });
  const { code } = await it.fake.consent(url);
  return (await provider(it).exchange({ code, codeVerifier, redirectUri }, signal())).grant;
}

async function rolesOf(it: GitLabUnderTest, grant: PersonGrant): Promise<Record<string, string>> {
  const { owners } = await provider(it).fetchAccess(grant, signal());
  return Object.fromEntries(owners.map(({ owner, role }) => [owner.sourceId, role]));
}

async function answerOf(it: GitLabUnderTest, path: string): Promise<{ body: unknown }> {
  const headers = { "private-token": it.gitlab.token };
  return { body: await (await fetch(`${it.gitlab.url}/api/v4${path}`, { headers })).json() };
}

/** @param look at what git came with, while it waits for an answer. */
async function cloneHeld(
  it: GitLabUnderTest,
  project: FakeProject,
  look: (access: GitAccess | undefined) => void,
): Promise<void> {
  const { ref, commit } = await describeProject(it.gitlab, project);
  const held = it.gitlab.git.hold();
  const fetched = it.host.fetchCommit(ref, commit, quietly());
  const access = await held.arrived;
  try {
    look(access);
  } finally {
    held.release();
    await fetched;
  }
}

/** Nothing is cloned in most tests. */
const startWithoutGit = (setting: GitLabSetting = {}) => startGitLab({ git: false, ...setting });

describe("GitLab below a path keeps what every remote host promises", () => {
  remoteHostContract(() => startGitLab({ base: "/dev/git", proofs: ["token", "signature"] }));

  test("and is known by its address with the path", async () => {
    await using it = await startWithoutGit({ base: "/dev/git" });
    expect(it.host.instance).toBe(it.gitlab.url.replace("http://", ""));
    expect(it.host.instance).toMatch(/^127\.0\.0\.1:\d+\/dev\/git$/);
    expect(it.host).toMatchObject({
      title: `GitLab (${it.host.instance})`,
      webUrl: it.gitlab.url,
      topic: TOPIC,
    });
  });
});

part("openssl")("GitLab with certificates by a company's own authority", () => {
  const authority = makeAuthority();

  test("is believed where that is configured, by git too", async () => {
    await using it = await startGitLab({ authority: await authority });
    expect(await it.host.fetchRepository(it.linked.key, signal())).toMatchObject({ kind: "linked" });
    const project = await it.gitlab.addProject("secret", it.acme, { topics: [TOPIC], visibility: "private" });
    const { ref, commit } = await describeProject(it.gitlab, project);
    await it.host.fetchCommit(ref, commit, quietly());
    expect((await rolesOf(it, await signIn(it)))[`user:${it.gitlab.visitor.id}`]).toBe("admin");
  });

  test("is not believed where that is not configured", async () => {
    await using it = await startGitLab({ authority: await authority, config: { ca: undefined } });
    const asked = [
      it.host.fetchRepository(it.linked.key, signal()),
      it.host.listRepositories(signal()),
      it.host.fetchCommit(it.linked.ref, it.linked.commit, quietly()),
    ];
    for (const outcome of await Promise.allSettled(asked)) {
      expect(outcome).toMatchObject({ status: "rejected", reason: expect.any(HostUnavailable) });
    }
    expect(it.gitlab.ledger).toEqual([]);
  });
});

describe("a project's owner", () => {
  test("is the outermost group, and the groups below are part of the name, whatever any of them is called", async () => {
    await using it = await startGitLab();
    const { gitlab, acme } = it;
    const team = gitlab.world.addGroup("web_team", { name: "The Web Team", parent: acme });
    const inner = gitlab.world.addGroup("shop", { name: "Shop (2026)", parent: team });
    const project = await gitlab.addProject("check-out", inner, {
      topics: [TOPIC],
      name: "Check Out!",
      visibility: "private",
    });
    const facts = await factsOf(it, project);
    expect(facts).toEqual({
      key: keyOf(project),
      owner: { sourceId: `group:${acme.id}`, login: "acme", kind: "organization" },
      name: "web_team/shop/check-out",
      fullName: "acme/web_team/shop/check-out",
      defaultBranch: "main",
      isPrivate: true,
      webUrl: `${gitlab.url}/acme/web_team/shop/check-out`,
    });
    expect(await it.host.listRepositories(signal())).toContainEqual(facts);
    const { ref, commit } = await describeProject(gitlab, project);
    await it.host.fetchCommit(ref, commit, quietly());
  });

  test("is the person whose own project it is, by an id that no group has", async () => {
    await using it = await startWithoutGit();
    const { world } = it.gitlab;
    const alice = world.getUser("alice");
    const group = must(
      [...world.groups.values(), ...[1, 2, 3].map((i) => world.addGroup(`group-${i}`))].find(
        ({ id }) => id === alice.id + 1,
      ),
      "a group",
    );
    const bob = world.addUser("bob", "Bob B. Bobson");
    expect(bob.id).toBe(group.id);
    const ofBob = await it.gitlab.addProject("site", bob, { topics: [TOPIC] });
    const ofGroup = await it.gitlab.addProject("site", group, { topics: [TOPIC] });
    expect((await factsOf(it, ofBob)).owner).toEqual({
      sourceId: `user:${bob.id}`,
      login: "bob",
      kind: "person",
    });
    expect((await factsOf(it, ofGroup)).owner.sourceId).toBe(`group:${group.id}`);
  });

  test("is not guessed while groups move", async () => {
    await using it = await startWithoutGit();
    const team = it.gitlab.world.addGroup("team", { parent: it.acme });
    const project = await it.gitlab.addProject("site", team, { topics: [TOPIC] });
    const other = { id: it.acme.id, path: "other", parent_id: null };
    it.gitlab.overrides.set("group", { status: 200, body: other });
    await expect(it.host.fetchRepository(keyOf(project), signal())).rejects.toBeInstanceOf(HostUnavailable);
    it.gitlab.overrides.set("group", { status: 200, body: { ...other, parent_id: it.acme.id } });
    await expect(it.host.fetchRepository(keyOf(project), signal())).rejects.toBeInstanceOf(HostUnavailable);
  });
});

describe("a project", () => {
  test("is followed by its id through renames and transfers", async () => {
    await using it = await startGitLab();
    const { gitlab } = it;
    const project = linkedProject(it);
    const before = await factsOf(it, project);
    await gitlab.rename(project, "new-site");
    expect(await factsOf(it, project)).toMatchObject({ owner: before.owner, fullName: "acme/new-site" });

    const squatter = await gitlab.addProject("site", it.acme, { topics: [TOPIC] });
    expect((await factsOf(it, squatter)).key).not.toEqual(before.key);
    await gitlab.transfer(project, gitlab.world.getUser("alice"));
    expect(await factsOf(it, project)).toMatchObject({
      key: before.key,
      owner: { login: "alice", kind: "person" },
      name: "new-site",
    });
    await it.host.fetchCommit(it.linked.ref, it.linked.commit, quietly());
  });

  test("is linked by its topic, however that is written", async () => {
    await using it = await startWithoutGit();
    const project = linkedProject(it);
    await it.gitlab.update(project, { topics: ["php", "OpenFaaS-Cloud"] });
    expect(await factsOf(it, project)).toMatchObject({ fullName: "acme/site" });
    const lower = await it.gitlab.addProject("lower", it.acme, { topics: [TOPIC] });
    const both = await it.gitlab.addProject("both", it.acme, { topics: [TOPIC, "OpenFaaS-Cloud"] });
    await it.gitlab.addProject("longer", it.acme, { topics: [`${TOPIC}-2`] });
    const listed = await it.host.listRepositories(signal());
    expect(listed.map(({ key }) => key)).toEqual(expect.arrayContaining([project, lower, both].map(keyOf)));
    expect(listed).toHaveLength(3);
  });

  test("is linked by another topic where that is configured", async () => {
    await using it = await startWithoutGit({ config: { topic: "deploy me" } });
    expect(await it.host.fetchRepository(it.linked.key, signal())).toEqual({
      kind: "unlinked",
      reason: 'The project has no topic "deploy me".',
    });
    await it.gitlab.update(linkedProject(it), { topics: ["Deploy Me"] });
    expect(await it.host.listRepositories(signal())).toHaveLength(1);
  });

  test("is linked by its tag in versions that call topics tags", async () => {
    await using it = await startWithoutGit();
    it.gitlab.isOld = true;
    expect(await it.host.listRepositories(signal())).toHaveLength(1);
    expect(await it.host.fetchRepository(it.linked.key, signal())).toMatchObject({ kind: "linked" });
    await it.gitlab.update(linkedProject(it), { topics: [] });
    expect(await it.host.fetchRepository(it.linked.key, signal())).toMatchObject({ kind: "unlinked" });
    expect(await it.host.listRepositories(signal())).toEqual([]);
  });

  test("is private unless everybody may read it, and is cloned by a deploy token of its own only then", async () => {
    await using it = await startGitLab();
    for (const visibility of ["public", "internal", "private"] as const) {
      const project = await it.gitlab.addProject(visibility, it.acme, { topics: [TOPIC], visibility });
      expect(await factsOf(it, project)).toMatchObject({ isPrivate: visibility !== "public" });
      await cloneHeld(it, project, (access) => {
        const made = it.gitlab.deployTokens;
        expect(made).toHaveLength(visibility === "public" ? 0 : 1);
        expect(access).toEqual(made[0] && { username: made[0].username, password: made[0].token });
        for (const { asked } of made) {
          expect(asked.scopes).toEqual(["read_repository"]);
          const lifetimeMs = Date.parse(asked.expires_at ?? "") - Date.now();
          expect(lifetimeMs).toBeGreaterThan(59 * 60_000);
          expect(lifetimeMs).toBeLessThanOrEqual(60 * 60_000);
        }
      });
      expect(it.gitlab.deployTokens).toEqual([]);
    }
  });

  test("has its deploy token taken back when it cannot be cloned", async () => {
    await using it = await startGitLab();
    const project = await it.gitlab.addProject("gone", it.acme, { topics: [TOPIC], visibility: "private" });
    const { ref } = await describeProject(it.gitlab, project);
    const missing = CommitSha.parse("e".repeat(40));
    await expect(it.host.fetchCommit(ref, missing, quietly())).rejects.toThrow("holds no commit");
    expect(it.gitlab.ledger.map(({ method }) => method)).toContain("DELETE");
    expect(it.gitlab.deployTokens).toEqual([]);
  });

  test("is cloned by the platform's own token where that may make no others", async () => {
    await using it = await startGitLab();
    it.gitlab.botRole = "developer";
    const project = await it.gitlab.addProject("ours", it.acme, { topics: [TOPIC], visibility: "private" });
    await cloneHeld(it, project, (access) =>
      expect(access).toEqual({ username: "oauth2", password: it.gitlab.token }),
    );
  });

  test("is cloned by the platform's own token where git takes no deploy tokens", async () => {
    await using it = await startGitLab();
    it.gitlab.takesDeployTokens = false;
    const project = await it.gitlab.addProject("ours", it.acme, { topics: [TOPIC], visibility: "private" });
    const { ref, commit } = await describeProject(it.gitlab, project);
    await it.host.fetchCommit(ref, commit, quietly());
    expect(it.gitlab.deployTokens).toEqual([]);
  });

  test("that everybody may read gets no token, whatever git is asked for", async () => {
    await using it = await startGitLab();
    const { body } = await answerOf(it, `/projects/${it.linked.key.id}`);
    linkedProject(it).visibility = "private";
    it.gitlab.overrides.set("project", { status: 200, body });
    await expect(it.host.fetchCommit(it.linked.ref, it.linked.commit, quietly())).rejects.toBeInstanceOf(
      HostUnavailable,
    );
    const asked = it.gitlab.ledger.filter(({ path }) => path.endsWith("/info/refs"));
    expect(asked).toMatchObject([{ asker: undefined, status: 401 }]);
  });

  test("that is marked for deletion is unlinked until it is restored", async () => {
    await using it = await startWithoutGit();
    const project = linkedProject(it);
    project.markedForDeletionOn = "2026-04-01";
    expect(await it.host.fetchRepository(it.linked.key, signal())).toMatchObject({
      kind: "unlinked",
      reason: "The project is marked for deletion.",
    });
    expect(await it.host.listRepositories(signal())).toEqual([]);
    project.markedForDeletionOn = undefined;
    expect(await it.host.listRepositories(signal())).toHaveLength(1);
  });

  test("that the platform may not see any more is unlinked", async () => {
    await using it = await startWithoutGit();
    const project = linkedProject(it);
    await it.gitlab.update(project, { visibility: "private" });
    project.isHidden = true;
    expect(await it.host.fetchRepository(it.linked.key, signal())).toEqual({
      kind: "unlinked",
      reason: "The project is gone, or the platform may not see it any more.",
    });
  });

  test("whose path cannot be used says so, and does not hide the others", async () => {
    await using it = await startWithoutGit();
    const project = await it.gitlab.addProject("x".repeat(150), it.acme, { topics: [TOPIC] });
    expect(await it.host.fetchRepository(keyOf(project), signal())).toMatchObject({
      kind: "unlinked",
      reason: expect.stringContaining("rename it"),
    });
    expect(await it.host.listRepositories(signal())).toHaveLength(1);
  });

  test("without a commit has no branch", async () => {
    await using it = await startGitLab();
    await it.gitlab.deleteBranch(linkedProject(it), "main");
    expect((await factsOf(it, linkedProject(it))).defaultBranch).toBeUndefined();
    expect(await it.host.fetchHead(it.linked.key, it.linked.branch, signal())).toBeUndefined();
  });

  test("has heads of branches with any name", async () => {
    await using it = await startGitLab();
    const branch = BranchName.parse("feature/a+b#1");
    const commit = await it.gitlab.push(linkedProject(it), { "stack.yml": "1" }, { branch, message: "more" });
    expect(await it.host.fetchHead(it.linked.key, branch, signal())).toEqual({
      commit,
      message: "more",
      author: "Alice",
    });
  });
});

describe("nothing is unlinked", () => {
  const asked = (it: GitLabUnderTest) =>
    Promise.allSettled([
      it.host.fetchRepository(it.linked.key, signal()),
      it.host.fetchHead(it.linked.key, it.linked.branch, signal()),
      it.host.listRepositories(signal()),
    ]);
  const unavailable = { status: "rejected", reason: expect.any(HostUnavailable) };

  test("by a token that is not taken any more", async () => {
    await using it = await startGitLab();
    it.gitlab.token = "another";
    for (const outcome of await asked(it)) expect(outcome).toMatchObject(unavailable);
    const [first] = await asked(it);
    expect(String((first as PromiseRejectedResult).reason)).toMatch(/refuses the token/);
  });

  for (const [name, user] of Object.entries({
    "is refused": { status: 401, body: { message: "401 Unauthorized" } },
    "is forbidden": { status: 403, body: { message: "403 Forbidden" } },
    "finds nothing at all": { status: 404, body: { message: "404 User Not Found" } },
    "is not answered for": { status: 500, body: { message: "500 Internal Server Error" } },
    "gets another page": { status: 200, body: "<h1>Sign in</h1>" },
  })) {
    test(`by a project that is not found to a token that ${name}`, async () => {
      await using it = await startWithoutGit();
      it.gitlab.overrides.set("project", { status: 404, body: { message: "404 Project Not Found" } });
      expect(await it.host.fetchRepository(it.linked.key, signal())).toMatchObject({ kind: "unlinked" });
      it.gitlab.overrides.set("user", user);
      await expect(it.host.fetchRepository(it.linked.key, signal())).rejects.toBeInstanceOf(HostUnavailable);
    });
  }

  const answers: Readonly<Record<string, readonly [CallName, number, unknown]>> = {
    "404 in other words": ["project", 404, { message: "404 Not Found" }],
    "404 of a project, asked for a branch": ["branch", 404, { message: "404 Project Not Found" }],
    "a redirection": ["project", 301, {}],
    "no JSON that is a project": ["project", 200, []],
    "a project without topics or tags": [
      "project",
      200,
      {
        id: 101,
        path_with_namespace: "acme/site",
        visibility: "public",
        namespace: { id: 3, kind: "group", path: "acme", parent_id: null },
      },
    ],
    "a list of something else": ["projects", 200, [{ id: 1 }]],
    "no list": ["projects", 200, { message: "later" }],
    "topics that are not to be had": ["topics", 503, {}],
  };
  for (const [name, [call, status, body]] of Object.entries(answers)) {
    test(`by ${name}`, async () => {
      await using it = await startGitLab();
      it.gitlab.overrides.set(call, { status, body });
      const outcomes = await asked(it);
      expect(outcomes).toContainEqual(expect.objectContaining(unavailable));
      for (const outcome of outcomes) {
        if (outcome.status === "rejected") expect(outcome).toMatchObject(unavailable);
        else expect(outcome.value).not.toMatchObject({ kind: "unlinked" });
      }
    });
  }

  test("by grants, which GitLab does not know", async () => {
    await using it = await startWithoutGit();
    await expect(it.host.fetchInstallation("1", signal())).rejects.toBeInstanceOf(HostUnavailable);
  });

  test("by a list that never ends", async () => {
    await using it = await startWithoutGit();
    const { body } = await answerOf(it, "/projects?order_by=id&sort=asc");
    it.gitlab.overrides.set("projects", { status: 200, body });
    await expect(it.host.listRepositories(signal())).rejects.toBeInstanceOf(HostUnavailable);
    expect(it.gitlab.ledger.filter(({ path }) => path.endsWith("/projects")).length).toBeLessThan(5);
  });
});

describe("a listing", () => {
  test("that fits a page takes one call for topics and one for projects", async () => {
    await using it = await startWithoutGit();
    await it.host.listRepositories(signal());
    expect(it.gitlab.ledger.map(({ path, asker }) => [path, asker])).toEqual([
      ["/api/v4/topics", "bot"],
      ["/api/v4/projects", "bot"],
    ]);
  });
});

describe("a status", () => {
  const status = {
    context: "hello",
    state: "success",
    description: "live",
    targetUrl: "https://system.example.com/runs/1",
    runId: "1",
  } as const;

  test("leads to the run and bears the function's name", async () => {
    await using it = await startWithoutGit();
    await it.host.reportStatus(it.linked.ref, it.linked.commit, status);
    expect(it.gitlab.statuses).toMatchObject([
      {
        sha: it.linked.commit,
        name: "hello",
        status: "success",
        target_url: "https://system.example.com/runs/1",
        description: "live",
      },
    ]);
  });

  test("that does not arrive is not taken for told", async () => {
    await using it = await startWithoutGit();
    const report = () => it.host.reportStatus(it.linked.ref, it.linked.commit, status);
    for (const [code, message] of [
      [
        400,
        'Cannot transition status via :succeed from :failed (Reason(s): Status cannot transition via "succeed")',
      ],
      [400, { name: ["is too long"] }],
      [403, "403 Forbidden"],
      [404, "404 Commit Not Found"],
    ] as const) {
      it.gitlab.overrides.set("postStatus", { status: code, body: { message } });
      const outcome = await report().catch((error: unknown) => error);
      expect(outcome).toBeInstanceOf(HostUnavailable);
      expect(outcome).toMatchObject({ status: code });
    }
    const same =
      'Cannot transition status via :succeed from :success (Reason(s): Status cannot transition via "succeed")';
    it.gitlab.overrides.set("postStatus", { status: 400, body: { message: same } });
    await report();
  });
});

describe("signing in", () => {
  test("is not offered without an OAuth application", async () => {
    await using it = await startWithoutGit({ config: { oauth: undefined } });
    expect(it.host.signIn).toBeUndefined();
  });

  test("makes people administrators of their own projects and of nobody else's", async () => {
    await using it = await startWithoutGit();
    const alice = it.gitlab.world.getUser("alice");
    const bob = it.gitlab.world.addUser("bob", "Bob");
    const ofBob = await it.gitlab.addProject("site", bob, { topics: [TOPIC] });
    ofBob.members.set(alice.id, 40);
    expect(await rolesOf(it, await signIn(it))).toEqual({ [`user:${alice.id}`]: "admin" });
  });

  test("gives what the level in the group allows", async () => {
    await using it = await startWithoutGit();
    const alice = it.gitlab.world.getUser("alice");
    const grant = await signIn(it);
    for (const [level, role] of [
      [5, undefined],
      [10, undefined],
      [15, undefined],
      [20, "viewer"],
      [30, "developer"],
      [40, "admin"],
      [50, "admin"],
    ] as const) {
      it.acme.members.set(alice.id, level);
      expect((await rolesOf(it, grant))[`group:${it.acme.id}`], `level ${level}`).toBe(role);
    }
  });

  test("gives no more than a developer's say over a group to whoever maintains a part of it", async () => {
    await using it = await startWithoutGit();
    const { gitlab, acme } = it;
    const alice = gitlab.world.getUser("alice");
    const grant = await signIn(it);
    const roleAtAcme = async () => (await rolesOf(it, grant))[`group:${acme.id}`];
    const team = gitlab.world.addGroup("team", { parent: acme });
    const inner = gitlab.world.addGroup("inner", { parent: team });
    const project = await gitlab.addProject("site", inner, { visibility: "private" });
    project.members.set(alice.id, 50);
    expect(await roleAtAcme(), "of a project that is not linked").toBeUndefined();
    await gitlab.update(project, { topics: [TOPIC] });
    expect(await roleAtAcme()).toBe("developer");
    project.members.set(alice.id, 20);
    expect(await roleAtAcme()).toBe("viewer");
    project.members.clear();
    expect(await roleAtAcme()).toBeUndefined();
    team.members.set(alice.id, 50);
    expect(await roleAtAcme(), "of a group below").toBe("developer");
    acme.members.set(alice.id, 40);
    expect(await roleAtAcme()).toBe("admin");
  });

  test("takes nothing for a person's own from a version that lists groups below as well", async () => {
    await using it = await startWithoutGit();
    it.gitlab.isOld = true;
    const alice = it.gitlab.world.getUser("alice");
    const team = it.gitlab.world.addGroup("team", { parent: it.acme });
    team.members.set(alice.id, 50);
    expect(await rolesOf(it, await signIn(it))).toEqual({ [`user:${alice.id}`]: "admin" });
  });

  test("renews a grant once, whoever asks with it how often", async () => {
    await using it = await startWithoutGit();
    const grant = { ...(await signIn(it)), expiresAt: Date.now() + 30_000 };
    const renewed = async () => (await provider(it).fetchAccess(grant, signal())).grant;
    const [first, second] = await Promise.all([renewed(), renewed()]);
    expect(first).toEqual(second);
    expect(await renewed()).toEqual(first);
    expect(first.accessToken).not.toBe(grant.accessToken);
    const renewals = it.gitlab.ledger.filter(({ body }) => body.includes("grant_type=refresh_token"));
    expect(renewals).toHaveLength(1);
  });

  test("is not waited for by whoever leaves while a grant is renewed", async () => {
    await using it = await startWithoutGit();
    const grant = { ...(await signIn(it)), expiresAt: 0 };
    it.fake.trouble({ kind: "hang" });
    const controller = new AbortController();
    const asked = provider(it).fetchAccess(grant, controller.signal);
    controller.abort(new Error("no longer of interest"));
    await expect(asked).rejects.toThrow("no longer of interest");
  });

  test("does not lose a renewed grant when whoever asked for it leaves", async () => {
    await using it = await startWithoutGit();
    const grant = { ...(await signIn(it)), expiresAt: 0 };
    const controller = new AbortController();
    const asked = provider(it).fetchAccess(grant, controller.signal);
    controller.abort(new Error("no longer of interest"));
    await expect(asked).rejects.toThrow("no longer of interest");
    expect((await provider(it).fetchAccess(grant, signal())).owners).not.toEqual([]);
  });

  test("does not lose a renewed grant when GitLab fails right after", async () => {
    await using it = await startWithoutGit();
    const grant = { ...(await signIn(it)), expiresAt: 0 };
    it.fake.trouble({ kind: "answer", status: 500, after: 1 });
    await expect(provider(it).fetchAccess(grant, signal())).rejects.toBeInstanceOf(HostUnavailable);
    it.fake.trouble(undefined);
    expect((await provider(it).fetchAccess(grant, signal())).owners).not.toEqual([]);
  });

  test("ends for an account that is blocked", async () => {
    await using it = await startWithoutGit();
    const grant = await signIn(it);
    it.gitlab.world.getUser("alice").isBlocked = true;
    await expect(provider(it).fetchAccess(grant, signal())).rejects.toBeInstanceOf(GrantRevoked);
  });

  test("says whose fault it is: the code's, or the platform's own", async () => {
    await using it = await startWithoutGit({
      config: { oauth: { id: "the-application", secret: "not the secret" } },
    });
    const exchange = (code: string) =>
      provider(it).exchange({ code, codeVerifier: "v".repeat(43), redirectUri }, signal());
    await expect(exchange("")).rejects.toBeInstanceOf(SignInRefused);
    await expect(exchange("made-up")).rejects.toThrow(/OAuth application \(invalid_client\)/);
    await expect(exchange("made-up")).rejects.toBeInstanceOf(HostUnavailable);
  });
});

describe("a fake that stands for GitLab", () => {
  test("tells of calls that GitLab does not know", async () => {
    const it: GitLabUnderTest & { linked: FakeRepository } = await startWithoutGit();
    await fetch(`${it.gitlab.url}/api/v4/projects?topics=openfaas-cloud`);
    await expect(it[Symbol.asyncDispose]()).rejects.toThrow(/does not know/);
  });
});
