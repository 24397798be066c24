import { execFile } from "node:child_process";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { must } from "@openfaas-cloud/shared/must.ts";
import { z } from "zod";
import { getProgram } from "../programs.ts";
import { heldTo } from "../server-process.ts";
import { ANSWERS, type Case, HOST, REQUEST_BODY } from "../workload.ts";

const run = promisify(execFile);
const CHECK = fileURLToPath(new URL("check.lua", import.meta.url));
/** The bodies that are checked are repetitions of so many characters. */
const PATTERN_LENGTH = 10;

export interface WrkOptions {
  readonly port: number;
  readonly path: string;
  readonly asked: Case;
  readonly token: string;
  readonly connections: number;
  readonly seconds: number;
  readonly core: number | undefined;
}

export interface WrkResult {
  readonly requestsPerS: number;
  readonly p50Ms: number;
  readonly p99Ms: number;
  /** Empty where every request was answered as it should be. */
  readonly failures: readonly string[];
}

/** wrk with one thread, each answer checked for its status and its whole body. */
export async function runWrk(options: WrkOptions): Promise<WrkResult> {
  const { asked, connections, seconds } = options;
  const wrk = heldTo(options.core, {
    program: getProgram("wrk"),
    args: [
      ...["-t1", `-c${connections}`, `-d${seconds}s`, "--timeout", "10s", "-s", CHECK],
      `http://127.0.0.1:${options.port}${options.path}`,
      "--",
      asked.method,
      HOST,
      asked.signedIn ? options.token : "",
      asked.method === "POST" ? REQUEST_BODY : "",
      String(ANSWERS[asked.size].length / PATTERN_LENGTH),
    ],
  });
  const { stdout } = await run(wrk.program, [...wrk.args]);
  return parseWrk(stdout);
}

const Result = z.object({
  requests: z.number(),
  durationUs: z.number().positive(),
  wrong: z.number(),
  firstWrong: z.string(),
  errors: z.object({ connect: z.number(), read: z.number(), write: z.number(), timeout: z.number() }),
  p50Us: z.number(),
  p99Us: z.number(),
});

/** Reads the line that `check.lua` prints at the end of wrk's own words. */
export function parseWrk(output: string): WrkResult {
  const line = must(/^result: (.*)$/m.exec(output)?.[1], `a result in the output of wrk:\n${output}`);
  const { requests, durationUs, wrong, firstWrong, errors, p50Us, p99Us } = Result.parse(JSON.parse(line));
  const failures = Object.entries(errors)
    .filter(([, count]) => count > 0)
    .map(([kind, count]) => `${count} × ${kind} error`);
  if (wrong > 0) failures.push(`${wrong} wrong answers, the first a ${firstWrong}`);
  if (requests === 0) failures.push("no answer at all");
  return { requestsPerS: requests / (durationUs / 1e6), p50Ms: p50Us / 1000, p99Ms: p99Us / 1000, failures };
}
