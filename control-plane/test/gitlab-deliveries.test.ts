import { createServer, type IncomingMessage } from "node:http";
import type { AddressInfo } from "node:net";
import { buffer } from "node:stream/consumers";
import { Secret } from "@openfaas-cloud/shared/env.ts";
import { must } from "@openfaas-cloud/shared/must.ts";
import { describe, expect, onTestFinished, test } from "vitest";
import { parseDelivery, verifyDelivery } from "../src/ports/source-host/gitlab/deliveries.ts";
import { GitLabConfig, HostConfig } from "../src/ports/source-host/host-config.ts";
import type { Delivery, RawDelivery, Verdict } from "../src/ports/source-host/remote-host.ts";
import { startGitLab, TOPIC } from "./support/fake-gitlab/host-under-test.ts";
import {
  groupMemberPayload,
  makeDelivery,
  projectPayload,
  pushPayload,
} from "./support/fake-gitlab/payloads.ts";
import { GitLabWorld } from "./support/fake-gitlab/world.ts";

const tokens = ["the newest token", "the token before"];
const signing = [1, 2].map((i) => `whsec_${Buffer.alloc(32, i).toString("base64")}`);
const secrets = (values: readonly string[]) => values.map((value) => new Secret(value));
const byToken = { webhookTokens: secrets(tokens), signingTokens: undefined };
const bySignature = { webhookTokens: undefined, signingTokens: secrets(signing) };
const byBoth = { webhookTokens: secrets(tokens), signingTokens: secrets(signing) };

const world = new GitLabWorld();
const alice = world.addUser("alice", "Alice Liddell");
const group = world.addGroup("acme", { name: "Acme & Sons, Inc." });
const project = world.addProject("site", group.id, { name: "The Site" });
const [before, after] = ["a".repeat(40), "b".repeat(40)];
const push = (changes: Partial<Parameters<typeof pushPayload>[2]> = {}) =>
  pushPayload({ world, url: "https://gitlab.example.com" }, project, {
    ...{ branch: "main", before, after, message: "say hello\n\nand more", author: "Alice", pusher: alice },
    ...changes,
  });
const key = { id: project.id.toString(), installation: undefined };

function idOf(verdict: Verdict): string | undefined {
  if (verdict.kind !== "authentic") throw new Error(verdict.reason);
  return verdict.deliveryId;
}

describe("a delivery's proof", () => {
  const verdicts: Readonly<
    Record<string, readonly [typeof byToken | typeof bySignature | typeof byBoth, object, boolean]>
  > = {
    "the newest token": [byToken, { token: tokens[0] }, true],
    "the token before": [byToken, { token: tokens[1] }, true],
    "another token": [byToken, { token: "another" }, false],
    "a token that ours begins with": [byToken, { token: "the newest" }, false],
    "no token": [byToken, {}, false],
    "no token, but a signature that nobody asked for": [byToken, { signingToken: signing[0] }, false],
    "the newest signature": [bySignature, { signingToken: signing[0] }, true],
    "the signature before": [bySignature, { signingToken: signing[1] }, true],
    "a token where signatures are wanted": [bySignature, { token: tokens[0] }, false],
    "both of both": [byBoth, { token: tokens[1], signingToken: signing[0] }, true],
    "only the token of both": [byBoth, { token: tokens[0] }, false],
    "only the signature of both": [byBoth, { signingToken: signing[0] }, false],
    "a wrong token beside the signature": [byBoth, { token: "x", signingToken: signing[0] }, false],
  };
  for (const [name, [config, given, isAuthentic]] of Object.entries(verdicts)) {
    test(`${isAuthentic ? "is" : "is not"} ${name}`, () => {
      const verdict = verifyDelivery(config, makeDelivery("Push Hook", push(), given));
      expect(verdict.kind).toBe(isAuthentic ? "authentic" : "refused");
      if (verdict.kind === "refused") {
        for (const secret of [...tokens, ...signing]) expect(verdict.reason).not.toContain(secret);
      }
    });
  }

  test("is not the same header twice", () => {
    for (const [config, given, header] of [
      [byToken, { token: tokens[0] }, "x-gitlab-token"],
      [bySignature, { signingToken: signing[0] }, "webhook-signature"],
    ] as const) {
      const { headers, body } = makeDelivery("Push Hook", push(), given);
      const twice = { headers: { ...headers, [header]: [headers[header], headers[header]] }, body };
      expect(verifyDelivery(config, twice as RawDelivery).kind).toBe("refused");
    }
  });

  test("is never one where none is configured", () => {
    const none = { webhookTokens: undefined, signingTokens: undefined };
    for (const given of [{}, { token: "" }, { token: tokens[0] }]) {
      expect(verifyDelivery(none, makeDelivery("Push Hook", push(), given)).kind).toBe("refused");
    }
  });

  test("is any of several signatures, as while a token is replaced", () => {
    const { headers, body } = makeDelivery("Push Hook", push(), { signingToken: signing[1] });
    const several = `v1,${"A".repeat(43)}= v2,something ${headers["webhook-signature"]}`;
    const signed = { headers: { ...headers, "webhook-signature": several }, body };
    expect(verifyDelivery(bySignature, signed).kind).toBe("authentic");
  });
});

