import { spawn } from "node:child_process";
import { mkdir, rm, writeFile } from "node:fs/promises";
import { dirname, join } from "node:path";
import { gitEnvironment } from "../../src/git-command.ts";

export interface Finished {
  readonly code: number | null;
  readonly stdout: string;
  /** What the person sees. */
  readonly stderr: string;
}

export interface Running {
  readonly finished: Promise<Finished>;
  /** Resolves once the text stands in what was printed so far; rejects if the program ends without it. */
  printed(text: string): Promise<void>;
  kill(): void;
}

const PERSON = {
  GIT_AUTHOR_NAME: "Alice",
  GIT_AUTHOR_EMAIL: "alice@example.test",
  GIT_COMMITTER_NAME: "Alice",
  GIT_COMMITTER_EMAIL: "alice@example.test",
};

/** Starts a person's git in a folder, with nothing of this machine's configuration. */
export function startGit(
  cwd: string,
  args: readonly string[],
  options: { readonly env?: Record<string, string>; readonly input?: string | Buffer } = {},
): Running {
  const child = spawn("git", ["-c", "init.defaultBranch=main", "-c", "protocol.file.allow=always", ...args], {
    cwd,
    env: { ...gitEnvironment(), ...PERSON, ...options.env },
    detached: true,
  });
  child.stdin.on("error", () => undefined);
  child.stdin.end(options.input ?? "");
  let stdout = "";
  let stderr = "";
  const waiting = new Set<() => void>();
  const changed = () => {
    for (const check of waiting) check();
  };
  child.stdout.on("data", (chunk) => {
    stdout += chunk;
    changed();
  });
  child.stderr.on("data", (chunk) => {
    stderr += chunk;
    changed();
  });
  const finished = new Promise<Finished>((resolve) =>
    child.on("close", (code) => resolve({ code, stdout, stderr })),
  );
  return {
    finished,
    printed: (text) =>
      new Promise((resolve, reject) => {
        const check = () => {
          if (!(stdout + stderr).includes(text)) return;
          waiting.delete(check);
          resolve();
        };
        waiting.add(check);
        check();
        void finished.then(() => reject(new Error(`ended without "${text}": ${stderr}`)));
      }),
    kill: () => void process.kill(-(child.pid ?? 0), "SIGKILL"),
  };
}

/** What a git that must succeed prints. */
export async function runGit(
  cwd: string,
  args: readonly string[],
  options: { readonly env?: Record<string, string>; readonly input?: string | Buffer } = {},
): Promise<string> {
  const { code, stdout, stderr } = await startGit(cwd, args, options).finished;
  if (code !== 0) throw new Error(`git ${args.join(" ")} ended with ${code}: ${stderr}`);
  return stdout.trim();
}

/** Writes files and removes those that are `null`, commits all of it, and names the commit. */
export async function commitFiles(
  cwd: string,
  files: Readonly<Record<string, string | Buffer | null>>,
  message = "a change",
): Promise<string> {
  for (const [path, content] of Object.entries(files)) {
    if (content === null) {
      await rm(join(cwd, path));
      continue;
    }
    await mkdir(dirname(join(cwd, path)), { recursive: true });
    await writeFile(join(cwd, path), content);
  }
  await runGit(cwd, ["add", "--all"]);
  await runGit(cwd, ["commit", "--quiet", "--allow-empty", "-m", message]);
  return runGit(cwd, ["rev-parse", "HEAD"]);
}
