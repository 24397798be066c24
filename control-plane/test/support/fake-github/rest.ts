import type { KeyObject } from "node:crypto";
import { must } from "@openfaas-cloud/shared/must.ts";
import { jwtVerify } from "jose";
import type { FakeGit } from "../fake-git.ts";
import type { PublishedApi } from "./published-api.ts";
import {
  type Account,
  type CheckRun,
  type Deployment,
  fullNameOf,
  type HookDelivery,
  type Installation,
  type InstallationToken,
  type Repository,
  type World,
} from "./world.ts";

type Fields = Record<string, unknown>;

export interface RestAnswer {
  readonly status: number;
  readonly body?: unknown;
  readonly headers?: Readonly<Record<string, string>>;
}

export interface RestCall {
  readonly method: string;
  /** Below the API's address. */
  readonly path: string;
  readonly query: URLSearchParams;
  readonly body: unknown;
  readonly authorization: string | undefined;
}

export interface RestApp {
  readonly id: number;
  readonly slug: string;
  readonly publicKey: KeyObject;
}

export interface RestOptions {
  readonly world: World;
  readonly git: FakeGit;
  readonly api: PublishedApi;
  readonly app: () => RestApp;
  /** Its address, without a slash at its end. */
  readonly url: () => string;
  readonly redeliver: (delivery: HookDelivery) => Promise<void>;
  readonly convertManifest: (code: string) => Fields | undefined;
  readonly pageSize: () => number;
}

/** Who calls. */
type Caller =
  | { readonly kind: "app" }
  | { readonly kind: "installation"; readonly token: InstallationToken }
  | { readonly kind: "person"; readonly person: Account }
  | { readonly kind: "nobody" };

interface Asked extends RestCall {
  readonly parameters: Readonly<Record<string, string>>;
  readonly caller: Caller;
}

type Handler = (asked: Asked) => RestAnswer | Promise<RestAnswer>;

const NOT_FOUND: RestAnswer = {
  status: 404,
  body: { message: "Not Found", documentation_url: "https://docs.github.com/rest" },
};
const BAD_CREDENTIALS: RestAnswer = { status: 401, body: { message: "Bad credentials" } };
const NOT_ALLOWED: RestAnswer = {
  status: 403,
  body: { message: "Resource not accessible by integration" },
};
const MOST_JWT_S = 600;

/** The part of GitHub's REST API that GitHub Apps of our kind need, each by the name its description has for it. */
export class Rest {
  readonly #it: RestOptions;
  readonly #handlers: Readonly<Record<string, Handler>>;

