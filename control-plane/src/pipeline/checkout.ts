import { spawn } from "node:child_process";
import { mkdir, mkdtemp, rm, writeFile } from "node:fs/promises";
import { join, posix } from "node:path";
import type { Readable } from "node:stream";
import { CommitSha } from "@openfaas-cloud/shared/names.ts";
import { GitFailed, git, gitEnvironment } from "../git-command.ts";
import type { LogSink } from "../ports/log-store/log-store.ts";
import { Rejected, Retryable } from "../rejected.ts";

export interface CheckoutLimits {
  readonly maxEntries: number;
  readonly maxTreeBytes: number;
  readonly maxPathBytes: number;
  readonly maxPartBytes: number;
  readonly maxDepth: number;
  readonly deadlineMs: number;
}

export const DEFAULT_CHECKOUT_LIMITS: CheckoutLimits = {
  maxEntries: 20_000,
  maxTreeBytes: 500 * 1024 * 1024,
  maxPathBytes: 4096,
  maxPartBytes: 255,
  maxDepth: 100,
  deadlineMs: 60_000,
};

export interface CheckoutOptions {
  /** A git directory that holds the commit; only read. */
  readonly gitDir: string;
  readonly commit: CommitSha;
  /** Empty, or made by the checkout. The caller removes it, however this ends. */
  readonly targetDir: string;
  readonly limits?: Partial<CheckoutLimits>;
  readonly log: LogSink;
  readonly signal: AbortSignal;
}

/** A checked-out commit. Paths are relative to its root and `/`-separated. */
export interface Source {
  readonly dir: string;
  readonly files: number;
  readonly bytes: number;
  /** Paths of the symbolic links that were written. */
  readonly symlinks: readonly string[];
  /** What was not written, and why; each is in the log too. */
  readonly leftOut: readonly { readonly path: string; readonly reason: string }[];
}

/**
 * Writes the files of exactly this commit. The tree is walked first, no further than the limits, so that a repository which
 * is small as git stores it cannot fill the disk; only then git writes it, with no hook, filter or submodule.
 *
 * @throws Rejected `source-too-large`, `source-refused`; Retryable where git fails; the signal's reason where that aborted.
 */
export async function checkout(options: CheckoutOptions): Promise<Source> {
  const limits = { ...DEFAULT_CHECKOUT_LIMITS, ...options.limits };
  const deadline = AbortSignal.timeout(limits.deadlineMs);
  const commit: Commit = {
    gitDir: options.gitDir,
    sha: CommitSha.parse(options.commit),
    limits,
    signal: AbortSignal.any([options.signal, deadline]),
  };
  try {
    const tree = await walk(commit);
    const leftOut = await chooseLeftOut(commit, tree);
    for (const { path, reason } of leftOut) {
      options.log.write("checkout", `${printable(path)} is left out: ${reason}\n`);
    }
    await materialise(commit, options.targetDir, leftOut);
    const absent = new Set(leftOut.map(({ path }) => path));
    const symlinks = tree.symlinks.map(({ path }) => path).filter((path) => !absent.has(path));
    return {
      dir: options.targetDir,
      files: tree.files - leftOut.length,
      bytes: tree.bytes,
      symlinks,
      leftOut,
    };
  } catch (error) {
    options.signal.throwIfAborted();
    if (deadline.aborted)
      throw new Rejected(
        "source-too-large",
        `The repository could not be checked out within ${limits.deadlineMs / 1000} s: make it smaller.`,
      );
    if (error instanceof GitFailed)
      throw new Retryable("The repository could not be read.", { cause: error });
    throw error;
  }
}

interface Commit {
  readonly gitDir: string;
  readonly sha: CommitSha;
  readonly limits: CheckoutLimits;
  readonly signal: AbortSignal;
}

interface Link {
  readonly path: string;
  readonly object: string;
}

interface Tree {
  /** Submodules included. */
  readonly files: number;
  readonly bytes: number;
  readonly symlinks: readonly Link[];
  readonly submodules: readonly string[];
}

/** Longest target of a symbolic link that Linux takes. */
const MAX_LINK_BYTES = 4095;

