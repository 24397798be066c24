/**
 * GitLab's REST API as far as the platform uses it, from the vendor's description of it: https://docs.gitlab.com/api/. Calls may
 * ask for nothing that is not there, and answers have to be what they are said to be.
 */
import { z } from "zod";

const Id = z.int().positive();
const number = z.string().regex(/^\d+$/).transform(Number);
const boolean = z.enum(["true", "false"]).transform((value) => value === "true");
const level = number.pipe(z.literal([5, 10, 15, 20, 30, 40, 50]));
const pages = { page: number.optional(), per_page: number.pipe(z.int().max(100)).optional() };
const time = z.iso.datetime({ offset: true });
const url = z.url();

const UserBasic = z.strictObject({
  id: Id,
  username: z.string(),
  name: z.string(),
  state: z.enum(["active", "blocked"]),
  locked: z.boolean(),
  avatar_url: url.nullable(),
  web_url: url,
});

/** With what `GET /user` adds for oneself. */
const User = UserBasic.extend({
  created_at: time,
  bot: z.boolean(),
  email: z.string(),
  external: z.boolean(),
});

const Namespace = z.strictObject({
  id: Id,
  name: z.string(),
  path: z.string(),
  kind: z.enum(["user", "group"]),
  full_path: z.string(),
  parent_id: Id.nullable(),
  avatar_url: url.nullable(),
  web_url: url,
});

export const Project = z.strictObject({
  id: Id,
  description: z.string().nullable(),
  name: z.string(),
  name_with_namespace: z.string(),
  path: z.string(),
  path_with_namespace: z.string(),
  created_at: time,
  default_branch: z.string().nullable(),
  tag_list: z.array(z.string()).optional(),
  topics: z.array(z.string()).optional(),
  ssh_url_to_repo: z.string(),
  http_url_to_repo: url,
  web_url: url,
  readme_url: url.nullable(),
  avatar_url: url.nullable(),
  star_count: z.int(),
  forks_count: z.int(),
  last_activity_at: time,
  namespace: Namespace,
  empty_repo: z.boolean(),
  archived: z.boolean(),
  visibility: z.enum(["private", "internal", "public"]),
  owner: UserBasic.optional(),
  creator_id: Id,
  marked_for_deletion_on: z.iso.date().nullable().optional(),
  marked_for_deletion_at: z.iso.date().nullable().optional(),
});
export type ProjectAnswer = z.infer<typeof Project>;

export const Group = z.strictObject({
  id: Id,
  name: z.string(),
  path: z.string(),
  description: z.string(),
  visibility: z.enum(["private", "internal", "public"]),
  full_name: z.string(),
  full_path: z.string(),
  parent_id: Id.nullable(),
  avatar_url: url.nullable(),
  web_url: url,
  created_at: time,
});
export type GroupAnswer = z.infer<typeof Group>;

const Topic = z.strictObject({
  id: Id,
  name: z.string(),
  title: z.string(),
  description: z.string().nullable(),
  total_projects_count: z.int(),
  organization_id: Id,
  avatar_url: url.nullable(),
});

const Commit = z.strictObject({
  id: z.string().regex(/^[0-9a-f]{40}$/),
  short_id: z.string(),
  created_at: time,
  parent_ids: z.array(z.string()),
  title: z.string(),
  message: z.string(),
  author_name: z.string(),
  author_email: z.string(),
  authored_date: time,
  committer_name: z.string(),
  committer_email: z.string(),
  committed_date: time,
  web_url: url,
});

const Branch = z.strictObject({
  name: z.string(),
  commit: Commit,
  merged: z.boolean(),
  protected: z.boolean(),
  developers_can_push: z.boolean(),
  developers_can_merge: z.boolean(),
  can_push: z.boolean(),
  default: z.boolean(),
  web_url: url,
});

const StatusBody = z.strictObject({
  state: z.enum(["pending", "running", "success", "failed", "canceled", "skipped"]),
  ref: z.string().optional(),
  name: z.string().max(255).optional(),
  context: z.string().max(255).optional(),
  target_url: z
    .url({ protocol: /^https?$/ })
    .max(255)
    .optional(),
  description: z.string().optional(),
  coverage: z.number().optional(),
  pipeline_id: Id.optional(),
});

export const Status = z.strictObject({
  id: Id,
  sha: z.string(),
  ref: z.string(),
  status: StatusBody.shape.state,
  name: z.string(),
  target_url: url.nullable(),
  description: z.string().nullable(),
  created_at: time,
  started_at: time.nullable(),
  finished_at: time.nullable(),
  allow_failure: z.boolean(),
  coverage: z.number().nullable(),
  pipeline_id: Id,
  author: UserBasic,
});
export type StatusAnswer = z.infer<typeof Status>;

