import { existsSync, readdirSync, readFileSync } from "node:fs";
import { cp, mkdir, mkdtemp, writeFile } from "node:fs/promises";
import { dirname, join } from "node:path";
import { FunctionName, OwnerSlug } from "@openfaas-cloud/shared/names.ts";
import { onTestFinished } from "vitest";
import { temporaryFolder } from "../../../test/support/temporary-folder.ts";
import type { FunctionSpec } from "../../src/function-spec.ts";
import type { Artifact, Builder } from "../../src/ports/builder/builder.ts";
import { openProcessBuilder, type ProcessBuilderOptions } from "../../src/ports/builder/process.ts";
import type { LogStore } from "../../src/ports/log-store/log-store.ts";
import { openProcessRuntime, type ProcessRuntimeOptions } from "../../src/ports/runtime/process.ts";
import type { RevisionSpec, Runtime } from "../../src/ports/runtime/runtime.ts";
import { openSandbox, type SandboxOptions } from "../../src/sandbox/open-sandbox.ts";
import { openToolchains } from "../../src/templates/toolchains.ts";
import { functionSpec } from "./function-spec.ts";
import { CountingSink, MemoryLogStore } from "./memory-log-store.ts";

export type Mode = "sandboxed" | "unsandboxed";

const FIXTURES = join(import.meta.dirname, "../fixtures/functions");
const toolchains = openToolchains();

/** Process builder and runtime on a data folder of the test's own; nothing of them is left when the test ends. */
export async function openProcessPlatform(
  mode: Mode,
  options: Partial<ProcessBuilderOptions> &
    Partial<ProcessRuntimeOptions> &
    Pick<SandboxOptions, "cgroups" | "killDeadlineMs"> = {},
): Promise<ProcessPlatform> {
  const folder = await temporaryFolder();
  // Before anything can fail; what is registered later runs first.
  onTestFinished(() => folder[Symbol.asyncDispose]());
  const dataDir = join(folder.path, "data");
  const sandbox = await openSandbox({
    dataDir,
    mode: mode === "sandboxed" ? "auto" : "none",
    cgroups: options.cgroups ?? "auto",
    ...(options.killDeadlineMs === undefined ? {} : { killDeadlineMs: options.killDeadlineMs }),
  });
  if (mode === "sandboxed" && sandbox.isolation.kind !== "sandboxed")
    throw new Error(sandbox.isolation.reason);
  const logs = new MemoryLogStore();
  const shared = { ...options, dataDir, sandbox, toolchains: await toolchains };
  const open = async () => ({
    builder: await openProcessBuilder(shared),
    runtime: await openProcessRuntime({ ...shared, logs: logs as unknown as LogStore }),
  });
  const platform = new ProcessPlatform({ ...(await open()), folder: folder.path, dataDir, logs, mode, open });
  onTestFinished(async () => {
    await platform.runtime.stopAll({ graceMs: 0 });
    await platform.runtime[Symbol.asyncDispose]();
    await platform.builder[Symbol.asyncDispose]();
  });
  return platform;
}

interface Parts {
  readonly folder: string;
  readonly dataDir: string;
  readonly logs: MemoryLogStore;
  readonly mode: Mode;
  readonly open: () => Promise<{ readonly builder: Builder; readonly runtime: Runtime }>;
}

export class ProcessPlatform {
  readonly parts: Parts;
  readonly log = new CountingSink();
  builder: Builder;
  runtime: Runtime;
  #count = 0;

  constructor(parts: Parts & { readonly builder: Builder; readonly runtime: Runtime }) {
    this.parts = parts;
    this.builder = parts.builder;
    this.runtime = parts.runtime;
  }

  /** As a control plane that is started anew on the same data. */
  async reopen(): Promise<void> {
    await this.runtime[Symbol.asyncDispose]();
    ({ builder: this.builder, runtime: this.runtime } = await this.parts.open());
  }

  /** A repository that holds these files, and nothing else. */
  async source(files: Readonly<Record<string, string>>): Promise<string> {
    const folder = await mkdtemp(join(this.parts.folder, "source-"));
    for (const [path, content] of Object.entries(files)) {
      await mkdir(dirname(join(folder, path)), { recursive: true });
      await writeFile(join(folder, path), content);
    }
    return folder;
  }

  async fixture(name: string): Promise<string> {
    const folder = await mkdtemp(join(this.parts.folder, "source-"));
    await cp(join(FIXTURES, name), join(folder, "handler"), { recursive: true });
    return folder;
  }

  build(
    sourceDir: string,
    spec: Partial<FunctionSpec> = {},
    options: { readonly signal?: AbortSignal; readonly ownerId?: string } = {},
  ): Promise<Artifact> {
    return this.builder.build(
      {
        runId: `run-${++this.#count}`,
        ownerId: options.ownerId ?? "owner-1",
        spec: functionSpec(spec),
        sourceDir,
      },
      { log: this.log, signal: options.signal ?? new AbortController().signal },
    );
  }

  async buildFixture(name: string, lang = "node22"): Promise<Artifact> {
    return this.build(await this.fixture(name), { lang });
  }

  /** Starts a revision of the artifact; `call` asks its first replica. */
  async start(artifact: Artifact, spec: Partial<RevisionSpec> = {}, signal = new AbortController().signal) {
    const revision = revisionSpec(artifact, spec);
    const upstreams = await this.runtime.start(revision, { log: this.log, signal });
    const url = upstreams[0]?.url ?? "";
    const call = (path: string, init?: RequestInit) => fetch(`${url}${path}`, init);
    const ref = { revisionId: revision.revisionId, ownerId: revision.ownerId };
    return { ref, upstreams, url, call, ask: async (path: string) => (await call(path)).text() };
  }

  replica(revisionId = "revision-1") {
    return this.runtime.list().find((running) => running.revisionId === revisionId)?.replicas[0];
  }
}

export function revisionSpec(artifact: Artifact, spec: Partial<RevisionSpec> = {}): RevisionSpec {
  return {
    revisionId: "revision-1",
    functionId: "function-1",
    ownerId: "owner-1",
    owner: OwnerSlug.parse("alice"),
    function: FunctionName.parse("hello"),
    artifact,
    environment: {},
    secrets: {},
    memoryLimitBytes: 128 * 1024 * 1024,
    replicas: 1,
    healthPath: "/_/health",
    healthInitialDelayMs: 0,
    ...spec,
  };
}

/** Processes of this machine whose command line holds `text`. */
export function processesWith(text: string): number[] {
  if (!existsSync("/proc/self/stat")) return [];
  return readdirSync("/proc")
    .filter((name) => /^\d+$/.test(name) && Number(name) !== process.pid)
    .filter((name) => commandLine(name).includes(text))
    .map(Number);
}

function commandLine(pid: string): string {
  try {
    return readFileSync(`/proc/${pid}/cmdline`, "utf8").replaceAll("\0", " ");
  } catch {
    return "";
  }
}

let seconds = 90_000 + (process.pid % 10_000) * 7;

/** A number of seconds that no other `sleep` on the machine sleeps, to tell one's own by. */
export function ownSeconds(): string {
  return `${++seconds}.${process.pid}`;
}