/** The whole tree by name and size, read as git lists it and no further than the limits. */
async function walk(commit: Commit): Promise<Tree> {
  const { limits } = commit;
  const symlinks: Link[] = [];
  const submodules: string[] = [];
  const folded = new Map<string, string>();
  let entries = 0;
  let files = 0;
  let bytes = 0;
  const args = ["ls-tree", "-r", "-t", "-z", "-l", "--full-tree", commit.sha];
  for await (const record of listing(commit, args)) {
    const { mode, object, size, path, pathBytes } = parseEntry(record);
    entries += 1;
    if (entries > limits.maxEntries) throw tooLarge(`more than ${limits.maxEntries} files and folders`);
    checkPath(path, pathBytes, limits);
    if (mode === "040000") continue;
    files += 1;
    if (mode === "160000") {
      submodules.push(path);
      continue;
    }
    bytes += size;
    if (bytes > limits.maxTreeBytes)
      throw tooLarge(`more than ${Math.floor(limits.maxTreeBytes / 1024 / 1024)} MiB of files`);
    const twin = folded.get(path.toLowerCase());
    if (twin !== undefined)
      throw refused(`${printable(twin)} and ${printable(path)} differ only in the case of their letters`);
    folded.set(path.toLowerCase(), path);
    if (mode !== "120000") continue;
    if (size > MAX_LINK_BYTES) throw refused(`${printable(path)} is a symbolic link with too long a target`);
    symlinks.push({ path, object });
  }
  return { files, bytes, symlinks, submodules };
}

function parseEntry(record: Buffer): {
  mode: string;
  object: string;
  size: number;
  path: string;
  pathBytes: number;
} {
  const tab = record.indexOf(9);
  const [mode = "", , object = "", size = ""] = record.toString("latin1", 0, tab).split(/ +/);
  const raw = record.subarray(tab + 1);
  const path = raw.toString("utf8");
  if (!Buffer.from(path).equals(raw)) throw refused(`the name ${printable(path)} is not valid UTF-8`);
  return { mode, object, size: size === "-" ? 0 : Number(size), path, pathBytes: raw.length };
}

function checkPath(path: string, bytes: number, limits: CheckoutLimits): void {
  if (bytes > limits.maxPathBytes)
    throw refused(`the path ${printable(path)} is longer than ${limits.maxPathBytes} bytes`);
  const parts = path.split("/");
  if (parts.length > limits.maxDepth)
    throw refused(`the path ${printable(path)} is deeper than ${limits.maxDepth} folders`);
  const part = parts.at(-1) ?? "";
  if (Buffer.byteLength(part) > limits.maxPartBytes)
    throw refused(`the name ${printable(part)} is longer than ${limits.maxPartBytes} bytes`);
  if (isReserved(part)) throw refused(`the name ${printable(path)} is reserved to git`);
  // biome-ignore lint/suspicious/noControlCharactersInRegex: they are what is refused.
  if (/[\x00-\x1f\x7f\\]/.test(part))
    throw refused(`the name ${printable(path)} holds a control character or a backslash`);
}

/** `.`, `..`, and what some file system takes for `.git`: other cases, trailing dots and blanks, ignored code points, 8.3. */
function isReserved(part: string): boolean {
  if (part === "" || part === "." || part === "..") return true;
  const plain = part
    .replaceAll(/[\u200c-\u200f\u202a-\u202e\u206a-\u206f\ufeff]/g, "")
    .replace(/:.*$/, "")
    .replace(/[. ]+$/, "")
    .toLowerCase();
  return plain === ".git" || plain === "git~1";
}

async function chooseLeftOut(commit: Commit, tree: Tree): Promise<Source["leftOut"]> {
  const submodules = tree.submodules.map((path) => ({
    path,
    reason: "submodules are not fetched; put the files into the repository itself",
  }));
  const targets = await linkTargets(commit, tree.symlinks);
  const links = tree.symlinks.flatMap(({ path }, index) => {
    const reason = whyNot(path, targets[index]);
    return reason === undefined ? [] : [{ path, reason }];
  });
  return [...submodules, ...links];
}

function whyNot(path: string, target: string | undefined): string | undefined {
  if (target === undefined || target === "") return "the target of this symbolic link cannot be read";
  if (target.startsWith("/")) return "a symbolic link must be relative";
  // A way through `..` after another link can end elsewhere than it reads, so `..` may stand only at the beginning.
  const inside = target.replace(/^(\.\.?\/+)*(\.\.?$)?/, "");
  if (inside.split("/").includes(".."))
    return "the target of this symbolic link must be written without detours";
  const reached = posix.join(posix.dirname(path), target);
  if (reached === ".." || reached.startsWith("../")) return "a symbolic link must stay inside the repository";
  if (reached.split("/").some(isReservedFolder)) return "a symbolic link must not lead into git's own folder";
  return undefined;
}

function isReservedFolder(part: string): boolean {
  return part !== "." && part !== "" && isReserved(part);
}