  constructor(options: RestOptions) {
    this.#it = options;
    this.#handlers = {
      "GET /app": asApp(() => ({ status: 200, body: this.#integration() })),
      "GET /app/installations": asApp((asked) =>
        this.#page(
          asked,
          [...this.#it.world.installations.values()].map(this.#installation),
          (items) => items,
        ),
      ),
      "GET /app/installations/{installation_id}": asApp((asked) => this.#getInstallation(asked)),
      "POST /app/installations/{installation_id}/access_tokens": asApp((asked) => this.#makeToken(asked)),
      "GET /app/hook/deliveries": asApp((asked) => this.#listDeliveries(asked)),
      "POST /app/hook/deliveries/{delivery_id}/attempts": asApp((asked) => this.#attempt(asked)),
      "POST /app-manifests/{code}/conversions": (asked) => this.#convert(asked),
      "GET /installation/repositories": (asked) => this.#listCovered(asked),
      "GET /repos/{owner}/{repo}/branches/{branch}": (asked) => this.#getBranch(asked),
      "GET /repos/{owner}/{repo}/commits/{ref}/check-runs": (asked) => this.#listChecks(asked),
      "POST /repos/{owner}/{repo}/check-runs": (asked) => this.#createCheck(asked),
      "PATCH /repos/{owner}/{repo}/check-runs/{check_run_id}": (asked) => this.#updateCheck(asked),
      "POST /repos/{owner}/{repo}/statuses/{sha}": (asked) => this.#createStatus(asked),
      "GET /repos/{owner}/{repo}/deployments": (asked) => this.#listDeployments(asked),
      "POST /repos/{owner}/{repo}/deployments": (asked) => this.#createDeployment(asked),
      "GET /repos/{owner}/{repo}/deployments/{deployment_id}/statuses": (asked) =>
        this.#listDeploymentStatuses(asked),
      "POST /repos/{owner}/{repo}/deployments/{deployment_id}/statuses": (asked) =>
        this.#createDeploymentStatus(asked),
      "GET /user": asPerson(({ person }) => ({ status: 200, body: this.#person(person) })),
      "GET /user/memberships/orgs": asPerson((asked) => this.#listMemberships(asked)),
      "GET /user/installations": asPerson((asked) => this.#listInstallationsOf(asked)),
      "GET /user/installations/{installation_id}/repositories": asPerson((asked) =>
        this.#listRepositoriesOf(asked),
      ),
    };
  }

  /** @returns the operation too, or that there is none. */
  async answer(call: RestCall): Promise<{ operation: string | undefined; answer: RestAnswer }> {
    for (const [operation, handler] of Object.entries(this.#handlers)) {
      const parameters = match(operation, call);
      if (parameters === undefined) continue;
      const caller = await this.#callerOf(call.authorization);
      if (caller === undefined) return { operation, answer: BAD_CREDENTIALS };
      return { operation, answer: await handler({ ...call, parameters, caller }) };
    }
    return { operation: undefined, answer: NOT_FOUND };
  }

  async #callerOf(authorization: string | undefined): Promise<Caller | undefined> {
    if (authorization === undefined) return { kind: "nobody" };
    const token = /^(?:Bearer|token) (.+)$/.exec(authorization)?.[1] ?? "";
    const { installationTokens, personTokens, installations } = this.#it.world;
    const ofPerson = personTokens.get(token);
    if (ofPerson !== undefined && ofPerson.expiresAt > Date.now())
      return { kind: "person", person: ofPerson.person };
    const minted = installationTokens.get(token);
    if (minted !== undefined && minted.lag > 0) {
      minted.lag -= 1;
      return undefined;
    }
    if (minted !== undefined && minted.expiresAt > Date.now() && installations.has(minted.installation.id))
      return { kind: "installation", token: minted };
    return (await this.#isOfApp(token)) ? { kind: "app" } : undefined;
  }

  async #isOfApp(jwt: string): Promise<boolean> {
    const { id, publicKey } = this.#it.app();
    try {
      const { payload } = await jwtVerify(jwt, publicKey, { issuer: String(id), algorithms: ["RS256"] });
      const { exp = 0, iat = 0 } = payload;
      return exp - Math.floor(Date.now() / 1000) <= MOST_JWT_S && iat <= Date.now() / 1000;
    } catch {
      return false;
    }
  }

  #getInstallation({ parameters }: Asked): RestAnswer {
    const found = this.#findInstallation(parameters);
    return found === undefined ? NOT_FOUND : { status: 200, body: this.#installation(found) };
  }

  #makeToken({ parameters, body }: Asked): RestAnswer {
    const { world } = this.#it;
    const installation = this.#findInstallation(parameters);
    if (installation === undefined) return NOT_FOUND;
    if (installation.suspendedAt !== undefined)
      return { status: 403, body: { message: "This installation has been suspended" } };
    const asked = body as { repository_ids?: number[]; permissions?: Record<string, string> } | undefined;
    const repositories = asked?.repository_ids?.map((id) => world.repositories.get(id));
    if (repositories?.some((it) => it === undefined || !installation.repositories.has(it))) {
      const message =
        "There is at least one repository that does not exist or is not accessible to the parent installation.";
      return { status: 422, body: { message, documentation_url: "https://docs.github.com/rest" } };
    }
    const permissions = asked?.permissions ?? {};
    if (Object.keys(permissions).some((name) => world.withheld.has(name))) {
      const message = "The permissions requested are not granted to this installation.";
      return { status: 422, body: { message, documentation_url: "https://docs.github.com/rest" } };
    }
    const expiresAt = Date.now() + 3_600_000;
    const token = world.newToken("ghs_");
    const covered = repositories as Repository[] | undefined;
    world.installationTokens.set(token, {
      installation,
      permissions,
      expiresAt,
      lag: world.tokenLag,
      repositories: covered && new Set(covered),
    });
    return {
      status: 201,
      body: {
        token,
        expires_at: new Date(expiresAt).toISOString(),
        permissions,
        repository_selection: "selected",
        ...(covered === undefined ? {} : { repositories: covered.map((it) => this.#repository(it)) }),
      },
    };
  }

  #listCovered(asked: Asked): RestAnswer {
    if (asked.caller.kind !== "installation") return NOT_ALLOWED;
    const { installation, repositories } = asked.caller.token;
    const covered = [...installation.repositories].filter((it) => repositories?.has(it) ?? true);
    return this.#page(
      asked,
      covered.map((it) => this.#repository(it)),
      (items) => ({ total_count: covered.length, repositories: items }),
    );
  }

  async #getBranch(asked: Asked): Promise<RestAnswer> {
    return this.#inRepository(asked, "contents", async (repository) => {
      const branch = must(asked.parameters["branch"], "a branch");
      const renamed = this.#it.world.renamedBranches.get(branch);
      if (renamed !== undefined) {
        const location = `${this.#it.url()}/repositories/${repository.id}/branches/${renamed}`;
        return { status: 301, headers: { location }, body: { message: "Moved Permanently" } };
      }
      const head = await this.#it.git.head(String(repository.id), branch);
      if (head === undefined) return { status: 404, body: { message: "Branch not found" } };
      const base = this.#it.api.example("branch-get") as { commit: Fields & { commit: Fields } };
      const who = { name: head.author, email: head.email, date: new Date().toISOString() };
      const commit = {
        ...base.commit,
        sha: head.commit,
        commit: { ...base.commit.commit, author: who, committer: who, message: head.message },
      };
      return { status: 200, body: { ...base, name: branch, commit } };
    });
  }

  #listChecks(asked: Asked): Promise<RestAnswer> {
    return this.#inRepository(asked, "checks", (repository) => {
      const name = asked.query.get("check_name");
      const appId = asked.query.get("app_id");
      const all = this.#it.world.checkRuns.filter(
        (it) =>
          it.repository === repository &&
          it.commit === asked.parameters["ref"] &&
          (name === null || it.given["name"] === name) &&
          (appId === null || appId === String(this.#it.app().id)),
      );
      const newest = new Map(all.map((it) => [it.given["name"], it]));
      const chosen = (asked.query.get("filter") === "all" ? all : [...newest.values()]).reverse();
      return this.#page(
        asked,
        chosen.map((it) => this.#checkRun(it)),
        (items) => ({ total_count: chosen.length, check_runs: items }),
      );
    });
  }

  #createCheck(asked: Asked): Promise<RestAnswer> {
    return this.#inRepository(asked, "checks:write", (repository) => {
      const given = asked.body as Fields & { head_sha: string };
      const { world } = this.#it;
      if (!this.#holds(repository, given.head_sha)) return noCommit(given.head_sha);
      const check: CheckRun = {
        id: world.nextId(),
        repository,
        commit: given.head_sha,
        given: {},
        annotations: [],
      };
      world.checkRuns.push(check);
      this.#change(check, given);
      return { status: 201, body: this.#checkRun(check) };
    });
  }

  #updateCheck(asked: Asked): Promise<RestAnswer> {
    return this.#inRepository(asked, "checks:write", (repository) => {
      const check = this.#it.world.checkRuns.find(
        (it) => it.repository === repository && String(it.id) === asked.parameters["check_run_id"],
      );
      if (check === undefined) return NOT_FOUND;
      this.#change(check, asked.body as Fields);
      return { status: 200, body: this.#checkRun(check) };
    });
  }

  #change(check: CheckRun, given: Fields): void {
    const { annotations = [], ...output } = (given["output"] ?? {}) as { annotations?: unknown[] };
    check.given = { ...check.given, ...given, output };
    check.annotations.push(...annotations);
  }

  #createStatus(asked: Asked): Promise<RestAnswer> {
    return this.#inRepository(asked, "statuses:write", (repository) => {
      const commit = must(asked.parameters["sha"], "a commit");
      const given = asked.body as Fields & { description?: string };
      if (!this.#holds(repository, commit)) return noCommit(commit);
      if ((given.description?.length ?? 0) > 140)
        return { status: 422, body: { message: "description is too long (maximum is 140 characters)" } };
      const { world, api } = this.#it;
      const status = { id: world.nextId(), repository, commit, given };
      world.statuses.push(status);
      return { status: 201, body: { ...api.example("status"), id: status.id, ...given } };
    });
  }

