import { createHmac } from "node:crypto";
import { once } from "node:events";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { buffer } from "node:stream/consumers";
import { Secret } from "@openfaas-cloud/shared/env.ts";
import { must } from "@openfaas-cloud/shared/must.ts";
import { BranchName, type CommitSha } from "@openfaas-cloud/shared/names.ts";
import { afterEach, describe, expect, test, vi } from "vitest";
import { z } from "zod";
import { GitHubApi } from "../src/ports/source-host/github/api.ts";
import { logText } from "../src/ports/source-host/github/checks.ts";
import { parseDelivery } from "../src/ports/source-host/github/deliveries.ts";
import { apiUrlOf, openGitHub, titleOf } from "../src/ports/source-host/github/github.ts";
import {
  convertManifestCode,
  gitHubAppManifest,
  manifestFormUrl,
} from "../src/ports/source-host/github/manifest.ts";
import { openHostClient } from "../src/ports/source-host/host-client.ts";
import { GitHubConfig } from "../src/ports/source-host/host-config.ts";
import { HostUnavailable, SignInRefused } from "../src/ports/source-host/host-errors.ts";
import type { Delivery } from "../src/ports/source-host/remote-host.ts";
import type { CommitStatus } from "../src/ports/source-host/source-host.ts";
import { remoteHostContract } from "./contracts/remote-host.ts";
import { RECORDED, recorded } from "./support/fake-github/payloads.ts";
import { type GitHubUnderTest, startGitHub } from "./support/fake-github/under-test.ts";

const signal = () => new AbortController().signal;
const APP = 29310;

afterEach(() => void vi.useRealTimers());

describe("GitHub, as any remote host", () => {
  remoteHostContract(() => startGitHub());
});

