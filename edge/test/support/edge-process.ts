import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { ReadyMessage } from "@openfaas-cloud/shared/process-message.ts";
import { CREDENTIAL } from "./feed-server.ts";
import { until } from "./servers.ts";

const MAIN = join(import.meta.dirname, "../../src/main.ts");

export interface EdgeProcessOptions {
  readonly controlPlane: string;
  readonly data: string;
  readonly environment?: Readonly<Record<string, string>>;
  /** Listening sockets to be handed to it. */
  readonly descriptors?: readonly number[];
  /** Whether it is told of its parent's end; `false` for one that is started by hand. */
  readonly supervised?: boolean;
  readonly program?: string;
  /** Begun as soon as there is a process. */
  readonly whileStarting?: (child: ChildProcess) => Promise<void>;
}

export interface LogLine {
  readonly msg?: string;
  readonly pid?: number;
  readonly worker?: number;
  readonly [key: string]: unknown;
}

/** `edge/src/main.ts` as a process of its own, with whatever processes it starts. */
export class EdgeProcess implements AsyncDisposable {
  readonly child: ChildProcess;
  readonly exited: Promise<number | null>;
  #ready: ReadyMessage | undefined;
  #output = "";

  /** Resolves when it is ready; rejects where it ended before. */
  static async start(options: EdgeProcessOptions): Promise<EdgeProcess> {
    const edge = new EdgeProcess(options);
    const meanwhile = options.whileStarting?.(edge.child);
    await until(() => edge.#ready !== undefined || edge.ended, "the edge's start", 20_000);
    if (edge.#ready === undefined)
      throw new Error(`the edge ended (${edge.child.exitCode}): ${edge.output()}`);
    await meanwhile;
    return edge;
  }

  private constructor(options: EdgeProcessOptions) {
    const { descriptors = [], supervised = true, program = MAIN } = options;
    this.child = spawn(process.execPath, [program], {
      env: {
        EDGE_PORT: "0",
        EDGE_DATA: options.data,
        EDGE_DRAIN_MS: "5000",
        CONTROL_PLANE_URL: options.controlPlane,
        FEED_CREDENTIAL: CREDENTIAL,
        ...(descriptors.length === 0 ? {} : { LISTEN_FDS: String(descriptors.length) }),
        ...options.environment,
      },
      stdio: ["ignore", "pipe", "pipe", ...descriptors, ...(supervised ? (["ipc"] as const) : [])],
    });
    this.child.stdout?.on("data", (chunk: Buffer) => {
      this.#output += chunk.toString();
      // Without a channel it says so in its log alone.
      if (supervised || this.#ready !== undefined) return;
      const line = this.log().find(({ msg, worker }) => msg === "edge listening" && worker === undefined);
      if (line !== undefined) this.#ready = ReadyMessage.parse({ ...line, kind: "ready" });
    });
    // Told when it does not start.
    this.child.stderr?.on("data", (chunk: Buffer) => {
      this.#output += chunk.toString();
    });
    this.child.on("message", (message) => {
      this.#ready = ReadyMessage.parse(message);
    });
    this.exited = once(this.child, "exit").then(([code]) => code as number | null);
  }

  get ready(): ReadyMessage {
    if (this.#ready === undefined) throw new Error("not ready yet");
    return this.#ready;
  }

  get ended(): boolean {
    return this.child.exitCode !== null || this.child.signalCode !== null;
  }

  readonly output = (): string => this.#output;

  /** What it and its children have logged so far. */
  log(): LogLine[] {
    const whole = this.#output.slice(0, this.#output.lastIndexOf("\n"));
    return whole.split("\n").flatMap((line) => (line.startsWith("{") ? [JSON.parse(line) as LogLine] : []));
  }

  said(msg: string): LogLine[] {
    return this.log().filter((line) => line.msg === msg);
  }

  /** The process that is the worker of a slot now. */
  workerPid(slot: number): number {
    const pid = this.said("worker ready").findLast(({ worker }) => worker === slot)?.pid;
    if (pid === undefined) throw new Error(`worker ${slot} was never ready`);
    return pid;
  }

  async isReady(): Promise<boolean> {
    return (await fetch(`http://127.0.0.1:${this.ready.adminPort}/readyz`)).status === 200;
  }

  async metrics(): Promise<string> {
    return (await fetch(`http://127.0.0.1:${this.ready.adminPort}/metrics`)).text();
  }

  /** The value of a metric, given its whole line but the number. */
  async metric(line: string): Promise<number> {
    const found = (await this.metrics()).split("\n").find((candidate) => candidate.startsWith(`${line} `));
    return found === undefined ? 0 : Number(found.slice(line.length + 1));
  }

  async [Symbol.asyncDispose](): Promise<void> {
    const started = this.log().flatMap(({ pid }) => pid ?? []);
    this.child.kill("SIGKILL");
    await this.exited;
    for (const pid of started) if (isRunning(pid)) process.kill(pid, "SIGKILL");
    await until(() => !started.some(isRunning), "the processes' end");
  }
}

/** One whose parent is gone may have ended and still be there, until init has noticed. */
export function isRunning(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return !/^\d+ \(.*\) Z/.test(readFileSync(`/proc/${pid}/stat`, "utf8"));
  } catch (error) {
    return error instanceof Error && "path" in error && !existsSync("/proc/self/stat");
  }
}