/** The links' targets in their order, from one `cat-file --batch`. */
async function linkTargets(commit: Commit, links: readonly Link[]): Promise<(string | undefined)[]> {
  if (links.length === 0) return [];
  const input = links.map(({ object }) => `${object}\n`).join("");
  const chunks: Buffer[] = [];
  for await (const chunk of run(commit, ["cat-file", "--batch"], input)) chunks.push(chunk);
  const answer = Buffer.concat(chunks);
  let from = 0;
  return links.map(() => {
    const lineEnd = answer.indexOf(10, from);
    const size = Number(answer.toString("latin1", from, lineEnd).split(" ")[2]);
    if (!Number.isInteger(size)) throw new Error("git cat-file gave an answer that cannot be read");
    from = lineEnd + 1 + size + 1;
    return answer.toString("utf8", lineEnd + 1, lineEnd + 1 + size);
  });
}

/**
 * Through a git directory of its own that borrows nothing but the objects: the repository is only read, and none of its
 * settings, hooks and filters count. Its attributes outrank those in the tree, so files are written byte for byte.
 */
async function materialise(commit: Commit, targetDir: string, leftOut: Source["leftOut"]): Promise<void> {
  await mkdir(targetDir, { recursive: true });
  const gitDir = await mkdtemp(`${targetDir}.git-`);
  try {
    for (const folder of ["refs", "info"]) await mkdir(join(gitDir, folder));
    await writeFile(join(gitDir, "HEAD"), `${commit.sha}\n`);
    await writeFile(
      join(gitDir, "info", "attributes"),
      "* -text -eol -ident -filter -working-tree-encoding\n",
    );
    const options = {
      gitDir,
      env: {
        ...gitEnvironment(),
        GIT_OBJECT_DIRECTORY: join(commit.gitDir, "objects"),
        GIT_WORK_TREE: targetDir,
      },
      signal: commit.signal,
      timeoutMs: commit.limits.deadlineMs,
    };
    await git(["read-tree", commit.sha], options);
    if (leftOut.length > 0)
      await git(["update-index", "--force-remove", "-z", "--stdin"], {
        ...options,
        input: leftOut.map(({ path }) => `${path}\0`).join(""),
      });
    await git(["checkout-index", "--all", "--quiet", `--prefix=${targetDir}/`], options);
  } finally {
    await rm(gitDir, { recursive: true, force: true });
  }
}

async function* listing(commit: Commit, args: readonly string[]): AsyncGenerator<Buffer, void> {
  // A record can be as long as the deepest path; one that outgrows every limit ends the walk.
  let rest: Buffer = Buffer.alloc(0);
  for await (const chunk of run(commit, args)) {
    let from = 0;
    const data = rest.length === 0 ? chunk : Buffer.concat([rest, chunk]);
    for (let end = data.indexOf(0, from); end !== -1; end = data.indexOf(0, from)) {
      yield data.subarray(from, end);
      from = end + 1;
    }
    rest = data.subarray(from);
    if (rest.length > commit.limits.maxPathBytes + 1000)
      throw refused(`a path is longer than ${commit.limits.maxPathBytes} bytes`);
  }
}

/** What a git command prints, as it comes; leaving the loop early ends the command. */
async function* run(commit: Commit, args: readonly string[], input = ""): AsyncGenerator<Buffer, void> {
  const child = spawn("git", args, {
    env: { ...gitEnvironment(), GIT_DIR: commit.gitDir },
    stdio: ["pipe", "pipe", "pipe"],
    signal: commit.signal,
    killSignal: "SIGKILL",
  });
  const closed = new Promise<number | null>((resolve, reject) => {
    child.once("error", reject);
    child.once("close", resolve);
  });
  // It is awaited below, unless the loop is left early; then nobody asks how the command ended.
  closed.catch(() => undefined);
  let stderr = "";
  child.stderr.on("data", (chunk: Buffer) => {
    if (stderr.length < 2000) stderr += chunk.toString();
  });
  child.stdin.on("error", () => undefined);
  child.stdin.end(input);
  try {
    yield* child.stdout as Readable & AsyncIterable<Buffer>;
    const code = await closed;
    if (code !== 0) throw new GitFailed(args, code ?? undefined, stderr, undefined);
  } finally {
    child.kill("SIGKILL");
  }
}

function tooLarge(what: string): Rejected {
  return new Rejected("source-too-large", `The repository has ${what}: make it smaller.`);
}

function refused(what: string): Rejected {
  return new Rejected("source-refused", `The repository cannot be used: ${what}.`);
}

function printable(path: string): string {
  return JSON.stringify(path.length > 200 ? `${path.slice(0, 200)}…` : path);
}