describe("a delivery that GitHub recorded", () => {
  test("is authentic as it is signed, whatever the event", async () => {
    await using it = await startGitHub();
    for (const { name, examples } of RECORDED) {
      for (const example of examples) {
        const verdict = await it.host.verify(it.gitHub.sign(name, example));
        expect(verdict).toMatchObject({ kind: "authentic", event: name });
      }
    }
  });

  test("says something or is ignored with a reason, and is never believed about anything but ids", () => {
    const allowed =
      /^(kind|repository|repositories|installation|id|owner|person|branch|before|commit|message|author|pusher|reason|\d+)$/;
    const keysOf = (value: unknown): string[] =>
      typeof value === "object" && value !== null
        ? Object.entries(value).flatMap(([key, inner]) => [key, ...keysOf(inner)])
        : [];
    for (const { name, examples } of RECORDED) {
      for (const example of examples) {
        const delivery = parseDelivery(name, JSON.stringify(example), APP);
        expect(keysOf(delivery).filter((key) => !allowed.test(key))).toEqual([]);
        if (delivery.kind === "ignored")
          expect(delivery.reason).toMatch(new RegExp(`^(${name}|public|repository)`));
      }
    }
  });

  const installed = { installation: { id: 7 } };
  const repository = { id: "186853002", installation: "7" };
  const rows: Record<string, { event: string; fields?: object; change?: object; expected: Delivery }> = {
    "a branch that moved": {
      event: "push",
      change: {
        ...installed,
        ref: "refs/heads/feature/x",
        before: "1".repeat(40),
        after: "2".repeat(40),
        head_commit: { message: "say hello", author: { name: "Alice" } },
      },
      expected: {
        kind: "push",
        repository,
        branch: BranchName.parse("feature/x"),
        before: "1".repeat(40) as CommitSha,
        commit: "2".repeat(40) as CommitSha,
        message: "say hello",
        author: "Alice",
        pusher: "21031067",
      },
    },
    "a branch that was deleted": {
      event: "push",
      change: {
        ...installed,
        ref: "refs/heads/x",
        before: "1".repeat(40),
        after: "0".repeat(40),
        head_commit: null,
        sender: null,
      },
      expected: {
        kind: "push",
        repository,
        branch: BranchName.parse("x"),
        before: "1".repeat(40) as CommitSha,
        commit: undefined,
        message: "",
        author: "",
        pusher: undefined,
      },
    },
    "a tag": {
      event: "push",
      change: { ...installed, ref: "refs/tags/v1" },
      expected: { kind: "ignored", reason: "push: it moves no branch" },
    },
    "a branch of a name that we do not take": {
      event: "push",
      change: { ...installed, ref: "refs/heads/$(touch x)" },
      expected: { kind: "ignored", reason: "push: the platform takes no branch of this name" },
    },
    "a push that the App's hook did not bring": {
      event: "push",
      change: { installation: undefined },
      expected: {
        kind: "ignored",
        reason: "push: it comes from a hook of a repository or organisation, and not from the App's",
      },
    },
    ...Object.fromEntries(
      ["created", "deleted", "suspend", "unsuspend", "new_permissions_accepted"].map((action) => [
        `an installation: ${action}`,
        {
          event: "installation",
          fields: { action },
          change: installed,
          expected: { kind: "installation", installation: "7" },
        },
      ]),
    ),
    "a renamed account": {
      event: "installation",
      change: { ...installed, action: "renamed" },
      expected: { kind: "installation", installation: "7" },
    },
    "repositories that were added": {
      event: "installation_repositories",
      fields: { action: "added" },
      change: { ...installed, repositories_added: [{ id: 1 }, { id: 2 }], repositories_removed: [{ id: 3 }] },
      expected: {
        kind: "repositories",
        repositories: ["1", "2", "3"].map((id) => ({ id, installation: "7" })),
      },
    },
    "more repositories than are looked at one by one": {
      event: "installation_repositories",
      change: { ...installed, repositories_added: Array.from({ length: 201 }, (_, id) => ({ id: id + 1 })) },
      expected: { kind: "installation", installation: "7" },
    },
    ...Object.fromEntries(
      ["renamed", "transferred", "deleted", "privatized", "publicized", "archived", "edited"].map(
        (action) => [
          `a repository: ${action}`,
          {
            event: "repository",
            change: { ...installed, action, repository: { id: 186853002 } },
            expected: { kind: "repositories", repositories: [repository] },
          },
        ],
      ),
    ),
    "a repository that became public": {
      event: "public",
      change: installed,
      expected: { kind: "repositories", repositories: [repository] },
    },
    "an organisation's new member": {
      event: "organization",
      fields: { action: "member_added" },
      change: { organization: { id: 8 }, membership: { user: { id: 9 } } },
      expected: { kind: "memberships", person: "9", owner: "8" },
    },
    "an organisation's former member": {
      event: "organization",
      change: { action: "member_removed", organization: { id: 8 }, membership: { user: { id: 9 } } },
      expected: { kind: "memberships", person: "9", owner: "8" },
    },
    "a renamed organisation": {
      event: "organization",
      fields: { action: "renamed" },
      change: installed,
      expected: { kind: "installation", installation: "7" },
    },
    "an invitation": {
      event: "organization",
      fields: { action: "member_invited" },
      expected: { kind: "ignored", reason: "organization: nobody is a member by an invitation" },
    },
    "a collaborator": {
      event: "member",
      fields: { action: "added" },
      change: { member: { id: 9 }, repository: { id: 1, owner: { id: 8 } } },
      expected: { kind: "memberships", person: "9", owner: "8" },
    },
    "a team's former member": {
      event: "membership",
      fields: { action: "removed" },
      change: { member: { id: 9 }, organization: { id: 8 } },
      expected: { kind: "memberships", person: "9", owner: "8" },
    },
    "a team that may do less": {
      event: "team",
      fields: { action: "removed_from_repository" },
      change: { organization: { id: 8 } },
      expected: { kind: "memberships", person: undefined, owner: "8" },
    },
    "a grant that a person took back": {
      event: "github_app_authorization",
      change: { sender: { id: 9 } },
      expected: { kind: "memberships", person: "9", owner: undefined },
    },
    "a check that is to run again": {
      event: "check_run",
      fields: { action: "rerequested" },
      change: {
        ...installed,
        sender: { id: 9 },
        repository: { id: 186853002 },
        check_run: { head_sha: "2".repeat(40), app: { id: APP } },
      },
      expected: { kind: "rerun", repository, commit: "2".repeat(40) as CommitSha, person: "9" },
    },
    "all checks that are to run again": {
      event: "check_suite",
      fields: { action: "rerequested" },
      change: { ...installed, sender: null, check_suite: { head_sha: "2".repeat(40), app: { id: APP } } },
      expected: { kind: "rerun", repository, commit: "2".repeat(40) as CommitSha, person: undefined },
    },
    "another App's check": {
      event: "check_run",
      fields: { action: "rerequested" },
      change: { ...installed, check_run: { head_sha: "2".repeat(40), app: { id: 1 } } },
      expected: { kind: "ignored", reason: "check_run: it is another App's" },
    },
    "a check that ended": {
      event: "check_run",
      fields: { action: "completed" },
      change: installed,
      expected: { kind: "ignored", reason: "check_run: nobody asks for another run" },
    },
    "a ping": { event: "ping", expected: { kind: "ignored", reason: "ping: GitHub tries the hook" } },
    "an event without a use": {
      event: "star",
      expected: { kind: "ignored", reason: "star: the platform has no use for this event" },
    },
  };
  for (const [name, { event, fields = {}, change = {}, expected }] of Object.entries(rows)) {
    test(`says: ${name}`, () => {
      const payload = { ...recorded(event, fields as Record<string, unknown>), ...change };
      expect(parseDelivery(event, JSON.stringify(payload), APP)).toEqual(expected);
    });
  }

  test("is refused where its bytes are no text, though they would read as the signed ones", async () => {
    await using it = await startGitHub();
    const { headers, body } = it.gitHub.sign("push", '{"x":"\ufffd"}');
    expect(await it.host.verify({ headers, body })).toMatchObject({ kind: "authentic" });
    const other = Buffer.from(body.toString("latin1").replace("\xef\xbf\xbd", "\xff"), "latin1");
    expect(other.toString()).toBe(body.toString());
    expect(await it.host.verify({ headers, body: other })).toMatchObject({ kind: "refused" });
  });

  test("is refused where it is signed with a secret that was let go of, or with none", async () => {
    await using it = await startGitHub();
    const { headers, body } = it.gitHub.sign("push", "{}");
    for (const secret of ["", "former"]) {
      const signature = `sha256=${createHmac("sha256", secret).update(body).digest("hex")}`;
      const forged = { headers: { ...headers, "x-hub-signature-256": signature }, body };
      expect(await it.host.verify(forged)).toMatchObject({ kind: "refused" });
    }
  });
});

