import type { paths as DataCenter } from "@coderabbitai/bitbucket/server/openapi";
import { must } from "@openfaas-cloud/shared/must.ts";
import {
  BranchName,
  type CommitSha,
  OwnerSlug,
  RepositoryName,
  slugify,
} from "@openfaas-cloud/shared/names.ts";
import { z } from "zod";
import { newId } from "../../src/ids.ts";
import type { RawDelivery } from "../../src/ports/source-host/remote-host.ts";
import type { CommitState, SourceKey } from "../../src/ports/source-host/source-host.ts";
import { isAtLeast, type Role } from "../../src/role.ts";
import type { FakeRemoteHost, FakeRepository, ShownStatus, Trouble } from "../contracts/remote-host.ts";
import type { FakeWebhook } from "./fake-bitbucket-cloud.ts";
import { allow, FakeOAuth, type RegisteredClient } from "./fake-bitbucket-oauth.ts";
import { type Answer, type Asked, FakeVendorServer, type Route } from "./fake-bitbucket-server.ts";
import { forgeriesOf, signed } from "./fake-bitbucket-signing.ts";
import type { GitAccess } from "./fake-git.ts";
import { publishedRoutes } from "./published-bitbucket.ts";

const ALICE = { id: 1071, name: "alice", slug: "alice", displayName: "Alice" };
/** Whose token the platform has. */
const BOT = { id: 9, name: "openfaas bot", slug: "openfaas_bot", displayName: "OpenFaaS" };
const MAIN = "main";
const ZEROS = "0".repeat(40);
/** As behind a reverse proxy that serves other things too. */
const CONTEXT = "/bitbucket";

export interface DataCenterProject {
  readonly id: number;
  key: string;
  readonly isPersonal: boolean;
  webhooks: FakeWebhook[];
  /** What Alice may do, by no grace of her own. */
  role: Role | undefined;
}

interface Repository {
  readonly id: number;
  slug: string;
  project: DataCenterProject;
  isPrivate: boolean;
  webhooks: FakeWebhook[];
  /** Whether the platform's account may see it at all, and its webhooks. */
  botMay: "nothing" | "read" | "admin";
  isEmpty: boolean;
  readonly statuses: Map<string, z.infer<typeof StatusBody> & { readonly commit: string }>;
}

