import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";
import { eventually } from "./eventually.ts";
import { type Answer, HttpClient } from "./http-client.ts";

const MAIN = fileURLToPath(new URL("../../supervisor/src/main.ts", import.meta.url));
/** As `npm start` sets it. */
const COMPILE_CACHE = fileURLToPath(new URL("../../node_modules/.cache/compile", import.meta.url));
const START_MS = 60_000;
const STOP_MS = 40_000;

/** The line that `--json` prints. */
export interface Ready {
  readonly dashboardUrl: string;
  readonly signInUrl: string;
  readonly gitBaseUrl: string;
  readonly owner: string;
  readonly token: string;
  readonly exampleUrl: string | null;
  readonly listensOn?: string;
  readonly edgeMetricsUrl: string;
  readonly controlPlaneMetricsUrl: string;
  readonly pids: { readonly supervisor: number; readonly edge: number; readonly controlPlane: number };
}

export interface StartOptions {
  readonly data: string;
  readonly args?: readonly string[];
  readonly environment?: Readonly<Record<string, string>>;
}

/** The whole platform as `npm start` starts it, on a free port, for the owner `alice` unless the arguments say otherwise. */
export class TestPlatform implements AsyncDisposable {
  readonly ready: Ready;
  readonly data: string;
  readonly #process: ChildProcess;
  readonly #stderr: string[];
  readonly #http = new HttpClient();

  private constructor(started: { ready: Ready; data: string; process: ChildProcess; stderr: string[] }) {
    this.ready = started.ready;
    this.data = started.data;
    this.#process = started.process;
    this.#stderr = started.stderr;
  }

  static async start({ data, args = ["--empty"], environment = {} }: StartOptions): Promise<TestPlatform> {
    const owner = args.includes("--owner") ? [] : ["--owner", "alice"];
    const child = spawn(
      process.execPath,
      [MAIN, "--json", "--port", "0", "--data", data, ...owner, ...args],
      {
        env: { ...process.env, NODE_OPTIONS: "", NODE_COMPILE_CACHE: COMPILE_CACHE, ...environment },
        stdio: ["ignore", "pipe", "pipe"],
      },
    );
    const stderr: string[] = [];
    createInterface(child.stderr).on("line", (line) => void stderr.push(line));
    const first = Promise.race([
      once(createInterface(child.stdout), "line").then(([line]) => String(line)),
      once(child, "close").then(() => undefined),
    ]);
    const tooLate = setTimeout(() => child.kill("SIGTERM"), START_MS);
    const line = await first;
    clearTimeout(tooLate);
    if (line === undefined) {
      throw new Error(`The platform did not start:\n${stderr.join("\n")}\n${logsOf(data)}`);
    }
    return new TestPlatform({ ready: JSON.parse(line), data, process: child, stderr });
  }

  /** What it has told the person so far, in lines. */
  get told(): readonly string[] {
    return this.#stderr;
  }

  /** The planes' logs: for a failure's message. */
  get logs(): string {
    return logsOf(this.data);
  }

  functionUrl(name: string): string {
    const { gitBaseUrl, owner } = this.ready;
    return `${new URL(gitBaseUrl).origin.replace("//system.", `//${owner}.`)}/${name}`;
  }

  get(url: string, options?: Parameters<HttpClient["get"]>[1]): Promise<Answer> {
    return this.#http.get(url, options);
  }

  /** Calls a procedure of the API with the local owner's access token. */
  async call(kind: "query" | "mutation", procedure: string, input: unknown, headers = {}): Promise<Answer> {
    const url = `${new URL(this.ready.gitBaseUrl).origin}/api/trpc/${procedure}`;
    const authorized = { headers: { authorization: `Bearer ${this.ready.token}`, ...headers } };
    return kind === "mutation"
      ? this.#http.post(url, input, authorized)
      : this.#http.get(`${url}?input=${encodeURIComponent(JSON.stringify(input))}`, authorized);
  }

  /** The function's answer, once it is a 200. */
  answerOf(name: string): Promise<string> {
    return eventually(
      `${name} answers 200`,
      async () => {
        const answer = await this.get(this.functionUrl(name)).catch(() => undefined);
        return answer?.status === 200 ? answer.body : undefined;
      },
      { withinMs: 20_000 },
    );
  }

  async metrics(plane: "edge" | "controlPlane"): Promise<string> {
    const { edgeMetricsUrl, controlPlaneMetricsUrl } = this.ready;
    return (await this.get(plane === "edge" ? edgeMetricsUrl : controlPlaneMetricsUrl)).body;
  }

  /** As Ctrl-C does. */
  stop(signal: NodeJS.Signals = "SIGINT"): Promise<number | null> {
    return this.#end(signal);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#http[Symbol.dispose]();
    await this.#end("SIGTERM");
  }

  async #end(signal: NodeJS.Signals): Promise<number | null> {
    const child = this.#process;
    if (child.exitCode === null && child.signalCode === null) {
      const ended = once(child, "exit");
      child.kill(signal);
      const tooLate = setTimeout(() => child.kill("SIGKILL"), STOP_MS);
      await ended;
      clearTimeout(tooLate);
    }
    return child.exitCode;
  }
}

function logsOf(data: string): string {
  return ["control-plane", "edge"]
    .map((name) => {
      try {
        const lines = readFileSync(join(data, "logs", `${name}.log`), "utf8")
          .trimEnd()
          .split("\n");
        return `--- ${name}.log\n${lines.slice(-40).join("\n")}`;
      } catch {
        return `--- no ${name}.log`;
      }
    })
    .join("\n");
}
