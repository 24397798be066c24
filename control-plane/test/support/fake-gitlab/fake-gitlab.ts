import { createHash, randomBytes } from "node:crypto";
import { createServer, type IncomingMessage, type Server, type ServerResponse } from "node:http";
import { createServer as createTlsServer } from "node:https";
import type { AddressInfo } from "node:net";
import { text } from "node:stream/consumers";
import { must } from "@openfaas-cloud/shared/must.ts";
import type { CommitSha } from "@openfaas-cloud/shared/names.ts";
import { Agent, fetch } from "undici";
import type { z } from "zod";
import type { RawDelivery } from "../../../src/ports/source-host/remote-host.ts";
import type { Trouble } from "../../contracts/remote-host.ts";
import { bringDelivery } from "../bring-delivery.ts";
import { FakeGit, type GitAccess } from "../fake-git.ts";
import type { Authority } from "./authority.ts";
import {
  AuthorizeQuery,
  CALLS,
  type CallName,
  type DeployTokenBody,
  type GroupAnswer,
  type ProjectAnswer,
  type QueryOf,
  type StatusAnswer,
  type TokenBody,
} from "./calls.ts";
import {
  groupMemberPayload,
  type HookSecrets,
  makeDelivery,
  type Payload,
  projectPayload,
  pushPayload,
} from "./payloads.ts";
import {
  type Asker,
  type FakeGroup,
  type FakeProject,
  type FakeUser,
  GitLabWorld,
  type Visibility,
} from "./world.ts";

const CREATED = "2026-01-02T03:04:05.678Z";
const TOKEN_S = 7200;

/** One call as it came, and how it was answered. */
export interface LedgerEntry {
  readonly method: string;
  /** Below the instance's address. */
  readonly path: string;
  readonly query: Readonly<Record<string, string>>;
  readonly body: string;
  /** `bot`, a username, or nobody. */
  readonly asker: string | undefined;
  readonly status: number;
}

export interface Hook extends HookSecrets {
  readonly url: string;
  readonly kind: "project" | "group" | "system";
}

export interface FakeDeployToken {
  readonly id: number;
  readonly project: FakeProject;
  readonly asked: DeployTokenBody;
  readonly username: string;
  readonly token: string;
}

interface Grant {
  readonly user: FakeUser;
  readonly scope: string;
}

interface Consent extends Grant {
  readonly query: AuthorizeQuery;
}

interface Answer {
  readonly status: number;
  readonly body: unknown;
  readonly headers?: Readonly<Record<string, string>>;
}

/**
 * GitLab as far as the platform can tell: the API, OAuth with its consent page, git, and hooks. It keeps a ledger of every call,
 * and holds each call and each of its own answers against the vendor's description.
 */
export class FakeGitLab implements AsyncDisposable {
  readonly world = new GitLabWorld();
  readonly ledger: LedgerEntry[] = [];
  /** Calls that GitLab does not know, and answers that it would not give. */
  readonly violations: string[] = [];
  readonly statuses: StatusAnswer[] = [];
  readonly hooks: Hook[] = [];
  /** What the hooks' addresses answered. */
  readonly sent: { readonly delivery: RawDelivery; readonly hook: Hook; readonly status: number }[] = [];
  readonly git: FakeGit;
  readonly oauth = { id: "the-application", secret: "the-application-secret-1234567890" };
  /** Of the platform's bot. */
  token = `glpat-${randomBytes(15).toString("base64url")}`;
  /** Who is signed in at GitLab in the browser that comes to the consent page. */
  visitor: FakeUser;
  /** Answers in place of the API's. */
  readonly overrides = new Map<CallName, Answer>();
  /** As versions before 14: `tag_list` for `topics`, no list of topics; before 17.4: no Idempotency-Key. */
  isOld = false;
  /** `maintainer` may give others access to projects, by deploy tokens for one. */
  botRole: "developer" | "maintainer" = "maintainer";
  /** As with external authorization, where git takes no deploy token, and they can be made all the same. */
  takesDeployTokens = true;
  /** Those that have not been taken back. */
  readonly deployTokens: FakeDeployToken[] = [];
  /** Without it projects have no repositories, which is all that takes long about them. */
  hasGit = true;
  pageLimit = 100;
  trouble: Trouble | undefined;
  readonly #bot: FakeUser;
  readonly #server: Server;
  readonly #base: string;
  readonly #isSecure: boolean;
  readonly #agent: Agent;
  #lastDeployToken = 1;
  readonly #codes = new Map<string, Consent>();
  readonly #access = new Map<string, Grant>();
  readonly #refresh = new Map<string, Grant & { readonly accessToken: string }>();

