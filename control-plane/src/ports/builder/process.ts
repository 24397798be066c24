import { createHash, randomUUID } from "node:crypto";
import { renameSync } from "node:fs";
import { mkdir, readdir, readFile, rename, rmdir } from "node:fs/promises";
import { dirname, join, resolve } from "node:path";
import { must } from "@openfaas-cloud/shared/must.ts";
import { type ArtifactStore, openArtifactStore } from "../../artifacts/artifact-store.ts";
import { removeTree } from "../../artifacts/remove-tree.ts";
import { Rejected, Retryable } from "../../rejected.ts";
import { describeEnding } from "../../sandbox/ending.ts";
import { LastLines } from "../../sandbox/last-lines.ts";
import type { Mount, Sandbox } from "../../sandbox/sandbox.ts";
import type { Step, Template } from "../../templates/template.ts";
import { findTemplate, supportOf, TEMPLATE_NAMES } from "../../templates/templates.ts";
import type { Toolchain, Toolchains } from "../../templates/toolchains.ts";
import type { LogSink } from "../log-store/log-store.ts";
import type { Artifact, Builder, BuildRequest } from "./builder.ts";
import { type DiskUse, DiskWatch, diskUse, exceeds } from "./disk-use.ts";
import { isReallyIn, placeFile, stageHandler, viewStaged } from "./staging.ts";

export interface ProcessBuilderOptions {
  readonly dataDir: string;
  readonly sandbox: Sandbox;
  readonly toolchains: Toolchains;
  /** For all steps of a build together; 10 minutes. */
  readonly deadlineMs?: number;
  /** For a build with all its processes; 1 GiB. */
  readonly memoryLimitBytes?: number;
  /** What a build may write, to its own folder and its owner's cache together; 2 GiB in 100,000 files and folders. */
  readonly diskLimit?: DiskUse;
  /** What an owner's cache may hold: a larger one is dropped when its builds have ended; 2 GiB in 200,000. */
  readonly cacheLimit?: DiskUse;
  /** Between two looks at what a build has written; 1 s. */
  readonly diskIntervalMs?: number;
  /** Environment that the operator gives to every step, such as a proxy or a registry. Tenants can read it. */
  readonly environment?: Readonly<Record<string, string>>;
  /** How long an artifact is safe from `collect` after a build gave it; 10 minutes. */
  readonly collectGraceMs?: number;
}

const PROCESSES = 256;
const TMP_BYTES = 512 * 1024 * 1024;
const DISK_LIMIT: DiskUse = { bytes: 2 * 1024 ** 3, inodes: 100_000 };
const CACHE_LIMIT: DiskUse = { bytes: 2 * 1024 ** 3, inodes: 200_000 };
const DISK_INTERVAL_MS = 1000;
/** How the name of a cache begins that is being removed. */
const DROPPED = ".dropped-";

/** Builds with child processes of this machine, each build in a sandbox that sees its own folder and its owner's caches. */
export async function openProcessBuilder(options: ProcessBuilderOptions): Promise<Builder> {
  const dataDir = resolve(options.dataDir);
  const workDir = join(dataDir, "work");
  await options.sandbox.endStrays("build", new Set());
  await removeTree(workDir);
  await mkdir(workDir, { recursive: true });
  const cacheDir = join(dataDir, "cache");
  await mkdir(cacheDir, { recursive: true });
  const dropped = (await readdir(cacheDir)).filter((name) => name.startsWith(DROPPED));
  for (const name of dropped) await removeTree(join(cacheDir, name));
  await mkdir(join(dataDir, "artifacts"), { recursive: true });
  return new ProcessBuilder({ ...options, dataDir }, openArtifactStore(dataDir));
}

interface Build {
  readonly request: BuildRequest;
  readonly template: Template;
  readonly toolchain: Toolchain;
  readonly root: Mount;
  readonly cache: Mount;
  readonly log: LogSink;
  /** Aborts with the caller's reason, or with the Rejected that the deadline makes. */
  readonly signal: AbortSignal;
  readonly folder: string;
}

