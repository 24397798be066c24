import { type ChildProcess, spawn } from "node:child_process";
import { mkdir, readdir, rm, stat, writeFile } from "node:fs/promises";
import { join } from "node:path";
import type { Writable } from "node:stream";
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
  /** What it is tried by once more where the host does not take the credential. */
  readonly otherwise?: CloneCredential;
  /** Told once when nothing is cloned by it any more, however that ended. */
  release?(): Promise<void>;
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
   * @throws Rejected `source-missing`, `source-too-large`, `source-refused`; HostUnavailable; the signal's reason where that aborted.
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
      const gitDir = await this.#prepare(repository.repositoryId, signal);
      if (!(await this.#holds(gitDir, checked))) {
        const from = await source();
        try {
          await this.#fetch(gitDir, repository, checked, from, signal);
        } catch (error) {
          if (!(error instanceof CredentialRefused) || from.otherwise === undefined) throw error;
          await this.#fetch(gitDir, repository, checked, { ...from, credential: from.otherwise }, signal);
        } finally {
          await from.release?.();
        }
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
      const gitDir = await this.#prepare(repositoryId, signal);
      await tidyKeptCommits({ env: this.#env, gitDir }, findKept, signal);
    });
  }

  /** Forgets the copy; it is fetched anew where it is asked for again. */
  remove(repositoryId: string): Promise<void> {
    return this.#turns.run(repositoryId, () =>
      rm(this.#gitDirOf(repositoryId), { recursive: true, force: true }),
    );
  }

  async #prepare(repositoryId: string, signal: AbortSignal): Promise<string> {
    const gitDir = this.#gitDirOf(repositoryId);
    await removeLocks(gitDir);
    await git(["init", "--quiet", "--bare", "--template=", gitDir], { env: this.#env, signal });
    return gitDir;
  }

  #gitDirOf(repositoryId: string): string {
    if (!/^[\w-]{1,100}$/.test(repositoryId)) throw new Error(`not a repository id: ${repositoryId}`);
    return join(this.#root, `${repositoryId}.git`);
  }

  /** Whether it is there for good: what nothing refers to any more may be cleared away at any time. */
  async #holds(gitDir: string, commit: CommitSha): Promise<boolean> {
    const kept = `${KEPT_COMMITS}${commit}^{commit}`;
    try {
      await git(["rev-parse", "--verify", "--quiet", kept], { env: this.#env, gitDir });
      return true;
    } catch (error) {
      if (error instanceof GitFailed && error.exitCode !== undefined) return false;
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
    const scheme = /^(https?):\/\//.exec(url)?.[1];
    if (scheme === undefined) throw new Error("not an address to clone from");
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
        // A group of its own: what git starts for the transport outlives git itself.
        detached: true,
      },
    );
    const pipe = child.stdio[3] as Writable;
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
    const exitCode = await ended(child, AbortSignal.any([signal, deadline]));
    const cutOffAt = exitCode === 0 ? 0 : await removeUnfinished(gitDir);
    signal.throwIfAborted();
    if (exitCode === 0) return;
    if (cutOffAt >= maxPackBytes) throw tooLarge(maxPackBytes);
    if (deadline.aborted)
      throw new HostUnavailable(`${this.#title} did not send the commit within ${fetchMs / 1000} s.`);
    throw this.#failure(repository, commit, stderr);
  }

  /** git says what went wrong in words only. */
  #failure(repository: RepositoryRef, commit: CommitSha, stderr: string): Error {
    const cause = new Error(stderr.trim());
    if (/fsck error/i.test(stderr)) {
      return new Rejected(
        "source-refused",
        "The repository cannot be used: it holds objects that git takes for broken or hostile.",
        { cause },
      );
    }
    if (/not our ref|couldn't find remote ref|no such remote ref/i.test(stderr))
      return missing(repository, commit);
    if (/authentication failed|could not read (username|password)|error: 40[134]|not found/i.test(stderr)) {
      return new CredentialRefused(
        `${this.#title} does not let the platform read ${repository.owner}/${repository.name}. Check that it is still linked.`,
        { cause },
      );
    }
    return new HostUnavailable(`${this.#title} is not answering: the commit could not be fetched.`, {
      cause,
    });
  }
}

class CredentialRefused extends HostUnavailable {}

/** Resolves when git and all that it started have ended, by themselves or since they were told to. */
async function ended(child: ChildProcess, told: AbortSignal): Promise<number | null> {
  const { promise, resolve } = Promise.withResolvers<number | null>();
  child.once("error", () => resolve(null));
  child.once("close", resolve);
  const kill = () => {
    // Not closed yet, so that its number, and with it the group's, is still its own.
    if (child.pid !== undefined) killGroup(child.pid);
  };
  told.addEventListener("abort", kill, { once: true });
  if (told.aborted) kill();
  try {
    return await promise;
  } finally {
    told.removeEventListener("abort", kill);
  }
}

function killGroup(leader: number): void {
  try {
    process.kill(-leader, "SIGKILL");
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== "ESRCH") throw error;
  }
}

/** Locks of a git that was ended by force, which every later one would take for another's; nobody else writes to this folder. */
async function removeLocks(gitDir: string): Promise<void> {
  for (const folder of [gitDir, join(gitDir, KEPT_COMMITS)]) {
    const names = await readdir(folder).catch((error: NodeJS.ErrnoException) => {
      if (error.code === "ENOENT") return [];
      throw error;
    });
    const locks = names.filter((name) => name.endsWith(".lock"));
    await Promise.all(locks.map((name) => rm(join(folder, name), { force: true })));
  }
}

/**
 * Removes packs that were cut off, which git leaves where they are; nobody else fetches into this folder meanwhile.
 * @returns the bytes of the largest: git ends without a word when it may not write any more.
 */
async function removeUnfinished(gitDir: string): Promise<number> {
  const packs = join(gitDir, "objects", "pack");
  const unfinished = (await readdir(packs)).filter((name) => name.startsWith("tmp_"));
  const sizes = unfinished.map(async (name) => {
    const { size } = await stat(join(packs, name));
    await rm(join(packs, name), { force: true });
    return size;
  });
  return Math.max(0, ...(await Promise.all(sizes)));
}

function tooLarge(maxPackBytes: number): Rejected {
  const mib = Math.floor(maxPackBytes / 1024 / 1024);
  return new Rejected(
    "source-too-large",
    `The repository is larger than ${mib} MiB as git sends it: make it smaller.`,
  );
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
