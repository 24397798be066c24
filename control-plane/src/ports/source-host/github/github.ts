import { Secret } from "@openfaas-cloud/shared/env.ts";
import { type BranchName, CommitSha } from "@openfaas-cloud/shared/names.ts";
import { z } from "zod";
import { type HostAnswer, type HostClient, openHostClient } from "../host-client.ts";
import { type GitHubConfig, instanceOf } from "../host-config.ts";
import { HostUnavailable } from "../host-errors.ts";
import { KeyedQueue } from "../keyed-queue.ts";
import { type CloneSource, RemoteClones } from "../remote-clones.ts";
import type {
  Delivery,
  Head,
  InstallationState,
  RawDelivery,
  RemoteHost,
  RepositoryFacts,
  RepositoryState,
  Verdict,
} from "../remote-host.ts";
import type { CommitStatus, DeploymentReport, RepositoryRef, SourceHost, SourceKey } from "../source-host.ts";
import { GitHubApi } from "./api.ts";
import { type Absent, GitHubApp, type Installation } from "./app.ts";
import { reportCheck } from "./checks.ts";
import { DeliveryVerifier, parseDelivery } from "./deliveries.ts";
import { reportDeployed } from "./deployments.ts";
import { ApiRepository, ownerFacts, repositoryFacts } from "./facts.ts";
import { redeliverFailed } from "./redelivery.ts";
import { GitHubSignIn } from "./sign-in.ts";
import { reportCommitStatus } from "./statuses.ts";

/** For a report with all its calls, which nobody else bounds. */
const REPORT_MS = 60_000;

export interface GitHubOptions {
  /** A folder of the host's own, for clones. */
  readonly root: string;
  readonly tryMs?: number;
  readonly firstPauseMs?: number;
}

/** GitHub, or a GitHub Enterprise Server, as a GitHub App. @throws KnownError `config-invalid` */
export async function openGitHub(config: GitHubConfig, options: GitHubOptions): Promise<RemoteHost> {
  const title = titleOf(config);
  const { root, ...tries } = options;
  const clones = await RemoteClones.open({ root, title, ca: config.ca });
  return new GitHub(config, clones, openHostClient({ title, ca: config.ca, ...tries }), tries.firstPauseMs);
}

/** `GitHub`, or which one where it is a server of somebody's own. */
export function titleOf(config: Pick<GitHubConfig, "url">): string {
  const instance = instanceOf(config);
  return instance === "github.com" ? "GitHub" : `GitHub (${instance})`;
}

/** Where its API is, where nothing else is said (docs.github.com: "REST API endpoints for GitHub Enterprise Server"). */
export function apiUrlOf({ url, apiUrl }: Pick<GitHubConfig, "url" | "apiUrl">): string {
  if (apiUrl !== undefined) return apiUrl;
  return url === "https://github.com" ? "https://api.github.com" : `${url}/api/v3`;
}

/** Where a person installs the App (docs.github.com: "Sharing your GitHub App"). */
function linkUrlOf(config: GitHubConfig): string {
  const apps = instanceOf(config) === "github.com" ? "apps" : "github-apps";
  return `${config.url}/${apps}/${encodeURIComponent(config.slug)}/installations/new`;
}

class GitHub implements RemoteHost {
  readonly kind = "github";
  readonly instance: string;
  readonly title: string;
  readonly webUrl: string;
  readonly linkUrl: string;
  readonly topic = undefined;
  readonly signIn: GitHubSignIn | undefined;
  readonly #config: GitHubConfig;
  readonly #clones: RemoteClones;
  readonly #client: HostClient;
  readonly #api: GitHubApi;
  readonly #app: GitHubApp;
  readonly #verifier: DeliveryVerifier;
  /** What is looked for before it is made is looked for by one at a time. */
  readonly #reports = new KeyedQueue();

