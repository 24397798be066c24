import { randomUUID } from "node:crypto";
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { describeEnding } from "./ending.ts";
import type { Mount, Sandbox } from "./sandbox.ts";

const DEADLINE_MS = 10_000;
const PROBE = new URL("./probe.mjs", import.meta.url);

/** Runs a probe in the sandbox that tries what a hostile function would; says what it could do, `undefined` when nothing. */
export async function findSandboxFault(sandbox: Sandbox, dataDir: string): Promise<string | undefined> {
  const folder = mkdtempSync(join(dataDir, "self-test-"));
  try {
    return await probe(sandbox, folder);
  } catch (error) {
    return `bubblewrap did not start: ${error instanceof Error ? error.message : String(error)}`;
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

async function probe(sandbox: Sandbox, folder: string): Promise<string | undefined> {
  const canary = join(folder, "canary");
  const work: Mount = { host: join(folder, "work"), inside: "/home/app", access: "write" };
  mkdirSync(work.host);
  writeFileSync(canary, randomUUID());
  let output = "";
  const process_ = sandbox.start({
    id: `self-test-${randomUUID().slice(0, 8)}`,
    kind: "build",
    file: process.execPath,
    args: [
      ...["--input-type=module", "--eval", readFileSync(PROBE, "utf8")],
      ...["--", canary, sandbox.view(work)],
    ],
    cwd: sandbox.view(work),
    environment: {},
    mounts: [work, { host: process.execPath, inside: process.execPath, access: "read" }],
    limits: { memoryBytes: 512 * 1024 * 1024, processes: 64, tmpBytes: 1024 * 1024, background: false },
    output: { kind: "stream", write: (chunk) => (output += Buffer.from(chunk).toString()) },
    statusFile: join(folder, "status"),
  });
  const { promise: stuck, reject } = Promise.withResolvers<never>();
  const kill = () => void process_.kill("no answer within 10 seconds").catch(reject);
  const deadline = setTimeout(kill, DEADLINE_MS);
  const ending = await Promise.race([process_.ended, stuck]).finally(() => clearTimeout(deadline));
  const report = /\{"faults":.*\}$/s.exec(output)?.[0];
  if (ending.code !== 0 || report === undefined) {
    const detail = output.trim().split("\n").at(-1);
    return `a probe in bubblewrap failed (${describeEnding(ending)}${detail ? `: ${detail}` : ""})`;
  }
  const { faults } = JSON.parse(report) as { readonly faults: readonly string[] };
  if (!existsSync(join(work.host, "written"))) return "what a probe wrote in bubblewrap did not arrive";
  return faults.length === 0 ? undefined : `a probe in bubblewrap was not contained: ${faults.join("; ")}`;
}
