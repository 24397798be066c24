import { spawn } from "node:child_process";
import { mkdir, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { rootCertificates } from "node:tls";
import type { Secret } from "@openfaas-cloud/shared/env.ts";
import { CommitSha } from "@openfaas-cloud/shared/names.ts";
import { GitFailed, git, gitEnvironment } from "../../git-command.ts";
import { Rejected } from "../../rejected.ts";
import { HostUnavailable } from "./host-errors.ts";
import { KEPT_COMMITS, tidyKeptCommits } from "./kept-commits.ts";
import { KeyedQueue } from "./keyed-queue.ts";
import type { RepositoryRef } from "./source-host.ts";

const FETCH_MS = 60_000;
const MAX_PACK_BYTES = 200 * 1024 * 1024;
const MAX_STDERR = 4_000;
/** Reads the credential from a pipe, which shows in no argument, environment or file; asked to store or erase it does nothing. */
const CREDENTIAL_HELPER = '!f() { if test "$1" = get; then cat <&3; fi; }; f';

export interface CloneCredential {
  readonly username: string;
  readonly password: Secret;
}

export interface CloneSource {
  /** Built by us, without credentials. */
  readonly url: string;
  readonly credential: CloneCredential | undefined;
}

/**
 * Local copies of remote repositories: the commits that runs ask for, one deep, and nothing else. One folder for each
 * repository, by our id; what is fetched into it one after the other.
 */
export class RemoteClones {
  readonly #root: string;
  readonly #title: string;
  readonly #env: Readonly<Record<string, string>>;
  readonly #limits: { readonly fetchMs: number; readonly maxPackBytes: number };
  readonly #turns = new KeyedQueue();

  private constructor(
    root: string,
    title: string,
    limits: { readonly fetchMs: number; readonly maxPackBytes: number },
  ) {
    this.#root = root;
    this.#title = title;
    this.#env = gitEnvironment(join(root, "config"));
    this.#limits = limits;
  }

  static async open(options: {
    /** A folder of the host's own. */
    readonly root: string;
    /** For people: who is not answering. */
    readonly title: string;
    readonly ca?: string | undefined;
    readonly limits?: { readonly fetchMs?: number; readonly maxPackBytes?: number };
  }): Promise<RemoteClones> {
    const { root, title, ca } = options;
    await mkdir(root, { recursive: true, mode: 0o700 });
    const caFile = join(root, "ca.pem");
    if (ca !== undefined) await writeFile(caFile, [...rootCertificates, ca].join("\n"));
    await writeFile(join(root, "config"), configuration(ca === undefined ? undefined : caFile));
    return new RemoteClones(root, title, {
      fetchMs: FETCH_MS,
      maxPackBytes: MAX_PACK_BYTES,
      ...options.limits,
    });
  }

  /**
   * A git directory that holds the commit with its tree.
   * @param source asked only where the commit is not there yet.
   * @throws Rejected `source-missing`, `source-too-large`; HostUnavailable; the signal's reason where that aborted.
   */
  fetch(
    repository: RepositoryRef,
    commit: CommitSha,
    source: () => Promise<CloneSource>,
    signal: AbortSignal,
  ): Promise<{ readonly gitDir: string }> {
    const checked = CommitSha.parse(commit);
    return this.#turns.run(repository.repositoryId, async () => {
      signal.throwIfAborted();
      const gitDir = this.#gitDirOf(repository.repositoryId);
      await git(["init", "--quiet", "--bare", "--template=", gitDir], { env: this.#env, signal });
      if (!(await this.#holds(gitDir, checked))) {
        await this.#fetch(gitDir, repository, checked, await source(), signal);
        if (!(await this.#holds(gitDir, checked))) throw missing(repository, checked);
      }
      return { gitDir };
    });
  }

  tidy(
    { repositoryId }: RepositoryRef,
    findKept: () => Promise<ReadonlySet<string>>,
    signal: AbortSignal,
  ): Promise<void> {
    return this.#turns.run(repositoryId, async () => {
      const gitDir = this.#gitDirOf(repositoryId);
      await git(["init", "--quiet", "--bare", "--template=", gitDir], { env: this.#env, signal });
      await tidyKeptCommits({ env: this.#env, gitDir }, findKept, signal);
    });
  }

  /** Forgets the copy; it is fetched anew where it is asked for again. */
  remove(repositoryId: string): Promise<void> {
    return this.#turns.run(repositoryId, () =>
      rm(this.#gitDirOf(repositoryId), { recursive: true, force: true }),
    );
  }

  #gitDirOf(repositoryId: string): string {
    if (!/^[\w-]{1,100}$/.test(repositoryId)) throw new Error(`not a repository id: ${repositoryId}`);
    return join(this.#root, `${repositoryId}.git`);
  }

  async #holds(gitDir: string, commit: CommitSha): Promise<boolean> {
    try {
      return (await git(["cat-file", "-t", commit], { env: this.#env, gitDir })).trim() === "commit";
    } catch (error) {
      if (error instanceof GitFailed && error.exitCode === 128) return false;
      throw error;
    }
  }

  async #fetch(
    gitDir: string,
    repository: RepositoryRef,
    commit: CommitSha,
    { url, credential }: CloneSource,
    signal: AbortSignal,
  ): Promise<void> {
    const { fetchMs, maxPackBytes } = this.#limits;
    const deadline = AbortSignal.timeout(fetchMs);
    const scheme = new URL(url).protocol.slice(0, -1);
    // The shell's only work is the limit on what git may write to one file.
    const limited = ["-c", `ulimit -f ${Math.ceil(maxPackBytes / 512)} && exec git "$@"`, "git"];
    const child = spawn(
      "sh",
      [
        ...limited,
        ...["-c", `protocol.${scheme}.allow=always`],
        ...(credential === undefined ? [] : ["-c", `credential.helper=${CREDENTIAL_HELPER}`]),
        ...["fetch", "--quiet", "--depth=1", "--no-tags", "--no-recurse-submodules", "--no-write-fetch-head"],
        ...["--", url, `+${commit}:${KEPT_COMMITS}${commit}`],
      ],
      {
        env: { ...this.#env, GIT_DIR: gitDir },
        stdio: ["ignore", "ignore", "pipe", "pipe"],
        signal: AbortSignal.any([signal, deadline]),
        killSignal: "SIGKILL",
      },
    );
    const pipe = child.stdio[3] as import("node:stream").Writable;
    pipe.on("error", () => undefined);
    pipe.end(
      credential === undefined
        ? ""
        : `username=${credential.username}\npassword=${credential.password.reveal()}\n`,
    );
    let stderr = "";
    child.stderr?.on("data", (chunk: Buffer) => {
      if (stderr.length < MAX_STDERR) stderr += chunk.toString();
    });
    const ended = await new Promise<{ code: number | null } | { error: Error }>((resolve) => {
      child.once("error", (error) => resolve({ error }));
      child.once("close", (code) => resolve({ code }));
    });
    signal.throwIfAborted();
    if ("code" in ended && ended.code === 0) return;
    if (deadline.aborted) {
      throw new HostUnavailable(
        `${this.#title} did not send the commit within ${fetchMs / 1000} s, or the repository is too large.`,
      );
    }
    throw this.#failure(repository, commit, stderr);
  }

  /** git says what went wrong in words only. */
  #failure(repository: RepositoryRef, commit: CommitSha, stderr: string): Error {
    const cause = new Error(stderr.trim());
    if (/file size limit|File too large|SIGXFSZ|signal 25/i.test(stderr)) {
      const mib = Math.floor(this.#limits.maxPackBytes / 1024 / 1024);
      return new Rejected(
        "source-too-large",
        `The repository is larger than ${mib} MiB as git sends it: make it smaller.`,
        { cause },
      );
    }
    if (/not our ref|couldn't find remote ref|no such remote ref/i.test(stderr))
      return missing(repository, commit);
    if (/authentication failed|could not read (username|password)|error: 40[134]|not found/i.test(stderr)) {
      return new HostUnavailable(
        `${this.#title} does not let the platform read ${repository.owner}/${repository.name}. Check that it is still linked.`,
        { cause },
      );
    }
    return new HostUnavailable(`${this.#title} is not answering: the commit could not be fetched.`, {
      cause,
    });
  }
}

function missing({ name }: RepositoryRef, commit: CommitSha): Rejected {
  return new Rejected("source-missing", `The repository ${name} holds no commit ${commit}: push it again.`);
}

/** Kept outside the repositories, so that all of them, old ones too, obey what this version of the platform says. */
function configuration(caFile: string | undefined): string {
  return `[core]
	hooksPath = /dev/null
	bigFileThreshold = 8m
[safe]
	directory = *
[fetch]
	fsckObjects = true
	recurseSubmodules = false
	unpackLimit = 1
[http]
	followRedirects = false
	lowSpeedLimit = 1000
	lowSpeedTime = 30
${caFile === undefined ? "" : `	sslCAInfo = ${JSON.stringify(caFile)}\n`}[credential]
	interactive = false
[gc]
	auto = 0
[pack]
	threads = 2
	windowMemory = 64m
[protocol]
	allow = never
`;
}
