import { randomUUID } from "node:crypto";
import type { EventKey } from "@coderabbitai/bitbucket/server";
import { must } from "@openfaas-cloud/shared/must.ts";
import type { RawDelivery } from "../../src/ports/source-host/remote-host.ts";
import type { SourceKey } from "../../src/ports/source-host/source-host.ts";
import type { FakeBitbucketCloud } from "./fake-bitbucket-cloud.ts";
import { change, type FakeBitbucketDataCenter } from "./fake-bitbucket-data-center.ts";
import type { GitLabUnderTest } from "./fake-gitlab/host-under-test.ts";
import {
  groupMemberPayload,
  makeDelivery,
  type Payload,
  projectPayload,
  pushPayload,
} from "./fake-gitlab/payloads.ts";

export interface DocumentedDelivery {
  readonly event: string;
  readonly delivery: RawDelivery;
}

const [BEFORE, AFTER] = ["a".repeat(40), "b".repeat(40)];
const TIMES = { created_at: "2026-03-01T09:30:54Z", updated_at: "2026-03-01T09:38:22Z" };

/**
 * Every event that the pages tell of, about a project that is not ours.
 * Source: https://docs.gitlab.com/user/project/integrations/webhook_events/ and https://docs.gitlab.com/administration/system_hooks/
 */
