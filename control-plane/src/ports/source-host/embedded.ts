import { mkdir } from "node:fs/promises";
import type { IncomingMessage, ServerResponse } from "node:http";
import { join } from "node:path";
import { type BranchName, CommitSha, OwnerSlug, RepositoryName } from "@openfaas-cloud/shared/names.ts";
import { basicPair } from "../../basic-pair.ts";
import { GitFailed, git } from "../../git-command.ts";
import { Rejected } from "../../rejected.ts";
import { type BareRepositories, openBareRepositories } from "./bare-repositories.ts";
import { type BranchMoves, trackBranchMoves } from "./branch-moves.ts";
import { type CommitNotes, openCommitNotes } from "./commit-notes.ts";
import { type GitBackend, serveByGit } from "./git-http-backend.ts";
import { converse } from "./hook-conversation.ts";
import { tidyKeptCommits } from "./kept-commits.ts";
import { KeyedQueue } from "./keyed-queue.ts";
import type { GitPerson, PushGate } from "./push-gate.ts";
import { conductPush } from "./push-session.ts";
import type { CommitStatus, Push, RepositoryRef, SourceHost } from "./source-host.ts";

export interface EmbeddedLimits {
  readonly maxPackBytes: number;
  /** From the request to the last byte of its pack, indexed. */
  readonly uploadMs: number;
  /** A clone or fetch, from the request to the last byte of the answer. */
  readonly downloadMs: number;
  /** How long a client that stopped reading may hold up a branch whose run has ended. */
  readonly lastWordsMs: number;
  /** git children at once, in all and for one owner. */
  readonly maxChildren: number;
  readonly maxChildrenPerOwner: number;
}

const DEFAULT_LIMITS: EmbeddedLimits = {
  maxPackBytes: 200 * 1024 * 1024,
  uploadMs: 300_000,
  downloadMs: 900_000,
  lastWordsMs: 10_000,
  maxChildren: 64,
  maxChildrenPerOwner: 16,
};

export interface EmbeddedOptions {
  readonly dataDir: string;
  readonly gate: PushGate;
  /** Takes what went wrong where no caller waits for it. */
  readonly onError: (error: unknown) => void;
  readonly limits?: Partial<EmbeddedLimits>;
}

/** A source host that lives here: repositories are pushed to and cloned from `/git/<owner>/<repository>.git`. */
export interface EmbeddedSourceHost extends SourceHost {
  /** Serves one request whose path begins with `/git/`. Never rejects; the response is always ended. */
  handle(request: IncomingMessage, response: ServerResponse): Promise<void>;
}

export async function openEmbeddedSourceHost(options: EmbeddedOptions): Promise<EmbeddedSourceHost> {
  const limits = { ...DEFAULT_LIMITS, ...options.limits };
  const root = join(options.dataDir, "git");
  await mkdir(root, { recursive: true });
  const repositories = await openBareRepositories(root, limits);
  const program = join((await git(["--exec-path"], { env: repositories.env })).trim(), "git-http-backend");
  return new Embedded({ ...options, limits }, repositories, program);
}

type Service = "git-upload-pack" | "git-receive-pack";

interface Target {
  readonly owner: string;
  readonly repository: string;
  readonly service: Service;
  /** The listing of refs that comes before; otherwise the service itself. */
  readonly advertise: boolean;
}

interface Admitted {
  readonly target: Target;
  readonly person: GitPerson;
  readonly repository: RepositoryRef | undefined;
  readonly defaultBranch: BranchName | undefined;
}

interface Refusal {
  readonly status: number;
  readonly text: string;
  readonly headers?: Readonly<Record<string, string>>;
}

interface Child {
  readonly backend: GitBackend;
  readonly owner: string;
  /** The repository that a push writes to. */
  readonly repositoryId: string | undefined;
  readonly ended: Promise<void>;
}

