import { execFile } from "node:child_process";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { heldTo } from "../server-process.ts";

const run = promisify(execFile);
const MAIN = fileURLToPath(new URL("open-loop-main.ts", import.meta.url));

export interface OpenLoopOptions {
  readonly port: number;
  readonly path: string;
  readonly host: string;
  readonly token?: string;
  /** The body that every answer has to have. */
  readonly answer: string;
  readonly perSecond: number;
  readonly connections: number;
  readonly warmUpS: number;
  readonly seconds: number;
}

export interface OpenLoopResult {
  readonly sent: number;
  /** From the moment a request was handed to a connection, or would have been had one been free. */
  readonly p50Ms: number;
  readonly p99Ms: number;
  /** How late the generator itself was. */
  readonly lagP99Ms: number;
  readonly failures: readonly string[];
}

/**
 * GETs at a fixed rate over connections that are kept and used in turn. wrk waits for an answer before it asks again, and k6
 * costs more than what is measured; this costs 20 µs a request and has a grain of 1 ms, so that 2,000/s come in pairs.
 */
export async function runOpenLoop(
  options: OpenLoopOptions,
  core: number | undefined,
): Promise<OpenLoopResult> {
  const { program, args } = heldTo(core, {
    program: process.execPath,
    args: [MAIN, JSON.stringify(options)],
  });
  const { stdout } = await run(program, [...args]);
  return JSON.parse(stdout);
}