  private constructor(git: FakeGit, options: { readonly base?: string; readonly authority?: Authority }) {
    const { base = "", authority } = options;
    this.git = git;
    this.#bot = this.world.addUser("group_1_bot_0a1b", "openfaas-cloud");
    this.visitor = this.world.addUser("alice", "Alice Liddell");
    this.#base = base;
    this.#isSecure = authority !== undefined;
    this.#agent = new Agent({ connect: { ca: authority?.ca } });
    const listener = (request: IncomingMessage, response: ServerResponse) => {
      this.#handle(request, response).catch((error: unknown) => {
        this.violations.push(`the fake failed: ${error instanceof Error ? error.stack : String(error)}`);
        response.destroy();
      });
    };
    this.#server =
      authority === undefined ? createServer(listener) : createTlsServer(authority, listener as never);
  }

  static async open(
    options: { readonly base?: string; readonly authority?: Authority } = {},
  ): Promise<FakeGitLab> {
    const fake = new FakeGitLab(await FakeGit.open(), options);
    await new Promise<void>((resolve) => fake.#server.listen(0, "127.0.0.1", resolve));
    return fake;
  }

  get url(): string {
    const { port } = this.#server.address() as AddressInfo;
    return `http${this.#isSecure ? "s" : ""}://127.0.0.1:${port}${this.#base}`;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#server.closeAllConnections();
    await new Promise((resolve) => this.#server.close(resolve));
    await this.#agent.destroy();
    await this.git[Symbol.asyncDispose]();
  }

  // What people do at GitLab.

  /** With two commits on `main`. */
  async addProject(
    path: string,
    namespace: FakeGroup | FakeUser,
    options: {
      readonly visibility?: Visibility;
      readonly topics?: readonly string[];
      readonly name?: string;
    } = {},
  ): Promise<FakeProject> {
    const namespaceId = "namespaceId" in namespace ? namespace.namespaceId : namespace.id;
    const project = this.world.addProject(path, namespaceId, options);
    if (this.hasGit) {
      await this.git.create(gitId(project));
      await this.git.push(gitId(project), { "README.md": path }, { message: "first" });
      await this.git.push(gitId(project), { "stack.yml": "functions: {}\n" }, { message: "second" });
    }
    await this.#emit("project", projectPayload(this.world, "project_create", project));
    return project;
  }

  async push(
    project: FakeProject,
    files: Readonly<Record<string, string>>,
    { branch = "main", message = "a change" } = {},
  ): Promise<CommitSha> {
    const before = await this.git.head(gitId(project), branch);
    const after = await this.git.push(gitId(project), files, { branch, message });
    const push = { branch, before: before?.commit, after, message, author: "Alice", pusher: this.visitor };
    await this.#emit("push", pushPayload(this, project, push));
    return after;
  }

  async deleteBranch(project: FakeProject, branch: string): Promise<void> {
    const before = await this.git.head(gitId(project), branch);
    await this.git.deleteBranch(gitId(project), branch);
    project.isEmpty = (await this.git.head(gitId(project), "*")) === undefined;
    const push = { branch, before: before?.commit, after: undefined, message: "", author: "Alice" };
    await this.#emit("push", pushPayload(this, project, { ...push, pusher: this.visitor }));
  }

  async update(
    project: FakeProject,
    changes: Partial<Pick<FakeProject, "topics" | "visibility" | "name">>,
  ): Promise<void> {
    Object.assign(project, changes);
    await this.#emit("project", projectPayload(this.world, "project_update", project));
  }

  async rename(project: FakeProject, path: string): Promise<void> {
    const old = this.world.pathOf(project);
    project.path = path;
    await this.#emit("project", projectPayload(this.world, "project_rename", project, old));
  }

  async transfer(project: FakeProject, namespace: FakeGroup | FakeUser): Promise<void> {
    const old = this.world.pathOf(project);
    project.namespaceId = "namespaceId" in namespace ? namespace.namespaceId : namespace.id;
    await this.#emit("project", projectPayload(this.world, "project_transfer", project, old));
  }

  async remove(project: FakeProject): Promise<void> {
    this.world.projects.delete(project.id);
    if (this.hasGit) await this.git.remove(gitId(project));
    await this.#emit("project", projectPayload(this.world, "project_destroy", project));
  }

  /** @param level `undefined` takes the membership away. */
  async setMember(group: FakeGroup, user: FakeUser, level: number | undefined): Promise<void> {
    const isNew = !group.members.has(user.id);
    if (level === undefined) group.members.delete(user.id);
    else group.members.set(user.id, level);
    const event =
      level === undefined ? "user_remove_from_group" : isNew ? "user_add_to_group" : "user_update_for_group";
    await this.#emit("member", groupMemberPayload(event, group, user));
  }

  /** The person takes back what they allowed the application. */
  revokeGrants(user: FakeUser): void {
    for (const tokens of [this.#access, this.#refresh]) {
      for (const [token, grant] of tokens) if (grant.user === user) tokens.delete(token);
    }
  }

  /** What a browser does with the consent page, and where it is sent then. */
  async consent(authorizeUrl: URL, button: "Authorize" | "Cancel" = "Authorize"): Promise<URL> {
    const options = { dispatcher: this.#agent, redirect: "manual" } as const;
    const page = await (await fetch(authorizeUrl, options)).text();
    const form = new URLSearchParams({ commit: button });
    for (const [, name = "", value = ""] of page.matchAll(/name="([^"]*)" value="([^"]*)"/g)) {
      if (name !== "commit") form.set(name, unescapeHtml(value));
    }
    const action = must(/action="([^"]*)"/.exec(page)?.[1], `a form in ${page}`);
    const answer = await fetch(new URL(action, authorizeUrl), { ...options, method: "POST", body: form });
    await answer.body?.cancel();
    return new URL(must(answer.headers.get("location"), "where the browser is sent"));
  }

  // What GitLab sends.

  async #emit(what: "push" | "project" | "member", payload: Payload): Promise<void> {
    const names = { push: "Push Hook", project: "Project Hook", member: "Member Hook" } as const;
    for (const hook of this.hooks) {
      if (hook.kind === "project" && what !== "push") continue;
      const name = hook.kind === "system" ? "System Hook" : names[what];
      await this.send(hook, makeDelivery(name, payload, hook, { isOld: this.isOld }));
    }
  }

  async send(hook: Hook, delivery: RawDelivery): Promise<number> {
    const headers = delivery.headers as Record<string, string>;
    const status = await bringDelivery(hook.url, headers, delivery.body);
    this.sent.push({ hook, delivery, status });
    return status;
  }

  // What GitLab answers.

  async #handle(request: IncomingMessage, response: ServerResponse): Promise<void> {
    if (this.#isTroubled(response)) return;
    const url = new URL(request.url ?? "/", this.url);
    if (!url.pathname.startsWith(`${this.#base}/`)) {
      response.writeHead(404, { "content-type": "text/html" }).end("<h1>There is nothing here</h1>");
      return;
    }
    const path = url.pathname.slice(this.#base.length);
    if (path === "/oauth/authorize") return this.#authorize(request, response, url);
    const isGit = this.git.serve(request, response, (repository, access) =>
      this.#admit(repository.slice(this.#base.replace("/", "").length).replace(/^\//, ""), access),
    );
    if (isGit) {
      response.once("finish", () =>
        this.#record(request, path, url, "", access(request), response.statusCode),
      );
      return;
    }
    const body = await text(request);
    const asker = this.#askerOf(request);
    const answer = await this.#answer(request, path, url, body, asker);
    this.#record(request, path, url, body, nameOf(asker), answer.status);
    response
      .writeHead(answer.status, { "content-type": "application/json", ...answer.headers })
      .end(answer.status === 204 ? undefined : JSON.stringify(answer.body));
  }

  #record(
    { method = "" }: IncomingMessage,
    path: string,
    { searchParams }: URL,
    body: string,
    asker: string | undefined,
    status: number,
  ): void {
    this.ledger.push({ method, path, query: Object.fromEntries(searchParams), body, asker, status });
  }

  #isTroubled(response: ServerResponse): boolean {
    const { trouble } = this;
    if (trouble === undefined) return false;
    if (trouble.after !== undefined && trouble.after > 0) {
      this.trouble = { ...trouble, after: trouble.after - 1 };
      return false;
    }
    if (trouble.kind === "hang") return true;
    const { status, retryAfterS } = trouble;
    const headers = retryAfterS === undefined ? {} : { "retry-after": retryAfterS.toString() };
    response.writeHead(status, { "content-type": "text/html", ...headers }).end("<h1>Not now</h1>");
    return true;
  }

  #admit(path: string, access: GitAccess | undefined): { readonly id: string } | "refused" | "absent" {
    const project = this.world.findByPath(path);
    const password = access?.password;
    const deployToken = this.deployTokens.find(({ token }) => token === password);
    if (deployToken !== undefined && deployToken.username === access?.username) {
      if (!this.takesDeployTokens) return "refused";
      return project === deployToken.project ? { id: gitId(project) } : "absent";
    }
    const person = password === undefined ? undefined : this.#access.get(password)?.user;
    const asker: Asker | undefined =
      password === this.token ? { kind: "bot" } : person && { kind: "person", user: person };
    if (password !== undefined && asker === undefined) return "refused";
    if (project !== undefined && this.world.sees(asker, project)) return { id: gitId(project) };
    return asker === undefined ? "refused" : "absent";
  }

  #askerOf({ headers }: IncomingMessage): Asker | "unknown" | undefined {
    const token = headers["private-token"];
    const bearer = headers.authorization?.replace(/^Bearer /, "");
    if (token === undefined && bearer === undefined) return undefined;
    if (token === this.token) return { kind: "bot" };
    const grant = bearer === undefined ? undefined : this.#access.get(bearer);
    return grant === undefined ? "unknown" : { kind: "person", user: grant.user };
  }

  async #answer(
    request: IncomingMessage,
    path: string,
    url: URL,
    body: string,
    asker: Asker | "unknown" | undefined,
  ): Promise<Answer> {
    if (asker === "unknown") return refuse(401, { message: "401 Unauthorized" });
    for (const [name, call] of Object.entries(CALLS) as [CallName, (typeof CALLS)[CallName]][]) {
      const groups = call.path.exec(path)?.groups;
      if (request.method !== call.method || !call.path.test(path)) continue;
      const query = call.query.safeParse(Object.fromEntries(url.searchParams));
      const asked = "body" in call ? call.body.safeParse(readBody(request, body)) : undefined;
      if (!query.success || asked?.success === false) {
        const error = query.error ?? asked?.error;
        this.violations.push(`${name} was asked for in a way that GitLab does not know: ${error?.message}`);
        return refuse(400, { error: `${error?.issues[0]?.path.join(".")} is invalid` });
      }
      const override = this.overrides.get(name);
      if (override !== undefined) return override;
      const answer = await this.#answerCall(name, { groups, query: query.data, body: asked?.data, asker });
      const described = answer.status > 299 ? undefined : call.answer.safeParse(answer.body);
      if (described?.success === false) {
        this.violations.push(`${name} is answered as GitLab would not: ${described.error.message}`);
      }
      return answer;
    }
    this.violations.push(`GitLab knows no ${request.method} ${path}`);
    return NOT_FOUND;
  }

  async #answerCall(
    name: CallName,
    call: {
      readonly groups: Readonly<Record<string, string>> | undefined;
      readonly query: unknown;
      readonly body: unknown;
      readonly asker: Asker | undefined;
    },
  ): Promise<Answer> {
    const { groups = {}, asker } = call;
    if (name === "token") return this.#giveToken(call.body as z.infer<typeof TokenBody>);
    if (asker?.kind === "person" && asker.user.isBlocked) {
      return refuse(403, { message: "403 Forbidden - Your account has been blocked." });
    }
    if (groups["id"] !== undefined && name !== "group") {
      const project = this.world.projects.get(Number(groups["id"]));
      if (project === undefined || !this.world.sees(asker, project)) return absent("Project");
      if (name === "project") return { status: 200, body: this.#describe(project) };
      if (name === "branch") return this.#branch(project, decodeURIComponent(groups["branch"] ?? ""));
      if (name === "makeDeployToken") return this.#makeDeployToken(project, call.body as DeployTokenBody);
      if (name === "deleteDeployToken") return this.#deleteDeployToken(project, Number(groups["token"]));
      return this.#postStatus(
        project,
        groups["sha"] ?? "",
        call.body as Partial<StatusAnswer> & { state: string },
      );
    }
    if (name === "projects") return this.#listProjects(call.query as QueryOf<"projects">, asker);
    if (asker === undefined) return refuse(401, { message: "401 Unauthorized" });
    if (name === "user") return { status: 200, body: this.#describeSelf(asker) };
    if (name === "groups") return this.#listGroups(call.query as QueryOf<"groups">, asker);
    if (name === "topics") return this.#listTopics(call.query as QueryOf<"topics">);
    const group = this.world.groups.get(Number(groups["id"]));
    if (group === undefined || !this.world.seesGroup(asker, group)) return absent("Group");
    return { status: 200, body: this.#describeGroup(group) };
  }

  #makeDeployToken(project: FakeProject, asked: DeployTokenBody): Answer {
    if (this.botRole !== "maintainer") return refuse(403, { message: "403 Forbidden" });
    const id = this.#lastDeployToken++;
    const username = asked.username ?? `gitlab+deploy-token-${id}`;
    const token = `gldt-${randomBytes(15).toString("base64url")}`;
    this.deployTokens.push({ id, project, asked, username, token });
    const { name, scopes, expires_at = null } = asked;
    return {
      status: 201,
      body: { id, name, username, expires_at, revoked: false, expired: false, token, scopes },
    };
  }

  #deleteDeployToken(project: FakeProject, id: number): Answer {
    if (this.botRole !== "maintainer") return refuse(403, { message: "403 Forbidden" });
    const index = this.deployTokens.findIndex((token) => token.id === id && token.project === project);
    if (index === -1) return absent("Deploy Token");
    this.deployTokens.splice(index, 1);
    return { status: 204, body: null };
  }

  #listProjects(query: QueryOf<"projects">, asker: Asker | undefined): Answer {
    const { topic, membership = false, min_access_level = 0, id_after = 0, sort = "desc" } = query;
    const level = (project: FakeProject) =>
      asker?.kind === "person" ? this.world.levelInProject(asker.user, project) : 40;
    const projects = [...this.world.projects.values()]
      .filter((project) => this.world.sees(asker, project) && project.id > id_after)
      .filter((project) => topic === undefined || project.topics.includes(topic))
      .filter((project) => !membership || level(project) >= 10)
      .filter((project) => level(project) >= min_access_level)
      .sort((a, b) => (sort === "asc" ? a.id - b.id : b.id - a.id));
    return this.#page(
      projects.map((project) => this.#describe(project)),
      query,
    );
  }

  #listGroups(query: QueryOf<"groups">, asker: Asker): Answer {
    const { min_access_level = 0, top_level_only = false } = query;
    const level = ({ id }: FakeGroup) =>
      asker.kind === "person" ? this.world.levelInGroup(asker.user, id) : 40;
    const groups = [...this.world.groups.values()]
      .filter((group) => this.world.seesGroup(asker, group) && level(group) >= min_access_level)
      .filter((group) => this.isOld || !top_level_only || group.parentId === undefined);
    return this.#page(
      groups.map((group) => this.#describeGroup(group)),
      query,
    );
  }

  #listTopics(query: QueryOf<"topics">): Answer {
    if (this.isOld) return NOT_FOUND;
    const names = new Set([...this.world.projects.values()].flatMap(({ topics }) => topics));
    const found = [...names].filter((name) => name.toLowerCase().includes(query.search?.toLowerCase() ?? ""));
    const topics = found.map((name, i) => ({
      id: i + 1,
      name,
      title: name,
      description: null,
      total_projects_count: 1,
      organization_id: 1,
      avatar_url: null,
    }));
    return this.#page(topics, query);
  }

  #page(
    items: readonly unknown[],
    { page = 1, per_page = 20 }: { page?: number | undefined; per_page?: number | undefined },
  ): Answer {
    const size = Math.min(per_page, this.pageLimit);
    const end = page * size;
    const headers = {
      "x-page": page.toString(),
      "x-per-page": size.toString(),
      "x-next-page": end < items.length ? (page + 1).toString() : "",
    };
    return { status: 200, body: items.slice(end - size, end), headers };
  }

  async #branch(project: FakeProject, branch: string): Promise<Answer> {
    const head = await this.git.head(gitId(project), branch);
    if (head === undefined) return absent("Branch");
    const at = `${this.url}/${this.world.pathOf(project)}/-`;
    const person = { name: head.author, email: head.email };
    return {
      status: 200,
      body: {
        name: branch,
        commit: {
          id: head.commit,
          short_id: head.commit.slice(0, 8),
          created_at: CREATED,
          parent_ids: [],
          title: head.message,
          message: `${head.message}\n\nand more`,
          author_name: person.name,
          author_email: person.email,
          authored_date: CREATED,
          committer_name: person.name,
          committer_email: person.email,
          committed_date: CREATED,
          web_url: `${at}/commit/${head.commit}`,
        },
        merged: false,
        protected: true,
        developers_can_push: false,
        developers_can_merge: false,
        can_push: true,
        default: true,
        web_url: `${at}/tree/${branch}`,
      },
    };
  }

  /** As versions before 18.3 do it, which take no step from a state into itself. */
  #postStatus(
    project: FakeProject,
    sha: string,
    asked: { readonly state: string } & Partial<StatusAnswer> & { readonly context?: string },
  ): Answer {
    const { state, description = null, target_url = null } = asked;
    if ((description ?? "").length > 255) {
      return refuse(400, { message: { description: ["is too long (maximum is 255 characters)"] } });
    }
    const name = asked.name ?? asked.context ?? "default";
    const underWay = this.statuses.findIndex(
      (status) =>
        status.sha === sha && status.name === name && ["pending", "running"].includes(status.status),
    );
    if (this.statuses[underWay]?.status === state) {
      const step = state === "running" ? "run" : "enqueue";
      const message = `Cannot transition status via :${step} from :${state} (Reason(s): Status cannot transition via "${step}")`;
      return refuse(400, { message });
    }
    const status: StatusAnswer = {
      id: this.statuses.length + 1,
      sha,
      ref: "main",
      status: state as StatusAnswer["status"],
      name,
      target_url,
      description,
      created_at: CREATED,
      started_at: null,
      finished_at: null,
      allow_failure: false,
      coverage: null,
      pipeline_id: project.id,
      author: this.#describeUser(this.#bot),
    };
    if (underWay !== -1) this.statuses.splice(underWay, 1);
    this.statuses.push(status);
    return { status: 201, body: status };
  }

  #describe(project: FakeProject): ProjectAnswer {
    const { world, url } = this;
    const path = world.pathOf(project);
    const owner = world.ownerOf(project.namespaceId);
    const group = world.groups.get(project.namespaceId);
    const fullPath = world.fullPath(project.namespaceId);
    const namespaceName = must(owner?.name ?? group?.name, "a namespace");
    return {
      id: project.id,
      description: null,
      name: project.name,
      name_with_namespace: `${namespaceName} / ${project.name}`,
      path: project.path,
      path_with_namespace: path,
      created_at: CREATED,
      default_branch: project.isEmpty ? null : "main",
      tag_list: [...project.topics],
      ...(this.isOld ? {} : { topics: [...project.topics] }),
      ssh_url_to_repo: `git@gitlab.example.com:${path}.git`,
      http_url_to_repo: `${url}/${path}.git`,
      web_url: `${url}/${path}`,
      readme_url: null,
      avatar_url: null,
      star_count: 0,
      forks_count: 0,
      last_activity_at: CREATED,
      namespace: {
        id: project.namespaceId,
        name: namespaceName,
        path: must(owner?.username ?? group?.path, "a namespace"),
        kind: owner === undefined ? "group" : "user",
        full_path: fullPath,
        parent_id: group?.parentId ?? null,
        avatar_url: null,
        web_url: `${url}/${fullPath}`,
      },
      empty_repo: project.isEmpty,
      archived: false,
      visibility: project.visibility,
      ...(owner === undefined ? {} : { owner: this.#describeUser(owner) }),
      creator_id: owner?.id ?? 1,
      ...(project.markedForDeletionOn === undefined
        ? {}
        : {
            marked_for_deletion_on: project.markedForDeletionOn,
            marked_for_deletion_at: project.markedForDeletionOn,
          }),
    };
  }

  #describeGroup(group: FakeGroup): GroupAnswer {
    const path = this.world.fullPath(group.id);
    return {
      id: group.id,
      name: group.name,
      path: group.path,
      description: "",
      visibility: "private",
      full_name: group.name,
      full_path: path,
      parent_id: group.parentId ?? null,
      avatar_url: null,
      web_url: `${this.url}/groups/${path}`,
      created_at: CREATED,
    };
  }

  #describeUser({ id, username, name, isBlocked }: FakeUser) {
    return {
      id,
      username,
      name,
      state: isBlocked ? ("blocked" as const) : ("active" as const),
      locked: false,
      avatar_url: null,
      web_url: `${this.url}/${username}`,
    };
  }

  #describeSelf(asker: Asker): unknown {
    const user = asker.kind === "bot" ? this.#bot : asker.user;
    const self = { created_at: CREATED, bot: asker.kind === "bot", email: "", external: false };
    return { ...this.#describeUser(user), ...self };
  }

  // OAuth (RFC 6749, RFC 7636).

  async #authorize(request: IncomingMessage, response: ServerResponse, url: URL): Promise<void> {
    const fields = request.method === "POST" ? new URLSearchParams(await text(request)) : url.searchParams;
    const button = fields.get("commit");
    fields.delete("commit");
    const query = AuthorizeQuery.safeParse(Object.fromEntries(fields));
    this.#record(request, "/oauth/authorize", url, "", this.visitor.username, query.success ? 200 : 401);
    if (!query.success || query.data.client_id !== this.oauth.id) {
      this.violations.push(`the consent page was asked for wrongly: ${query.error?.message}`);
      response.writeHead(401, { "content-type": "text/html" }).end("<h1>An error has occurred</h1>");
      return;
    }
    if (request.method !== "POST") {
      response
        .writeHead(200, { "content-type": "text/html; charset=utf-8" })
        .end(consentPage(`${this.#base}/oauth/authorize`, query.data, this.visitor));
      return;
    }
    const back = new URL(query.data.redirect_uri);
    if (button === "Authorize") {
      const code = randomBytes(32).toString("hex");
      this.#codes.set(code, { query: query.data, user: this.visitor, scope: query.data.scope });
      back.searchParams.set("code", code);
    } else {
      back.searchParams.set("error", "access_denied");
    }
    back.searchParams.set("state", query.data.state);
    response.writeHead(302, { location: back.href }).end();
  }

  #giveToken(asked: z.infer<typeof TokenBody>): Answer {
    if (asked.client_id !== this.oauth.id || asked.client_secret !== this.oauth.secret) {
      return refuse(401, { error: "invalid_client" }, { "www-authenticate": 'Bearer realm="Doorkeeper"' });
    }
    const invalid = refuse(400, { error: "invalid_grant", error_description: "The grant is invalid." });
    if (asked.grant_type === "refresh_token") {
      const grant = this.#refresh.get(asked.refresh_token);
      if (grant === undefined || grant.user.isBlocked) return invalid;
      this.#refresh.delete(asked.refresh_token);
      this.#access.delete(grant.accessToken);
      return this.#grant(grant);
    }
    const consent = this.#codes.get(asked.code);
    this.#codes.delete(asked.code);
    const challenge = createHash("sha256").update(asked.code_verifier).digest("base64url");
    const isOurs =
      consent?.query.code_challenge === challenge && consent.query.redirect_uri === asked.redirect_uri;
    return consent !== undefined && isOurs ? this.#grant(consent) : invalid;
  }

  #grant({ user, scope }: Grant): Answer {
    const [accessToken, refreshToken] = [randomBytes(32).toString("hex"), randomBytes(32).toString("hex")];
    this.#access.set(accessToken, { user, scope });
    this.#refresh.set(refreshToken, { user, scope, accessToken });
    return {
      status: 200,
      body: {
        access_token: accessToken,
        token_type: "Bearer",
        expires_in: TOKEN_S,
        refresh_token: refreshToken,
        scope,
        created_at: Math.floor(Date.now() / 1000),
      },
    };
  }
}