const CHALLENGE = { "www-authenticate": 'Basic realm="OpenFaaS Cloud"' };
const NOT_GIT: Refusal = {
  status: 404,
  text: "There is no git service at this address: a repository's is /git/<owner>/<repository>.git.",
};
const NO_TOKEN: Refusal = {
  status: 401,
  text: "Sign in with a platform token as the password; any user name will do.",
  headers: CHALLENGE,
};
const WRONG_TOKEN: Refusal = {
  status: 401,
  text: "This token is not known or has expired: make a new one and give it as the password.",
  headers: CHALLENGE,
};
/** The same for owners that do not exist and owners the person may not act for, so that it tells nothing about either. */
const NO_ACCESS: Refusal = { status: 404, text: "There is no such owner, or your token may not act for it." };
const MAY_NOT_PUSH = lacking("push");
const MAY_NOT_READ = lacking("read (or push)");
const NO_REPOSITORY: Refusal = { status: 404, text: "repository not found: push to create it" };
const BAD_NAME: Refusal = {
  status: 404,
  text: "This cannot be a repository's name: use 1 to 100 letters, digits, '.', '_' and '-'.",
};
const BUSY: Refusal = {
  status: 503,
  text: "Too many git operations are under way. Try again in a few seconds.",
  headers: { "retry-after": "5" },
};

class Embedded implements EmbeddedSourceHost {
  readonly #options: EmbeddedOptions & { readonly limits: EmbeddedLimits };
  readonly #repositories: BareRepositories;
  readonly #program: string;
  readonly #moves: BranchMoves;
  readonly #notes: CommitNotes;
  readonly #defaultBranches = new KeyedQueue();
  readonly #children = new Set<Child>();
  #closing = false;

