import { spawn } from "node:child_process";
import { once } from "node:events";
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { temporaryFolder } from "../../../test/support/temporary-folder.ts";
import { getProgram } from "../programs.ts";
import { type K6Result, readSummary } from "./summary.ts";

const SCRIPTS = fileURLToPath(new URL("../../k6/", import.meta.url));
/** Exit code of a run whose thresholds were crossed: the summary tells which. */
const THRESHOLDS_CROSSED = 99;
const OUTPUT_CHARACTERS = 4_000;

export interface K6Run {
  readonly script: string;
  /** What stands before its figures. */
  readonly title: string;
  readonly settings: Readonly<Record<string, string>>;
}

/** Runs a script to its end, and reads what it measured. */
export async function runK6({ script, title, settings }: K6Run): Promise<K6Result> {
  await using folder = await temporaryFolder();
  const summary = join(folder.path, "summary.json");
  const args = ["run", "--quiet", "--no-usage-report", "--no-color", `--summary-export=${summary}`];
  const child = spawn(getProgram("k6"), [...args, join(SCRIPTS, `${script}.ts`)], {
    env: { ...process.env, ...settings, NO_PROXY: "*" },
    stdio: ["ignore", "pipe", "pipe"],
  });
  let output = "";
  for (const stream of [child.stdout, child.stderr]) {
    stream.on("data", (chunk: Buffer) => {
      output = (output + chunk.toString()).slice(-OUTPUT_CHARACTERS);
    });
  }
  const [code] = await once(child, "close");
  if (code !== 0 && code !== THRESHOLDS_CROSSED)
    throw new Error(`k6 run ${script}.ts ended with ${code}:\n${output}`);
  return readSummary(await readFile(summary, "utf8"), title);
}