describe("a delivery's id", () => {
  const given = { token: tokens[0], signingToken: signing[0] };

  test("stays when GitLab sends it again", () => {
    for (const config of [byToken, bySignature, byBoth]) {
      const ids = [0, 1].map(() =>
        idOf(verifyDelivery(config, makeDelivery("Push Hook", push(), given, { key: "the-key" }))),
      );
      expect(ids).toEqual(["the-key", "the-key"]);
    }
  });

  test("is the one that was signed, whatever stands beside it", () => {
    const { headers, body } = makeDelivery("Push Hook", push(), given, { key: "the-key" });
    const replayed = { headers: { ...headers, "idempotency-key": "another" }, body };
    expect(idOf(verifyDelivery(bySignature, replayed))).toBe("the-key");
  });

  test("tells apart what one delivery causes in turn, in versions without a key", () => {
    const options = { isOld: true };
    const uuid = { "x-gitlab-event-uuid": "13792a34-cac6-4fda-95a8-c58e00a3954e" };
    const [one, other] = [push(), push({ branch: "other" })].map((payload) => {
      const { headers, body } = makeDelivery("Push Hook", payload, given, options);
      return (): string | undefined =>
        idOf(verifyDelivery(byToken, { headers: { ...headers, ...uuid }, body }));
    });
    expect(one?.()).toBe(one?.());
    expect(one?.()).not.toBe(other?.());
  });

  test("is bounded, and none where GitLab gives none", () => {
    const long = makeDelivery("Push Hook", push(), given, { key: "k".repeat(5000) });
    expect(idOf(verifyDelivery(byToken, long))?.length).toBeLessThan(200);
    const { headers, body } = makeDelivery("Push Hook", push(), given, { isOld: true });
    const bare = { headers: { ...headers, "x-gitlab-event-uuid": undefined }, body };
    expect(idOf(verifyDelivery(byToken, bare))).toBeUndefined();
  });
});

describe("a delivery says", () => {
  const pushed = {
    kind: "push",
    repository: key,
    branch: "main",
    before,
    commit: after,
    message: "say hello",
    author: "Alice",
    pusher: alice.id.toString(),
  };
  const repositories = { kind: "repositories", repositories: [key] };
  const memberships = { kind: "memberships", person: alice.id.toString(), owner: undefined };
  const ignored = (reason: string) => ({ kind: "ignored", reason: expect.stringContaining(reason) });
  const bare = (event_name: string) => ({
    event_name,
    user_id: alice.id,
    project_id: project.id,
    group_id: 7,
  });

  const rows: readonly (readonly [name: string, hook: string, payload: object, expected: object])[] = [
    ["that a branch moved, by a hook of a project or group", "Push Hook", push(), pushed],
    ["that a branch moved, by a hook of the instance", "System Hook", push(), pushed],
    [
      "that a branch moved, without commits",
      "System Hook",
      { ...push(), commits: [] },
      { ...pushed, message: "", author: "Alice Liddell" },
    ],
    ["that a branch is new", "Push Hook", push({ before: undefined }), { ...pushed, before: undefined }],
    [
      "that a branch is gone",
      "Push Hook",
      push({ after: undefined }),
      { ...pushed, commit: undefined, message: "", author: "Alice Liddell" },
    ],
    [
      "that a branch below others moved",
      "Push Hook",
      push({ branch: "feature/master" }),
      { ...pushed, branch: "feature/master" },
    ],
    [
      "nothing of a branch whose name cannot be used",
      "Push Hook",
      push({ branch: "-x" }),
      ignored("refs/heads/-x"),
    ],
    [
      "nothing of a push of something else",
      "Push Hook",
      { ...push(), ref: "refs/merge-requests/1/head" },
      ignored("no branch"),
    ],
    ["nothing of a push to no commit", "Push Hook", { ...push(), after: "HEAD" }, ignored("cannot be read")],
    [
      "nothing of a push to a project without an id",
      "Push Hook",
      { ...push(), project_id: "../1" },
      ignored("project_id"),
    ],
    ...["project_create", "project_destroy", "project_rename", "project_transfer", "project_update"].map(
      (name) =>
        [
          `that a project is to be looked at: ${name}`,
          "System Hook",
          projectPayload(world, name, project),
          repositories,
        ] as const,
    ),
    [
      "that a project of a group is to be looked at",
      "Project Hook",
      projectPayload(world, "project_destroy", project),
      repositories,
    ],
    ...["user_add_to_group", "user_update_for_group", "user_remove_from_group"].flatMap((name) =>
      ["System Hook", "Member Hook"].map(
        (hook) =>
          [
            `who may do something else: ${name}, ${hook}`,
            hook,
            groupMemberPayload(name, group, alice),
            memberships,
          ] as const,
      ),
    ),
    ...[
      "user_add_to_team",
      "user_update_for_team",
      "user_remove_from_team",
      "user_destroy",
      "user_failed_login",
    ].map((name) => [`who may do something else: ${name}`, "System Hook", bare(name), memberships] as const),
    ["nothing of tags", "Tag Push Hook", { ...push(), object_kind: "tag_push" }, ignored("left for later")],
    [
      "nothing of tags of the instance",
      "System Hook",
      { ...push(), event_name: "tag_push" },
      ignored("left for later"),
    ],
    [
      "nothing of merge requests",
      "Merge Request Hook",
      { object_kind: "merge_request" },
      ignored("left for later"),
    ],
    [
      "nothing of merge requests of the instance",
      "System Hook",
      { object_kind: "merge_request" },
      ignored("left for later"),
    ],
    ["nothing of repository_update", "System Hook", bare("repository_update"), ignored("pushes")],
    ["nothing of a group's new name", "System Hook", bare("group_rename"), ignored("by their ids")],
    ...["key_create", "user_create", "group_create", "user_access_request_to_group", "constructor"].map(
      (name) => [`nothing of ${name}`, "System Hook", bare(name), ignored("nothing is done")] as const,
    ),
    ["nothing of issues", "Issue Hook", { object_kind: "issue" }, ignored("nothing is done")],
    ["nothing without a person", "System Hook", { event_name: "user_add_to_team" }, ignored("user_id")],
  ];
  for (const [name, hook, payload, expected] of rows) {
    test(name, () => expect(parseDelivery(hook, JSON.stringify(payload))).toEqual(expected));
  }

  test("nothing that acts on whoever is shown it", () => {
    const delivery = parseDelivery(
      "Push Hook",
      JSON.stringify(
        push({ message: `\u001b]8;;javascript:1\u0007x\u202e${"y".repeat(9000)}`, author: "\u001b[2JAl" }),
      ),
    );
    expect(delivery).toMatchObject({ author: "Al", message: expect.stringMatching(/^xy{499}$/) });
  });
});

