import { Readable } from "node:stream";
import { BranchName, type CommitSha, RepositoryName } from "@openfaas-cloud/shared/names.ts";
import { Rejected } from "../../../rejected.ts";
import { type HostClient, openHostClient } from "../host-client.ts";
import { type BitbucketDataCenterConfig, instanceOf } from "../host-config.ts";
import { HostUnavailable } from "../host-errors.ts";
import { RemoteClones } from "../remote-clones.ts";
import type {
  Delivery,
  Head,
  InstallationState,
  RawDelivery,
  RemoteHost,
  RepositoryFacts,
  RepositoryState,
  SignInProvider,
} from "../remote-host.ts";
import type { CommitState, CommitStatus, RepositoryRef, SourceHost, SourceKey } from "../source-host.ts";
import { BitbucketApi } from "./api.ts";
import { collect } from "./collect.ts";
import { parseDataCenterDelivery } from "./data-center-deliveries.ts";
import { ownerOf } from "./data-center-owner.ts";
import { readPages } from "./data-center-pages.ts";
import { Branch, Commit, DefaultBranch, Repository, type RepositoryPlace } from "./data-center-schemas.ts";
import { fetchUserName, openDataCenterSignIn } from "./data-center-sign-in.ts";
import { verifyDelivery } from "./deliveries.ts";
import { type Location, Locations } from "./locations.ts";
import type { BitbucketOptions } from "./options.ts";
import { Recent } from "./recent.ts";
import { statusKey } from "./status-key.ts";
import { authorOf, cut, messageOf } from "./text.ts";
import { pointsAt, Webhook } from "./webhook.ts";

/** Requests under way for one list. */
const AT_ONCE = 4;
/**
 * Repositories that one list asks for, with two requests each. A server that limits requests gives an account 5 a second, and
 * everything is listed each minute.
 */
const MOST_ASKED = 60;
const STATUS_MS = 30_000;
const MAX_KEY = 255;
const MAX_DESCRIPTION = 255;
/** What the server says where another repository, or none that may be seen, is at a place. */
const NOT_HERE: ReadonlySet<number | undefined> = new Set([301, 302, 307, 308, 401, 403]);

const STATES = {
  pending: "INPROGRESS",
  success: "SUCCESSFUL",
  failure: "FAILED",
  neutral: "CANCELLED",
} as const satisfies Record<CommitState, string>;

/**
 * Bitbucket Data Center from 8.0, over its REST API. Owners are its projects, those of people too. A repository is linked by an
 * active webhook that points at the platform, its own or its project's.
 */
export async function openBitbucketDataCenter(
  config: BitbucketDataCenterConfig,
  options: BitbucketOptions,
): Promise<RemoteHost> {
  const instance = instanceOf(config);
  const title = `Bitbucket (${instance})`;
  const { ca } = config;
  const clones = await RemoteClones.open({ root: options.root, title, ca });
  const client = openHostClient({ title, ca, ...options.client });
  return new BitbucketDataCenter({ config, instance, title, webhookUrl: options.webhookUrl, client, clones });
}

class BitbucketDataCenter implements RemoteHost {
  readonly kind = "bitbucket-datacenter";
  readonly instance: string;
  readonly title: string;
  readonly webUrl: string;
  /** Nobody else's page makes webhooks: they are made where each repository or project is set up. */
  readonly linkUrl = undefined;
  readonly topic = undefined;
  readonly signIn: SignInProvider | undefined;
  readonly #config: BitbucketDataCenterConfig;
  readonly #base: string;
  readonly #webhookUrl: string;
  readonly #client: HostClient;
  readonly #clones: RemoteClones;
  readonly #api: BitbucketApi;
  readonly #locations = new Locations();
  readonly #settings = new Recent<Settings>();

