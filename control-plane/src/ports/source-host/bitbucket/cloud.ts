import { Readable } from "node:stream";
import { BranchName, type CommitSha, RepositoryName } from "@openfaas-cloud/shared/names.ts";
import type { z } from "zod";
import { Rejected } from "../../../rejected.ts";
import { type HostClient, openHostClient } from "../host-client.ts";
import { type BitbucketCloudConfig, instanceOf } from "../host-config.ts";
import { HostUnavailable } from "../host-errors.ts";
import { type CloneCredential, RemoteClones } from "../remote-clones.ts";
import type {
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
import { parseCloudDelivery } from "./cloud-deliveries.ts";
import { isAmong, ownerOf } from "./cloud-owner.ts";
import { readPages } from "./cloud-pages.ts";
import { Branch, Repository } from "./cloud-schemas.ts";
import { openCloudSignIn } from "./cloud-sign-in.ts";
import { collect } from "./collect.ts";
import { verifyDelivery } from "./deliveries.ts";
import { basic } from "./oauth.ts";
import type { BitbucketOptions } from "./options.ts";
import { Recent } from "./recent.ts";
import { statusKey } from "./status-key.ts";
import { authorOf, cut, messageOf } from "./text.ts";
import { pointsAt, Webhook } from "./webhook.ts";

/** Requests under way for one list. */
const AT_ONCE = 4;
/**
 * Requests for repositories' own webhooks that one list makes. Bitbucket gives 1000 an hour, and everything is listed each minute.
 * Source: https://support.atlassian.com/bitbucket-cloud/docs/api-request-limits/
 */
const MOST_ASKED = 10;
const STATUS_MS = 30_000;
const MAX_KEY = 40;
const MAX_DESCRIPTION = 255;

const STATES = {
  pending: "INPROGRESS",
  success: "SUCCESSFUL",
  failure: "FAILED",
  neutral: "STOPPED",
} as const satisfies Record<CommitState, string>;

/**
 * Bitbucket Cloud, over its REST API 2.0. Owners are its workspaces. A repository is linked by an active webhook that points at
 * the platform, its own or its workspace's; one of a workspace saves a request for each repository whenever all are looked at.
 */
export async function openBitbucketCloud(
  config: BitbucketCloudConfig,
  options: BitbucketOptions,
): Promise<RemoteHost> {
  const instance = instanceOf(config);
  const title = instance === "bitbucket.org" ? "Bitbucket" : `Bitbucket (${instance})`;
  const { ca } = config;
  const clones = await RemoteClones.open({ root: options.root, title, ca });
  const client = openHostClient({ title, ca, ...options.client });
  return new BitbucketCloud({ config, instance, title, webhookUrl: options.webhookUrl, client, clones });
}

class BitbucketCloud implements RemoteHost {
  readonly kind = "bitbucket-cloud";
  readonly instance: string;
  readonly title: string;
  readonly webUrl: string;
  /** Nobody else's page makes webhooks: they are made where each repository or workspace is set up. */
  readonly linkUrl = undefined;
  readonly topic = undefined;
  readonly signIn: SignInProvider | undefined;
  readonly parse = parseCloudDelivery;
  readonly #config: BitbucketCloudConfig;
  readonly #base: string;
  readonly #webhookUrl: string;
  readonly #client: HostClient;
  readonly #clones: RemoteClones;
  readonly #api: BitbucketApi;
  readonly #credential: CloneCredential;
  /** By repository: whether it had a webhook of ours of its own when it was asked last. */
  readonly #ownWebhooks = new Recent<boolean>();

  constructor(options: {
    readonly config: BitbucketCloudConfig;
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
    this.#base = `${config.apiUrl}/2.0/`;
    this.#webhookUrl = options.webhookUrl;
    this.#client = client;
    this.#clones = options.clones;
    const { email, token } = config;
    this.#api = new BitbucketApi({
      title,
      client,
      authorization: email === undefined ? `Bearer ${token.reveal()}` : basic(email, token.reveal()),
    });
    this.#credential = {
      username: email === undefined ? "x-token-auth" : "x-bitbucket-api-token-auth",
      password: token,
    };
    this.signIn = openCloudSignIn({ config, title, client, base: this.#base });
  }

  async verify(delivery: RawDelivery) {
    return verifyDelivery(delivery, this.#config.webhookSecrets, "x-request-uuid");
  }

  async fetchRepository(key: SourceKey, signal: AbortSignal): Promise<RepositoryState> {
    const repository = await this.#find(key, signal);
    if (repository === undefined) return unlinked(`It is gone from ${this.title}, or from the workspaces.`);
    const { workspace, uuid } = repository;
    if (!isAmong(this.#config.workspaces, workspace)) {
      return unlinked(`It is in the workspace ${workspace.slug}, which this platform does not look at.`);
    }
    const isLinked =
      (await this.#hasWebhook(`workspaces/${part(`{${workspace.uuid}}`)}`, signal)) ||
      (await this.#hasOwnWebhook(uuid, signal));
    return this.#stateOf(repository, isLinked);
  }

  async fetchInstallation(): Promise<InstallationState> {
    throw new HostUnavailable(
      `${this.title} knows no installations: its repositories are linked by webhooks.`,
    );
  }

  /** Where the workspace has no webhook, not every repository is asked for its own each time. */
  async listRepositories(signal: AbortSignal): Promise<readonly RepositoryFacts[]> {
    const linked: Repository[] = [];
    const others: Repository[] = [];
    for (const workspace of this.#config.workspaces) {
      const isLinked = await this.#hasWebhook(`workspaces/${part(workspace)}`, signal);
      const repositories = this.#list(`repositories/${part(workspace)}`, Repository, signal);
      (isLinked ? linked : others).push(...(await collect(repositories)));
    }
    const due = this.#ownWebhooks.due(
      others.map(({ uuid }) => uuid),
      MOST_ASKED,
    );
    await Readable.from(due)
      .map((uuid: string) => this.#hasOwnWebhook(uuid, signal), { concurrency: AT_ONCE })
      .toArray();
    linked.push(...others.filter(({ uuid }) => this.#ownWebhooks.find(uuid) === true));
    return linked.flatMap((repository) => this.#factsOf(repository) ?? []);
  }

  async fetchHead(key: SourceKey, branch: BranchName, signal: AbortSignal): Promise<Head | undefined> {
    const name = branch.split("/").map(part).join("/");
    const found = await this.#api.find(`${this.#urlOf(key)}/refs/branches/${name}`, Branch, signal);
    if (found === undefined) {
      // Said of the branch only where the repository is there.
      await this.#get(key, signal);
      return undefined;
    }
    const { hash, message, author } = found.value.target;
    return { commit: hash, message: messageOf(message), author: authorOf(author.raw) };
  }

  /** Bitbucket sends again by itself what failed at first; it offers nobody to ask for more. */
  async redeliver(): Promise<number> {
    return 0;
  }

  fetchCommit: SourceHost["fetchCommit"] = (repository, commit, { signal }) => {
    const source = async () => {
      const found = await this.#find(sourceOf(repository), signal);
      if (found === undefined) {
        throw new Rejected("source-missing", `The repository ${repository.name} is gone from ${this.title}.`);
      }
      return {
        url: `${this.#config.url}/${found.full_name.split("/").map(part).join("/")}.git`,
        credential: found.is_private ? this.#credential : undefined,
      };
    };
    return this.#clones.fetch(repository, commit, source, signal);
  };

  /** A status with the same key replaces the one before. */
  async reportStatus(repository: RepositoryRef, commit: CommitSha, status: CommitStatus): Promise<void> {
    await this.#api.post(
      `${this.#urlOf(sourceOf(repository))}/commit/${commit}/statuses/build`,
      {
        key: statusKey(status.context, MAX_KEY),
        name: status.context,
        state: STATES[status.state],
        description: cut(status.description, MAX_DESCRIPTION),
        url: status.targetUrl,
      },
      AbortSignal.timeout(STATUS_MS),
    );
  }

  /** Bitbucket keeps deployments of its own pipelines only: nobody else can make one. */
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

  /** By its id alone, so that it is found wherever it went; the workspace may be left open in the path. */
  #urlOf({ id }: SourceKey): string {
    return `${this.#base}repositories/%7B%7D/${part(`{${id}}`)}`;
  }

  /**
   * Undefined only where the repository is in none of our workspaces. Bitbucket says 404 or 403 for what the token may not see,
   * which proves nothing by itself; one that sees the webhooks of all workspaces administers them, and sees all that is in them.
   */
  async #find(key: SourceKey, signal: AbortSignal): Promise<Repository | undefined> {
    const found = await this.#api.find(this.#urlOf(key), Repository, signal).catch((error: unknown) => {
      if (error instanceof HostUnavailable && error.status === 403) return undefined;
      throw error;
    });
    if (found !== undefined) return found.value;
    for (const workspace of this.#config.workspaces) {
      await this.#hasWebhook(`workspaces/${part(workspace)}`, signal);
    }
    return undefined;
  }

  async #get(key: SourceKey, signal: AbortSignal): Promise<Repository> {
    const found = await this.#find(key, signal);
    if (found === undefined) throw new HostUnavailable(`The repository is gone from ${this.title}.`);
    return found;
  }

  #stateOf(repository: Repository, isLinked: boolean): RepositoryState {
    if (!isLinked) {
      return unlinked(`Neither it nor its workspace has an active webhook to ${this.#webhookUrl}.`);
    }
    const facts = this.#factsOf(repository);
    return facts === undefined
      ? unlinked("Its name cannot be used here. Rename it.")
      : { kind: "linked", facts };
  }

  #factsOf(repository: Repository): RepositoryFacts | undefined {
    const { uuid, full_name: fullName, workspace, owner, mainbranch } = repository;
    const name = RepositoryName.safeParse(fullName.slice(fullName.indexOf("/") + 1));
    if (!name.success) return undefined;
    return {
      key: { id: uuid, installation: undefined },
      owner: ownerOf(workspace, owner?.type === "user"),
      name: name.data,
      fullName,
      defaultBranch: BranchName.safeParse(mainbranch?.name).data,
      isPrivate: repository.is_private,
      webUrl: `${this.#config.url}/${fullName}`,
      pushedAt: Date.parse(repository.updated_on),
    };
  }

  async #hasOwnWebhook(uuid: string, signal: AbortSignal): Promise<boolean> {
    const has = await this.#hasWebhook(`repositories/%7B%7D/${part(`{${uuid}}`)}`, signal);
    this.#ownWebhooks.note(uuid, has);
    return has;
  }

  async #hasWebhook(path: string, signal: AbortSignal): Promise<boolean> {
    return pointsAt(this.#webhookUrl, await collect(this.#list(`${path}/hooks`, Webhook, signal)));
  }

  #list<Schema extends z.ZodType>(path: string, item: Schema, signal: AbortSignal) {
    return readPages(this.#api, { base: this.#base, path, item }, signal);
  }
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