describe("what the App may do", () => {
  test("is asked for one repository and one purpose, and used again for most of an hour", async () => {
    await using it = await startGitHub();
    const { key, ref, branch, commit } = it.linked;
    const minted = () =>
      it.gitHub.ledger.flatMap(({ operation, body }) => (operation?.endsWith("access_tokens") ? [body] : []));
    const status = statusOf({ state: "success" });
    for (let time = 0; time < 3; time++) {
      await it.host.reportStatus(ref, commit, status);
      await it.host.fetchHead(key, branch, signal());
    }
    const repository_ids = [Number(key.id)];
    expect(minted()).toEqual([
      { repository_ids, permissions: { checks: "write" } },
      { repository_ids, permissions: { contents: "read" } },
    ]);

    vi.useFakeTimers({ toFake: ["Date"], now: Date.now() + 54 * 60_000 });
    await it.host.reportStatus(ref, commit, status);
    expect(minted()).toHaveLength(2);
    vi.setSystemTime(Date.now() + 2 * 60_000);
    await it.host.reportStatus(ref, commit, status);
    expect(minted()).toHaveLength(3);
  });

  test("goes on after the repository was renamed, and after a token was taken back", async () => {
    await using it = await startGitHub();
    const { key, ref, branch, commit } = it.linked;
    const repository = must(it.gitHub.world.repositories.get(Number(key.id)), "the repository");
    await it.host.fetchHead(key, branch, signal());
    await it.gitHub.rename(repository, "homepage");
    expect(await it.host.fetchHead(key, branch, signal())).toMatchObject({ commit });
    expect(await it.host.fetchRepository(key, signal())).toMatchObject({ facts: { name: "homepage" } });
    await it.host.fetchCommit(ref, commit, { log: { write: () => undefined }, signal: signal() });
    it.gitHub.world.installationTokens.clear();
    expect(await it.host.fetchHead(key, branch, signal())).toMatchObject({ commit });
  });

  test("finds no branch by a name that it had", async () => {
    await using it = await startGitHub();
    const { key, branch } = it.linked;
    it.gitHub.world.renamedBranches.set(branch, "trunk");
    expect(await it.host.fetchHead(key, branch, signal())).toBeUndefined();
  });

  test("waits for a new token to be known everywhere, for a while", async () => {
    await using it = await startGitHub();
    const { key, branch, commit } = it.linked;
    it.gitHub.world.tokenLag = 2;
    expect(await it.host.fetchHead(key, branch, signal())).toMatchObject({ commit });
    it.gitHub.world.installationTokens.clear();
    it.gitHub.world.tokenLag = 3;
    await expect(it.host.fetchHead(key, branch, signal())).rejects.toMatchObject({ status: 401 });
  });

  test("says nothing of a branch while the repository is not found", async () => {
    await using it = await startGitHub();
    const { key, branch } = it.linked;
    await it.host.fetchHead(key, branch, signal());
    it.fake.trouble({ kind: "answer", status: 404 });
    await expect(it.host.fetchHead(key, branch, signal())).rejects.toBeInstanceOf(HostUnavailable);
  });

  test("knows installations of enterprises, which have no repositories", async () => {
    await using it = await startGitHub();
    const enterprise = it.gitHub.world.addAccount("big", "Enterprise");
    const { id } = it.gitHub.world.install(enterprise);
    expect(await it.host.listRepositories(signal())).toHaveLength(1);
    const state = await it.host.fetchInstallation(String(id), signal());
    expect(state).toEqual({ kind: "removed", reason: "an enterprise has no repositories" });
  });

  test("ends while the installation is suspended, and says that it is", async () => {
    await using it = await startGitHub();
    const { key } = it.linked;
    const installation = must(it.gitHub.world.installationOf(it.gitHub.acme), "the installation");
    installation.suspendedAt = new Date().toISOString();
    const expected = { reason: "the GitHub App is suspended" };
    expect(await it.host.fetchRepository(key, signal())).toEqual({ kind: "unlinked", ...expected });
    expect(await it.host.fetchInstallation(String(installation.id), signal())).toEqual({
      kind: "removed",
      ...expected,
    });
    expect(await it.host.listRepositories(signal())).toEqual([]);
    installation.suspendedAt = undefined;
    expect(await it.host.fetchRepository(key, signal())).toMatchObject({ kind: "linked" });
  });

  test("is not told to be gone where the App lacks a permission that it asks for", async () => {
    await using it = await startGitHub();
    it.gitHub.world.withheld.add("metadata");
    await expect(it.host.fetchRepository(it.linked.key, signal())).rejects.toBeInstanceOf(HostUnavailable);
  });

  test("does not reach a public repository that is not linked, though anybody may read it", async () => {
    await using it = await startGitHub();
    const other = await it.fake.addRepository({ isLinked: false });
    expect(await it.host.fetchRepository(other.key, signal())).toEqual({
      kind: "unlinked",
      reason: "the GitHub App is not installed on the repository",
    });
    const head = it.host.fetchHead(other.key, other.branch, signal());
    await expect(head).rejects.toBeInstanceOf(HostUnavailable);
  });

  test("is nothing where GitHub knows another App by this key", async () => {
    await using it = await startGitHub();
    const stranger = GitHubConfig.parse({ ...it.gitHub.config, appId: 1 });
    await using host = await openGitHub(stranger, { root: it.root, firstPauseMs: 1 });
    await expect(host.fetchRepository(it.linked.key, signal())).rejects.toBeInstanceOf(HostUnavailable);
    await expect(host.listRepositories(signal())).rejects.toBeInstanceOf(HostUnavailable);
  });

  test("is refused at the start where the private key is none", async () => {
    await using it = await startGitHub();
    const config = GitHubConfig.parse({ ...it.gitHub.config, privateKey: "not a key" });
    await expect(openGitHub(config, { root: it.root })).rejects.toMatchObject({ kind: "config-invalid" });
  });

  test("leaves out repositories of names that the platform does not take", async () => {
    await using it = await startGitHub();
    const odd = await it.gitHub.addRepository(it.gitHub.acme, ".github");
    await it.gitHub.link(odd);
    const names = (await it.host.listRepositories(signal())).map(({ name }) => name);
    expect(names).toEqual(["site"]);
    const key = { ...it.linked.key, id: String(odd.id) };
    expect(await it.host.fetchRepository(key, signal())).toMatchObject({ kind: "unlinked" });
  });
});

