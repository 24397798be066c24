/** What GitLab's hooks send, as its documentation shows it: https://docs.gitlab.com/user/project/integrations/webhook_events/ */
import { createHmac, randomUUID } from "node:crypto";
import type { RawDelivery } from "../../../src/ports/source-host/remote-host.ts";
import type { FakeGroup, FakeProject, FakeUser, GitLabWorld } from "./world.ts";

export type Payload = Readonly<Record<string, unknown>>;

const LEVELS = { private: 0, internal: 10, public: 20 } as const;
const ZEROS = "0".repeat(40);
const TIMES = { created_at: "2026-03-01T09:30:54Z", updated_at: "2026-03-01T09:38:22Z" };

export function pushPayload(
  { world, url }: { readonly world: GitLabWorld; readonly url: string },
  project: FakeProject,
  push: {
    readonly branch: string;
    readonly before: string | undefined;
    readonly after: string | undefined;
    readonly message: string;
    readonly author: string;
    readonly pusher: FakeUser;
  },
): Payload {
  const path = world.pathOf(project);
  const { branch, before = ZEROS, after = ZEROS, message, author, pusher } = push;
  const repository = {
    name: project.name,
    description: "",
    homepage: `${url}/${path}`,
    git_http_url: `${url}/${path}.git`,
    git_ssh_url: `git@gitlab.example.com:${path}.git`,
    visibility_level: LEVELS[project.visibility],
  };
  return {
    object_kind: "push",
    event_name: "push",
    before,
    after,
    ref: `refs/heads/${branch}`,
    ref_protected: true,
    checkout_sha: after === ZEROS ? null : after,
    user_id: pusher.id,
    user_name: pusher.name,
    user_username: pusher.username,
    user_email: "",
    user_avatar: null,
    project_id: project.id,
    project: {
      id: project.id,
      web_url: `${url}/${path}`,
      avatar_url: null,
      // The display name, which is nobody's identity.
      namespace: world.groups.get(project.namespaceId)?.name ?? pusher.name,
      path_with_namespace: path,
      default_branch: "main",
      ci_config_path: null,
      ...repository,
    },
    repository: { url: repository.git_ssh_url, ...repository },
    commits:
      after === ZEROS
        ? []
        : [
            {
              id: after,
              message,
              title: message.split("\n", 1)[0],
              timestamp: "2026-03-01T10:00:00+01:00",
              url: `${url}/${path}/-/commit/${after}`,
              author: { name: author, email: "alice@example.test" },
              added: [],
              modified: ["stack.yml"],
              removed: [],
            },
          ],
    total_commits_count: after === ZEROS ? 0 : 1,
    push_options: {},
  };
}

/** `project_create`, `project_destroy`, `project_update`; `project_rename` and `project_transfer` with `oldPath`. */
export function projectPayload(
  world: GitLabWorld,
  event: string,
  project: FakeProject,
  oldPath?: string,
): Payload {
  return {
    ...TIMES,
    event_name: event,
    name: project.name,
    owner_email: "",
    owner_name: world.groups.get(project.namespaceId)?.name ?? world.ownerOf(project.namespaceId)?.name,
    owners: [],
    path: project.path,
    path_with_namespace: world.pathOf(project),
    project_id: project.id,
    project_namespace_id: project.namespaceId,
    project_visibility: project.visibility,
    ...(oldPath === undefined ? {} : { old_path_with_namespace: oldPath }),
  };
}

/** `user_add_to_group`, `user_update_for_group`, `user_remove_from_group`. */
export function groupMemberPayload(event: string, group: FakeGroup, user: FakeUser): Payload {
  return {
    ...TIMES,
    event_name: event,
    group_access: "Developer",
    group_id: group.id,
    group_name: group.name,
    group_path: group.path,
    user_email: "",
    user_id: user.id,
    user_name: user.name,
    user_username: user.username,
  };
}

export interface HookSecrets {
  readonly token?: string | undefined;
  readonly signingToken?: string | undefined;
}

/** A delivery as it goes out. @param hook `Push Hook`, `System Hook` … @param key the same when it is sent again. */
export function makeDelivery(
  hook: string,
  payload: Payload,
  secrets: HookSecrets,
  options: { readonly key?: string | undefined; readonly at?: number; readonly isOld?: boolean } = {},
): RawDelivery {
  const { key = randomUUID(), at = Date.now(), isOld = false } = options;
  const body = Buffer.from(JSON.stringify(payload));
  return {
    headers: {
      "content-type": "application/json",
      "user-agent": "GitLab/18.10.0",
      "x-gitlab-event": hook,
      "x-gitlab-event-uuid": randomUUID(),
      "x-gitlab-webhook-uuid": randomUUID(),
      "x-gitlab-instance": "https://gitlab.example.com",
      // Since version 17.4.
      ...(isOld ? {} : { "idempotency-key": key }),
      ...(secrets.token === undefined ? {} : { "x-gitlab-token": secrets.token }),
      ...(secrets.signingToken === undefined ? {} : sign(body, secrets.signingToken, key, at)),
    },
    body,
  };
}

/** Standard Webhooks: HMAC-SHA256 over id, time in seconds and body. */
function sign(body: Buffer, token: string, id: string, at: number): Record<string, string> {
  const seconds = Math.floor(at / 1000).toString();
  const key = Buffer.from(token.slice("whsec_".length), "base64");
  const content = Buffer.concat([Buffer.from(`${id}.${seconds}.`), body]);
  return {
    "webhook-id": id,
    "webhook-timestamp": seconds,
    "webhook-signature": `v1,${createHmac("sha256", key).update(content).digest("base64")}`,
  };
}