// The descriptions below follow https://developer.atlassian.com/server/bitbucket/rest/ and its OpenAPI description.
const ErrorAnswer = z.strictObject({
  errors: z.array(
    z.strictObject({
      context: z.string().nullable(),
      message: z.string(),
      exceptionName: z.string().nullable(),
    }),
  ),
});
const UserAnswer = z.strictObject({
  id: z.number().int(),
  name: z.string(),
  slug: z.string(),
  displayName: z.string(),
  emailAddress: z.string().optional(),
  active: z.boolean(),
  type: z.enum(["NORMAL", "SERVICE"]),
});
const ProjectAnswer = z.strictObject({
  id: z.number().int(),
  key: z.string(),
  name: z.string(),
  public: z.boolean().optional(),
  type: z.enum(["NORMAL", "PERSONAL"]),
  owner: UserAnswer.optional(),
});
const RepositoryAnswer = z.strictObject({
  id: z.number().int(),
  slug: z.string(),
  name: z.string(),
  scmId: z.literal("git"),
  state: z.literal("AVAILABLE"),
  statusMessage: z.string(),
  forkable: z.boolean(),
  archived: z.boolean(),
  public: z.boolean(),
  project: ProjectAnswer,
});
const WebhookAnswer = z.strictObject({
  id: z.number().int(),
  name: z.string(),
  url: z.url(),
  active: z.boolean(),
  events: z.array(z.string()),
  scopeType: z.enum(["repository", "project"]),
  configuration: z.strictObject({ secret: z.string() }),
  sslVerificationRequired: z.boolean(),
});
const BranchAnswer = z.strictObject({
  id: z.string().startsWith("refs/heads/"),
  displayId: z.string(),
  type: z.literal("BRANCH"),
  latestCommit: z.string(),
  latestChangeset: z.string(),
  default: z.boolean(),
});
const MinimalRefAnswer = z.strictObject({ id: z.string(), displayId: z.string(), type: z.literal("BRANCH") });
const CommitAnswer = z.strictObject({
  id: z.string(),
  displayId: z.string(),
  message: z.string(),
  author: z.strictObject({ name: z.string(), emailAddress: z.string() }),
  parents: z.array(z.strictObject({ id: z.string(), displayId: z.string() })),
});
const StatusBody = z.strictObject({
  key: z.string().min(1).max(255),
  state: z.enum(["SUCCESSFUL", "FAILED", "INPROGRESS", "CANCELLED", "UNKNOWN"]),
  url: z.url().max(450),
  name: z.string().max(255),
  description: z.string().max(255),
});
const paging = {
  start: z.coerce.number().int().min(0).optional(),
  limit: z.coerce.number().int().min(1).optional(),
};
const PageQuery = z.object(paging);
const ProjectsQuery = z.strictObject({
  permission: z.enum(["PROJECT_READ", "PROJECT_WRITE", "PROJECT_ADMIN"]).optional(),
  ...paging,
});
const ReposQuery = z.strictObject({
  permission: z.enum(["REPO_READ", "REPO_WRITE", "REPO_ADMIN"]).optional(),
  archived: z.enum(["ACTIVE", "ARCHIVED", "ALL"]).optional(),
  ...paging,
});
const WebhooksQuery = z.strictObject({
  scopeType: z
    .union([z.enum(["repository", "project"]), z.array(z.enum(["repository", "project"]))])
    .optional(),
  ...paging,
});
const BranchesQuery = z.strictObject({
  filterText: z.string().optional(),
  boostMatches: z.enum(["true", "false"]).optional(),
  ...paging,
});
const UsersQuery = z.strictObject({
  filter: z.string().optional(),
  "permission.1": z.enum(["PROJECT_READ", "PROJECT_WRITE", "PROJECT_ADMIN"]).optional(),
  "permission.1.projectId": z.coerce.number().int().optional(),
  ...paging,
});
const pageOf = <Item extends z.ZodType>(item: Item) =>
  z.strictObject({
    size: z.number(),
    limit: z.number(),
    isLastPage: z.boolean(),
    start: z.number(),
    nextPageStart: z.number().nullable(),
    values: z.array(item),
  });

/** Whose a personal project is: https://developer.atlassian.com/server/bitbucket/rest/ shows it in examples only. */
type PersonalOwner = "owner" | `${string}project: owner` | "values: owner";

const NEEDED = {
  PROJECT_READ: "viewer",
  PROJECT_WRITE: "developer",
  PROJECT_ADMIN: "admin",
} as const satisfies Record<string, Role>;
const SHOWN = {
  INPROGRESS: "pending",
  SUCCESSFUL: "success",
  FAILED: "failure",
  CANCELLED: "neutral",
  UNKNOWN: "neutral",
} as const satisfies Record<string, CommitState>;

/** A Bitbucket Data Center on a port of this machine, below a path: the site, its API and git. */
export class FakeBitbucketDataCenter implements FakeRemoteHost, AsyncDisposable {
  readonly token = "http-access-token-of-the-bot";
  readonly client: RegisteredClient;
  /** Where the hooks of what is linked point. */
  webhookUrl: string;
  readonly webhookSecrets = ["the data center's newest secret", "the data center's older secret"];
  readonly secrets = this.webhookSecrets.length;
  readonly proof = { header: "x-hub-signature", coversBody: true };
  readonly acme: DataCenterProject;
  readonly oauth: FakeOAuth;
  /** Whether Alice's own project is in the list of all that she may read. */
  listsOwnProjects = false;
  /** Whether answers say whose credential it was. */
  namesUsers = true;
  /** Whether git has to say who it is for public repositories too. */
  letsNobodyIn = false;
  readonly #server: FakeVendorServer;
  readonly #repositories = new Map<string, Repository>();
  readonly #projects: DataCenterProject[] = [];
  #pageLength = 1000;
  #made = 0;

