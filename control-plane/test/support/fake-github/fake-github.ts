import { createHmac, randomUUID } from "node:crypto";
import { createServer, type IncomingMessage, type Server, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import { text } from "node:stream/consumers";
import { must } from "@openfaas-cloud/shared/must.ts";
import type { CommitSha } from "@openfaas-cloud/shared/names.ts";
import type { Trouble } from "../../contracts/remote-host.ts";
import { bringDelivery } from "../bring-delivery.ts";
import { FakeGit, type GitAccess } from "../fake-git.ts";
import { recorded } from "./payloads.ts";
import { PUBLISHED_API } from "./published-api.ts";
import { Rest, type RestAnswer } from "./rest.ts";
import { type FakeApp, newApp, Web, type WebAnswer } from "./web.ts";
import {
  type Account,
  fullNameOf,
  type HookDelivery,
  type Installation,
  type Repository,
  World,
} from "./world.ts";

const API = "/api/v3";
const NO_COMMIT = "0".repeat(40);

/** A call that came, and what became of it. */
export interface LedgerEntry {
  readonly method: string;
  readonly path: string;
  /** By the name GitHub's description has for it. */
  readonly operation: string | undefined;
  readonly status: number;
  readonly body: unknown;
}

export interface SignedDelivery {
  readonly headers: Record<string, string>;
  readonly body: Buffer;
}

/**
 * A GitHub Enterprise Server that listens on loopback, for one GitHub App. Its repositories are real; whatever is asked of its
 * API and whatever it answers is held to GitHub's published description, and disposing it fails where something was not so.
 */
export class FakeGitHub implements AsyncDisposable {
  readonly world = new World();
  readonly git: FakeGit;
  readonly ledger: LedgerEntry[] = [];
  /** What was not as GitHub describes it. */
  readonly faults: string[] = [];
  readonly alice: Account;
  readonly acme: Account;
  app: FakeApp;
  /** Who sits before the browser. */
  person: Account;
  pageSize = 100;
  /** How everything is answered, where that is not as it should be. */
  trouble: Trouble | undefined;
  readonly #server: Server;
  readonly #rest: Rest;
  readonly #web: Web;
  readonly #api = PUBLISHED_API;

  private constructor(git: FakeGit) {
    this.git = git;
    this.alice = this.world.addAccount("alice", "User");
    this.acme = this.world.addAccount("acme", "Organization");
    this.world.memberships.set(this.acme, new Map());
    this.person = this.alice;
    this.app = newApp(this.world.nextId(), "openfaas-cloud");
    this.#web = new Web({
      world: this.world,
      app: () => this.app,
      replaceApp: (app) => {
        this.app = app;
      },
      person: () => this.person,
      install: async (account) => (await this.installAll(account)).id,
    });
    this.#rest = new Rest({
      world: this.world,
      git,
      api: this.#api,
      app: () => this.app,
      url: () => `${this.url}${API}`,
      pageSize: () => this.pageSize,
      redeliver: (delivery) => this.#redeliver(delivery),
      convertManifest: (code) => this.#web.convertManifest(code),
    });
    this.#server = createServer((request, response) => void this.#handle(request, response));
  }

  static async start(): Promise<FakeGitHub> {
    const fake = new FakeGitHub(await FakeGit.open());
    await new Promise<void>((resolve) => fake.#server.listen(0, "127.0.0.1", resolve));
    return fake;
  }

  /** Its address for people: `http://127.0.0.1:4711`. */
  get url(): string {
    return `http://127.0.0.1:${(this.#server.address() as AddressInfo).port}`;
  }

  /** A config for the platform, as it stands in a file of source hosts. */
  get config() {
    return {
      kind: "github" as const,
      url: this.url,
      appId: this.app.id,
      slug: this.app.slug,
      privateKey: this.app.privateKeyPem,
      webhookSecrets: this.app.webhookSecrets,
      oauth: { id: this.app.clientId, secret: this.app.clientSecret },
    };
  }

  /** A repository with its first commit. */
  async addRepository(
    owner: Account,
    name: string,
    options: { readonly isPrivate?: boolean; readonly files?: Readonly<Record<string, string>> } = {},
  ): Promise<Repository> {
    const { isPrivate = false, files = { "README.md": "A repository\n" } } = options;
    const repository = this.world.addRepository(owner, name, isPrivate);
    await this.git.create(String(repository.id));
    await this.commit(repository, files, "the first commit");
    return repository;
  }

  /** A commit on the default branch, of which nobody is told. */
  async commit(
    repository: Repository,
    files: Readonly<Record<string, string>>,
    message = "a change",
  ): Promise<CommitSha> {
    const options = { message, branch: repository.defaultBranch };
    const commit = await this.git.push(String(repository.id), files, options);
    const known = this.world.commits.get(repository) ?? new Set();
    this.world.commits.set(repository, known.add(commit));
    return commit;
  }

  /** Commits, and tells the App. */
  async push(
    repository: Repository,
    files: Readonly<Record<string, string>>,
    message = "a change",
  ): Promise<{ readonly commit: CommitSha; readonly delivery: HookDelivery | undefined }> {
    const before = await this.git.head(String(repository.id), repository.defaultBranch);
    const commit = await this.commit(repository, files, message);
    const payload = this.pushPayload(repository, { before: before?.commit, after: commit, message });
    return { commit, delivery: await this.deliver("push", payload) };
  }

  /** Installs the App on all repositories that the account has now, and tells it. */
  async installAll(account: Account): Promise<Installation> {
    const installation = this.world.install(account);
    const repositories = [...this.world.repositories.values()].filter(({ owner }) => owner === account);
    for (const repository of repositories) installation.repositories.add(repository);
    const payload = this.payload("installation", { action: "created" }, { installation });
    await this.deliver("installation", { ...payload, repositories: repositories.map((it) => shortOf(it)) });
    return installation;
  }

  async uninstall(account: Account): Promise<void> {
    const installation = must(this.world.installationOf(account), "an installation");
    this.world.installations.delete(installation.id);
    await this.deliver("installation", this.payload("installation", { action: "deleted" }, { installation }));
  }

  async link(repository: Repository): Promise<void> {
    const installation = this.world.install(repository.owner);
    installation.repositories.add(repository);
    await this.#deliverCoverage(installation, { added: [repository], removed: [] });
  }

  async unlink(repository: Repository): Promise<void> {
    const installation = must(this.world.installationOf(repository.owner), "an installation");
    installation.repositories.delete(repository);
    await this.#deliverCoverage(installation, { added: [], removed: [repository] });
  }

  async #deliverCoverage(
    installation: Installation,
    { added, removed }: { readonly added: readonly Repository[]; readonly removed: readonly Repository[] },
  ): Promise<void> {
    const action = added.length > 0 ? "added" : "removed";
    await this.deliver("installation_repositories", {
      ...this.payload("installation_repositories", { action }, { installation }),
      repositories_added: added.map((it) => shortOf(it)),
      repositories_removed: removed.map((it) => shortOf(it)),
    });
  }

  async remove(repository: Repository): Promise<void> {
    const payload = this.payload("repository", { action: "privatized" }, { repository });
    this.world.removeRepository(repository);
    await this.git.remove(String(repository.id));
    await this.deliver("repository", { ...payload, action: "deleted" });
  }

  async rename(repository: Repository, name: string): Promise<void> {
    repository.formerNames.add(fullNameOf(repository).toLowerCase());
    repository.name = name;
    await this.deliver("repository", this.payload("repository", { action: "renamed" }, { repository }));
  }

  async setPrivate(repository: Repository, isPrivate: boolean): Promise<void> {
    repository.isPrivate = isPrivate;
    const action = isPrivate ? "privatized" : "publicized";
    await this.deliver("repository", this.payload("repository", { action }, { repository }));
  }

  /** Somebody presses the button of a check run. */
  async rerequest(repository: Repository, commit: CommitSha): Promise<void> {
    const base = this.payload("check_run", { action: "rerequested" }, { repository });
    const check = base["check_run"] as Record<string, unknown>;
    await this.deliver("check_run", {
      ...base,
      check_run: { ...check, head_sha: commit, app: { ...(check["app"] as object), id: this.app.id } },
    });
  }

  /** A recorded payload with what there is at this fake put in. */
  payload(
    event: string,
    fields: Readonly<Record<string, unknown>>,
    about: { readonly repository?: Repository; readonly installation?: Installation },
  ): Record<string, unknown> {
    const base = recorded(event, fields);
    const { repository } = about;
    const installation = about.installation ?? (repository && this.world.installationOf(repository.owner));
    const put = (name: string, values: Record<string, unknown> | undefined) =>
      values === undefined ? {} : { [name]: { ...(base[name] as object | undefined), ...values } };
    return {
      ...base,
      ...put("repository", repository && repositoryOf(repository)),
      ...put("installation", installation && { id: installation.id, account: installation.account }),
      ...put("sender", { id: this.person.id, login: this.person.login }),
    };
  }

  pushPayload(
    repository: Repository,
    {
      before,
      after,
      message,
    }: { before: CommitSha | undefined; after: CommitSha | undefined; message: string },
  ): Record<string, unknown> {
    const base = this.payload("push", {}, { repository });
    const author = { name: "Alice", email: "alice@example.test", username: this.person.login };
    const head = after === undefined ? null : { id: after, message, author, committer: author };
    return {
      ...base,
      ref: `refs/heads/${repository.defaultBranch}`,
      before: before ?? NO_COMMIT,
      after: after ?? NO_COMMIT,
      created: before === undefined,
      deleted: after === undefined,
      head_commit: head,
      commits: head === null ? [] : [head],
    };
  }

  /** As GitHub would send it. @param secret which of the App's: 0 is the newest. */
  sign(event: string, payload: unknown, { secret = 0, guid = randomUUID() as string } = {}): SignedDelivery {
    const body = Buffer.from(typeof payload === "string" ? payload : JSON.stringify(payload));
    const key = must(this.app.webhookSecrets[secret], "a secret");
    const digest = (algorithm: string) => createHmac(algorithm, key).update(body).digest("hex");
    return {
      body,
      headers: {
        "content-type": "application/json",
        "user-agent": "GitHub-Hookshot/1",
        "x-github-event": event,
        "x-github-delivery": guid,
        "x-github-hook-installation-target-type": "integration",
        "x-github-hook-installation-target-id": String(this.app.id),
        "x-hub-signature": `sha1=${digest("sha1")}`,
        "x-hub-signature-256": `sha256=${digest("sha256")}`,
      },
    };
  }

  /** Brings a delivery to the App's hook, where it has one, and keeps what became of it. */
  async deliver(event: string, payload: unknown): Promise<HookDelivery | undefined> {
    if (this.app.hookUrl === undefined) return undefined;
    const guid = randomUUID() as string;
    return this.#attempt({ event, guid, body: JSON.stringify(payload), isRedelivery: false });
  }

  /** One that GitHub could not bring, as its list shows it. */
  loseDelivery(event: string, payload: Readonly<Record<string, unknown>>, at = Date.now()): HookDelivery {
    const body = JSON.stringify(payload);
    const guid = randomUUID() as string;
    return this.#keep({ event, guid, body, isRedelivery: false, status: 0, deliveredAt: at });
  }

  async #redeliver({ event, guid, body }: HookDelivery): Promise<void> {
    await this.#attempt({ event, guid, body, isRedelivery: true });
  }

  async #attempt(
    sent: Pick<HookDelivery, "event" | "guid" | "body" | "isRedelivery">,
  ): Promise<HookDelivery> {
    const { headers, body } = this.sign(sent.event, sent.body, { guid: sent.guid });
    const status = await bringDelivery(must(this.app.hookUrl, "a hook"), headers, body);
    return this.#keep({ ...sent, status, deliveredAt: Date.now() });
  }

  #keep(made: Omit<HookDelivery, "id" | "action">): HookDelivery {
    const action = (JSON.parse(made.body) as { action?: string }).action ?? null;
    const delivery = { ...made, id: this.world.nextId(), action };
    this.world.hookDeliveries.unshift(delivery);
    return delivery;
  }

  async #handle(request: IncomingMessage, response: ServerResponse): Promise<void> {
    try {
      if (this.#isTroubled(response)) return;
      const { pathname, searchParams } = new URL(request.url ?? "/", this.url);
      if (pathname.startsWith(`${API}/`)) await this.#answerApi(request, response, pathname, searchParams);
      else if (!this.git.serve(request, response, (path, access) => this.#admit(path, access)))
        await this.#answerWeb(request, response, pathname, searchParams);
    } catch (error) {
      this.faults.push(`${request.method} ${request.url}: ${error}`);
      response.destroy();
    }
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
    response
      .writeHead(status, {
        "content-type": "application/json",
        ...(retryAfterS === undefined ? {} : { "retry-after": String(retryAfterS) }),
      })
      .end(JSON.stringify({ message: status === 404 ? "Not Found" : "The fake is in trouble" }));
    return true;
  }

  async #answerApi(
    request: IncomingMessage,
    response: ServerResponse,
    pathname: string,
    query: URLSearchParams,
  ): Promise<void> {
    const raw = await text(request);
    const method = request.method ?? "GET";
    const path = pathname.slice(API.length);
    const body: unknown = raw === "" ? undefined : JSON.parse(raw);
    const { authorization } = request.headers;
    const { operation, answer } = await this.#rest.answer({ method, path, query, body, authorization });
    if (operation === undefined) this.faults.push(`${method} ${path} is no call that the fake knows`);
    else this.#check(operation, { query, body }, answer);
    this.ledger.push({ method, path, operation, status: answer.status, body });
    response
      .writeHead(answer.status, { "content-type": "application/json; charset=utf-8", ...answer.headers })
      .end(answer.body === undefined ? undefined : JSON.stringify(answer.body));
  }

  #check(operation: string, asked: { query: URLSearchParams; body: unknown }, answer: RestAnswer): void {
    const faults = [
      ...this.#api.faultsOfCall(operation, asked.query, asked.body).map((it) => `asked: ${it}`),
      ...this.#api.faultsOfAnswer(operation, answer.status, answer.body).map((it) => `answered: ${it}`),
    ];
    this.faults.push(...faults.map((it) => `${operation} ${it}`));
  }

  #admit(path: string, access: GitAccess | undefined): { id: string } | "refused" | "absent" {
    const repository = this.world.findRepository(path);
    if (repository !== undefined && !repository.isPrivate) return { id: String(repository.id) };
    if (access === undefined) return "refused";
    const token = this.world.installationTokens.get(access.password);
    if (access.username !== "x-access-token" || token === undefined || token.expiresAt < Date.now())
      return "refused";
    const { installation, repositories, permissions } = token;
    const isCovered =
      repository !== undefined &&
      this.world.installations.has(installation.id) &&
      installation.repositories.has(repository) &&
      (repositories?.has(repository) ?? true) &&
      permissions["contents"] !== undefined;
    return isCovered ? { id: String(repository.id) } : "absent";
  }

  async #answerWeb(
    request: IncomingMessage,
    response: ServerResponse,
    path: string,
    query: URLSearchParams,
  ): Promise<void> {
    const form = new URLSearchParams(await text(request));
    const answer = await this.#web.answer({ method: request.method ?? "GET", path, query, form });
    this.ledger.push({
      method: request.method ?? "GET",
      path,
      operation: undefined,
      status: answer.status,
      body: Object.fromEntries(form),
    });
    const { headers, content } = written(answer);
    response.writeHead(answer.status, headers).end(content);
  }

  /** @throws where a call or an answer was not as GitHub describes it. */
  async [Symbol.asyncDispose](): Promise<void> {
    this.#server.closeAllConnections();
    await new Promise((resolve) => this.#server.close(resolve));
    await this.git[Symbol.asyncDispose]();
    if (this.faults.length > 0) throw new Error(`not as GitHub describes it:\n${this.faults.join("\n")}`);
  }
}

function written({ html, json, location }: WebAnswer): { headers: Record<string, string>; content: string } {
  const headers: Record<string, string> = location === undefined ? {} : { location };
  if (json === undefined)
    return { headers: { ...headers, "content-type": "text/html" }, content: html ?? "" };
  return { headers: { ...headers, "content-type": "application/json" }, content: JSON.stringify(json) };
}

function repositoryOf(repository: Repository): Record<string, unknown> {
  const { id, name, isPrivate, defaultBranch, owner } = repository;
  const { id: ownerId, login, type } = owner;
  return {
    id,
    name,
    full_name: fullNameOf(repository),
    private: isPrivate,
    default_branch: defaultBranch,
    owner: { id: ownerId, login, type, name: login },
  };
}

function shortOf(repository: Repository): Record<string, unknown> {
  const { id, name, isPrivate } = repository;
  return { id, node_id: "x", name, full_name: fullNameOf(repository), private: isPrivate };
}