class ProcessBuilder implements Builder {
  readonly templates = TEMPLATE_NAMES;
  readonly #options: ProcessBuilderOptions;
  readonly #artifacts: ArtifactStore;
  readonly #ending = new AbortController();
  readonly #running = new Set<Promise<unknown>>();
  /** How many builds of each owner are under way. */
  readonly #owners = new Map<string, number>();

  constructor(options: ProcessBuilderOptions, artifacts: ArtifactStore) {
    this.#options = options;
    this.#artifacts = artifacts;
  }

  supports(lang: string) {
    return supportOf(lang, this.#options.toolchains);
  }

  async build(
    request: BuildRequest,
    { log, signal }: { readonly log: LogSink; readonly signal: AbortSignal },
  ): Promise<Artifact> {
    const running = this.#build(request, log, AbortSignal.any([signal, this.#ending.signal]));
    return this.#track(running);
  }

  collect(keep: ReadonlySet<string>): Promise<void> {
    return this.#artifacts.collect(keep, this.#options.collectGraceMs ?? 600_000);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#ending.abort(new Retryable("the platform is stopping"));
    await Promise.allSettled(this.#running);
  }

  /** Disposing waits for it. */
  async #track<T>(running: Promise<T>): Promise<T> {
    this.#running.add(running);
    try {
      return await running;
    } finally {
      this.#running.delete(running);
    }
  }

  async #build(request: BuildRequest, log: LogSink, caller: AbortSignal): Promise<Artifact> {
    caller.throwIfAborted();
    const { template, toolchain } = this.#resolveLanguage(request);
    const folder = join(this.#options.dataDir, "work", folderName(request.runId), request.spec.name);
    using deadline = startDeadline(this.#options.deadlineMs ?? 600_000, request.spec.name);
    const signal = AbortSignal.any([caller, deadline.signal]);
    const root: Mount = { host: join(folder, "root"), inside: "/home/app", access: "write" };
    const cache: Mount = { host: this.#cacheOf(request.ownerId), inside: "/home/cache", access: "write" };
    try {
      await removeTree(folder);
      await mkdir(root.host, { recursive: true });
      return await this.#make({ request, template, toolchain, root, cache, log, signal, folder });
    } catch (error) {
      if (error instanceof Rejected || error instanceof Retryable || signal.aborted) throw error;
      throw new Retryable(`function ${request.spec.name}: the build could not be carried out`, {
        cause: error,
      });
    } finally {
      await removeTree(folder);
      // Other functions of the run may still be there.
      await rmdir(dirname(folder)).catch(() => undefined);
    }
  }

  async #make(build: Build): Promise<Artifact> {
    const { request, template, root, signal } = build;
    const handlerFolder = join(root.host, template.handlerFolder);
    const { name, handler } = request.spec;
    await stageHandler({ sourceDir: request.sourceDir, handler, functionName: name, to: handlerFolder });
    const plan = template.plan(viewStaged(handlerFolder, name), build.toolchain);
    if ("problem" in plan) {
      throw new Rejected("handler-invalid", `function ${name}: ${plan.problem} in ./${handler}`);
    }
    await addTemplateFiles(build, plan.files);
    this.#reportIgnoredArgs(build);
    if (plan.steps.length > 0) await this.#runSteps(build, plan.steps);
    signal.throwIfAborted();
    const tree = await selectShipped(build);
    return this.#artifacts.add(tree, {
      template: template.name,
      start: { ...template.start, args: [...template.start.args] },
    });
  }

  #resolveLanguage({ spec }: BuildRequest): { template: Template; toolchain: Toolchain } {
    const support = this.supports(spec.lang);
    if (support.kind === "unsupported") {
      throw new Rejected("language-unsupported", `function ${spec.name}: ${support.reason}`);
    }
    const template = must(findTemplate(spec.lang), `template ${spec.lang}`);
    return {
      template,
      toolchain: must(this.#options.toolchains.find(template.toolchain), template.toolchain),
    };
  }