test("hooks of a project, a group and the instance reach a listener as they are verified", async () => {
  await using it = await startGitLab({ proofs: ["token", "signature"] });
  const received: RawDelivery[] = [];
  const server = createServer(async (request: IncomingMessage, response) => {
    received.push({ headers: request.headers, body: await buffer(request) });
    response.writeHead(202).end();
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  onTestFinished(() => void server.close().closeAllConnections());
  const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}/gitlab-event`;
  for (const kind of ["project", "group", "system"] as const) {
    const [token, signingToken] = [it.webhookTokens[1], it.signingTokens[1]];
    it.gitlab.hooks.push({ kind, url, token, signingToken });
  }

  const linked = must(it.gitlab.world.projects.get(Number(it.linked.key.id)), "the project");
  await it.gitlab.push(linked, { "stack.yml": "2" });
  await it.gitlab.update(linked, { topics: [TOPIC, "more"] });
  await it.gitlab.setMember(it.acme, it.gitlab.world.getUser("alice"), 30);
  await it.gitlab.remove(linked);

  const seen: Delivery["kind"][] = [];
  for (const delivery of received) {
    const verdict = await it.host.verify(delivery);
    if (verdict.kind !== "authentic") throw new Error(verdict.reason);
    seen.push(it.host.parse(verdict.event, delivery.body.toString()).kind);
  }
  expect(seen).toEqual([
    ...["push", "push", "push"],
    ...["repositories", "repositories"],
    ...["memberships", "memberships"],
    ...["repositories", "repositories"],
  ]);
  expect(it.gitlab.sent.map(({ status }) => status)).toEqual(Array(9).fill(202));
});

describe("GitLab's configuration", () => {
  const given = { kind: "gitlab", token: "glpat-secret" };

  test("needs a proof for deliveries", () => {
    expect(GitLabConfig.safeParse(given).error?.message).toMatch(/webhookTokens/);
    expect(HostConfig.safeParse(given).success).toBe(false);
    for (const proof of [
      { webhookTokens: "a" },
      { webhookTokens: ["a", "b"] },
      { signingTokens: signing[0] },
      { signingTokens: signing, webhookTokens: "a" },
    ]) {
      expect(HostConfig.safeParse({ ...given, ...proof }).success).toBe(true);
    }
  });

  test("takes signing tokens in GitLab's form only, and quotes none", () => {
    for (const signingTokens of [
      "secret",
      "whsec_short",
      [signing[0], "d2hzZWM="],
      "whsec_ö".padEnd(60, "x"),
    ]) {
      const { error } = GitLabConfig.safeParse({ ...given, signingTokens });
      expect(error?.message).toMatch(/signingTokens/);
      for (const value of [signingTokens].flat())
        expect(error?.message).not.toContain(must(value, "a token"));
    }
  });

  test("is for gitlab.com and the topic openfaas-cloud unless it says otherwise", () => {
    expect(GitLabConfig.parse({ ...given, webhookTokens: "a" })).toMatchObject({
      url: "https://gitlab.com",
      topic: "openfaas-cloud",
    });
    expect(GitLabConfig.safeParse({ ...given, webhookTokens: "a", topic: "a,b" }).success).toBe(false);
  });
});
