import { execFile, spawn } from "node:child_process";
import { once } from "node:events";
import { cp, mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { errorMessage, KnownError } from "@openfaas-cloud/shared/known-error.ts";

const EXAMPLE = fileURLToPath(new URL("../example", import.meta.url));
const run = promisify(execFile);

/** The platform runs without its example; the message says why it is not there. */
export class ExampleFailed extends KnownError<"example-failed"> {
  constructor(reason: string, cause?: unknown) {
    super("example-failed", `The bundled example was not deployed: ${reason}`, { cause });
  }
}

export interface ExamplePush {
  readonly owner: string;
  readonly token: string;
  readonly port: number;
  /** By which the edge knows that git is meant. */
  readonly systemHost: string;
  /** Told each line that the platform answers the push with. */
  say(line: string): void;
}

/**
 * Pushes the bundled repository as a person would, through the git endpoint.
 * @throws ExampleFailed
 */
export async function pushExample(push: ExamplePush): Promise<void> {
  const work = await mkdtemp(join(tmpdir(), "openfaas-cloud-example-"));
  try {
    await cp(EXAMPLE, work, { recursive: true });
    const environment = gitEnvironment(push);
    const git = (...args: string[]) => run("git", args, { cwd: work, env: environment });
    await git("init", "--quiet", "--initial-branch=main");
    await git("add", "--all");
    await git("commit", "--quiet", "--message=A function that says hello");
    await streamPush(push, work, environment);
  } catch (error) {
    throw error instanceof ExampleFailed ? error : new ExampleFailed(errorMessage(error), error);
  } finally {
    await rm(work, { recursive: true, force: true });
  }
}

async function streamPush(push: ExamplePush, cwd: string, env: NodeJS.ProcessEnv): Promise<void> {
  const url = `http://127.0.0.1:${push.port}/git/${push.owner}/example.git`;
  const child = spawn("git", ["push", url, "main"], { cwd, env, stdio: ["ignore", "ignore", "pipe"] });
  const others: string[] = [];
  createInterface(child.stderr).on("line", (line) => {
    if (line.startsWith("remote:")) push.say(`  ${line.trimEnd()}`);
    else others.push(line);
  });
  const [code] = await once(child, "close");
  if (code !== 0) throw new ExampleFailed(others.join("\n") || `git push ended with exit code ${code}.`);
}

/**
 * Nothing of the person's own git settings has a say. Not every machine resolves `system.localhost`, so the host is named
 * in a header; and the token travels in a header as well, since arguments can be read by everybody on the machine.
 */
function gitEnvironment({ owner, token, systemHost }: ExamplePush): NodeJS.ProcessEnv {
  const identity = { NAME: "OpenFaaS Cloud", EMAIL: "example@openfaas-cloud.invalid" };
  const headers = [
    `Host: ${systemHost}`,
    `Authorization: Basic ${Buffer.from(`${owner}:${token}`).toString("base64")}`,
  ];
  const settings: [string, string][] = [
    ["core.hooksPath", "/dev/null"],
    ...headers.map((header): [string, string] => ["http.extraHeader", header]),
  ];
  return {
    PATH: process.env["PATH"],
    HOME: process.env["HOME"],
    TMPDIR: process.env["TMPDIR"],
    NO_PROXY: "*",
    GIT_TERMINAL_PROMPT: "0",
    GIT_CONFIG_NOSYSTEM: "1",
    GIT_CONFIG_GLOBAL: "/dev/null",
    GIT_CONFIG_COUNT: String(settings.length),
    ...Object.fromEntries(
      settings.flatMap(([key, value], i) => [
        [`GIT_CONFIG_KEY_${i}`, key],
        [`GIT_CONFIG_VALUE_${i}`, value],
      ]),
    ),
    GIT_AUTHOR_NAME: identity.NAME,
    GIT_AUTHOR_EMAIL: identity.EMAIL,
    GIT_COMMITTER_NAME: identity.NAME,
    GIT_COMMITTER_EMAIL: identity.EMAIL,
  };
}
