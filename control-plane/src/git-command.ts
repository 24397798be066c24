import { execFile } from "node:child_process";

/** git ended with an exit code that its caller did not ask for. The message is for logs: it may hold paths of this machine. */
export class GitFailed extends Error {
  readonly exitCode: number | undefined;

  constructor(args: readonly string[], exitCode: number | undefined, stderr: string, cause: unknown) {
    super(
      `git ${args[0]} failed${exitCode === undefined ? "" : ` (${exitCode})`}: ${stderr.slice(0, 2000)}`,
      {
        cause,
      },
    );
    this.exitCode = exitCode;
  }
}

/**
 * The whole environment of a git child: nothing of ours but where programs are found, and no configuration but `configFile`,
 * neither the machine's nor the account's.
 */
export function gitEnvironment(configFile = "/dev/null"): Record<string, string> {
  return {
    PATH: process.env["PATH"] ?? "/usr/local/bin:/usr/bin:/bin",
    LC_ALL: "C",
    GIT_CONFIG_NOSYSTEM: "1",
    GIT_CONFIG_GLOBAL: configFile,
    GIT_ATTR_NOSYSTEM: "1",
    GIT_NO_REPLACE_OBJECTS: "1",
    GIT_TERMINAL_PROMPT: "0",
  };
}

export interface GitOptions {
  readonly env: Readonly<Record<string, string>>;
  readonly gitDir?: string;
  readonly input?: string;
  readonly signal?: AbortSignal;
  readonly timeoutMs?: number;
}

/** What a short git command prints. For commands with small answers only: at most 1 MiB is read. */
export function git(args: readonly string[], options: GitOptions): Promise<string> {
  return new Promise((resolve, reject) => {
    const child = execFile(
      "git",
      args,
      {
        env: { ...options.env, ...(options.gitDir === undefined ? {} : { GIT_DIR: options.gitDir }) },
        encoding: "utf8",
        maxBuffer: 1024 * 1024,
        timeout: options.timeoutMs ?? 30_000,
        killSignal: "SIGKILL",
        ...(options.signal === undefined ? {} : { signal: options.signal }),
      },
      (error, stdout, stderr) => {
        if (error === null) resolve(stdout);
        else if (options.signal?.aborted) reject(options.signal.reason);
        else
          reject(new GitFailed(args, typeof error.code === "number" ? error.code : undefined, stderr, error));
      },
    );
    // git may end without having read all of it; its exit code tells more than a broken pipe does.
    child.stdin?.on("error", () => undefined);
    child.stdin?.end(options.input ?? "");
  });
}
