import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { connect, createServer } from "node:net";
import { availableParallelism } from "node:os";
import { setTimeout as sleep } from "node:timers/promises";
import { findProgram } from "./programs.ts";

const START_MS = 20_000;
const STOP_MS = 5_000;
const LOOK_EVERY_MS = 10;
const OUTPUT_CHARACTERS = 4_000;

/** Where processes run: the load generator with the upstream on one core, the proxy alone on the other. */
export interface Cores {
  readonly load: number | undefined;
  readonly proxy: number | undefined;
}

export const EVERYWHERE: Cores = { load: undefined, proxy: undefined };

/** One core for each side, where the machine has two and can hold processes to them. */
export function twoSides(): Cores {
  if (availableParallelism() < 2 || findProgram("taskset") === undefined) return EVERYWHERE;
  return { load: 0, proxy: 1 };
}

export interface Command {
  readonly program: string;
  readonly args: readonly string[];
}

export function heldTo(core: number | undefined, { program, args }: Command): Command {
  if (core === undefined) return { program, args };
  return { program: "taskset", args: ["--cpu-list", String(core), program, ...args] };
}

export interface ServerProcess extends AsyncDisposable {
  readonly pid: number;
}

export interface ServerOptions extends Command {
  readonly core: number | undefined;
  /** Ready is who accepts connections here. */
  readonly port: number;
  readonly environment?: Readonly<Record<string, string>>;
}

/** A server that ends with the bench. Rejects, with what it printed, where it ends before it accepts. */
export async function startServer(options: ServerOptions): Promise<ServerProcess> {
  const { program, args } = heldTo(options.core, options);
  const child = spawn(program, args, {
    env: { ...process.env, ...options.environment },
    stdio: ["ignore", "pipe", "pipe"],
  });
  let output = "";
  for (const stream of [child.stdout, child.stderr]) {
    stream.on("data", (chunk: Buffer) => {
      output = (output + chunk.toString()).slice(-OUTPUT_CHARACTERS);
    });
  }
  const server = serverProcess(child);
  try {
    await accepting(child, options.port);
    return server;
  } catch (error) {
    await server[Symbol.asyncDispose]();
    throw new Error(`${options.program} ${options.args.join(" ")} did not start:\n${output}`, {
      cause: error,
    });
  }
}

export function serverProcess(child: ChildProcess): ServerProcess {
  // Where the bench ends before its time, so does what it started.
  const kill = () => void child.kill("SIGTERM");
  process.once("exit", kill);
  return {
    pid: child.pid ?? 0,
    async [Symbol.asyncDispose]() {
      process.off("exit", kill);
      if (child.pid === undefined || hasEnded(child)) return;
      const ended = once(child, "exit");
      child.kill("SIGTERM");
      const tooLate = setTimeout(() => child.kill("SIGKILL"), STOP_MS);
      await ended;
      clearTimeout(tooLate);
    },
  };
}

async function accepting(child: ChildProcess, port: number): Promise<void> {
  let failure: Error | undefined;
  child.once("error", (error) => {
    failure = error;
  });
  const deadline = performance.now() + START_MS;
  while (!(await accepts(port))) {
    if (failure !== undefined) throw failure;
    if (hasEnded(child)) throw new Error(`ended with ${child.exitCode ?? child.signalCode}`);
    if (performance.now() > deadline) throw new Error(`did not accept connections within ${START_MS} ms`);
    await sleep(LOOK_EVERY_MS);
  }
}

function hasEnded({ exitCode, signalCode }: ChildProcess): boolean {
  return exitCode !== null || signalCode !== null;
}

function accepts(port: number): Promise<boolean> {
  const { promise, resolve } = Promise.withResolvers<boolean>();
  const socket = connect(port, "127.0.0.1");
  socket.once("connect", () => resolve(true));
  socket.once("error", () => resolve(false));
  return promise.finally(() => socket.destroy());
}

/** A port that nobody has now: for programs that cannot tell which one they got. */
export async function freePort(): Promise<number> {
  const server = createServer().listen(0, "127.0.0.1");
  await once(server, "listening");
  const address = server.address();
  if (address === null || typeof address === "string") throw new Error("not a TCP listener");
  server.close();
  await once(server, "close");
  return address.port;
}
