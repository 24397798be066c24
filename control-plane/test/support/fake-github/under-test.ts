import { must } from "@openfaas-cloud/shared/must.ts";
import { BranchName, OwnerSlug, RepositoryName } from "@openfaas-cloud/shared/names.ts";
import { temporaryFolder } from "../../../../test/support/temporary-folder.ts";
import { openGitHub } from "../../../src/ports/source-host/github/github.ts";
import { GitHubConfig } from "../../../src/ports/source-host/host-config.ts";
import type { SourceKey } from "../../../src/ports/source-host/source-host.ts";
import type {
  FakeRemoteHost,
  FakeRepository,
  RemoteHostUnderTest,
  ShownStatus,
} from "../../contracts/remote-host.ts";
import { FakeGitHub } from "./fake-github.ts";
import { fullNameOf, type Permission, type Repository } from "./world.ts";

export interface GitHubUnderTest extends RemoteHostUnderTest {
  readonly gitHub: FakeGitHub;
}

/** The adapter and a fake GitHub with one linked repository, `acme/site`. */
export async function startGitHub(
  config: { readonly report?: "checks" | "statuses" } = {},
): Promise<GitHubUnderTest> {
  await using started = new AsyncDisposableStack();
  const gitHub = started.use(await FakeGitHub.start());
  const { path: root } = started.use(await temporaryFolder());
  const host = started.use(
    await openGitHub(GitHubConfig.parse({ ...gitHub.config, ...config }), {
      root,
      tryMs: 500,
      firstPauseMs: 5,
    }),
  );
  const fake = remoteHostOf(gitHub);
  const linked = await fake.addRepository();
  const owned = started.move();
  return {
    host,
    root,
    errors: [],
    linked,
    fake,
    gitHub,
    [Symbol.asyncDispose]: () => owned.disposeAsync(),
  };
}

function remoteHostOf(gitHub: FakeGitHub): FakeRemoteHost {
  const { world, acme } = gitHub;
  const get = ({ id }: SourceKey) => must(world.repositories.get(Number(id)), `repository ${id}`);
  let added = 0;
  return {
    async addRepository({ isPrivate = false, isLinked = true } = {}) {
      added += 1;
      const name = added === 1 ? "site" : `site-${added}`;
      const repository = await gitHub.addRepository(acme, name, { isPrivate });
      const before = must([...(world.commits.get(repository) ?? [])][0], "a commit");
      const commit = await gitHub.commit(repository, { "stack.yml": "provider: openfaas\n" }, "add a stack");
      if (isLinked) await gitHub.link(repository);
      return { ...described(gitHub, repository), before, commit };
    },
    link: (key) => gitHub.link(get(key)),
    unlink: (key) => gitHub.unlink(get(key)),
    remove: (key) => gitHub.remove(get(key)),
    makePrivate: (key) => gitHub.setPrivate(get(key), true),
    push: (key, message) => gitHub.commit(get(key), { "news.txt": message }, message),
    uninstall: () => gitHub.uninstall(acme),
    limitPages(size) {
      gitHub.pageSize = size;
    },
    trouble(trouble) {
      gitHub.trouble = trouble;
    },
    holdGit: () => gitHub.git.hold(),
    statuses: async (key, commit) => shownAt(gitHub, get(key), commit),
    pushDelivery: async (repository, { secret }) =>
      gitHub.sign("push", pushPayload(gitHub, get(repository.key), repository), { secret }),
    secrets: gitHub.app.webhookSecrets.length,
    proof: { header: "x-hub-signature-256", coversBody: true },
    async forgeries(repository) {
      const { headers, body } = gitHub.sign("push", pushPayload(gitHub, get(repository.key), repository));
      const { "x-hub-signature-256": signature = "", ...unsigned } = headers;
      const signed = (value: string) => ({ body, headers: { ...headers, "x-hub-signature-256": value } });
      return {
        "SHA-1 only": { headers: unsigned, body },
        "SHA-1 in the place of SHA-256": signed(headers["x-hub-signature"] ?? ""),
        "another algorithm's name": signed(signature.replace("sha256=", "sha512=")),
        "upper case": signed(signature.toUpperCase()),
        "without the algorithm": signed(signature.slice("sha256=".length)),
        "blank before it": signed(` ${signature}`),
        "no event": { body, headers: { ...headers, "x-github-event": undefined } },
        "two events": { body, headers: { ...headers, "x-github-event": ["push", "ping"] } },
        "no id": { body, headers: { ...headers, "x-github-delivery": undefined } },
      };
    },
    async consent(authorizeUrl) {
      const asked = await fetch(authorizeUrl);
      if (asked.status !== 200) throw new Error(await asked.text());
      const body = authorizeUrl.searchParams;
      const allowed = await fetch(`${gitHub.url}${authorizeUrl.pathname}`, {
        method: "POST",
        body,
        redirect: "manual",
      });
      const { searchParams } = new URL(must(allowed.headers.get("location"), "a redirect"));
      return { code: searchParams.get("code") ?? "", state: searchParams.get("state") ?? "" };
    },
    async setRole(role) {
      const members = must(world.memberships.get(acme), "members");
      members.clear();
      if (role !== undefined) members.set(gitHub.alice, role === "admin" ? "admin" : "member");
      const permissions = { viewer: "pull", developer: "push", admin: undefined } as const;
      const permission: Permission | undefined = role && permissions[role];
      for (const { collaborators, owner } of world.repositories.values()) {
        if (owner !== acme) continue;
        if (permission === undefined) collaborators.delete(gitHub.alice);
        else collaborators.set(gitHub.alice, permission);
      }
    },
    async revokeGrant() {
      world.personTokens.clear();
      world.refreshTokens.clear();
    },
  };
}

function described(gitHub: FakeGitHub, repository: Repository): Omit<FakeRepository, "before" | "commit"> {
  const installation = String(gitHub.world.install(repository.owner).id);
  const key = { id: String(repository.id), installation };
  return {
    key,
    ref: {
      repositoryId: `repository-${repository.id}`,
      owner: OwnerSlug.parse(repository.owner.login),
      name: RepositoryName.parse(repository.name),
      host: new URL(gitHub.url).host,
      source: key,
    },
    fullName: fullNameOf(repository),
    branch: BranchName.parse(repository.defaultBranch),
  };
}

function pushPayload(gitHub: FakeGitHub, repository: Repository, { before, commit }: FakeRepository) {
  return gitHub.pushPayload(repository, { before, after: commit, message: "add a stack" });
}

/** What the commit's page shows: the newest check run of each name, the newest status of each context. */
function shownAt(gitHub: FakeGitHub, repository: Repository, commit: string): ShownStatus[] {
  const isHere = (it: { repository: Repository; commit: string }) =>
    it.repository === repository && it.commit === commit;
  const shown = new Map<string, ShownStatus>();
  for (const { given } of gitHub.world.checkRuns.filter(isHere)) {
    const output = given["output"] as { summary: string };
    const state = given["status"] === "completed" ? given["conclusion"] : "pending";
    shown.set(String(given["name"]), {
      context: String(given["name"]),
      state: state as ShownStatus["state"],
      description: output.summary.replaceAll(/\\(.)/g, "$1"),
      targetUrl: String(given["details_url"]),
    });
  }
  for (const { given } of gitHub.world.statuses.filter(isHere)) {
    shown.set(String(given["context"]), {
      context: String(given["context"]),
      state: given["state"] as ShownStatus["state"],
      description: String(given["description"]),
      targetUrl: String(given["target_url"]),
    });
  }
  return [...shown.values()];
}
