import { randomUUID } from "node:crypto";
import type { paths as Cloud } from "@coderabbitai/bitbucket/cloud/openapi";
import { must } from "@openfaas-cloud/shared/must.ts";
import { BranchName, type CommitSha, OwnerSlug, RepositoryName } from "@openfaas-cloud/shared/names.ts";
import { z } from "zod";
import { newId } from "../../src/ids.ts";
import type { RawDelivery } from "../../src/ports/source-host/remote-host.ts";
import type { CommitState, SourceKey } from "../../src/ports/source-host/source-host.ts";
import type { Role } from "../../src/role.ts";
import type { FakeRemoteHost, FakeRepository, ShownStatus, Trouble } from "../contracts/remote-host.ts";
import { allow, FakeOAuth, type RegisteredClient } from "./fake-bitbucket-oauth.ts";
import { type Answer, type Asked, FakeVendorServer, type Route } from "./fake-bitbucket-server.ts";
import { forgeriesOf, signed } from "./fake-bitbucket-signing.ts";
import type { GitAccess } from "./fake-git.ts";
import { publishedRoutes } from "./published-bitbucket.ts";

const ALICE = "7a1c5ee0-aaaa-4bbb-8ccc-000000000001";
const MAIN = "main";

export interface CloudWorkspace {
  readonly uuid: string;
  slug: string;
  /** Where its own webhooks point. */
  webhooks: FakeWebhook[];
  /** Whether it is somebody else's, of whom the platform's token sees what is public. */
  isForeign: boolean;
  /** What Alice is there. */
  permission: "owner" | "create-project" | "member" | undefined;
}

export interface FakeWebhook {
  readonly url: string;
  active: boolean;
}

interface Repository {
  readonly uuid: string;
  readonly slug: string;
  workspace: CloudWorkspace;
  isPrivate: boolean;
  webhooks: FakeWebhook[];
  updatedAt: number;
  readonly statuses: Map<string, z.infer<typeof StatusBody> & { readonly commit: string }>;
}

// The descriptions below follow https://developer.atlassian.com/cloud/bitbucket/rest/ and its OpenAPI description.
const braced = z.string().regex(/^\{[0-9a-f-]{36}\}$/);
const link = z.strictObject({ href: z.url() });
const links = z.strictObject({ self: link.optional(), html: link.optional() });
const ErrorAnswer = z.strictObject({
  type: z.literal("error"),
  error: z.strictObject({ message: z.string() }),
});
const WorkspaceAnswer = z.strictObject({
  type: z.enum(["workspace", "workspace_base"]),
  uuid: braced,
  slug: z.string(),
  links,
});
const RepositoryAnswer = z.strictObject({
  type: z.literal("repository"),
  uuid: braced,
  full_name: z.string(),
  name: z.string(),
  is_private: z.boolean(),
  scm: z.literal("git"),
  created_on: z.iso.datetime({ offset: true }),
  updated_on: z.iso.datetime({ offset: true }),
  workspace: WorkspaceAnswer,
  owner: z.strictObject({ type: z.enum(["team", "user"]), uuid: braced, display_name: z.string(), links }),
  mainbranch: z.strictObject({ type: z.literal("branch"), name: z.string() }).nullable(),
  links,
});
const WebhookAnswer = z.strictObject({
  type: z.literal("webhook_subscription"),
  uuid: braced,
  url: z.url(),
  description: z.string(),
  subject_type: z.enum(["repository", "workspace"]),
  active: z.boolean(),
  events: z.array(z.enum(["repo:push"])).min(1),
  secret_set: z.boolean(),
});
const BranchAnswer = z.strictObject({
  type: z.literal("branch"),
  name: z.string(),
  target: z.strictObject({
    type: z.literal("commit"),
    hash: z.string().regex(/^[0-9a-f]{40}$/),
    message: z.string(),
    author: z.strictObject({ type: z.literal("author"), raw: z.string() }),
  }),
});
const StatusBody = z.strictObject({
  key: z.string().min(1).max(40),
  state: z.enum(["INPROGRESS", "SUCCESSFUL", "FAILED", "STOPPED"]),
  name: z.string().max(255),
  description: z.string().max(255),
  url: z.url(),
});
const StatusAnswer = StatusBody.extend({ type: z.literal("build") });
const UserAnswer = z.strictObject({
  type: z.literal("user"),
  uuid: braced,
  username: z.string(),
  nickname: z.string(),
  display_name: z.string(),
  account_id: z.string(),
  links,
});
const AccessAnswer = z.strictObject({
  type: z.literal("workspace_access"),
  administrator: z.boolean(),
  workspace: WorkspaceAnswer,
});
const MembershipAnswer = z.strictObject({
  type: z.literal("workspace_membership"),
  permission: z.enum(["owner", "create-project", "collaborator", "member"]),
  user: UserAnswer,
  workspace: WorkspaceAnswer,
});
const PageQuery = z.strictObject({
  pagelen: z.coerce.number().int().min(1).max(100).optional(),
  page: z.coerce.number().int().min(1).optional(),
});
const pageOf = <Item extends z.ZodType>(item: Item) =>
  z.strictObject({
    pagelen: z.number(),
    page: z.number(),
    size: z.number(),
    next: z.url().optional(),
    values: z.array(item),
  });