  constructor(config: GitHubConfig, clones: RemoteClones, client: HostClient, pauseMs: number | undefined) {
    this.instance = instanceOf(config);
    this.title = titleOf(config);
    this.webUrl = config.url;
    this.linkUrl = linkUrlOf(config);
    this.#config = config;
    this.#clones = clones;
    this.#client = client;
    this.#api = new GitHubApi({ client, url: apiUrlOf(config), title: this.title });
    const { appId, privateKey } = config;
    this.#app = new GitHubApp({ api: this.#api, appId, privateKey, pauseMs });
    this.#verifier = new DeliveryVerifier(config.webhookSecrets);
    this.signIn =
      config.oauth && new GitHubSignIn({ api: this.#api, client, webUrl: config.url, oauth: config.oauth });
  }

  verify(delivery: RawDelivery): Promise<Verdict> {
    return this.#verifier.verify(delivery);
  }

  parse(event: string, body: string): Delivery {
    return parseDelivery(event, body, this.#config.appId);
  }

  async fetchRepository(key: SourceKey, signal: AbortSignal): Promise<RepositoryState> {
    const granted = await this.#app.grant(key, "facts", signal);
    if ("kind" in granted) return unlinked(granted);
    const facts = repositoryFacts(granted.repository, this.#placeOf(key.installation));
    if (facts === undefined)
      return { kind: "unlinked", reason: "the platform takes no repository of its name" };
    return { kind: "linked", facts };
  }

  async fetchInstallation(installation: string, signal: AbortSignal): Promise<InstallationState> {
    const found = await this.#app.fetchInstallation(installation, signal);
    if ("kind" in found) return removed(found);
    if (found.suspended_at != null) return { kind: "removed", reason: "the GitHub App is suspended" };
    if ("slug" in found.account) return { kind: "removed", reason: "an enterprise has no repositories" };
    const repositories = await this.#listOf(found, signal);
    if ("kind" in repositories) return removed(repositories);
    return { kind: "installed", owner: ownerFacts(found.account), repositories };
  }

  async listRepositories(signal: AbortSignal): Promise<readonly RepositoryFacts[]> {
    const all: RepositoryFacts[] = [];
    for (const installation of await this.#app.listInstallations(signal)) {
      if (installation.suspended_at != null || "slug" in installation.account) continue;
      const repositories = await this.#listOf(installation, signal);
      if (!("kind" in repositories)) all.push(...repositories);
    }
    return all;
  }

  async fetchHead(key: SourceKey, branch: BranchName, signal: AbortSignal): Promise<Head | undefined> {
    return this.#app.withGrant(key, "source", signal, async ({ repository, token }) => {
      const path = `/repos/${repository.full_name}/branches/${encodeURIComponent(branch)}`;
      const call = { method: "GET", path, token, signal } as const;
      const answer = await this.#api.send(call);
      if (answer.status === 404 && isBranchMissing(answer.text)) return undefined;
      if (answer.status === 301 && isBranchRenamed(answer, branch)) return undefined;
      const { commit } = this.#api.parse(answer, Branch, call);
      return { commit: commit.sha, message: commit.commit.message, author: commit.commit.author?.name ?? "" };
    });
  }

  redeliver(since: Date, signal: AbortSignal): Promise<number> {
    return redeliverFailed({ api: this.#api, app: this.#app }, since, signal);
  }

  fetchCommit: SourceHost["fetchCommit"] = (repository, commit, { signal }) =>
    this.#clones.fetch(repository, commit, () => this.#cloneSource(repository, signal), signal);

  reportStatus(repository: RepositoryRef, commit: CommitSha, status: CommitStatus): Promise<void> {
    const report = this.#config.report === "checks" ? reportCheck : reportCommitStatus;
    const parts = { api: this.#api, app: this.#app, appId: this.#config.appId };
    return this.#report(`${repository.repositoryId}/${commit}/${status.context}`, (signal) =>
      report(parts, keyOf(repository), commit, status, signal),
    );
  }

  showsLog(): boolean {
    return this.#config.report === "checks";
  }

  reportDeployment(repository: RepositoryRef, commit: CommitSha, report: DeploymentReport): Promise<void> {
    const parts = { api: this.#api, app: this.#app };
    return this.#report(`${repository.repositoryId}/${commit}`, (signal) =>
      reportDeployed(parts, keyOf(repository), commit, report, signal),
    );
  }

  #report(place: string, send: (signal: AbortSignal) => Promise<void>): Promise<void> {
    return this.#reports.run(place, async () => {
      const deadline = AbortSignal.timeout(REPORT_MS);
      try {
        await send(deadline);
      } catch (error) {
        if (!deadline.aborted) throw error;
        throw new HostUnavailable(`${this.title} did not take a report within ${REPORT_MS / 1000} s.`);
      }
    });
  }

  settlePush(): Promise<void> {
    // GitHub moved the branch before it told us.
    return Promise.resolve();
  }

  forget: SourceHost["forget"] = ({ repositoryId }) => this.#clones.remove(repositoryId);

  tidy: SourceHost["tidy"] = (...asked) => this.#clones.tidy(...asked);

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#reports.idle();
    await this.#client[Symbol.asyncDispose]();
  }