describe("a list of GitHub's", () => {
  /** Asks for a list that comes in these pages. */
  async function readList(
    pages: readonly { total: number; items: readonly number[]; next?: string }[],
  ): Promise<{ outcome: unknown; asked: readonly (string | undefined)[] }> {
    const asked: (string | undefined)[] = [];
    const server = createServer((request, response) => {
      const page = pages[asked.length];
      asked.push(request.headers.authorization);
      const next = page?.next === undefined ? {} : { link: `<${page.next}>; rel="next"` };
      response.writeHead(200, next).end(JSON.stringify(page));
    });
    server.listen(0, "127.0.0.1");
    await once(server, "listening");
    const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
    pages = pages.map((page) => ({
      ...page,
      ...(page.next === "here" ? { next: `${url}/list?page=2` } : {}),
    }));
    await using client = openHostClient({ title: "GitHub", firstPauseMs: 1 });
    const api = new GitHubApi({ client, url, title: "GitHub" });
    const call = { method: "GET", path: "/list", token: new Secret("the-token"), signal: signal() } as const;
    const Page = z.object({ total: z.number(), items: z.array(z.number()) });
    const outcome = await api.readTotal(call, Page, (page) => page).catch((error: unknown) => error);
    server.closeAllConnections();
    server.close();
    return { outcome, asked };
  }

  test("is read to its end", async () => {
    const { outcome } = await readList([
      { total: 3, items: [1, 2], next: "here" },
      { total: 3, items: [3] },
    ]);
    expect(outcome).toEqual([1, 2, 3]);
  });

  test("that changed while it was read is not taken for complete", async () => {
    const changed = [
      [
        { total: 3, items: [1, 2], next: "here" },
        { total: 2, items: [3] },
      ],
      [
        { total: 4, items: [1, 2], next: "here" },
        { total: 4, items: [4] },
      ],
      [{ total: 1, items: [] }],
    ];
    for (const pages of changed) expect((await readList(pages)).outcome).toBeInstanceOf(HostUnavailable);
  });

  test("is not followed to another host, which would get the token", async () => {
    await using elsewhere = await startGitHub();
    const { outcome, asked } = await readList([{ total: 2, items: [1], next: elsewhere.gitHub.url }]);
    expect(outcome).toBeInstanceOf(HostUnavailable);
    expect(asked).toEqual(["Bearer the-token"]);
    expect(elsewhere.gitHub.ledger).toEqual([]);
  });
});