const SHOWN = {
  INPROGRESS: "pending",
  SUCCESSFUL: "success",
  FAILED: "failure",
  STOPPED: "neutral",
} as const satisfies Record<string, CommitState>;

/** Bitbucket Cloud on a port of this machine: the site, its API and git. */
export class FakeBitbucketCloud implements FakeRemoteHost, AsyncDisposable {
  readonly token = "workspace-access-token";
  readonly client: RegisteredClient;
  /** Where the hooks of what is linked point. */
  webhookUrl: string;
  readonly webhookSecrets = ["the newest secret", "an older secret"];
  readonly secrets = this.webhookSecrets.length;
  readonly proof = { header: "x-hub-signature", coversBody: true };
  readonly acme: CloudWorkspace;
  readonly oauth: FakeOAuth;
  /** The account's, where the platform's token is that of an account. */
  email: string | undefined;
  /** Whether the platform's token sees the webhooks of workspaces. */
  showsWorkspaceWebhooks = true;
  /** Where lists say that they go on, in place of where they do. */
  nextOrigin: string | undefined;
  /** Whether git has to say who it is for public repositories too. */
  letsNobodyIn = false;
  readonly #server: FakeVendorServer;
  readonly #repositories = new Map<string, Repository>();
  readonly #workspaces: CloudWorkspace[] = [];
  #pageLength = 100;

