import { CommitSha } from "@openfaas-cloud/shared/names.ts";
import { z } from "zod";
import { openHostClient } from "../host-client.ts";
import { type GitLabConfig, instanceOf } from "../host-config.ts";
import { HostUnavailable } from "../host-errors.ts";
import { type CloneSource, RemoteClones } from "../remote-clones.ts";
import type { RemoteHost } from "../remote-host.ts";
import type { RepositoryRef, SourceKey } from "../source-host.ts";
import { openGitLabApi } from "./api.ts";
import { firstLine, parseDelivery, verifyDelivery } from "./deliveries.ts";
import { makeDeployToken } from "./deploy-tokens.ts";
import { GitLabFacts, idOf } from "./facts.ts";
import { openSignIn } from "./sign-in.ts";
import { postStatus } from "./statuses.ts";

/** For a report with all its tries, which nobody else bounds. */
const REPORT_MS = 30_000;

/** https://docs.gitlab.com/api/branches/ */
const Branch = z.object({
  commit: z.object({ id: CommitSha, message: z.string(), author_name: z.string() }),
});

/** GitLab, at gitlab.com or anywhere else, below a path too. */
export async function openGitLab(
  config: GitLabConfig,
  options: {
    /** Where its clones are kept. */
    readonly root: string;
    readonly tryMs?: number;
    readonly firstPauseMs?: number;
  },
): Promise<RemoteHost> {
  const { root, ...limits } = options;
  const { url, topic } = config;
  const instance = instanceOf(config);
  const title = instance === "gitlab.com" ? "GitLab" : `GitLab (${instance})`;
  const clones = await RemoteClones.open({ root, title, ca: config.ca });
  const client = openHostClient({ title, ca: config.ca, ...limits });
  const api = openGitLabApi({
    client,
    url,
    title,
    credential: { "private-token": config.token.reveal() },
  });
  const facts = new GitLabFacts(api, { url, topic, title });

  /** Where the project is now. Its topic does not matter: what was pushed while it was linked is built. */
  async function cloneSource(
    key: SourceKey,
    { owner, name }: RepositoryRef,
    signal: AbortSignal,
  ): Promise<CloneSource> {
    const project = await facts.findProject(key, signal);
    if (project === undefined) {
      throw new HostUnavailable(`${title} does not let the platform read ${owner}/${name}.`, { status: 404 });
    }
    const source = { url: `${url}/${project.path_with_namespace}.git`, credential: undefined };
    if (project.visibility === "public") return source;
    // Any name goes with an access token, as long as there is one.
    const own = { username: "oauth2", password: config.token };
    const deployToken = await makeDeployToken(api, key, signal);
    if (deployToken === undefined) return { ...source, credential: own };
    // With external authorization GitLab makes deploy tokens, and lets nobody clone by them.
    return { ...source, credential: deployToken.credential, otherwise: own, release: deployToken.revoke };
  }

  return {
    kind: "gitlab",
    instance,
    title,
    webUrl: url,
    // A topic is all that it takes.
    linkUrl: undefined,
    topic,
    verify: async (delivery) => verifyDelivery(config, delivery),
    parse: parseDelivery,
    fetchRepository: (key, signal) => facts.fetchState(key, signal),
    listRepositories: (signal) => facts.listLinked({}, signal),

    /** GitLab knows no grants of this kind. Nothing is said to be removed, since nothing hangs on one. */
    async fetchInstallation() {
      throw new HostUnavailable(`${title} has no installations.`);
    },

    async fetchHead(key, branch, signal) {
      const path = `/projects/${idOf(key)}/repository/branches/${encodeURIComponent(branch)}`;
      const found = await api.find(path, "404 Branch Not Found", Branch, signal);
      if (found.kind === "absent") return undefined;
      const { id, message, author_name } = found.value.commit;
      return { commit: id, message: firstLine(message, 500), author: firstLine(author_name, 200) };
    },

    /** Only whoever owns a hook may have its deliveries sent again. What was lost is found by looking at the projects. */
    redeliver: async () => 0,

    fetchCommit: (repository, commit, { signal }) => {
      const key = keyOf(repository);
      return clones.fetch(repository, commit, () => cloneSource(key, repository, signal), signal);
    },

    reportStatus: (repository, commit, status) =>
      postStatus(api, { key: keyOf(repository), commit, signal: AbortSignal.timeout(REPORT_MS) }, status),

    /**
     * Nothing: GitLab's deployments hang on a branch and an environment that is kept by other calls, and change by ids that
     * would have to be remembered. The commit's statuses lead to the run and to the functions.
     */
    reportDeployment: async () => undefined,
    settlePush: async () => undefined,
    forget: ({ repositoryId }) => clones.remove(repositoryId),

    tidy: (repository, findKept, signal) => clones.tidy(repository, findKept, signal),

    signIn:
      config.oauth === undefined
        ? undefined
        : openSignIn({ config, oauthClient: config.oauth, client, title }),

    [Symbol.asyncDispose]: () => client[Symbol.asyncDispose](),
  };
}

function keyOf({ source, owner, name }: RepositoryRef): SourceKey {
  if (source !== undefined) return source;
  throw new Error(`${owner}/${name} has no id on its host`);
}