describe("a check", () => {
  const checksOf = (it: GitHubUnderTest) =>
    it.gitHub.world.checkRuns.map(({ given, annotations }) => ({
      ...given,
      annotations: annotations.length,
    }));

  test("is queued, in progress and ended, and one for each run and context", async () => {
    await using it = await startGitHub();
    const { ref, commit } = it.linked;
    const report = (status: Partial<CommitStatus>) => it.host.reportStatus(ref, commit, statusOf(status));
    const detail = { startedAt: 1_700_000_000_000, finishedAt: undefined, logTail: "", annotations: [] };
    await report({ state: "pending" });
    expect(checksOf(it)).toMatchObject([{ status: "queued", name: "stack-deploy" }]);
    await report({ state: "pending", detail });
    expect(checksOf(it)).toMatchObject([{ status: "in_progress", started_at: "2023-11-14T22:13:20.000Z" }]);
    await report({
      state: "failure",
      detail: { ...detail, finishedAt: 1_700_000_060_000, logTail: "it broke" },
    });
    expect(checksOf(it)).toMatchObject([
      {
        status: "completed",
        conclusion: "failure",
        completed_at: "2023-11-14T22:14:20.000Z",
        details_url: "http://system.localhost/runs/1",
        output: { title: "Deploy to OpenFaaS", summary: "1 function is live", text: "```\nit broke\n```" },
      },
    ]);
    await report({ context: "hello", state: "success" });
    await report({ runId: "2", state: "success" });
    await report({ state: "failure" });
    expect(checksOf(it)).toMatchObject([
      { external_id: "1/stack-deploy" },
      { external_id: "1/hello", output: { title: "Build hello" } },
      { external_id: "2/stack-deploy" },
    ]);
  });

  test("that ended is not reopened by a report that comes late", async () => {
    await using it = await startGitHub();
    const { ref, commit } = it.linked;
    await Promise.all([
      it.host.reportStatus(ref, commit, statusOf({ state: "success" })),
      it.host.reportStatus(ref, commit, statusOf({ state: "pending" })),
    ]);
    expect(checksOf(it)).toMatchObject([{ status: "completed", conclusion: "success" }]);
  });

  test("has every annotation once, fifty a call, however often it is sent", async () => {
    await using it = await startGitHub();
    const { ref, commit } = it.linked;
    const annotations = Array.from({ length: 120 }, (_, i) => ({
      path: "stack.yml",
      line: i + 1,
      level: "failure" as const,
      message: "no",
    }));
    const detail = { startedAt: 0, finishedAt: 1, logTail: "", annotations };
    for (let time = 0; time < 3; time++)
      await it.host.reportStatus(ref, commit, statusOf({ state: "failure", detail }));
    expect(checksOf(it)).toMatchObject([{ annotations: 120 }]);
    const calls = it.gitHub.ledger.filter(({ operation }) => operation?.includes("/check-runs/"));
    expect(calls.map(({ body }) => JSON.stringify(body).match(/start_line/g)?.length ?? 0)).toEqual([
      50, 20, 0, 0,
    ]);
  });

  test("shows a description as it is, whatever Markdown would make of it", async () => {
    await using it = await startGitHub();
    const { ref, commit } = it.linked;
    const description = "![x](http://evil.test/x.png) <img> @alice *a* `b` #1";
    await it.host.reportStatus(ref, commit, statusOf({ state: "failure", description }));
    expect(checksOf(it)).toMatchObject([
      {
        output: {
          summary: String.raw`\!\[x\]\(http://evil\.test/x\.png\) \<img\> \@alice \*a\* \`b\` \#1`,
        },
      },
    ]);
  });

  const logs: Record<string, { log: string; most: number; expected: string | RegExp }> = {
    "that is short, whole": { log: "one\ntwo", most: 100, expected: "```\none\ntwo\n```" },
    "that ends a block of code, in a longer one": {
      log: "```\n![x](y)",
      most: 100,
      expected: "````\n```\n![x](y)\n````",
    },
    "that is long, by its last whole lines and both sizes": {
      log: "first\nsecond\nthird\n".repeat(30),
      most: 200,
      expected:
        /^The log is longer than GitHub shows: of 570 bytes, the last of at most 200 follow\.\n\n```\n(\w+\n)+third\n\n```$/,
    },
    "of one long line, by its end": { log: "é".repeat(500), most: 200, expected: /```\né+\n```$/ },
    "of nothing but quotes, within the limit": {
      log: "`".repeat(500),
      most: 300,
      expected: /^`{99}\n`\n`{99}$/,
    },
  };
  for (const [name, { log, most, expected }] of Object.entries(logs)) {
    test(`shows a log ${name}`, () => {
      const text = logText(log, most);
      if (typeof expected === "string") expect(text).toBe(expected);
      else expect(text).toMatch(expected);
      expect(Buffer.byteLength(text)).toBeLessThanOrEqual(most);
      expect(text).not.toContain("\ufffd");
    });
  }

  test("asks by its button for another run", async () => {
    await using it = await startGitHub();
    await using hook = await listenForDeliveries(it);
    const { key, commit } = it.linked;
    const repository = must(it.gitHub.world.repositories.get(Number(key.id)), "the repository");
    await it.gitHub.rerequest(repository, commit);
    expect(hook.deliveries).toEqual([
      { kind: "rerun", repository: key, commit, person: String(it.gitHub.alice.id) },
    ]);
  });
});

describe("statuses, where checks are not wanted", () => {
  test("show each context's newest state in at most 140 characters", async () => {
    await using it = await startGitHub({ report: "statuses" });
    const { ref, key, commit } = it.linked;
    const description = "😀".repeat(100);
    await it.host.reportStatus(ref, commit, statusOf({ state: "pending", description }));
    await it.host.reportStatus(ref, commit, statusOf({ state: "failure", description }));
    await it.host.reportStatus(ref, commit, statusOf({ state: "neutral", context: "hello" }));
    expect(await it.fake.statuses(key, commit)).toEqual([
      {
        context: "stack-deploy",
        state: "failure",
        description: `${"😀".repeat(69)}…`,
        targetUrl: "http://system.localhost/runs/1",
      },
      {
        context: "hello",
        state: "success",
        description: "1 function is live",
        targetUrl: "http://system.localhost/runs/1",
      },
    ]);
    expect(it.gitHub.world.checkRuns).toEqual([]);
  });
});

describe("a deployment", () => {
  test("is one for each run, with where it answers, and stays ended", async () => {
    await using it = await startGitHub();
    const { ref, commit } = it.linked;
    const report = {
      runId: "1",
      environmentUrl: "http://acme.localhost/hello",
      logUrl: "http://system.localhost/runs/1",
    };
    for (const state of ["in_progress", "in_progress", "success", "success", "in_progress"] as const)
      await it.host.reportDeployment(ref, commit, { ...report, state });
    await it.host.reportDeployment(ref, commit, { ...report, runId: "2", state: "failure" });
    const shown = it.gitHub.world.deployments.map(({ given, statuses }) => ({
      payload: given["payload"],
      statuses: statuses.map((status) => status["state"]),
    }));
    expect(shown).toEqual([
      { payload: { runId: "1" }, statuses: ["in_progress", "success"] },
      { payload: { runId: "2" }, statuses: ["failure"] },
    ]);
    expect(it.gitHub.world.deployments[0]?.statuses[1]).toMatchObject({
      environment_url: report.environmentUrl,
      log_url: report.logUrl,
    });
  });
});

describe("deliveries that were lost", () => {
  test("are sent again where none of their attempts came through, since a moment and over many pages", async () => {
    await using it = await startGitHub();
    const { gitHub, linked } = it;
    const repository = must(gitHub.world.repositories.get(Number(linked.key.id)), "the repository");
    const payload = gitHub.pushPayload(repository, {
      before: linked.before,
      after: linked.commit,
      message: "x",
    });
    const hour = 3_600_000;
    gitHub.loseDelivery("push", payload, Date.now() - 5 * hour);
    const lost = [3, 2, 1].map((hours) => gitHub.loseDelivery("push", payload, Date.now() - hours * hour));
    await using hook = await listenForDeliveries(it);
    await gitHub.deliver("push", payload);
    it.fake.limitPages(2);
    hook.deliveries.length = 0;

    expect(await it.host.redeliver(new Date(Date.now() - 4 * hour), signal())).toBe(3);
    expect(hook.deliveries).toHaveLength(3);
    expect(hook.ids).toEqual(expect.arrayContaining(lost.map(({ guid }) => guid)));
    expect(await it.host.redeliver(new Date(Date.now() - 4 * hour), signal())).toBe(0);
  });

  test("are given up after five attempts", async () => {
    await using it = await startGitHub();
    await using hook = await listenForDeliveries(it, 503);
    await it.gitHub.deliver("ping", recorded("ping"));
    const since = new Date(Date.now() - 60_000);
    const counts: number[] = [];
    for (let time = 0; time < 6; time++) counts.push(await it.host.redeliver(since, signal()));
    expect(counts).toEqual([1, 1, 1, 1, 0, 0]);
    expect(hook.ids).toHaveLength(5);
  });

  test("are not counted where GitHub cannot be asked", async () => {
    await using it = await startGitHub();
    for (const status of [401, 403, 404, 500]) {
      it.fake.trouble({ kind: "answer", status });
      await expect(it.host.redeliver(new Date(0), signal())).rejects.toBeInstanceOf(HostUnavailable);
    }
  });
});

describe("sign-in with GitHub", () => {
  const redirectUri = "http://auth.system.localhost/callback";

  async function signIn(it: GitHubUnderTest) {
    const provider = must(it.host.signIn, "sign-in");
    const codeChallenge = "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM";
    const url = provider.authorizeUrl({ state: "s", codeChallenge, redirectUri });
    const { code } = await it.fake.consent(url);
    const codeVerifier = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk";
    const { grant } = await provider.exchange({ code, codeVerifier, redirectUri }, signal());
    return { provider, grant };
  }

  test("asks for no more than the App may do, by PKCE", async () => {
    await using it = await startGitHub();
    const url = must(it.host.signIn, "sign-in").authorizeUrl({ state: "s", codeChallenge: "c", redirectUri });
    expect(url.origin + url.pathname).toBe(`${it.gitHub.url}/login/oauth/authorize`);
    expect(Object.fromEntries(url.searchParams)).toEqual({
      client_id: it.gitHub.app.clientId,
      redirect_uri: redirectUri,
      state: "s",
      code_challenge: "c",
      code_challenge_method: "S256",
    });
  });

  test("makes a person the admin of their own account", async () => {
    await using it = await startGitHub();
    const { provider, grant } = await signIn(it);
    const { owners } = await provider.fetchAccess(grant, signal());
    const owner = { sourceId: String(it.gitHub.alice.id), login: "alice", kind: "person" };
    expect(owners).toEqual([{ owner, role: "admin" }]);
  });

  test("finds the one repository among many that a person may push to", async () => {
    await using it = await startGitHub();
    it.fake.limitPages(1);
    for (let time = 0; time < 3; time++) await it.fake.addRepository();
    const repositories = [...it.gitHub.world.repositories.values()];
    for (const [i, { collaborators }] of repositories.entries())
      collaborators.set(it.gitHub.alice, i === 3 ? "push" : "pull");
    const { provider, grant } = await signIn(it);
    const { owners } = await provider.fetchAccess(grant, signal());
    expect(owners).toContainEqual({ owner: expect.objectContaining({ login: "acme" }), role: "developer" });
  });

  test("is the platform's trouble where GitHub does not take its secret", async () => {
    await using it = await startGitHub();
    const { provider, grant } = await signIn(it);
    it.gitHub.app.clientSecret = "another";
    await expect(signIn(it)).rejects.toBeInstanceOf(HostUnavailable);
    const expired = { ...grant, expiresAt: Date.now() - 1 };
    await expect(provider.fetchAccess(expired, signal())).rejects.toBeInstanceOf(HostUnavailable);
  });

  test("is offered only where there is an OAuth client", async () => {
    await using it = await startGitHub();
    const { oauth: _, ...config } = it.gitHub.config;
    await using host = await openGitHub(GitHubConfig.parse(config), { root: it.root });
    expect(host.signIn).toBeUndefined();
  });
});

describe("the App itself", () => {
  const urls = {
    home: "http://system.localhost",
    webhook: "http://system.localhost/github-event",
    created: "http://system.localhost/github-app",
    callback: "http://auth.system.localhost/oauth2/authorized",
    installed: "http://system.localhost/dashboard",
  };

  test("is made by one click, and then used", async () => {
    await using it = await startGitHub();
    const form = manifestFormUrl(it.gitHub.url, { state: "the-state", organization: "acme" });
    expect(form.pathname).toBe("/organizations/acme/settings/apps/new");
    const manifest = JSON.stringify(gitHubAppManifest("OpenFaaS Cloud of Acme", urls));
    const page = await fetch(form, { method: "POST", body: new URLSearchParams({ manifest }) });
    const shown = await page.text();
    expect(shown).toContain("Create GitHub App");
    const created = await fetch(`${it.gitHub.url}/settings/apps/create`, {
      method: "POST",
      body: new URLSearchParams({ manifest, state: "the-state" }),
      redirect: "manual",
    });
    const back = new URL(created.headers.get("location") ?? "");
    expect(back.href).toMatch(/^http:\/\/system\.localhost\/github-app\?/);
    expect(back.searchParams.get("state")).toBe("the-state");

    await using client = openHostClient({ title: "GitHub" });
    const host = { client, webUrl: it.gitHub.url, apiUrl: `${it.gitHub.url}/api/v3`, title: "GitHub" };
    const code = back.searchParams.get("code") ?? "";
    const made = GitHubConfig.parse(await convertManifestCode(host, code, signal()));
    expect(made).toMatchObject({
      kind: "github",
      slug: "openfaas-cloud-of-acme",
      webhookSecrets: [expect.any(Secret)],
    });
    await expect(convertManifestCode(host, code, signal())).rejects.toBeInstanceOf(SignInRefused);

    expect(it.gitHub.app).toMatchObject({ hookUrl: urls.webhook, callbackUrls: [urls.callback] });
    await using used = await openGitHub(made, { root: it.root });
    expect(await used.listRepositories(signal())).toHaveLength(1);
    expect(await used.verify(it.gitHub.sign("ping", recorded("ping")))).toMatchObject({ kind: "authentic" });
  });

  test("asks for exactly the permissions and events that the platform uses", () => {
    const { default_permissions, default_events, hook_attributes, ...rest } = gitHubAppManifest(
      "x".repeat(50),
      urls,
    );
    expect(default_permissions).toEqual({
      metadata: "read",
      contents: "read",
      checks: "write",
      statuses: "write",
      deployments: "write",
      members: "read",
    });
    const always = [
      "installation",
      "installation_repositories",
      "installation_target",
      "github_app_authorization",
      "ping",
    ];
    for (const event of default_events) {
      const delivery = parseDelivery(event, "{}", APP);
      expect(delivery).not.toMatchObject({ reason: expect.stringContaining("no use for") });
      expect(always).not.toContain(event);
    }
    expect(hook_attributes).toEqual({ url: urls.webhook, active: true });
    expect(rest.name).toHaveLength(34);
  });

  const places: Record<string, { config: { url: string; apiUrl?: string }; api: string; title: string }> = {
    "github.com": {
      config: { url: "https://github.com" },
      api: "https://api.github.com",
      title: "GitHub",
    },
    "a server of one's own": {
      config: { url: "https://github.example.com" },
      api: "https://github.example.com/api/v3",
      title: "GitHub (github.example.com)",
    },
    "an API elsewhere": {
      config: { url: "https://acme.ghe.com", apiUrl: "https://api.acme.ghe.com" },
      api: "https://api.acme.ghe.com",
      title: "GitHub (acme.ghe.com)",
    },
  };
  for (const [name, { config, api, title }] of Object.entries(places)) {
    test(`knows where it is: ${name}`, () => {
      expect(apiUrlOf({ apiUrl: undefined, ...config })).toBe(api);
      expect(titleOf(config)).toBe(title);
    });
  }

  test("is installed by one click on every repository of an account", async () => {
    await using it = await startGitHub();
    await using hook = await listenForDeliveries(it);
    await it.gitHub.addRepository(it.gitHub.alice, "blog");
    expect(it.host.linkUrl).toBe(`${it.gitHub.url}/github-apps/openfaas-cloud/installations/new`);
    const page = await fetch(must(it.host.linkUrl, "a page"));
    expect(await page.text()).toContain("Install on alice");
    const body = new URLSearchParams({ account: "alice" });
    await fetch(must(it.host.linkUrl, "a page"), { method: "POST", body });
    const [delivery] = hook.deliveries;
    if (delivery?.kind !== "installation") throw new Error("no installation was told of");
    expect(await it.host.fetchInstallation(delivery.installation, signal())).toMatchObject({
      kind: "installed",
      owner: { login: "alice", kind: "person" },
      repositories: [{ fullName: "alice/blog" }],
    });
  });
});

function statusOf(status: Partial<CommitStatus>): CommitStatus {
  return {
    context: "stack-deploy",
    state: "pending",
    description: "1 function is live",
    targetUrl: "http://system.localhost/runs/1",
    runId: "1",
    ...status,
  };
}

interface Hook extends AsyncDisposable {
  /** What those that were authentic say. */
  readonly deliveries: Delivery[];
  readonly ids: (string | undefined)[];
}

/** The platform's end of the hook, as far as the adapter goes. */
async function listenForDeliveries({ gitHub, host }: GitHubUnderTest, status = 202): Promise<Hook> {
  const deliveries: Delivery[] = [];
  const ids: (string | undefined)[] = [];
  const server = createServer(async (request, response) => {
    const body = await buffer(request);
    const verdict = await host.verify({ headers: request.headers, body });
    if (verdict.kind === "authentic") {
      deliveries.push(host.parse(verdict.event, body.toString()));
      ids.push(verdict.deliveryId);
    }
    response.writeHead(verdict.kind === "authentic" ? status : 401).end();
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  gitHub.app.hookUrl = `http://system.localhost:${(server.address() as AddressInfo).port}/github-event`;
  return {
    deliveries,
    ids,
    async [Symbol.asyncDispose]() {
      gitHub.app.hookUrl = undefined;
      server.closeAllConnections();
      await new Promise((resolve) => server.close(resolve));
    },
  };
}