  private constructor(
    server: FakeVendorServer,
    options: { readonly webhookUrl: string; readonly redirectUri: string },
  ) {
    this.#server = server;
    this.webhookUrl = options.webhookUrl;
    this.client = { id: "consumer-key", secret: "consumer-secret", redirectUri: options.redirectUri };
    this.oauth = new FakeOAuth({ client: this.client, clientAuth: "basic", rotates: false });
    this.acme = this.addWorkspace("acme");
    server.serve(this.#routes(), (path, access) => this.#admit(path, access));
  }

  static async open(options: {
    readonly webhookUrl: string;
    readonly redirectUri: string;
  }): Promise<FakeBitbucketCloud> {
    return new FakeBitbucketCloud(await FakeVendorServer.open(), options);
  }

  get url(): string {
    return this.#server.origin;
  }

  get calls() {
    return this.#server.calls;
  }

  addWorkspace(
    slug: string,
    options: { readonly uuid?: string; readonly isForeign?: boolean } = {},
  ): CloudWorkspace {
    const workspace = {
      uuid: options.uuid ?? randomUUID(),
      slug,
      webhooks: [],
      isForeign: options.isForeign ?? false,
      permission: undefined,
    } satisfies CloudWorkspace;
    this.#workspaces.push(workspace);
    return workspace;
  }

  /** Alice's own. */
  addPersonalWorkspace(): CloudWorkspace {
    const workspace = this.addWorkspace("alice", { uuid: ALICE });
    workspace.permission = "owner";
    return workspace;
  }

  async addRepository({
    isPrivate = false,
    isLinked = true,
    workspace = this.acme,
  }: {
    readonly isPrivate?: boolean;
    readonly isLinked?: boolean;
    readonly workspace?: CloudWorkspace;
  } = {}): Promise<FakeRepository> {
    const key = await this.addEmptyRepository({ isPrivate, isLinked, workspace });
    await this.#server.git.create(key.id);
    const before = await this.push(key, "begin");
    const commit = await this.push(key, "go on");
    const ref = {
      repositoryId: newId(),
      owner: OwnerSlug.parse(workspace.slug),
      name: RepositoryName.parse(this.#get(key).slug),
      host: new URL(this.url).host,
      source: key,
    };
    const fullName = this.#nameOf(this.#get(key));
    return { key, ref, fullName, branch: BranchName.parse(MAIN), before, commit };
  }

  async addEmptyRepository({
    isPrivate = false,
    isLinked = true,
    workspace = this.acme,
  } = {}): Promise<SourceKey> {
    const uuid = randomUUID();
    const slug = `site-${this.#repositories.size + 1}`;
    const webhooks = [{ url: "https://ci.example.test/hook", active: true }];
    const repository = { uuid, slug, workspace, isPrivate, webhooks, updatedAt: 0, statuses: new Map() };
    this.#repositories.set(uuid, repository);
    const key = { id: uuid, installation: undefined };
    if (isLinked) await this.link(key);
    return key;
  }

  async link(key: SourceKey): Promise<void> {
    this.webhooksOf(key).push({ url: this.webhookUrl, active: true });
  }

  async unlink(key: SourceKey): Promise<void> {
    const repository = this.#get(key);
    repository.webhooks = repository.webhooks.filter(({ url }) => url !== this.webhookUrl);
  }

  webhooksOf(key: SourceKey): FakeWebhook[] {
    return this.#get(key).webhooks;
  }

  async uninstall(): Promise<void> {
    for (const id of this.#repositories.keys()) await this.unlink({ id, installation: undefined });
  }

  async remove(key: SourceKey): Promise<void> {
    this.#repositories.delete(key.id);
    await this.#server.git.remove(key.id);
  }

  async makePrivate(key: SourceKey): Promise<void> {
    this.#get(key).isPrivate = true;
  }

  transfer(key: SourceKey, workspace: CloudWorkspace): void {
    this.#get(key).workspace = workspace;
  }

  push(key: SourceKey, message: string, branch = MAIN): Promise<CommitSha> {
    return this.pushFiles(key, { "stack.yml": `# ${newId()}\n` }, { branch, message });
  }

  pushFiles(
    key: SourceKey,
    files: Readonly<Record<string, string>>,
    { branch = MAIN, message = "a change" } = {},
  ): Promise<CommitSha> {
    const repository = this.#get(key);
    repository.updatedAt = Math.max(Date.now(), repository.updatedAt + 1);
    return this.#server.git.push(key.id, files, { branch, message });
  }

  limitPages(size: number): void {
    this.#pageLength = size;
  }

  trouble(trouble: Trouble | undefined): void {
    this.#server.trouble(trouble);
  }

  holdGit() {
    return this.#server.git.hold();
  }

  async statuses(key: SourceKey, commit: CommitSha): Promise<readonly ShownStatus[]> {
    return [...this.#get(key).statuses.values()]
      .filter((status) => status.commit === commit)
      .map(({ name, state, description, url }) => ({
        context: name,
        state: SHOWN[state],
        description,
        targetUrl: url,
      }));
  }

  async pushDelivery(
    { key, before, commit }: FakeRepository,
    { secret }: { readonly secret: number },
  ): Promise<RawDelivery> {
    const changes = [await this.change(key, { before, commit })];
    return this.delivery("repo:push", this.pushPayload(key, changes), secret);
  }

  /** One thing that a push moved: made where there is no `before`, closed where there is no `commit`. */
  async change(
    key: SourceKey,
    moved: {
      readonly type?: "branch" | "tag";
      readonly name?: string;
      readonly before?: CommitSha;
      readonly commit?: CommitSha;
    },
  ): Promise<unknown> {
    const { type = "branch", name = MAIN, before, commit } = moved;
    const at = (hash: CommitSha | undefined) =>
      hash === undefined
        ? null
        : {
            type,
            name,
            target: {
              type: "commit",
              hash,
              message: "go on\n",
              author: { type: "author", raw: "Alice <alice@example.test>" },
              parents: [],
            },
          };
    return {
      forced: false,
      created: before === undefined,
      closed: commit === undefined,
      truncated: false,
      old: at(before),
      new: at(commit),
      commits: [],
      links: { commits: { href: `${this.url}/2.0/repositories/${this.#nameOf(this.#get(key))}/commits` } },
    };
  }

  pushPayload(key: SourceKey, changes: readonly unknown[]): unknown {
    return { ...this.payload(key), push: { changes } };
  }

  /** What every payload says of who did something, and where. */
  payload(key: SourceKey): Record<string, unknown> {
    return { actor: this.#alice(), repository: this.#shape(this.#get(key)) };
  }

  delivery(event: string, payload: unknown, secret = 0): RawDelivery {
    const key = must(this.webhookSecrets[secret], "the secret");
    const delivery = signed(payload, { event, secret: key, idHeader: "x-request-uuid" });
    return {
      ...delivery,
      headers: { ...delivery.headers, "x-hook-uuid": randomUUID(), "x-attempt-number": "1" },
    };
  }

  async forgeries(repository: FakeRepository): Promise<Readonly<Record<string, RawDelivery>>> {
    const [secret = ""] = this.webhookSecrets;
    return forgeriesOf(await this.pushDelivery(repository, { secret: 0 }), secret);
  }

  consent(authorizeUrl: URL) {
    return allow(authorizeUrl);
  }

  async setRole(role: Role | undefined): Promise<void> {
    const permissions = { viewer: "member", developer: "create-project", admin: "owner" } as const;
    this.acme.permission = role === undefined ? undefined : permissions[role];
  }

  async revokeGrant(): Promise<void> {
    this.oauth.revoke();
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.#server[Symbol.asyncDispose]();
  }

  #get({ id }: SourceKey): Repository {
    return must(this.#repositories.get(id), `the repository ${id}`);
  }

  #admit(path: string, access: GitAccess | undefined): { readonly id: string } | "refused" | "absent" {
    const found = [...this.#repositories.values()].find((repository) => this.#nameOf(repository) === path);
    if (found === undefined) return "absent";
    const username = this.email === undefined ? "x-token-auth" : "x-bitbucket-api-token-auth";
    const isTaken = access?.username === username && access.password === this.token;
    if (access === undefined ? found.isPrivate || this.letsNobodyIn : !isTaken) return "refused";
    return { id: found.uuid };
  }

  #routes(): Route[] {
    const route = publishedRoutes<Cloud, "page" | "pagelen">({
      base: "/2.0",
      errors: { 401: ErrorAnswer, 403: ErrorAnswer, 404: ErrorAnswer },
    });
    return [
      ...this.oauth.routes({
        authorize: /^\/site\/oauth2\/authorize$/,
        token: /^\/site\/oauth2\/access_token$/,
      }),
      route("get", "/repositories/{workspace}/{repo_slug}", { given: RepositoryAnswer }, (asked) =>
        this.#about(asked, (found) => ({ status: 200, body: this.#shape(found) })),
      ),
      route(
        "get",
        "/repositories/{workspace}",
        { query: PageQuery, given: pageOf(RepositoryAnswer) },
        (asked) =>
          this.#inWorkspace(asked, (workspace) => {
            const all = [...this.#repositories.values()].filter((one) => one.workspace === workspace);
            return this.#page(
              asked,
              all.map((one) => this.#shape(one)),
            );
          }),
      ),
      route(
        "get",
        "/repositories/{workspace}/{repo_slug}/hooks",
        { query: PageQuery, given: pageOf(WebhookAnswer) },
        (asked) =>
          this.#about(asked, ({ webhooks }) =>
            this.#page(
              asked,
              webhooks.map((webhook) => webhookShape(webhook, "repository")),
            ),
          ),
      ),
      route(
        "get",
        "/workspaces/{workspace}/hooks",
        { query: PageQuery, given: pageOf(WebhookAnswer) },
        (asked) =>
          this.#inWorkspace(asked, ({ webhooks }) => {
            if (!this.showsWorkspaceWebhooks) return failed(403, "You are no owner of the workspace.");
            return this.#page(
              asked,
              webhooks.map((webhook) => webhookShape(webhook, "workspace")),
            );
          }),
      ),
      route(
        "get",
        "/repositories/{workspace}/{repo_slug}/refs/branches/{name}",
        { given: BranchAnswer, parts: { name: ".+" } },
        (asked) => this.#about(asked, (found) => this.#branch(found, asked.params["name"] ?? "")),
      ),
      route(
        "post",
        "/repositories/{workspace}/{repo_slug}/commit/{commit}/statuses/build",
        { body: StatusBody, status: 201, given: StatusAnswer, parts: { commit: "[0-9a-f]{40}" } },
        (asked) =>
          this.#about(asked, ({ statuses }) => {
            const status = StatusBody.parse(asked.body);
            const { commit = "" } = asked.params;
            statuses.set(`${commit} ${status.key}`, { ...status, commit });
            return { status: 201, body: { type: "build", ...status } };
          }),
      ),
      route("get", "/user", { given: UserAnswer }, (asked) =>
        this.#asAlice(asked, () => ({ status: 200, body: this.#alice() })),
      ),
      ...this.#newerRoutes(),
    ];
  }

  /** Younger than the published description: https://developer.atlassian.com/cloud/bitbucket/changelog/ says of them CHANGE-2770. */
  #newerRoutes(): Route[] {
    const error = { 401: ErrorAnswer, 403: ErrorAnswer, 404: ErrorAnswer };
    return [
      {
        method: "GET",
        path: /^\/2\.0\/user\/workspaces$/,
        query: PageQuery,
        answers: { 200: pageOf(AccessAnswer), ...error },
        answer: (asked) =>
          this.#asAlice(asked, () => {
            const mine = this.#workspaces.filter(({ permission }) => permission !== undefined);
            return this.#page(
              asked,
              mine.map((workspace) => ({
                type: "workspace_access",
                administrator: workspace.permission === "owner",
                workspace: this.#workspaceShape(workspace, "workspace_base"),
              })),
            );
          }),
      },
      {
        method: "GET",
        path: /^\/2\.0\/user\/workspaces\/(?<workspace>[^/]+)\/permission$/,
        answers: { 200: MembershipAnswer, ...error },
        answer: (asked) =>
          this.#asAlice(asked, () => {
            const workspace = this.#workspaceOf(asked);
            if (workspace?.permission === undefined) return failed(403, "You do not have access.");
            return {
              status: 200,
              body: {
                type: "workspace_membership",
                permission: workspace.permission,
                user: this.#alice(),
                workspace: this.#workspaceShape(workspace, "workspace"),
              },
            };
          }),
      },
    ];
  }

  #asAlice({ authorization }: Asked, answer: () => Answer): Answer {
    const scope = this.oauth.scopeOf(authorization);
    if (scope === undefined) return failed(401, "Access token expired. Use your refresh token.");
    return scope.split(" ").includes("account") ? answer() : failed(403, "Your credentials lack a scope.");
  }

  #inWorkspace(asked: Asked, answer: (workspace: CloudWorkspace) => Answer): Answer {
    if (!this.#isPlatform(asked)) return failed(401, "Token is invalid or expired.");
    const workspace = this.#workspaceOf(asked);
    return workspace === undefined ? failed(404, "No such workspace.") : answer(workspace);
  }

  async #about(asked: Asked, answer: (found: Repository) => Promise<Answer> | Answer): Promise<Answer> {
    if (!this.#isPlatform(asked)) return failed(401, "Token is invalid or expired.");
    const { workspace = "", repo_slug: repository = "" } = asked.params;
    const found = [...this.#repositories.values()].find(
      ({ uuid, slug, workspace: home }) =>
        [`{${uuid}}`, slug].includes(repository) && ["{}", `{${home.uuid}}`, home.slug].includes(workspace),
    );
    if (found === undefined) return failed(404, "No such repository.");
    return found.workspace.isForeign && found.isPrivate ? failed(403, "Access denied.") : answer(found);
  }

  #isPlatform({ authorization }: Asked): boolean {
    const account = Buffer.from(`${this.email}:${this.token}`).toString("base64");
    return authorization === (this.email === undefined ? `Bearer ${this.token}` : `Basic ${account}`);
  }

  #workspaceOf({ params }: Asked): CloudWorkspace | undefined {
    const { workspace = "" } = params;
    return this.#workspaces.find(({ uuid, slug }) => [`{${uuid}}`, slug].includes(workspace));
  }

  async #branch({ uuid }: Repository, name: string): Promise<Answer> {
    const head = await this.#server.git.head(uuid, name);
    if (head === undefined) return failed(404, `No such branch: ${name}`);
    const author = { type: "author", raw: `${head.author} <${head.email}>` };
    const target = { type: "commit", hash: head.commit, message: `${head.message}\n`, author };
    return { status: 200, body: { type: "branch", name, target } };
  }

  #page({ url }: Asked, items: readonly unknown[]): Answer {
    const query = PageQuery.parse(Object.fromEntries(url.searchParams));
    const page = query.page ?? 1;
    const pagelen = Math.min(query.pagelen ?? 10, this.#pageLength);
    const next = new URL(url.pathname + url.search, this.nextOrigin ?? this.url);
    next.searchParams.set("page", String(page + 1));
    const isLast = page * pagelen >= items.length;
    return {
      status: 200,
      body: {
        pagelen,
        page,
        size: items.length,
        values: items.slice((page - 1) * pagelen, page * pagelen),
        ...(isLast ? {} : { next: next.href }),
      },
    };
  }

  #nameOf({ workspace, slug }: Repository): string {
    return `${workspace.slug}/${slug}`;
  }

  #shape(repository: Repository): z.infer<typeof RepositoryAnswer> {
    const { uuid, slug, workspace, isPrivate, updatedAt } = repository;
    const updatedOn = new Date(updatedAt).toISOString().replace("Z", "000+00:00");
    const fullName = this.#nameOf(repository);
    return {
      type: "repository",
      uuid: `{${uuid}}`,
      full_name: fullName,
      name: slug,
      is_private: isPrivate,
      scm: "git",
      created_on: "2026-01-19T09:45:32.123456+00:00",
      updated_on: updatedOn,
      workspace: this.#workspaceShape(workspace, "workspace"),
      owner: {
        type: workspace.uuid === ALICE ? "user" : "team",
        uuid: `{${workspace.uuid}}`,
        display_name: workspace.slug,
        links: {},
      },
      mainbranch: updatedAt === 0 ? null : { type: "branch", name: MAIN },
      links: { html: { href: `${this.url}/${fullName}` } },
    };
  }

  #workspaceShape({ uuid, slug }: CloudWorkspace, type: "workspace" | "workspace_base") {
    const href = `${this.url}/2.0/workspaces/${slug}`;
    return { type, uuid: `{${uuid}}`, slug, links: { self: { href } } };
  }

  #alice(): z.infer<typeof UserAnswer> {
    return {
      type: "user",
      uuid: `{${ALICE}}`,
      username: "alice",
      nickname: "Alice in Wonderland",
      display_name: "Alice",
      account_id: "557058:alice",
      links: {},
    };
  }
}

function webhookShape({ url, active }: FakeWebhook, subject: "repository" | "workspace") {
  return {
    type: "webhook_subscription",
    uuid: `{${randomUUID()}}`,
    url,
    description: "a webhook",
    subject_type: subject,
    active,
    events: ["repo:push"],
    secret_set: true,
  };
}

function failed(status: number, message: string): Answer {
  return { status, body: { type: "error", error: { message } } };
}