  private constructor(
    server: FakeVendorServer,
    options: { readonly webhookUrl: string; readonly redirectUri: string },
  ) {
    this.#server = server;
    this.webhookUrl = options.webhookUrl;
    this.client = { id: "client-id", secret: "client-secret", redirectUri: options.redirectUri };
    this.oauth = new FakeOAuth({ client: this.client, clientAuth: "body", rotates: true });
    this.acme = this.addProject("ACME");
    server.serve(this.#routes(), (path, access) => this.#admit(path, access));
  }

  static async open(options: {
    readonly webhookUrl: string;
    readonly redirectUri: string;
  }): Promise<FakeBitbucketDataCenter> {
    return new FakeBitbucketDataCenter(await FakeVendorServer.open(), options);
  }

  get url(): string {
    return this.#server.origin + CONTEXT;
  }

  get calls() {
    return this.#server.calls;
  }

  /** @param key `~ALICE` is what Alice has for herself. */
  addProject(key: string): DataCenterProject {
    const isPersonal = key.startsWith("~");
    const project = { id: this.#newId(), key, isPersonal, webhooks: [], role: undefined };
    this.#projects.push(project);
    return project;
  }

  async addRepository({
    isPrivate = false,
    isLinked = true,
    project = this.acme,
  }: {
    readonly isPrivate?: boolean;
    readonly isLinked?: boolean;
    readonly project?: DataCenterProject;
  } = {}): Promise<FakeRepository> {
    const key = await this.addEmptyRepository({ isPrivate, isLinked, project });
    await this.#server.git.create(key.id);
    const before = await this.push(key, "begin");
    const commit = await this.push(key, "go on");
    const ref = {
      repositoryId: newId(),
      owner: OwnerSlug.parse(slugify(project.key)),
      name: RepositoryName.parse(this.#get(key).slug),
      host: this.url.replace("http://", ""),
      source: key,
    };
    const fullName = `${project.key}/${this.#get(key).slug}`;
    return { key, ref, fullName, branch: BranchName.parse(MAIN), before, commit };
  }

  async addEmptyRepository({
    isPrivate = false,
    isLinked = true,
    project = this.acme,
  } = {}): Promise<SourceKey> {
    const id = this.#newId();
    const webhooks = [{ url: "https://ci.example.test/hook", active: true }];
    const repository = {
      ...{ id, slug: `site-${id}`, project, isPrivate, webhooks },
      statuses: new Map(),
      botMay: "admin" as const,
      isEmpty: true,
    };
    const key = { id: String(id), installation: undefined };
    this.#repositories.set(key.id, repository);
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

  rename(key: SourceKey, slug: string): void {
    this.#get(key).slug = slug;
  }

  move(key: SourceKey, project: DataCenterProject): void {
    this.#get(key).project = project;
  }

  /** What the platform's account may do there. */
  letBot(key: SourceKey, may: "nothing" | "read" | "admin"): void {
    this.#get(key).botMay = may;
  }

  push(key: SourceKey, message: string, branch = MAIN): Promise<CommitSha> {
    return this.pushFiles(key, { "stack.yml": `# ${newId()}\n` }, { branch, message });
  }

  pushFiles(
    key: SourceKey,
    files: Readonly<Record<string, string>>,
    { branch = MAIN, message = "a change" } = {},
  ): Promise<CommitSha> {
    this.#get(key).isEmpty = false;
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
    return this.delivery("repo:refs_changed", this.pushPayload(key, [change({ before, commit })]), secret);
  }

  pushPayload(key: SourceKey, changes: readonly unknown[]): Record<string, unknown> {
    return { eventKey: "repo:refs_changed", ...this.payload(key), changes };
  }

  /** What every payload says of who did something, and where. */
  payload(key: SourceKey) {
    return {
      date: "2026-01-19T09:45:32+1000",
      actor: userShape(ALICE),
      repository: this.#shape(this.#get(key)),
    };
  }

  delivery(event: string, payload: unknown, secret = 0): RawDelivery {
    const key = must(this.webhookSecrets[secret], "the secret");
    return signed(payload, { event, secret: key, idHeader: "x-request-id" });
  }

  async forgeries(repository: FakeRepository): Promise<Readonly<Record<string, RawDelivery>>> {
    const [secret = ""] = this.webhookSecrets;
    return forgeriesOf(await this.pushDelivery(repository, { secret: 0 }), secret);
  }

  consent(authorizeUrl: URL) {
    return allow(authorizeUrl);
  }

  async setRole(role: Role | undefined): Promise<void> {
    this.acme.role = role;
  }

  async revokeGrant(): Promise<void> {
    this.oauth.revoke();
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.#server[Symbol.asyncDispose]();
  }

  #newId(): number {
    this.#made += 1;
    return 40 + this.#made;
  }

  #get({ id }: SourceKey): Repository {
    return must(this.#repositories.get(id), `the repository ${id}`);
  }

  #admit(path: string, access: GitAccess | undefined): { readonly id: string } | "refused" | "absent" {
    const found = [...this.#repositories.values()].find(
      ({ project, slug }) =>
        `${CONTEXT.slice(1)}/scm/${project.key}/${slug}`.toLowerCase() ===
        decodeURIComponent(path).toLowerCase(),
    );
    if (found === undefined) return "absent";
    const isTaken = access?.username === BOT.name && access.password === this.token;
    if (access === undefined ? found.isPrivate || this.letsNobodyIn : !isTaken) return "refused";
    return { id: String(found.id) };
  }

  #routes(): Route[] {
    const errors = { 400: ErrorAnswer, 401: ErrorAnswer, 404: ErrorAnswer };
    const route = publishedRoutes<DataCenter, "start" | "limit", PersonalOwner>({
      base: `${CONTEXT}/rest`,
      errors,
    });
    return [
      ...this.oauth.routes({
        authorize: new RegExp(`^${CONTEXT}/rest/oauth2/latest/authorize$`),
        token: new RegExp(`^${CONTEXT}/rest/oauth2/latest/token$`),
      }),
      route(
        "get",
        "/api/latest/application-properties",
        { given: z.strictObject({ version: z.string() }) },
        (asked) => this.#known(asked, () => ({ status: 200, body: { version: "9.4.0" } })),
      ),
      route(
        "get",
        "/api/latest/projects/{projectKey}/repos/{repositorySlug}",
        { given: RepositoryAnswer },
        (asked) => this.#about(asked, "read", (found) => ({ status: 200, body: this.#shape(found) })),
      ),
      route("get", "/api/latest/repos", { query: ReposQuery, given: pageOf(RepositoryAnswer) }, (asked) =>
        this.#known(asked, (who) => this.#repos(asked, who)),
      ),
      route(
        "get",
        "/api/latest/projects/{projectKey}/repos/{repositorySlug}/webhooks/search",
        { query: WebhooksQuery, given: pageOf(WebhookAnswer) },
        (asked) =>
          this.#about(asked, "admin", ({ webhooks, project }) => {
            const scopes = asked.url.searchParams.getAll("scopeType");
            const all = [
              ...webhooks.map((webhook) => webhookShape(webhook, "repository")),
              ...project.webhooks.map((webhook) => webhookShape(webhook, "project")),
            ];
            return this.#page(
              asked,
              all.filter(({ scopeType }) => scopes.length === 0 || scopes.includes(scopeType)),
            );
          }),
      ),
      route(
        "get",
        "/api/latest/projects/{projectKey}/repos/{repositorySlug}/default-branch",
        { given: MinimalRefAnswer },
        (asked) =>
          this.#about(asked, "read", ({ isEmpty }) =>
            isEmpty
              ? failed(404, "No such branch.")
              : { status: 200, body: { id: `refs/heads/${MAIN}`, displayId: MAIN, type: "BRANCH" } },
          ),
      ),
      route(
        "get",
        "/api/latest/projects/{projectKey}/repos/{repositorySlug}/branches",
        { query: BranchesQuery, given: pageOf(BranchAnswer) },
        (asked) => this.#about(asked, "read", (found) => this.#branches(asked, found)),
      ),
      route(
        "get",
        "/api/latest/projects/{projectKey}/repos/{repositorySlug}/commits/{commitId}",
        { given: CommitAnswer, parts: { commitId: "[0-9a-f]{40}" } },
        (asked) => this.#about(asked, "read", (found) => this.#commit(asked, found)),
      ),
      route(
        "post",
        "/api/latest/projects/{projectKey}/repos/{repositorySlug}/commits/{commitId}/builds",
        { body: StatusBody, status: 204, given: z.undefined(), parts: { commitId: "[0-9a-f]{40}" } },
        (asked) =>
          this.#about(asked, "read", ({ statuses }) => {
            const status = StatusBody.parse(asked.body);
            const { commitId: commit = "" } = asked.params;
            statuses.set(`${commit} ${status.key}`, { ...status, commit });
            return { status: 204 };
          }),
      ),
      route("get", "/api/latest/projects", { query: ProjectsQuery, given: pageOf(ProjectAnswer) }, (asked) =>
        this.#known(asked, (who) => this.#projectsOf(asked, who)),
      ),
      route("get", "/api/latest/projects/{projectKey}", { given: ProjectAnswer }, (asked) =>
        this.#known(asked, () => {
          const project = this.#projects.find(({ key }) => isSame(key, asked.params["projectKey"]));
          return project === undefined
            ? failed(404, "No such project.")
            : { status: 200, body: projectShape(project) };
        }),
      ),
      {
        method: "GET",
        // The description has one user for the answer, and neither pages nor the filters by number that the prose tells of.
        path: new RegExp(`^${CONTEXT}/rest/api/latest/users$`),
        query: UsersQuery,
        answers: { 200: pageOf(UserAnswer), ...errors },
        answer: (asked) => this.#known(asked, () => this.#users(asked)),
      },
    ];
  }

  /** Every answer says whose credential it was. */
  async #known(
    { authorization }: Asked,
    answer: (who: typeof ALICE | typeof BOT) => Promise<Answer> | Answer,
  ): Promise<Answer> {
    const isBot = authorization === `Bearer ${this.token}`;
    if (!isBot && this.oauth.scopeOf(authorization) === undefined)
      return failed(401, "Authentication failed.");
    const who = isBot ? BOT : ALICE;
    const given = await answer(who);
    if (!this.namesUsers) return given;
    return {
      ...given,
      headers: { "x-ausername": encodeURIComponent(who.name), "x-auserid": String(who.id) },
    };
  }

  #about(
    asked: Asked,
    needed: "read" | "admin",
    answer: (found: Repository) => Promise<Answer> | Answer,
  ): Promise<Answer> {
    return this.#known(asked, (who) => {
      const found = [...this.#repositories.values()].find(
        ({ project, slug }) =>
          isSame(project.key, asked.params["projectKey"]) && isSame(slug, asked.params["repositorySlug"]),
      );
      if (found === undefined) return failed(404, "No such repository.");
      if (who !== BOT || !mayBot(found, needed)) return failed(401, "You are not permitted to access this.");
      return answer(found);
    });
  }

  #repos(asked: Asked, who: typeof ALICE | typeof BOT): Answer {
    const { permission } = ReposQuery.parse(Object.fromEntries(asked.url.searchParams));
    const needed = permission === "REPO_ADMIN" ? "admin" : "read";
    const seen = [...this.#repositories.values()].filter((one) => who === BOT && mayBot(one, needed));
    return this.#page(
      asked,
      seen.map((one) => this.#shape(one)),
    );
  }

  /** No more than the scope of the token lets see, whatever the person may do. */
  #projectsOf(asked: Asked, who: typeof ALICE | typeof BOT): Answer {
    const { permission = "PROJECT_READ" } = ProjectsQuery.parse(Object.fromEntries(asked.url.searchParams));
    const isCapped = who === ALICE && permission !== "PROJECT_READ";
    const seen = this.#projects.filter(({ isPersonal, role }) => {
      if (isCapped) return false;
      if (isPersonal) return this.listsOwnProjects;
      return who === BOT || (role !== undefined && isAtLeast(role, NEEDED[permission]));
    });
    return this.#page(asked, seen.map(projectShape));
  }

  #users(asked: Asked): Answer {
    const query = UsersQuery.parse(Object.fromEntries(asked.url.searchParams));
    const { filter = "", "permission.1": permission, "permission.1.projectId": projectId } = query;
    const project = this.#projects.find(({ id }) => id === projectId);
    if (permission !== undefined && project === undefined) return failed(400, "No such project.");
    const namesakes = [{ id: 77, name: "malice", slug: "malice", displayName: "alice" }, ALICE, BOT];
    const may = ({ id }: typeof ALICE) =>
      permission === undefined ||
      id !== ALICE.id ||
      (project?.role !== undefined && isAtLeast(project.role, NEEDED[permission]));
    const found = namesakes.filter((user) => user.name.includes(filter) && may(user));
    return this.#page(asked, found.map(userShape));
  }

  async #branches(asked: Asked, { id }: Repository): Promise<Answer> {
    const { filterText = "" } = BranchesQuery.parse(Object.fromEntries(asked.url.searchParams));
    const shapes = [];
    for (const name of [`${MAIN}tenance`, MAIN, "feature/one"].filter((one) => one.includes(filterText))) {
      const head = await this.#server.git.head(String(id), name);
      if (head === undefined) continue;
      shapes.push({
        id: `refs/heads/${name}`,
        displayId: name,
        type: "BRANCH",
        latestCommit: head.commit,
        latestChangeset: head.commit,
        default: name === MAIN,
      });
    }
    return this.#page(asked, shapes);
  }

  async #commit({ params }: Asked, { id }: Repository): Promise<Answer> {
    const head = await this.#server.git.head(String(id), MAIN);
    if (head === undefined || head.commit !== params["commitId"]) return failed(404, "No such commit.");
    return {
      status: 200,
      body: {
        id: head.commit,
        displayId: head.commit.slice(0, 11),
        message: head.message,
        author: { name: head.author, emailAddress: head.email },
        parents: [],
      },
    };
  }

  #page({ url }: Asked, items: readonly unknown[]): Answer {
    const query = PageQuery.parse(Object.fromEntries(url.searchParams));
    const start = query.start ?? 0;
    const limit = Math.min(query.limit ?? 25, this.#pageLength);
    const values = items.slice(start, start + limit);
    const isLastPage = start + limit >= items.length;
    const nextPageStart = isLastPage ? null : start + limit;
    return { status: 200, body: { size: values.length, limit, isLastPage, start, nextPageStart, values } };
  }

  #shape({ id, slug, project, isPrivate }: Repository): z.infer<typeof RepositoryAnswer> {
    return {
      id,
      slug,
      name: slug,
      scmId: "git",
      state: "AVAILABLE",
      statusMessage: "Available",
      forkable: true,
      archived: false,
      public: !isPrivate,
      project: projectShape(project),
    };
  }
}