  constructor(
    options: EmbeddedOptions & { readonly limits: EmbeddedLimits },
    repositories: BareRepositories,
    program: string,
  ) {
    this.#options = options;
    this.#repositories = repositories;
    this.#program = program;
    this.#moves = trackBranchMoves(repositories);
    this.#notes = openCommitNotes(repositories, {
      pushesEnded: (repositoryId) => this.#pushesEnded(repositoryId),
      onError: options.onError,
    });
  }

  async handle(request: IncomingMessage, response: ServerResponse): Promise<void> {
    try {
      const admitted = await this.#admit(request);
      if ("status" in admitted) refuse(request, response, admitted);
      else await this.#serve(request, response, admitted);
    } catch (error) {
      this.#options.onError(error);
      if (response.headersSent) response.destroy();
      else refuse(request, response, { status: 500, text: "The platform could not serve this. Try again." });
    }
  }

  async #admit(request: IncomingMessage): Promise<Admitted | Refusal> {
    const { gate, limits } = this.#options;
    const target = parseTarget(request.method, request.url ?? "");
    if (target === undefined) return NOT_GIT;
    // The user name, where it is all there is: that is how some write tokens into URLs.
    const { user, password } = basicPair(request.headers.authorization) ?? {};
    const token = password || user;
    if (!token) return NO_TOKEN;
    const person = await gate.authenticate(token);
    if (person === undefined) return WRONG_TOKEN;
    const write = target.service === "git-receive-pack";
    // About the token alone, whatever it is used on: that tells nothing about owners.
    if (!person.may[write ? "write" : "read"]) return write ? MAY_NOT_PUSH : MAY_NOT_READ;

    const owner = OwnerSlug.safeParse(target.owner);
    if (!owner.success) return NO_ACCESS;
    if (!(await gate.mayAccess(person, owner.data, write ? "write" : "read"))) {
      const reason = await gate.whyNot(person, owner.data);
      return reason === undefined ? NO_ACCESS : { status: 403, text: reason };
    }
    const name = RepositoryName.safeParse(target.repository);
    if (!name.success) return BAD_NAME;

    const ofOwner = [...this.#children].filter((child) => child.owner === target.owner).length;
    if (this.#closing || this.#children.size >= limits.maxChildren || ofOwner >= limits.maxChildrenPerOwner)
      return BUSY;

    const found = await gate.findRepository(owner.data, name.data);
    if (found !== undefined) return { target, person, repository: found, defaultBranch: found.defaultBranch };
    if (!write) return NO_REPOSITORY;
    // Asking what there is makes nothing: only the push itself creates the repository.
    const repository = target.advertise ? undefined : await gate.ensureRepository(owner.data, name.data);
    return { target, person, repository, defaultBranch: undefined };
  }

  async #serve(request: IncomingMessage, response: ServerResponse, admitted: Admitted): Promise<void> {
    const { target, person, repository } = admitted;
    if (repository !== undefined) await this.#repositories.ensure(repository.repositoryId);
    if (response.destroyed) return;
    const folder =
      repository === undefined
        ? this.#repositories.empty
        : this.#repositories.nameOf(repository.repositoryId);
    const pushTo = target.service === "git-receive-pack" && !target.advertise ? repository : undefined;

    let taken = false;
    const backend = serveByGit(
      request,
      response,
      {
        program: this.#program,
        env: this.#repositories.env,
        root: this.#repositories.root,
        path: `/${folder}/${target.advertise ? "info/refs" : target.service}`,
        query: target.advertise ? `service=${target.service}` : "",
        remoteUser: person.subject,
        withHooks: pushTo !== undefined,
      },
      () => (taken ? backend.detach() : backend.kill()),
    );
    const { limits } = this.#options;
    const deadline = setTimeout(() => backend.kill(), pushTo ? limits.uploadMs : limits.downloadMs);
    let lastWords: NodeJS.Timeout | undefined;

    const ended =
      pushTo === undefined || backend.hooks === undefined
        ? backend.ended
        : conductPush(
            {
              hooks: converse(backend.hooks),
              repository: pushTo,
              person,
              gate: this.#options.gate,
              moves: this.#moves,
              chooseDefaultBranch: async (pushed) =>
                admitted.defaultBranch ?? (await this.#chooseDefaultBranch(pushTo, pushed)),
              onReceived: () => clearTimeout(deadline),
              onTaken: () => {
                taken = true;
                clearTimeout(lastWords);
              },
              onDecided: () => {
                lastWords = setTimeout(() => backend.detach(), limits.lastWordsMs);
              },
              onError: this.#options.onError,
            },
            backend.ended,
          );
    const child: Child = { backend, owner: target.owner, repositoryId: pushTo?.repositoryId, ended };
    this.#children.add(child);
    try {
      await ended;
    } finally {
      this.#children.delete(child);
      clearTimeout(deadline);
      clearTimeout(lastWords);
    }
  }

  #chooseDefaultBranch(
    repository: RepositoryRef,
    pushed: readonly BranchName[],
  ): Promise<BranchName | undefined> {
    const { gate } = this.#options;
    return this.#defaultBranches.run(repository.repositoryId, async () => {
      const chosenMeanwhile = (await gate.findRepository(repository.owner, repository.name))?.defaultBranch;
      const chosen =
        pushed.find((name) => name === "main") ?? pushed.find((name) => name === "master") ?? pushed[0];
      if (chosenMeanwhile !== undefined || chosen === undefined) return chosenMeanwhile;
      await git(["symbolic-ref", "HEAD", `refs/heads/${chosen}`], {
        env: this.#repositories.env,
        gitDir: this.#repositories.gitDirOf(repository.repositoryId),
      });
      await gate.setDefaultBranch(repository, chosen);
      return chosen;
    });
  }

  async fetchCommit(
    repository: RepositoryRef,
    commit: CommitSha,
    { signal }: { readonly signal: AbortSignal },
  ): Promise<{ readonly gitDir: string }> {
    const gitDir = this.#repositories.gitDirOf(repository.repositoryId);
    const checked = CommitSha.parse(commit);
    if (!(await this.#repositories.exists(repository.repositoryId)))
      throw new Rejected("source-missing", `The repository ${repository.name} is gone: push it again.`);
    try {
      const type = await git(["cat-file", "-t", checked], { env: this.#repositories.env, gitDir, signal });
      if (type.trim() === "commit") return { gitDir };
    } catch (error) {
      if (!(error instanceof GitFailed) || error.exitCode !== 128) throw error;
    }
    throw new Rejected(
      "source-missing",
      `The repository ${repository.name} holds no commit ${checked}: push it again.`,
    );
  }

  /** Kept as git notes, which clones can fetch. States that do not last are left out. */
  async reportStatus(repository: RepositoryRef, commit: CommitSha, status: CommitStatus): Promise<void> {
    if (status.state !== "pending") this.#notes.report(repository, commit, status);
  }

  async forget(): Promise<void> {
    // What is here is the repository itself and no copy; nobody else can say that it is gone.
  }

  async reportDeployment(): Promise<void> {
    // There is no history of deployments here but the runs themselves.
  }

  settlePush(push: Pick<Push, "repository" | "branch" | "before" | "commit">): Promise<void> {
    return this.#moves.settle(push);
  }

  /** Leaves the repository alone while somebody pushes to it: the commit on its way has no run yet. */
  async tidy(
    repository: RepositoryRef,
    findKept: () => Promise<ReadonlySet<string>>,
    signal: AbortSignal,
  ): Promise<void> {
    const { repositoryId } = repository;
    if (this.#isPushedTo(repositoryId) || !(await this.#repositories.exists(repositoryId))) return;
    const { env } = this.#repositories;
    await tidyKeptCommits({ env, gitDir: this.#repositories.gitDirOf(repositoryId) }, findKept, signal);
  }

  #isPushedTo(repositoryId: string): boolean {
    return [...this.#children].some((child) => child.repositoryId === repositoryId);
  }

  async #pushesEnded(repositoryId: string): Promise<void> {
    const pushes = [...this.#children].filter((child) => child.repositoryId === repositoryId);
    await Promise.allSettled(pushes.map((child) => child.ended));
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#closing = true;
    const children = [...this.#children];
    const kill = setTimeout(() => {
      for (const { backend } of children) backend.kill();
    }, this.#options.limits.lastWordsMs);
    for (const { backend } of children) {
      // The hooks of a push tell the person that its run will be finished.
      if (backend.hooks === undefined) backend.kill();
      else backend.hooks.destroy();
    }
    await Promise.allSettled(children.map((child) => child.ended));
    clearTimeout(kill);
    await this.#defaultBranches.idle();
    await this.#notes[Symbol.asyncDispose]();
  }
}

/** Nothing is decoded or normalised: an address that is not written as git writes it is none of ours. */
function parseTarget(method: string | undefined, url: string): Target | undefined {
  const match =
    /^\/git\/([A-Za-z0-9-]{1,100})\/([A-Za-z0-9._-]{1,150})\.git\/(info\/refs\?service=)?(git-upload-pack|git-receive-pack)$/.exec(
      url,
    );
  if (match === null) return undefined;
  const [, owner = "", repository = "", listing, service] = match;
  const advertise = listing !== undefined;
  if (method !== (advertise ? "GET" : "POST")) return undefined;
  return { owner, repository, service: service as Service, advertise };
}

function lacking(scope: string): Refusal {
  return {
    status: 403,
    text: `This access token lacks the scope ${scope}: make one that has it on the dashboard's account page.`,
  };
}

function refuse(request: IncomingMessage, response: ServerResponse, refusal: Refusal): void {
  // What is left of the body is thrown away, so that the client comes to read the answer.
  request.resume();
  response.writeHead(refusal.status, { "content-type": "text/plain; charset=utf-8", ...refusal.headers });
  response.end(`${refusal.text}\n`);
}