export function gitLabDeliveries({
  gitlab,
  webhookTokens,
  acme,
}: GitLabUnderTest): readonly DocumentedDelivery[] {
  const { world } = gitlab;
  const user = world.getUser("alice");
  const stranger = world.addProject("elsewhere", acme.id);
  const moved = {
    branch: "main",
    before: BEFORE,
    after: AFTER,
    message: "more",
    author: "Alice",
    pusher: user,
  };
  const push = pushPayload(gitlab, stranger, moved);
  const { project, repository, commits } = push;
  const shown = {
    id: user.id,
    name: user.name,
    username: user.username,
    avatar_url: null,
    email: "[REDACTED]",
  };
  const about = { user: shown, project, repository };
  const dated = { id: 23, iid: 5, project_id: stranger.id, ...TIMES };
  const url = `${gitlab.url}/${world.pathOf(stranger)}/-/1`;
  const person = { ...TIMES, name: user.name, email: "", user_id: user.id, username: user.username };
  const grouped = { ...TIMES, group_id: acme.id, name: acme.name, path: acme.path, full_path: acme.path };
  const onProject = {
    ...groupMemberPayload("", acme, user),
    ...projectPayload(world, "", stranger),
    access_level: "Maintainer",
    project_name: stranger.name,
    project_path: stranger.path,
  };

  const hooks: readonly (readonly [hook: string, payload: Payload])[] = [
    ["Push Hook", push],
    ["Push Hook", pushPayload(gitlab, stranger, { ...moved, before: undefined })],
    ["Push Hook", pushPayload(gitlab, stranger, { ...moved, after: undefined })],
    ["Tag Push Hook", { ...push, object_kind: "tag_push", event_name: "tag_push", ref: "refs/tags/v1" }],
    [
      "Issue Hook",
      {
        object_kind: "issue",
        event_type: "issue",
        ...about,
        object_attributes: { ...dated, url, action: "open", title: "New API" },
        changes: {},
      },
    ],
    ...["Commit", "MergeRequest", "Issue", "Snippet"].map(
      (noteable_type) =>
        [
          "Note Hook",
          {
            object_kind: "note",
            event_type: "note",
            ...about,
            project_id: stranger.id,
            object_attributes: { ...dated, url, note: "This is commit comment.", noteable_type },
          },
        ] as const,
    ),
    [
      "Merge Request Hook",
      {
        object_kind: "merge_request",
        event_type: "merge_request",
        ...about,
        object_attributes: { ...dated, url, action: "merge", source_branch: "a", target_branch: "main" },
        labels: [],
        changes: {},
      },
    ],
    [
      "Wiki Page Hook",
      {
        object_kind: "wiki_page",
        ...about,
        wiki: { web_url: url, default_branch: "main" },
        object_attributes: { title: "Page", url, action: "create" },
      },
    ],
    [
      "Pipeline Hook",
      {
        object_kind: "pipeline",
        ...about,
        object_attributes: { ...dated, url, ref: "main", tag: false, sha: AFTER, status: "success" },
        commit: null,
        builds: [],
      },
    ],
    [
      "Job Hook",
      {
        object_kind: "build",
        ...about,
        ref: "main",
        sha: AFTER,
        build_id: 1,
        build_status: "created",
        project_id: stranger.id,
      },
    ],
    [
      "Deployment Hook",
      {
        object_kind: "deployment",
        ...about,
        status: "success",
        deployment_id: 15,
        environment: "staging",
        short_sha: AFTER.slice(0, 8),
      },
    ],
    ["Member Hook", groupMemberPayload("user_add_to_group", acme, user)],
    ["Member Hook", groupMemberPayload("user_update_for_group", acme, user)],
    ["Member Hook", groupMemberPayload("user_remove_from_group", acme, user)],
    ["Member Hook", groupMemberPayload("user_access_request_to_group", acme, user)],
    ["Member Hook", groupMemberPayload("user_access_request_denied_for_group", acme, user)],
    ["Project Hook", projectPayload(world, "project_create", stranger)],
    ["Project Hook", projectPayload(world, "project_destroy", stranger)],
    ["Subgroup Hook", { ...grouped, event_name: "subgroup_create", parent_group_id: 1 }],
    ["Subgroup Hook", { ...grouped, event_name: "subgroup_destroy", parent_group_id: 1 }],
    [
      "Feature Flag Hook",
      { object_kind: "feature_flag", ...about, object_attributes: { id: 6, name: "dark", active: true } },
    ],
    [
      "Release Hook",
      {
        object_kind: "release",
        ...about,
        id: 1,
        name: "v1.1",
        tag: "v1.1",
        url,
        action: "create",
        commit: { id: AFTER },
      },
    ],
    [
      "Milestone Hook",
      {
        object_kind: "milestone",
        event_type: "milestone",
        ...about,
        object_attributes: { ...dated, title: "v1" },
        action: "create",
      },
    ],
    [
      "Emoji Hook",
      {
        object_kind: "emoji",
        event_type: "award",
        ...about,
        project_id: stranger.id,
        object_attributes: { ...dated, action: "award", name: "thumbsup" },
      },
    ],
    [
      "Resource Access Token Hook",
      {
        object_kind: "access_token",
        event_name: "expiring_access_token",
        ...about,
        object_attributes: { user_id: 90, id: 25, name: "acd", expires_at: "2026-03-01" },
      },
    ],
    [
      "Resource Deploy Token Hook",
      {
        object_kind: "deploy_token",
        event_name: "expiring_deploy_token",
        ...about,
        object_attributes: { id: 25, name: "acd", expires_at: "2026-03-01" },
      },
    ],
    [
      "Vulnerability Hook",
      {
        object_kind: "vulnerability",
        object_attributes: { url, title: "leak", state: "confirmed", severity: "high" },
      },
    ],
  ];
  const system: readonly Payload[] = [
    ...["create", "destroy", "update"].map((what) => projectPayload(world, `project_${what}`, stranger)),
    ...["rename", "transfer"].map((what) => projectPayload(world, `project_${what}`, stranger, "old/path")),
    ...["add_to_team", "remove_from_team", "update_for_team", "access_request_to_project"].map((what) => ({
      ...onProject,
      event_name: `user_${what}`,
    })),
    ...["add_to_group", "remove_from_group", "update_for_group", "access_request_to_group"].map((what) =>
      groupMemberPayload(`user_${what}`, acme, user),
    ),
    ...["create", "destroy", "rename", "failed_login"].map((what) => ({
      ...person,
      event_name: `user_${what}`,
      ...(what === "rename" ? { old_username: "alicia" } : {}),
      ...(what === "failed_login" ? { state: "blocked" } : {}),
    })),
    ...["create", "destroy"].map((what) => ({
      ...TIMES,
      event_name: `key_${what}`,
      username: user.username,
      key: "ssh-ed25519 AAAA",
      id: 4,
    })),
    ...["create", "destroy", "rename"].map((what) => ({ ...grouped, event_name: `group_${what}` })),
    { ...push, commits: undefined, event_name: "push", object_kind: "push" },
    { ...push, event_name: "tag_push", object_kind: "tag_push", ref: "refs/tags/v1.0.0" },
    {
      event_name: "repository_update",
      user_id: user.id,
      user_name: user.name,
      user_email: "",
      project_id: stranger.id,
      project,
      changes: [{ before: BEFORE, after: AFTER, ref: "refs/heads/main" }],
      refs: ["refs/heads/main"],
    },
    {
      object_kind: "merge_request",
      event_type: "merge_request",
      ...about,
      commits,
      object_attributes: { ...dated, url, action: "open" },
    },
    {
      object_kind: "gitlab_subscription_member_approval",
      action: "enqueue",
      object_attributes: { new_access_level: 30 },
      user_id: user.id,
    },
  ];
  const given = { token: must(webhookTokens[0], "a token") };
  return [...hooks, ...system.map((payload) => ["System Hook", payload] as const)].map(([hook, payload]) => ({
    event: `${hook} ${payload["event_name"] ?? payload["object_kind"]}`,
    delivery: makeDelivery(hook, payload, given),
  }));
}

