import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { ReadyMessage } from "@openfaas-cloud/shared/process-message.ts";
import { EDGE_FLAGS, FEWER_ARENAS } from "../../../../supervisor/src/plane-process.ts";
import { CREDENTIAL } from "../../support/feed-server.ts";
import { tempDirectory, until } from "../../support/servers.ts";
import type { Lane } from "./lanes.ts";

const MAIN = join(import.meta.dirname, "../../../src/main.ts");

/** What the supervisor starts an edge with; where memory is the subject, it is that of an edge as it ships. */
export const AS_SUPERVISED = { NODE_OPTIONS: EDGE_FLAGS.join(" "), ...FEWER_ARENAS };

/** An edge whose memory, time and death are its own. */
export interface EdgeProcess extends AsyncDisposable {
  readonly port: number;
  readonly child: ChildProcess;
  /** What it wrote to its log at level error and above, and to standard error. Empty unless something is wrong. */
  readonly complaints: () => string;
  /** Resident memory now. */
  residentBytes(): Promise<number>;
  /** Forgets the highest resident memory so far, and gives the present one. */
  resetPeak(): Promise<number>;
  /** The highest resident memory since it was reset. */
  peakBytes(): Promise<number>;
  /** Processor time since the start, user and system. */
  cpuSeconds(): Promise<number>;
  metrics(): Promise<string>;
  /** The value of a metric, given its whole line but the number; 0 where there is no such line. */
  metric(line: string): Promise<number>;
  /** SIGTERM; resolves with the exit code. */
  stop(): Promise<number | null>;
}

export interface StartOptions {
  /** Its data directory; one of its own where there is none. */
  readonly data?: string;
  /** Sockets that listen already, for it to accept at. */
  readonly descriptors?: readonly number[];
}

/** For owners under `fn.test`, the system host under `console.test`; ready with the feed's table. */
export async function startEdgeProcess(
  controlPlane: string,
  lane: Lane,
  environment: Readonly<Record<string, string>> = {},
  { data, descriptors = [] }: StartOptions = {},
): Promise<EdgeProcess> {
  await using stack = new AsyncDisposableStack();
  const child = spawn(process.execPath, [MAIN], {
    env: {
      EDGE_PORT: "0",
      EDGE_DATA: data ?? stack.use(await tempDirectory()).path,
      EDGE_DRAIN_MS: "1000",
      EDGE_PLAIN_LANE: lane,
      FUNCTIONS_DOMAIN: "fn.test",
      SYSTEM_DOMAIN: "console.test",
      CONTROL_PLANE_URL: controlPlane,
      FEED_CREDENTIAL: CREDENTIAL,
      LOG_LEVEL: "error",
      ...(descriptors.length === 0 ? {} : { LISTEN_FDS: String(descriptors.length) }),
      ...environment,
    },
    stdio: ["ignore", "pipe", "pipe", ...descriptors, "ipc"],
  });
  const exited = once(child, "exit");
  stack.defer(async () => {
    child.kill("SIGKILL");
    await exited;
  });
  let complaints = "";
  const listen = (chunk: Buffer): void => {
    if (complaints.length < 64 * 1024) complaints += chunk.toString();
  };
  child.stdout?.on("data", listen);
  child.stderr?.on("data", listen);
  child.once("exit", (code, signal) => {
    complaints += `\nthe edge ended by itself: ${code ?? signal}`;
  });
  const [message] = await Promise.race([once(child, "message"), exited]);
  const { port, adminPort } = ReadyMessage.parse(message);
  const admin = `http://127.0.0.1:${adminPort}`;
  await until(async () => (await fetch(`${admin}/readyz`)).status === 200, "a table", 10_000);

  const owned = stack.move();
  const metrics = async (): Promise<string> => (await fetch(`${admin}/metrics`)).text();
  const status = async (field: string): Promise<number> => {
    const text = await readFile(`/proc/${child.pid}/status`, "utf8");
    return Number(new RegExp(`^${field}:\\s*(\\d+) kB`, "m").exec(text)?.[1]) * 1024;
  };
  return {
    port,
    child,
    complaints: () => complaints,
    residentBytes: () => status("VmRSS"),
    resetPeak: async () => {
      // proc_pid_clear_refs(5)
      await writeFile(`/proc/${child.pid}/clear_refs`, "5");
      return status("VmRSS");
    },
    peakBytes: () => status("VmHWM"),
    cpuSeconds: async () => Number(/^process_cpu_seconds_total (\S+)/m.exec(await metrics())?.[1]),
    metrics,
    metric: async (line) => {
      const found = (await metrics()).split("\n").find((candidate) => candidate.startsWith(`${line} `));
      return found === undefined ? 0 : Number(found.slice(line.length + 1));
    },
    stop: async () => {
      child.kill("SIGTERM");
      const [code] = (await exited) as [number | null];
      return code;
    },
    [Symbol.asyncDispose]: () => owned.disposeAsync(),
  };
}
