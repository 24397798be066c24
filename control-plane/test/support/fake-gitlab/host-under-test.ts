import { randomBytes } from "node:crypto";
import { must } from "@openfaas-cloud/shared/must.ts";
import { BranchName, OwnerSlug, RepositoryName } from "@openfaas-cloud/shared/names.ts";
import { temporaryFolder } from "../../../../test/support/temporary-folder.ts";
import { openGitLab } from "../../../src/ports/source-host/gitlab/gitlab.ts";
import { GitLabConfig } from "../../../src/ports/source-host/host-config.ts";
import type { RawDelivery } from "../../../src/ports/source-host/remote-host.ts";
import type { CommitState, SourceKey } from "../../../src/ports/source-host/source-host.ts";
import type { Role } from "../../../src/role.ts";
import type { FakeRemoteHost, FakeRepository, RemoteHostUnderTest } from "../../contracts/remote-host.ts";
import { runGit } from "../git-client.ts";
import type { Authority } from "./authority.ts";
import { FakeGitLab, gitId } from "./fake-gitlab.ts";
import { makeDelivery, pushPayload } from "./payloads.ts";
import type { FakeGroup, FakeProject } from "./world.ts";

export const TOPIC = "openfaas-cloud";
const LEVELS: Readonly<Record<Role, number>> = { viewer: 20, developer: 30, admin: 40 };
const SHOWN: Readonly<Record<string, CommitState>> = {
  pending: "pending",
  running: "pending",
  success: "success",
  failed: "failure",
  canceled: "neutral",
};

export interface GitLabUnderTest extends RemoteHostUnderTest {
  readonly gitlab: FakeGitLab;
  readonly acme: FakeGroup;
  readonly webhookTokens: readonly string[];
  readonly signingTokens: readonly string[];
}

export interface GitLabSetting {
  readonly base?: string;
  readonly authority?: Authority;
  readonly proofs?: readonly ("token" | "signature")[];
  /** Without it nothing can be cloned, and commits are made up. */
  readonly git?: boolean;
  readonly config?: Readonly<Record<string, unknown>>;
}

/** The adapter, and a GitLab with the group `acme` in which one project is linked. */
export async function startGitLab(setting: GitLabSetting = {}): Promise<GitLabUnderTest> {
  const { proofs = ["token"], config } = setting;
  const resources = new AsyncDisposableStack();
  const gitlab = resources.use(await FakeGitLab.open(setting));
  gitlab.hasGit = setting.git ?? true;
  const { path: root } = resources.use(await temporaryFolder());
  const webhookTokens = [1, 2, 3].map(() => randomBytes(20).toString("hex"));
  const signingTokens = [1, 2].map(() => `whsec_${randomBytes(32).toString("base64")}`);
  const host = resources.use(
    await openGitLab(
      GitLabConfig.parse({
        kind: "gitlab",
        url: gitlab.url,
        token: gitlab.token,
        ...(proofs.includes("token") ? { webhookTokens } : {}),
        ...(proofs.includes("signature") ? { signingTokens } : {}),
        ...(setting.authority === undefined ? {} : { ca: setting.authority.ca }),
        oauth: gitlab.oauth,
        ...config,
      }),
      { root, tryMs: 1000, firstPauseMs: 5 },
    ),
  );
  const acme = gitlab.world.addGroup("acme", { name: "Acme & Sons, Inc." });
  const linked = await gitlab.addProject("site", acme, { topics: [TOPIC], name: "The Site" });
  const secretsAt = (secret: number) => ({
    token: proofs.includes("token") ? webhookTokens[secret] : undefined,
    signingToken: proofs.includes("signature") ? signingTokens[secret] : undefined,
  });

  return {
    host,
    root,
    errors: [],
    gitlab,
    acme,
    webhookTokens,
    signingTokens,
    linked: await describeProject(gitlab, linked),
    fake: driverOf(gitlab, acme, {
      secretsAt,
      secrets: proofs.includes("signature") ? signingTokens.length : webhookTokens.length,
      proof: proofs.includes("signature")
        ? { header: "webhook-signature", coversBody: true }
        : { header: "x-gitlab-token", coversBody: false },
    }),
    async [Symbol.asyncDispose]() {
      await resources.disposeAsync();
      if (gitlab.violations.length > 0) throw new Error(gitlab.violations.join("\n"));
    },
  };
}