  async #listOf({ id }: Installation, signal: AbortSignal): Promise<readonly RepositoryFacts[] | Absent> {
    const token = await this.#app.listingToken(String(id), signal);
    if (!(token instanceof Secret)) return token;
    const repositories = await this.#api.readTotal(
      { method: "GET", path: "/installation/repositories", token, signal },
      InstallationRepositories,
      (page) => ({ total: page.total_count, items: page.repositories }),
    );
    return repositories.flatMap((it) => repositoryFacts(it, this.#placeOf(String(id))) ?? []);
  }

  /** By a token made for this one copy, of a repository that may have been renamed since the last one. */
  async #cloneSource(repository: RepositoryRef, signal: AbortSignal): Promise<CloneSource> {
    const granted = await this.#app.grant(keyOf(repository), "source", signal);
    if ("kind" in granted) {
      throw new HostUnavailable(
        `${this.title} does not let the platform read ${repository.owner}/${repository.name}: ${granted.reason}.`,
      );
    }
    return {
      url: `${this.#config.url}/${granted.repository.full_name}.git`,
      credential: { username: "x-access-token", password: granted.token },
    };
  }

  #placeOf(installation: string | undefined) {
    return { installation: installation ?? "", webUrl: this.#config.url };
  }
}

const InstallationRepositories = z.object({
  total_count: z.int().nonnegative(),
  repositories: z.array(ApiRepository),
});

const Branch = z.object({
  commit: z.object({
    sha: CommitSha,
    commit: z.object({ message: z.string(), author: z.object({ name: z.string().nullish() }).nullish() }),
  }),
});

/** GitHub says `Branch not found` there, and `Not Found` where it is the repository. */
function isBranchMissing(text: string): boolean {
  return /"message"\s*:\s*"Branch not found"/.test(text);
}

/** GitHub leads on to what the branch is called now, as it leads on where the repository is called otherwise. */
function isBranchRenamed({ headers }: HostAnswer, branch: BranchName): boolean {
  const renamed = /\/branches\/(.+)$/.exec(URL.parse(headers.get("location") ?? "")?.pathname ?? "")?.[1];
  return renamed !== undefined && ![branch, encodeURIComponent(branch)].includes(renamed);
}

function keyOf({ source, repositoryId }: RepositoryRef): SourceKey {
  if (source === undefined) throw new Error(`${repositoryId} is no repository of GitHub`);
  return source;
}

function unlinked({ reason }: Absent): RepositoryState {
  return { kind: "unlinked", reason };
}

function removed({ reason }: Absent): InstallationState {
  return { kind: "removed", reason };
}