  #cacheOf(ownerId: string): string {
    return join(this.#options.dataDir, "cache", folderName(ownerId));
  }

  #reportIgnoredArgs({ request, template, log }: Build): void {
    for (const name of Object.keys(request.spec.buildArgs)) {
      if (template.buildArgs.includes(name)) continue;
      const known = template.buildArgs.join(", ");
      log.write(
        sourceOf(request),
        `build_args: ${name} is ignored: builds with processes know ${known} for ${template.name}\n`,
      );
    }
  }

  async #runSteps(build: Build, steps: readonly Step[]): Promise<void> {
    const { ownerId } = build.request;
    this.#owners.set(ownerId, (this.#owners.get(ownerId) ?? 0) + 1);
    try {
      await this.#runWatched(build, steps);
    } finally {
      const left = (this.#owners.get(ownerId) ?? 1) - 1;
      if (left > 0) this.#owners.set(ownerId, left);
      else this.#owners.delete(ownerId);
      // No build waits for it, and none fails by it: the next one of the owner tries again.
      void this.#track(this.#boundCache(ownerId, build.cache.host)).catch(() => undefined);
    }
  }

  async #runWatched(build: Build, steps: readonly Step[]): Promise<void> {
    const { root, cache, request } = build;
    const limit = this.#options.diskLimit ?? DISK_LIMIT;
    const watch = new DiskWatch(
      { work: root.host, cache: cache.host },
      {
        limit,
        intervalMs: this.#options.diskIntervalMs ?? DISK_INTERVAL_MS,
      },
    );
    const refuse = (passed: "bytes" | "inodes") => {
      const most =
        passed === "bytes" ? sizeOf(limit.bytes) : `${limit.inodes.toLocaleString("en")} files and folders`;
      return new Rejected("build-failed", `function ${request.spec.name}: the build wrote more than ${most}`);
    };
    const over = new AbortController();
    const full = new AbortController();
    const watching = watch.untilExceeded(over.signal).then(
      (passed) => passed !== undefined && full.abort(refuse(passed)),
      (error: unknown) => full.abort(error),
    );
    try {
      const signal = AbortSignal.any([build.signal, full.signal]);
      for (const step of steps) await this.#runStep({ ...build, signal }, step);
    } finally {
      over.abort();
      await watching;
    }
    const passed = await watch.look();
    if (passed !== undefined) throw refuse(passed);
  }

  /** Drops a cache that has grown too large, once no build uses it. */
  async #boundCache(ownerId: string, cache: string): Promise<void> {
    const limit = this.#options.cacheLimit ?? CACHE_LIMIT;
    if (this.#owners.has(ownerId) || !exceeds(await diskUse(cache, limit), limit)) return;
    // Looked at and moved in one turn, before another build of the owner can begin.
    if (this.#owners.has(ownerId)) return;
    const dropped = join(dirname(cache), `${DROPPED}${randomUUID()}`);
    renameSync(cache, dropped);
    await removeTree(dropped);
  }

  async #runStep(build: Build, step: Step): Promise<void> {
    const { request, log, signal } = build;
    const { name } = request.spec;
    const program = build.toolchain.programs[step.argv[0]];
    if (program === undefined) {
      throw new Retryable(
        `function ${name}: \`${step.title}\` needs ${step.argv[0]}, which this machine does not have`,
      );
    }
    await mkdir(build.cache.host, { recursive: true });
    signal.throwIfAborted();
    log.write(sourceOf(request), `$ ${step.title}\n`);
    const lines = new LastLines();
    const running = this.#options.sandbox.start({
      ...this.#commandOf(build, step, program),
      output: {
        kind: "stream",
        write: (chunk) => {
          lines.add(chunk);
          log.write(sourceOf(request), chunk);
        },
      },
    });
    const { promise: stuck, reject } = Promise.withResolvers<never>();
    const kill = () => void running.kill().catch(reject);
    signal.addEventListener("abort", kill, { once: true });
    const ending = await Promise.race([running.ended, stuck]);
    signal.removeEventListener("abort", kill);
    signal.throwIfAborted();
    if (ending.code === 0 && ending.because === undefined) return;
    const how =
      ending.code === undefined || ending.because !== undefined
        ? `was ${describeEnding(ending)}`
        : `failed with ${describeEnding(ending)}`;
    const last = lines.lastMeaningful();
    throw new Rejected(
      "build-failed",
      `function ${name}: \`${step.title}\` ${how}${last === undefined ? "" : `: ${last}`}`,
    );
  }

  #commandOf(
    { request, template, toolchain, root, cache, folder }: Build,
    step: Step,
    program: readonly [string, ...string[]],
  ) {
    const { sandbox } = this.#options;
    const [file, ...first] = program;
    const args = Object.entries(request.spec.buildArgs).filter(([name]) => template.buildArgs.includes(name));
    const reads = toolchain.reads.map((path): Mount => ({ host: path, inside: path, access: "read" }));
    return {
      id: randomUUID(),
      kind: "build" as const,
      file,
      args: [...first, ...step.argv.slice(1)],
      cwd: join(sandbox.view(root), step.folder),
      environment: {
        PATH: [...toolchain.path, "/usr/local/bin", "/usr/bin", "/bin"].join(":"),
        HOME: "/tmp",
        TMPDIR: "/tmp",
        LANG: "C.UTF-8",
        CI: "true",
        ...template.buildEnvironment({ cache: sandbox.view(cache), root: sandbox.view(root) }),
        ...this.#options.environment,
        ...Object.fromEntries(args),
      },
      mounts: [...reads, root, cache],
      limits: {
        memoryBytes: this.#options.memoryLimitBytes ?? 1024 ** 3,
        processes: PROCESSES,
        tmpBytes: TMP_BYTES,
        background: true,
      },
      statusFile: join(folder, "status"),
    };
  }
}