/** Source: https://support.atlassian.com/bitbucket-cloud/docs/event-payloads/ */
export async function cloudDeliveries(
  fake: FakeBitbucketCloud,
  key: SourceKey,
): Promise<readonly DocumentedDelivery[]> {
  const payload = fake.payload(key);
  const comment = {
    id: 17,
    content: { raw: "a comment", html: "<p>a comment</p>", markup: "markdown" },
    links: {},
  };
  const issue = {
    id: 1,
    component: "component",
    title: "a title",
    content: comment.content,
    priority: "trivial",
    state: "new",
    type: "bug",
    links: {},
  };
  const pullrequest = {
    id: 1,
    title: "a title",
    description: "",
    state: "OPEN",
    source: { branch: { name: "b" }, commit: { hash: AFTER.slice(0, 12) } },
    destination: { branch: { name: "main" } },
    reviewers: [],
    participants: [],
    links: {},
  };
  const commit_status = {
    name: "Unit tests",
    description: "all is well",
    state: "SUCCESSFUL",
    key: "tests",
    url: "https://ci.example.test/1",
    type: "build",
    links: {},
  };
  const main = { before: BEFORE as never, commit: AFTER as never };
  const pushes = await Promise.all([
    fake.change(key, main),
    fake.change(key, { name: "new", commit: main.commit }),
    fake.change(key, { name: "gone", before: main.before }),
    fake.change(key, { type: "tag", name: "v1", commit: main.commit }),
  ]);
  const said: Readonly<Record<string, unknown>> = {
    "repo:fork": { ...payload, fork: payload["repository"] },
    "repo:updated": { ...payload, changes: { name: { old: "a", new: "b" } } },
    "repo:transfer": { ...payload, previous_workspace: {} },
    "repo:created": payload,
    "repo:deleted": payload,
    "repo:imported": payload,
    "repo:commit_comment_created": { ...payload, comment, commit: { hash: AFTER } },
    "repo:commit_status_created": { ...payload, commit_status },
    "repo:commit_status_updated": { ...payload, commit_status },
    "issue:created": { ...payload, issue },
    "issue:updated": { ...payload, issue, comment, changes: { status: { old: "open", new: "on hold" } } },
    "issue:comment_created": { ...payload, issue, comment },
    "project:updated": { actor: payload["actor"], project: { key: "PRJ" }, changes: {} },
    ...Object.fromEntries(
      ["created", "updated", "fulfilled", "rejected"].map((what) => [
        `pullrequest:${what}`,
        { ...payload, pullrequest },
      ]),
    ),
    ...Object.fromEntries(
      ["approved", "unapproved", "changes_request_created", "changes_request_removed"].map((what) => [
        `pullrequest:${what}`,
        { ...payload, pullrequest, approval: { date: TIMES.created_at, user: payload["actor"] } },
      ]),
    ),
    ...Object.fromEntries(
      ["created", "updated", "deleted", "resolved", "reopened"].map((what) => [
        `pullrequest:comment_${what}`,
        { ...payload, pullrequest, comment },
      ]),
    ),
  };
  return [
    ...pushes.map((moved) => ({
      event: "repo:push",
      delivery: fake.delivery("repo:push", fake.pushPayload(key, [moved])),
    })),
    ...Object.entries(said).map(([event, content]) => ({ event, delivery: fake.delivery(event, content) })),
  ];
}