  constructor(options: {
    readonly config: BitbucketDataCenterConfig;
    readonly instance: string;
    readonly title: string;
    readonly webhookUrl: string;
    readonly client: HostClient;
    readonly clones: RemoteClones;
  }) {
    const { config, title, client } = options;
    this.instance = options.instance;
    this.title = title;
    this.webUrl = config.url;
    this.#config = config;
    this.#base = `${config.url}/rest/api/latest/`;
    this.#webhookUrl = options.webhookUrl;
    this.#client = client;
    this.#clones = options.clones;
    this.#api = new BitbucketApi({ title, client, authorization: `Bearer ${config.token.reveal()}` });
    this.signIn = openDataCenterSignIn({ config, title, client, platform: this.#api, base: this.#base });
  }

  async verify(delivery: RawDelivery) {
    return verifyDelivery(delivery, this.#config.webhookSecrets, "x-request-id");
  }

  parse(event: string, body: string): Delivery {
    return parseDataCenterDelivery(event, body, (repository) => this.#note(repository));
  }

  async fetchRepository(key: SourceKey, signal: AbortSignal): Promise<RepositoryState> {
    const repository = await this.#find(key, signal);
    if (repository !== undefined) return this.#stateOf(repository, await this.#ask(repository, signal));
    return unlinked(`It is gone from ${this.title}, or the platform's account may not read it any more.`);
  }

  async fetchInstallation(): Promise<InstallationState> {
    throw new HostUnavailable(
      `${this.title} knows no installations: its repositories are linked by webhooks.`,
    );
  }

  /**
   * Of repositories that the platform's account administers, since nobody else is shown their webhooks; not every one of them is
   * asked for each time.
   */
  async listRepositories(signal: AbortSignal): Promise<readonly RepositoryFacts[]> {
    const repositories = await collect(this.#list("repos?permission=REPO_ADMIN&archived=ALL", signal));
    const due = this.#settings.due(
      repositories.map(({ id }) => id),
      MOST_ASKED,
    );
    await Readable.from(repositories.filter(({ id }) => due.has(id)))
      .map((repository: Repository) => this.#ask(repository, signal), { concurrency: AT_ONCE })
      .toArray();
    return repositories.flatMap((repository) => {
      const settings = this.#settings.find(repository.id);
      return settings?.isLinked ? (this.#factsOf(repository, settings) ?? []) : [];
    });
  }

  async fetchHead(key: SourceKey, branch: BranchName, signal: AbortSignal): Promise<Head | undefined> {
    const url = this.#urlOf(await this.#get(key, signal));
    const matching = `${url}/branches?boostMatches=true&filterText=${encodeURIComponent(branch)}`;
    for await (const { id, latestCommit } of readPages(this.#api, { url: matching, item: Branch }, signal)) {
      if (id !== `refs/heads/${branch}`) continue;
      const { value } = await this.#api.get(`${url}/commits/${latestCommit}`, Commit, signal);
      return {
        commit: value.id,
        message: messageOf(value.message),
        author: authorOf(value.author.name),
      };
    }
    return undefined;
  }

  /** Data Center sends a delivery once, and offers nobody to ask for it again. */
  async redeliver(): Promise<number> {
    return 0;
  }

  fetchCommit: SourceHost["fetchCommit"] = (repository, commit, { signal }) => {
    const source = async () => {
      const found = await this.#find(sourceOf(repository), signal);
      if (found === undefined) {
        throw new Rejected("source-missing", `The repository ${repository.name} is gone from ${this.title}.`);
      }
      const { projectKey, slug } = locationOf(found);
      return {
        url: `${this.#config.url}/scm/${part(projectKey)}/${part(slug)}.git`,
        // Public ones as well: a server may let nobody in without, and git sends it only where it is asked for.
        credential: await this.#credential(signal),
      };
    };
    return this.#clones.fetch(repository, commit, source, signal);
  };

  /** A status with the same key replaces the one before. */
  async reportStatus(repository: RepositoryRef, commit: CommitSha, status: CommitStatus): Promise<void> {
    const signal = AbortSignal.timeout(STATUS_MS);
    const url = this.#urlOf(await this.#get(sourceOf(repository), signal));
    await this.#api.post(
      `${url}/commits/${commit}/builds`,
      {
        key: statusKey(status.context, MAX_KEY),
        name: status.context,
        state: STATES[status.state],
        description: cut(status.description, MAX_DESCRIPTION),
        url: status.targetUrl,
      },
      signal,
    );
  }

  /**
   * Data Center orders the deployments of an environment by a number that rises, which no run has; the status says the same, and
   * leads to the same page.
   */
  async reportDeployment(): Promise<void> {
    return undefined;
  }

  async settlePush(): Promise<void> {
    return undefined;
  }

  forget: SourceHost["forget"] = ({ repositoryId }) => this.#clones.remove(repositoryId);

  tidy: SourceHost["tidy"] = (...args) => this.#clones.tidy(...args);

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#client[Symbol.asyncDispose]();
  }

  /**
   * Nothing can be asked for by its id, only by its place, which changes. It is looked for where it was last, and then
   * everywhere; what is found is what has the id. Undefined only where it is in no list of a token that works.
   */
  async #find({ id }: SourceKey, signal: AbortSignal): Promise<Repository | undefined> {
    const location = this.#locations.find(id);
    const here = location === undefined ? undefined : await this.#look(location, signal);
    if (here?.repository?.id === id) return here.repository;
    for await (const repository of this.#list("repos?archived=ALL", signal)) {
      if (repository.id === id) return repository;
    }
    if (here?.forbidden !== undefined) throw here.forbidden;
    return undefined;
  }

  async #look(
    location: Location,
    signal: AbortSignal,
  ): Promise<{ repository?: Repository | undefined; forbidden?: HostUnavailable }> {
    try {
      const found = await this.#api.find(this.#urlAt(location), Repository, signal);
      return { repository: found?.value };
    } catch (error) {
      if (!(error instanceof HostUnavailable) || !NOT_HERE.has(error.status)) throw error;
      return error.status === 401 || error.status === 403 ? { forbidden: error } : {};
    }
  }

  async #get(key: SourceKey, signal: AbortSignal): Promise<Repository> {
    const found = await this.#find(key, signal);
    if (found === undefined) throw new HostUnavailable(`The repository is gone from ${this.title}.`);
    return found;
  }

  #stateOf(repository: Repository, settings: Settings): RepositoryState {
    if (!settings.isLinked) {
      return unlinked(`Neither it nor its project has an active webhook to ${this.#webhookUrl}.`);
    }
    const facts = this.#factsOf(repository, settings);
    return facts === undefined
      ? unlinked("Its name cannot be used here. Rename it.")
      : { kind: "linked", facts };
  }

  #factsOf(repository: Repository, { defaultBranch }: Settings): RepositoryFacts | undefined {
    const { project, slug, id } = repository;
    const name = RepositoryName.safeParse(slug);
    if (!name.success) return undefined;
    return {
      key: { id, installation: undefined },
      owner: ownerOf(project),
      name: name.data,
      fullName: `${project.key}/${slug}`,
      defaultBranch,
      isPrivate: isPrivate(repository),
      webUrl: `${this.#config.url}/projects/${part(project.key)}/repos/${part(slug)}`,
    };
  }