async function addTemplateFiles(
  { template, root, request }: Build,
  made: Readonly<Record<string, string>>,
): Promise<void> {
  const { name } = request.spec;
  for (const [file, target] of Object.entries(template.files)) {
    const content = await readFile(join(import.meta.dirname, "../../templates", template.name, file));
    await placeFile(root.host, target, content, name);
  }
  for (const [target, content] of Object.entries(made)) await placeFile(root.host, target, content, name);
}

/**
 * What a build needs is not always what runs. `static` beside the handler is what the official Go template ships. Steps may
 * have put links anywhere, by which a folder of this machine would be moved away: those are not followed.
 */
async function selectShipped({ template, root, folder }: Build): Promise<string> {
  if (template.ships === undefined) return root.host;
  const shipped = join(folder, "shipped");
  await mkdir(shipped);
  for (const name of template.ships) {
    for (const path of [name, `${template.handlerFolder}/${name}`]) {
      if (!(await isReallyIn(root.host, path))) continue;
      await rename(join(root.host, path), join(shipped, name));
      break;
    }
  }
  return shipped;
}

function startDeadline(ms: number, name: string): { readonly signal: AbortSignal } & Disposable {
  const controller = new AbortController();
  const minutes = ms >= 60_000 ? `${Math.round(ms / 60_000)} min` : `${ms / 1000} s`;
  const problem = `function ${name}: the build did not end within ${minutes}`;
  const timer = setTimeout(() => controller.abort(new Rejected("build-timeout", problem)), ms);
  return { signal: controller.signal, [Symbol.dispose]: () => clearTimeout(timer) };
}

function sizeOf(bytes: number): string {
  return bytes >= 1024 ** 3
    ? `${Math.round((bytes / 1024 ** 3) * 10) / 10} GiB`
    : `${Math.round(bytes / 1024 ** 2)} MiB`;
}

function sourceOf({ spec }: BuildRequest): string {
  return `build ${spec.name}`;
}

/** Ids are opaque: they may hold what no folder's name can, and two of them may differ by case only. */
function folderName(id: string): string {
  return createHash("sha256").update(id).digest("hex").slice(0, 32);
}