export const DeployTokenBody = z.strictObject({
  name: z.string().max(255),
  expires_at: time.optional(),
  username: z.string().optional(),
  scopes: z.array(z.enum(["read_repository", "read_registry", "write_registry"])).min(1),
});
export type DeployTokenBody = z.infer<typeof DeployTokenBody>;

const DeployToken = z.strictObject({
  id: Id,
  name: z.string(),
  username: z.string(),
  expires_at: time.nullable(),
  revoked: z.boolean(),
  expired: z.boolean(),
  token: z.string(),
  scopes: DeployTokenBody.shape.scopes,
});

export const TokenBody = z.discriminatedUnion("grant_type", [
  z.strictObject({
    grant_type: z.literal("authorization_code"),
    client_id: z.string(),
    client_secret: z.string(),
    code: z.string(),
    redirect_uri: z.string(),
    code_verifier: z.string().regex(/^[A-Za-z0-9._~-]{43,128}$/),
  }),
  z.strictObject({
    grant_type: z.literal("refresh_token"),
    client_id: z.string(),
    client_secret: z.string(),
    refresh_token: z.string(),
  }),
]);

export const AuthorizeQuery = z.strictObject({
  client_id: z.string(),
  redirect_uri: url,
  response_type: z.literal("code"),
  state: z.string().min(1),
  scope: z.string(),
  code_challenge: z.string().regex(/^[A-Za-z0-9_-]{43}$/),
  code_challenge_method: z.literal("S256"),
});
export type AuthorizeQuery = z.infer<typeof AuthorizeQuery>;

const Token = z.strictObject({
  access_token: z.string(),
  token_type: z.literal("Bearer"),
  expires_in: z.int(),
  refresh_token: z.string(),
  scope: z.string(),
  created_at: z.int(),
});

interface Call {
  readonly method: "GET" | "POST" | "DELETE";
  /** Below the instance's address. */
  readonly path: RegExp;
  readonly query: z.ZodType;
  readonly body?: z.ZodType;
  /** Of an answer with a 2xx status. */
  readonly answer: z.ZodType;
}

export const CALLS = {
  user: { method: "GET", path: /^\/api\/v4\/user$/, query: z.strictObject({}), answer: User },
  projects: {
    method: "GET",
    path: /^\/api\/v4\/projects$/,
    query: z.strictObject({
      ...pages,
      topic: z.string().optional(),
      membership: boolean.optional(),
      min_access_level: level.optional(),
      order_by: z.literal("id").optional(),
      sort: z.enum(["asc", "desc"]).optional(),
      id_after: number.optional(),
    }),
    answer: z.array(Project),
  },
  project: {
    method: "GET",
    path: /^\/api\/v4\/projects\/(?<id>\d+)$/,
    query: z.strictObject({}),
    answer: Project,
  },
  branch: {
    method: "GET",
    path: /^\/api\/v4\/projects\/(?<id>\d+)\/repository\/branches\/(?<branch>[^/]+)$/,
    query: z.strictObject({}),
    answer: Branch,
  },
  postStatus: {
    method: "POST",
    path: /^\/api\/v4\/projects\/(?<id>\d+)\/statuses\/(?<sha>[0-9a-f]{40})$/,
    query: z.strictObject({}),
    body: StatusBody,
    answer: Status,
  },
  /** https://docs.gitlab.com/api/deploy_tokens/ */
  makeDeployToken: {
    method: "POST",
    path: /^\/api\/v4\/projects\/(?<id>\d+)\/deploy_tokens$/,
    query: z.strictObject({}),
    body: DeployTokenBody,
    answer: DeployToken,
  },
  deleteDeployToken: {
    method: "DELETE",
    path: /^\/api\/v4\/projects\/(?<id>\d+)\/deploy_tokens\/(?<token>\d+)$/,
    query: z.strictObject({}),
    answer: z.null(),
  },
  groups: {
    method: "GET",
    path: /^\/api\/v4\/groups$/,
    query: z.strictObject({
      ...pages,
      min_access_level: level.optional(),
      top_level_only: boolean.optional(),
    }),
    answer: z.array(Group),
  },
  group: {
    method: "GET",
    path: /^\/api\/v4\/groups\/(?<id>\d+)$/,
    query: z.strictObject({ with_projects: boolean.optional() }),
    answer: Group,
  },
  topics: {
    method: "GET",
    path: /^\/api\/v4\/topics$/,
    query: z.strictObject({ ...pages, search: z.string().optional() }),
    answer: z.array(Topic),
  },
  token: {
    method: "POST",
    path: /^\/oauth\/token$/,
    query: z.strictObject({}),
    body: TokenBody,
    answer: Token,
  },
} as const satisfies Readonly<Record<string, Call>>;

export type CallName = keyof typeof CALLS;
export type QueryOf<Name extends CallName> = z.infer<(typeof CALLS)[Name]["query"]>;