/** One thing that a push moved: made where there is no `before`, deleted where there is no `commit`. */
export function change(moved: {
  readonly type?: "BRANCH" | "TAG";
  readonly name?: string;
  readonly before?: CommitSha;
  readonly commit?: CommitSha;
}): unknown {
  const { type = "BRANCH", name = MAIN, before, commit } = moved;
  const id = `refs/${type === "BRANCH" ? "heads" : "tags"}/${name}`;
  return {
    ref: { id, displayId: name, type },
    refId: id,
    fromHash: before ?? ZEROS,
    toHash: commit ?? ZEROS,
    type: before === undefined ? "ADD" : commit === undefined ? "DELETE" : "UPDATE",
  };
}

function mayBot({ botMay }: Repository, needed: "read" | "admin"): boolean {
  return botMay === "admin" || botMay === needed;
}

function isSame(a: string, b: string | undefined): boolean {
  return a.toLowerCase() === b?.toLowerCase();
}

function userShape(user: typeof ALICE): z.infer<typeof UserAnswer> {
  return { ...user, emailAddress: `${user.slug}@example.test`, active: true, type: "NORMAL" };
}

function projectShape({ id, key, isPersonal }: DataCenterProject): z.infer<typeof ProjectAnswer> {
  if (isPersonal) return { id, key, name: ALICE.displayName, type: "PERSONAL", owner: userShape(ALICE) };
  return { id, key, name: key, public: false, type: "NORMAL" };
}

function webhookShape({ url, active }: FakeWebhook, scopeType: "repository" | "project") {
  return {
    id: 1,
    name: "a webhook",
    url,
    active,
    events: ["repo:refs_changed"],
    scopeType,
    configuration: { secret: "*****" },
    sslVerificationRequired: true,
  };
}

function failed(status: number, message: string): Answer {
  return { status, body: { errors: [{ context: null, message, exceptionName: null }] } };
}