const NOT_FOUND: Answer = { status: 404, body: { error: "404 Not Found" } };

function absent(what: string): Answer {
  return refuse(404, { message: `404 ${what} Not Found` });
}

function refuse(status: number, body: unknown, headers: Readonly<Record<string, string>> = {}): Answer {
  return { status, body, headers };
}

export function gitId({ id }: FakeProject): string {
  return id.toString();
}

function nameOf(asker: Asker | "unknown" | undefined): string | undefined {
  if (asker === undefined || asker === "unknown") return undefined;
  return asker.kind === "bot" ? "bot" : asker.user.username;
}

/** Of a git request. */
function access({ headers }: IncomingMessage): string | undefined {
  return headers.authorization === undefined ? undefined : "with a credential";
}

function readBody({ headers }: IncomingMessage, body: string): unknown {
  const type = headers["content-type"] ?? "";
  if (type.startsWith("application/json")) return JSON.parse(body);
  return Object.fromEntries(new URLSearchParams(body));
}

function consentPage(action: string, query: AuthorizeQuery, visitor: FakeUser): string {
  const fields = Object.entries(query).map(
    ([name, value]) => `<input type="hidden" name="${name}" value="${escapeHtml(value)}">`,
  );
  return `<!doctype html>
<html lang="en">
<title>Authorize · GitLab</title>
<link rel="icon" href="data:,">
<h1>openfaas-cloud is requesting access to your account on GitLab</h1>
<p>Signed in as ${escapeHtml(visitor.name)} (@${escapeHtml(visitor.username)}).</p>
<form method="post" action="${escapeHtml(action)}">
${fields.join("\n")}
<button type="submit" name="commit" value="Cancel">Cancel</button>
<button type="submit" name="commit" value="Authorize">Authorize</button>
</form>
</html>
`;
}

function escapeHtml(value: string): string {
  return value.replaceAll("&", "&amp;").replaceAll('"', "&quot;").replaceAll("<", "&lt;");
}

function unescapeHtml(value: string): string {
  return value.replaceAll("&lt;", "<").replaceAll("&quot;", '"').replaceAll("&amp;", "&");
}