  #listDeployments(asked: Asked): Promise<RestAnswer> {
    return this.#inRepository(asked, "deployments", (repository) => {
      const wanted = (name: string, value: unknown) => (asked.query.get(name) ?? value) === value;
      const found = this.#it.world.deployments.filter(
        ({ repository: its, given }) =>
          its === repository && wanted("sha", given["ref"]) && wanted("environment", given["environment"]),
      );
      return this.#page(
        asked,
        found.reverse().map((it) => this.#deployment(it)),
        (items) => items,
      );
    });
  }

  #createDeployment(asked: Asked): Promise<RestAnswer> {
    return this.#inRepository(asked, "deployments:write", (repository) => {
      const given = asked.body as Fields & { ref: string };
      if (!this.#holds(repository, given.ref)) return noCommit(given.ref);
      const { world } = this.#it;
      const deployment = { id: world.nextId(), repository, given, statuses: [] };
      world.deployments.push(deployment);
      return { status: 201, body: this.#deployment(deployment) };
    });
  }

  #listDeploymentStatuses(asked: Asked): Promise<RestAnswer> {
    return this.#inRepository(asked, "deployments", (repository) => {
      const found = this.#findDeployment(repository, asked);
      return found === undefined
        ? NOT_FOUND
        : this.#page(asked, found.statuses.toReversed(), (items) => items);
    });
  }

  #createDeploymentStatus(asked: Asked): Promise<RestAnswer> {
    return this.#inRepository(asked, "deployments:write", (repository) => {
      const found = this.#findDeployment(repository, asked);
      if (found === undefined) return NOT_FOUND;
      const { auto_inactive: _, ...given } = asked.body as Fields;
      const status = { ...this.#it.api.example("deployment-status"), id: this.#it.world.nextId(), ...given };
      found.statuses.push(status);
      return { status: 201, body: status };
    });
  }

  #findDeployment(repository: Repository, { parameters }: Asked): Deployment | undefined {
    return this.#it.world.deployments.find(
      (it) => it.repository === repository && String(it.id) === parameters["deployment_id"],
    );
  }

  #listMemberships(asked: Asked & { person: Account }): RestAnswer {
    const { world, api } = this.#it;
    const all = [...world.memberships].flatMap(([organization, members]) => {
      const role = members.get(asked.person);
      if (role === undefined) return [];
      const base = api.example("org-membership") as Fields & { organization: Fields };
      return [
        {
          ...base,
          state: "active",
          role,
          organization: { ...base.organization, id: organization.id, login: organization.login },
          user: this.#account(asked.person),
        },
      ];
    });
    return this.#page(asked, all, (items) => items);
  }

  #listInstallationsOf(asked: Asked & { person: Account }): RestAnswer {
    const { world } = this.#it;
    const all = [...world.installations.values()].filter(
      ({ account, repositories, suspendedAt }) =>
        suspendedAt === undefined &&
        (account === asked.person ||
          [...repositories].some((it) => world.permissionOf(asked.person, it) !== undefined)),
    );
    return this.#page(asked, all.map(this.#installation), (items) => ({
      total_count: all.length,
      installations: items,
    }));
  }

  #listRepositoriesOf(asked: Asked & { person: Account }): RestAnswer {
    const installation = this.#findInstallation(asked.parameters);
    if (installation === undefined) return NOT_FOUND;
    const all = [...installation.repositories].flatMap((repository) => {
      const permission = this.#it.world.permissionOf(asked.person, repository);
      if (permission === undefined) return [];
      const permissions = {
        pull: true,
        triage: permission !== "pull",
        push: permission !== "pull",
        maintain: permission === "admin",
        admin: permission === "admin",
      };
      return [{ ...this.#repository(repository), permissions }];
    });
    return this.#page(asked, all, (items) => ({ total_count: all.length, repositories: items }));
  }

  #listDeliveries(asked: Asked): RestAnswer {
    const all = this.#it.world.hookDeliveries;
    const cursor = Number(asked.query.get("cursor") ?? 0);
    const size = Math.min(Number(asked.query.get("per_page") ?? 30), this.#it.pageSize());
    const items = all.slice(cursor, cursor + size).map((it) => ({
      id: it.id,
      guid: it.guid,
      delivered_at: new Date(it.deliveredAt).toISOString(),
      redelivery: it.isRedelivery,
      duration: 0.1,
      status:
        it.status === 0 ? "failed to connect to host" : it.status < 300 ? "OK" : "Invalid HTTP Response",
      status_code: it.status,
      event: it.event,
      action: it.action,
      installation_id: null,
      repository_id: null,
    }));
    const headers = cursor + size < all.length ? this.#link(asked, { cursor: String(cursor + size) }) : {};
    return { status: 200, body: items, headers };
  }

  async #attempt({ parameters }: Asked): Promise<RestAnswer> {
    const found = this.#it.world.hookDeliveries.find(({ id }) => String(id) === parameters["delivery_id"]);
    if (found === undefined) return { status: 422, body: { message: "Delivery not found" } };
    await this.#it.redeliver(found);
    return { status: 202, body: {} };
  }

  #convert({ parameters }: Asked): RestAnswer {
    const made = this.#it.convertManifest(parameters["code"] ?? "");
    if (made === undefined) return NOT_FOUND;
    return { status: 201, body: { ...this.#it.api.example("integration-from-manifest"), ...made } };
  }

  /** In a repository that the caller may see, and with the permission where it may not be done by anybody. */
  async #inRepository(
    asked: Asked,
    needed: string,
    act: (repository: Repository) => RestAnswer | Promise<RestAnswer>,
  ): Promise<RestAnswer> {
    const { caller, parameters, path } = asked;
    if (caller.kind !== "installation") return NOT_FOUND;
    const name = `${parameters["owner"]}/${parameters["repo"]}`;
    const repository = this.#it.world.findRepository(name);
    if (repository === undefined) return NOT_FOUND;
    const { installation, repositories, permissions } = caller.token;
    if (!installation.repositories.has(repository) || !(repositories?.has(repository) ?? true))
      return NOT_FOUND;
    const [permission = "", level = "read"] = needed.split(":");
    const had = permissions[permission];
    if (had !== level && had !== "write") return NOT_ALLOWED;
    if (fullNameOf(repository).toLowerCase() !== name.toLowerCase()) {
      const location = `${this.#it.url()}${path.replace(`/repos/${name}`, `/repositories/${repository.id}`)}`;
      return { status: 301, body: { message: "Moved Permanently", url: location }, headers: { location } };
    }
    return act(repository);
  }

  #holds(repository: Repository, commit: string): boolean {
    return [...(this.#it.world.commits.get(repository) ?? [])].some((it) => it === commit);
  }

  #findInstallation(parameters: Asked["parameters"]): Installation | undefined {
    return this.#it.world.installations.get(Number(parameters["installation_id"]));
  }

  #page(asked: Asked, all: readonly unknown[], wrap: (items: readonly unknown[]) => unknown): RestAnswer {
    const size = Math.min(Number(asked.query.get("per_page") ?? 30), this.#it.pageSize());
    const page = Number(asked.query.get("page") ?? 1);
    const end = page * size;
    const headers = end < all.length ? this.#link(asked, { page: String(page + 1) }) : {};
    return { status: 200, body: wrap(all.slice(end - size, end)), headers };
  }

  #link({ path, query }: Asked, changed: Record<string, string>): Record<string, string> {
    const next = new URLSearchParams({ ...Object.fromEntries(query), ...changed });
    const first = `<${this.#it.url()}${path}?page=1>; rel="first"`;
    return { link: `${first}, <${this.#it.url()}${path}?${next}>; rel="next"` };
  }

  #integration(): Fields {
    const { id, slug } = this.#it.app();
    return { ...this.#it.api.example("integration"), id, slug };
  }

  #installation = (it: Installation): Fields => {
    const { id } = this.#it.app();
    return {
      ...this.#it.api.example("installation"),
      id: it.id,
      app_id: id,
      account: this.#account(it.account),
      target_id: it.account.id,
      target_type: it.account.type,
      suspended_at: it.suspendedAt ?? null,
      ...(it.suspendedAt === undefined ? {} : { suspended_by: this.#account(it.account) }),
    };
  };

  #account({ id, login, type }: Account): Fields {
    if (type === "Enterprise") {
      const at = new Date().toISOString();
      return {
        id,
        node_id: "x",
        name: login,
        slug: login,
        html_url: "https://github.com",
        avatar_url: "https://github.com",
        created_at: at,
        updated_at: at,
      };
    }
    return {
      ...this.#it.api.example("simple-user"),
      id,
      login,
      type,
      html_url: `${this.#it.url()}/${login}`,
    };
  }

  #person(person: Account): Fields {
    const base = this.#it.api.example("private-user-response-with-public-and-private-profile-information");
    const { id, login, type } = person;
    return { ...base, id, login, type, name: login };
  }

  #repository(it: Repository): Fields {
    const { repositories } = this.#it.api.example("repository-paginated-2") as { repositories: Fields[] };
    return {
      ...repositories[0],
      id: it.id,
      name: it.name,
      full_name: fullNameOf(it),
      private: it.isPrivate,
      visibility: it.isPrivate ? "private" : "public",
      archived: it.isArchived,
      default_branch: it.defaultBranch,
      owner: this.#account(it.owner),
      html_url: `${this.#it.url()}/${fullNameOf(it)}`,
    };
  }

  #checkRun({ id, commit, given, annotations }: CheckRun): Fields {
    const base = this.#it.api.example("check-run") as Fields & { output: Fields };
    const { id: appId, slug } = this.#it.app();
    return {
      ...base,
      conclusion: null,
      completed_at: null,
      external_id: "",
      ...given,
      id,
      head_sha: commit,
      output: {
        ...base.output,
        text: null,
        ...(given["output"] as Fields),
        annotations_count: annotations.length,
      },
      app: { ...this.#it.api.example("integration"), id: appId, slug },
      pull_requests: [],
    };
  }

  #deployment({ id, given }: Deployment): Fields {
    const { auto_merge: _, required_contexts: __, ...kept } = given;
    return { ...this.#it.api.example("deployment"), id, sha: given["ref"], ...kept };
  }
}

function asApp(handler: Handler): Handler {
  return (asked) => (asked.caller.kind === "app" ? handler(asked) : BAD_CREDENTIALS);
}

function asPerson(handler: (asked: Asked & { person: Account }) => RestAnswer): Handler {
  return (asked) =>
    asked.caller.kind === "person" ? handler({ ...asked, person: asked.caller.person }) : BAD_CREDENTIALS;
}

function noCommit(commit: string): RestAnswer {
  return { status: 422, body: { message: `No commit found for SHA: ${commit}` } };
}

/** The parameters of `GET /repos/{owner}/{repo}`, where the call is one. */
function match(operation: string, { method, path }: RestCall): Record<string, string> | undefined {
  const [wanted = "", template = ""] = operation.split(" ");
  if (wanted !== method) return undefined;
  const pattern = template.replaceAll(/\{(\w+)\}/g, "(?<$1>[^/]+)");
  const found = new RegExp(`^${pattern}$`).exec(path);
  if (found === null) return undefined;
  const groups = Object.entries(found.groups ?? {});
  return Object.fromEntries(groups.map(([name, value]) => [name, decodeURIComponent(value)]));
}
