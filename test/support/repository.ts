import { execFile, spawn } from "node:child_process";
import { once } from "node:events";
import { mkdir, rm, symlink, writeFile } from "node:fs/promises";
import { dirname, join } from "node:path";
import { promisify } from "node:util";
import type { Ready } from "./platform.ts";
import { type TemporaryFolder, temporaryFolder } from "./temporary-folder.ts";

const run = promisify(execFile);

export interface PushResult {
  /** Exit code of `git push`. */
  readonly code: number | null;
  /** Everything it printed. */
  readonly output: string;
  /** When it was started, as `performance.now()` has it, and how long it took. */
  readonly startedAt: number;
  readonly ms: number;
}

export type Files = Readonly<Record<string, string | { readonly linkTo: string } | null>>;

/** A person's clone, pushed with real git to the URL that the platform prints. */
export class TestRepository implements AsyncDisposable {
  readonly #folder: TemporaryFolder;
  readonly #ready: Ready;
  readonly name: string;

  private constructor(folder: TemporaryFolder, ready: Ready, name: string) {
    this.#folder = folder;
    this.#ready = ready;
    this.name = name;
  }

  static async create(
    platform: { readonly ready: Ready },
    name: string,
    files: Files,
  ): Promise<TestRepository> {
    const repository = new TestRepository(await temporaryFolder(), platform.ready, name);
    await repository.git("init", "--quiet", "--initial-branch=main");
    await repository.commit(files);
    return repository;
  }

  /** Writes the files (`null` removes one) and commits everything. Resolves to the commit. */
  async commit(files: Files): Promise<string> {
    for (const [name, content] of Object.entries(files)) {
      const path = join(this.#folder.path, name);
      await rm(path, { recursive: true, force: true });
      if (content === null) continue;
      await mkdir(dirname(path), { recursive: true });
      if (typeof content === "string") await writeFile(path, content);
      else await symlink(content.linkTo, path);
    }
    await this.git("add", "--all");
    await this.git("commit", "--quiet", "--allow-empty", "--message=change");
    return this.git("rev-parse", "HEAD");
  }

  /** Commits what is given, and pushes; to main unless told otherwise. */
  async push(files: Files = {}, options: { token?: string; branch?: string } = {}): Promise<PushResult> {
    if (Object.keys(files).length > 0) await this.commit(files);
    const startedAt = performance.now();
    const child = spawn(
      "git",
      ["push", this.#url(options.token), `HEAD:refs/heads/${options.branch ?? "main"}`],
      {
        cwd: this.#folder.path,
        env: this.#environment(),
        stdio: ["ignore", "pipe", "pipe"],
      },
    );
    const chunks: Buffer[] = [];
    for (const stream of [child.stdout, child.stderr])
      stream.on("data", (chunk: Buffer) => chunks.push(chunk));
    const [code] = await once(child, "close");
    const ms = performance.now() - startedAt;
    return { code, output: Buffer.concat(chunks).toString("utf8"), startedAt, ms };
  }

  /** Where the platform's branch is; `undefined` where it has none. */
  async remoteHead(branch = "main"): Promise<string | undefined> {
    const listed = await this.git("ls-remote", this.#url(), `refs/heads/${branch}`);
    return listed.split("\t")[0] || undefined;
  }

  /** Forgets commits that were refused. */
  async reset(commit: string): Promise<void> {
    await this.git("reset", "--quiet", "--hard", commit);
  }

  async git(...args: string[]): Promise<string> {
    const { stdout } = await run("git", args, { cwd: this.#folder.path, env: this.#environment() });
    return stdout.trim();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#folder[Symbol.asyncDispose]();
  }

  #url(token = this.#ready.token): string {
    const { gitBaseUrl, owner } = this.#ready;
    return `${gitBaseUrl.replace("://", `://${owner}:${token}@`)}/${owner}/${this.name}.git`;
  }

  #environment(): NodeJS.ProcessEnv {
    const { hostname, port } = new URL(this.#ready.gitBaseUrl);
    return {
      PATH: process.env["PATH"],
      HOME: this.#folder.path,
      NO_PROXY: "*",
      GIT_TERMINAL_PROMPT: "0",
      GIT_CONFIG_NOSYSTEM: "1",
      GIT_CONFIG_GLOBAL: "/dev/null",
      GIT_CONFIG_COUNT: "1",
      GIT_CONFIG_KEY_0: "http.curloptResolve",
      GIT_CONFIG_VALUE_0: `${hostname}:${port}:127.0.0.1`,
      GIT_AUTHOR_NAME: "Alice",
      GIT_AUTHOR_EMAIL: "alice@example.invalid",
      GIT_COMMITTER_NAME: "Alice",
      GIT_COMMITTER_EMAIL: "alice@example.invalid",
    };
  }
}

/** A stack file of node functions, each with its handler in the folder of its name. */
export function stackFile(...names: string[]): string {
  const functions = names.map((name) => `  ${name}:\n    lang: node22\n    handler: ./${name}\n`);
  return `version: 1.0\nprovider:\n  name: openfaas\nfunctions:\n${functions.join("")}`;
}

/** A handler that always answers the same. */
export function handlerSaying(text: string): string {
  return `"use strict";\nmodule.exports = async (event, context) => context.status(200).succeed(${JSON.stringify(text)});\n`;
}

/** A `package.json` that makes the function's build run a program: without dependencies, so that nothing is installed. */
export function packageWithBuildStep(program: string): string {
  return JSON.stringify({ private: true, scripts: { test: `node -e ${JSON.stringify(program)}` } });
}