function driverOf(
  gitlab: FakeGitLab,
  acme: FakeGroup,
  deliveries: Pick<FakeRemoteHost, "secrets" | "proof"> & {
    secretsAt(secret: number): { token: string | undefined; signingToken: string | undefined };
  },
): FakeRemoteHost {
  const { secrets, proof, secretsAt } = deliveries;
  const find = ({ id }: SourceKey): FakeProject =>
    must(gitlab.world.projects.get(Number(id)), `the project ${id}`);
  const alice = gitlab.world.getUser("alice");
  let added = 0;

  async function deliver(
    { key, branch, before, commit }: FakeRepository,
    options: { readonly secret: number; readonly at?: number },
  ): Promise<RawDelivery> {
    const push = { branch, before, after: commit, message: "second", author: "Alice", pusher: alice };
    return makeDelivery(
      "Push Hook",
      pushPayload(gitlab, find(key), push),
      secretsAt(options.secret),
      options,
    );
  }

  return {
    secrets,
    proof,
    async addRepository({ isPrivate = false, isLinked = true } = {}) {
      const project = await gitlab.addProject(`more-${++added}`, acme, {
        visibility: isPrivate ? "private" : "public",
        topics: isLinked ? [TOPIC] : ["something-else"],
      });
      return describeProject(gitlab, project);
    },
    unlink: (key) => gitlab.update(find(key), { topics: ["something-else"] }),
    link: (key) => gitlab.update(find(key), { topics: ["something-else", TOPIC] }),
    remove: (key) => gitlab.remove(find(key)),
    makePrivate: (key) => gitlab.update(find(key), { visibility: "private" }),
    push: (key, message) => gitlab.push(find(key), { "README.md": message }, { message }),
    async uninstall() {
      for (const project of gitlab.world.projects.values()) await gitlab.update(project, { topics: [] });
    },
    limitPages(size) {
      gitlab.pageLimit = size;
    },
    trouble(trouble) {
      gitlab.trouble = trouble;
    },
    holdGit: () => gitlab.git.hold(),
    async statuses(_key, commit) {
      const newest = new Map(
        gitlab.statuses.filter(({ sha }) => sha === commit).map((status) => [status.name, status]),
      );
      return [...newest.values()].map(({ name, status, description, target_url }) => ({
        context: name,
        state: must(SHOWN[status], `the state ${status}`),
        description: description ?? "",
        targetUrl: target_url ?? "",
      }));
    },
    pushDelivery: deliver,
    async forgeries(repository) {
      const { headers, body } = await deliver(repository, { secret: 0 });
      const others = await deliver(repository, { secret: 0 });
      const forged: Record<string, RawDelivery> = {
        "no event": { headers: { ...headers, "x-gitlab-event": undefined }, body },
      };
      if (!proof.coversBody) return forged;
      return {
        ...forged,
        "the id of another": { headers: { ...headers, "webhook-id": others.headers["webhook-id"] }, body },
        "no id": { headers: { ...headers, "webhook-id": undefined }, body },
        "another time": { headers: { ...headers, "webhook-timestamp": timestamp(Date.now() - 2000) }, body },
        "no time": { headers: { ...headers, "webhook-timestamp": undefined }, body },
        "six minutes old": await deliver(repository, { secret: 0, at: Date.now() - 360_000 }),
        "six minutes ahead": await deliver(repository, { secret: 0, at: Date.now() + 360_000 }),
        "of another version": {
          headers: {
            ...headers,
            "webhook-signature": String(headers["webhook-signature"]).replace("v1,", "v1a,"),
          },
          body,
        },
      };
    },
    async consent(authorizeUrl) {
      const { searchParams } = await gitlab.consent(authorizeUrl);
      return {
        code: must(searchParams.get("code"), "a code"),
        state: must(searchParams.get("state"), "a state"),
      };
    },
    setRole: (role) => gitlab.setMember(acme, alice, role && LEVELS[role]),
    async revokeGrant() {
      gitlab.revokeGrants(alice);
    },
  };
}

function timestamp(ms: number): string {
  return Math.floor(ms / 1000).toString();
}

export async function describeProject(gitlab: FakeGitLab, project: FakeProject): Promise<FakeRepository> {
  const [commit = "b".repeat(40), before = "a".repeat(40)] = gitlab.hasGit
    ? await newestCommits(gitlab.git.bareDir(gitId(project)))
    : [];
  const key = { id: project.id.toString(), installation: undefined };
  const [owner = "", ...rest] = gitlab.world.pathOf(project).split("/");
  return {
    key,
    ref: {
      repositoryId: `r-${project.id}`,
      owner: OwnerSlug.parse(owner),
      name: RepositoryName.parse(rest.join("/")),
      host: new URL(gitlab.url).host,
      source: key,
    },
    fullName: gitlab.world.pathOf(project),
    branch: BranchName.parse("main"),
    before: before as FakeRepository["before"],
    commit: commit as FakeRepository["commit"],
  };
}

async function newestCommits(gitDir: string): Promise<readonly string[]> {
  const listed = await runGit(gitDir, ["--git-dir=.", "rev-list", "--max-count=2", "main"]);
  return listed.split("\n");
}