/** Source: https://confluence.atlassian.com/bitbucketserver/event-payload-938025882.html, by the names that its types list. */
export function dataCenterDeliveries(
  fake: FakeBitbucketDataCenter,
  key: SourceKey,
): readonly DocumentedDelivery[] {
  const { repository, ...by } = fake.payload(key);
  const { project } = repository;
  const comment = {
    properties: { repositoryId: repository.id },
    id: 62,
    version: 0,
    text: "I am a comment",
    comments: [],
    tasks: [],
  };
  const ref = { id: "refs/heads/main", displayId: "main", latestCommit: AFTER, type: "BRANCH", repository };
  const pullRequest = {
    id: 1,
    version: 0,
    title: "a title",
    state: "OPEN",
    open: true,
    closed: false,
    draft: false,
    fromRef: ref,
    toRef: ref,
    author: { user: by.actor, role: "AUTHOR" },
    reviewers: [],
    participants: [],
    links: { self: [null] },
  };
  const main = { before: BEFORE as never, commit: AFTER as never };
  const changes = [
    change(main),
    change({ name: "gone", before: main.before }),
    change({ type: "TAG", name: "v1", commit: main.commit }),
  ];
  const onCommit = { comment, repository, commit: AFTER };
  const onPull = { pullRequest };
  // Each event that the types know, or the compiler misses it.
  const said: Readonly<Record<EventKey, object>> = {
    "repo:refs_changed": { repository, changes, commits: [] },
    "repo:modified": { old: repository, new: { ...repository, name: "another name" } },
    "repo:forked": { repository: { ...repository, id: 9000, origin: repository } },
    "repo:secret_detected": {
      secretLocations: [{ commitId: AFTER, line: 1, path: "a", repository, ruleName: "AWS" }],
    },
    "mirror:repo_synchronized": {
      mirrorServer: { id: randomUUID(), name: "mirror" },
      ...{ syncType: "INCREMENTAL", refLimitExceeded: false, repository, changes },
    },
    "repo:comment:added": onCommit,
    "repo:comment:edited": { ...onCommit, previousComment: "before" },
    "repo:comment:deleted": onCommit,
    "project:modified": { old: project, new: project },
    "pr:opened": onPull,
    "pr:from_ref_updated": { ...onPull, previousFromHash: BEFORE },
    "pr:modified": { ...onPull, previousTitle: "before", previousDescription: null, previousTarget: ref },
    "pr:reviewer:updated": { ...onPull, addedReviewers: [by.actor], removedReviewers: [] },
    "pr:reviewer:approved": { ...onPull, participant: pullRequest.author, previousStatus: "UNAPPROVED" },
    "pr:reviewer:unapproved": { ...onPull, participant: pullRequest.author, previousStatus: "APPROVED" },
    "pr:reviewer:changes_requested": { ...onPull, participant: pullRequest.author },
    "pr:merged": onPull,
    "pr:declined": onPull,
    "pr:deleted": onPull,
    "pr:comment:added": { ...onPull, comment },
    "pr:comment:edited": { ...onPull, comment, previousComment: "before" },
    "pr:comment:deleted": { ...onPull, comment },
  };
  return [
    { event: "diagnostics:ping", delivery: fake.delivery("diagnostics:ping", { test: true }) },
    ...Object.entries(said).map(([event, content]) => ({
      event,
      delivery: fake.delivery(event, { eventKey: event, ...by, ...content }),
    })),
  ];
}