  async #ask(repository: Repository, signal: AbortSignal): Promise<Settings> {
    const url = this.#urlOf(repository);
    const hooks = `${url}/webhooks/search?scopeType=repository&scopeType=project`;
    const webhooks = await collect(readPages(this.#api, { url: hooks, item: Webhook }, signal));
    const isLinked = pointsAt(this.#webhookUrl, webhooks);
    // One that is configured but not there yet is no more found than none.
    const branch = isLinked
      ? await this.#api.find(`${url}/default-branch`, DefaultBranch, signal)
      : undefined;
    const settings = { isLinked, defaultBranch: BranchName.safeParse(branch?.value.displayId).data };
    this.#settings.note(repository.id, settings);
    return settings;
  }

  async *#list(path: string, signal: AbortSignal): AsyncGenerator<Repository, void, undefined> {
    const list = { url: `${this.#base}${path}`, item: Repository };
    for await (const repository of readPages(this.#api, list, signal)) {
      this.#note(repository);
      yield repository;
    }
  }

  #note(repository: RepositoryPlace): void {
    this.#locations.note(repository.id, locationOf(repository));
  }

  #urlOf(repository: Repository): string {
    return this.#urlAt(locationOf(repository));
  }

  #urlAt({ projectKey, slug }: Location): string {
    return `${this.#base}projects/${part(projectKey)}/repos/${part(slug)}`;
  }

  /** An account's HTTP access token stands in for its password. */
  async #credential(signal: AbortSignal) {
    const username = await fetchUserName(this.#api, this.#base, signal);
    return { username, password: this.#config.token };
  }
}

/** What of a repository takes requests of its own. */
interface Settings {
  readonly isLinked: boolean;
  readonly defaultBranch: BranchName | undefined;
}

function locationOf({ project, slug }: RepositoryPlace): Location {
  return { projectKey: project.key, slug };
}

function isPrivate({ public: isPublic, project }: Repository): boolean {
  return !isPublic && !project.public;
}

function unlinked(reason: string): RepositoryState {
  return { kind: "unlinked", reason };
}

function sourceOf({ source, owner, name }: RepositoryRef): SourceKey {
  if (source === undefined) throw new Error(`${owner}/${name} went to another owner`);
  return source;
}

function part(text: string): string {
  return encodeURIComponent(text);
}
