import { join, resolve } from "node:path";
import type { Upstream } from "@openfaas-cloud/shared/route.ts";
import {
  type ArtifactManifest,
  type ArtifactStore,
  openArtifactStore,
} from "../../artifacts/artifact-store.ts";
import { Rejected, Retryable } from "../../rejected.ts";
import type { Command, Mount, Sandbox } from "../../sandbox/sandbox.ts";
import type { Toolchains } from "../../templates/toolchains.ts";
import type { LogSink, LogStore } from "../log-store/log-store.ts";
import { pause } from "./health.ts";
import { PortLeases } from "./port-lease.ts";
import { RevisionFiles, readRevisions } from "./revision-files.ts";
import {
  NotTheOwner,
  type RevisionRef,
  type RevisionSpec,
  type RunningRevision,
  type Runtime,
} from "./runtime.ts";
import { Spool, spoolBuffer } from "./spool.ts";
import { type BackOff, SupervisedReplica } from "./supervised-replica.ts";

export interface ProcessRuntimeOptions {
  readonly dataDir: string;
  readonly logs: LogStore;
  readonly sandbox: Sandbox;
  readonly toolchains: Toolchains;
  /** From a replica's start to its first healthy answer; 30 s. */
  readonly healthDeadlineMs?: number;
  /** Between an end and the next start: 100 ms, doubled up to 30 s, forgotten after 60 s of running. */
  readonly backOff?: BackOff;
  /** A replica that has so much output unread loses it; 32 MiB. */
  readonly floodBytes?: number;
  /** Told of what is wrong with the data that a former platform left; a process warning where absent. */
  readonly onError?: (error: Error) => void;
}

const BACK_OFF: BackOff = { firstMs: 100, longestMs: 30_000, forgottenAfterMs: 60_000 };
const FLOOD_BYTES = 32 * 1024 * 1024;
const DRAIN_MS = 100;
/** A revision that ended so often before it was healthy will not become so. */
const RESTARTS_BEFORE_READY = 4;
const PROCESSES = 512;
const TMP_BYTES = 64 * 1024 * 1024;
/** Node's heap is not all of its memory: buffers, code and stacks lie beside it. */
const HEAP_SHARE = 0.75;
const SECRETS_PATH = "/var/openfaas/secrets";

/** Runs functions as child processes of this machine, each in a sandbox; they outlive the control plane. */
export async function openProcessRuntime(options: ProcessRuntimeOptions): Promise<Runtime> {
  const dataDir = resolve(options.dataDir);
  const runtime = new ProcessRuntime({ ...options, dataDir });
  await runtime.adopt();
  return runtime;
}

interface Revision {
  readonly spec: RevisionSpec;
  readonly files: RevisionFiles;
  readonly log: LogSink;
  readonly replicas: SupervisedReplica[];
  readonly spools: Spool[];
  /** It was healthy as a whole: from then on only `stop` ends it. */
  proven: boolean;
  /** The latest attempt to end it; a failed one is made again by the next `stop`. */
  stopping: Promise<void> | undefined;
}

class ProcessRuntime implements Runtime {
  readonly #options: ProcessRuntimeOptions;
  readonly #runtimeDir: string;
  readonly #artifacts: ArtifactStore;
  readonly #revisions = new Map<string, Revision>();
  readonly #starting = new Map<string, Promise<Revision>>();
  /** How many calls of `start` wait, by owner and revision. */
  readonly #waiting = new Map<string, number>();
  readonly #listeners = new Set<(functionId: string) => void>();
  readonly #ports = new PortLeases();
  readonly #buffer = spoolBuffer();
  readonly #drain: NodeJS.Timeout;
  #disposed: Promise<void> | undefined;

  constructor(options: ProcessRuntimeOptions) {
    this.#options = options;
    this.#runtimeDir = join(options.dataDir, "runtime");
    this.#artifacts = openArtifactStore(options.dataDir);
    this.#drain = setInterval(() => this.#drainSpools(), DRAIN_MS).unref();
  }

  get isolation() {
    return this.#options.sandbox.isolation;
  }

  /**
   * Finds what a former platform on the same data left running, and starts what it left that runs no more. A revision that
   * cannot be kept up, since its artifact is gone or its record cannot be read, ends; the others go on.
   */
  async adopt(): Promise<void> {
    const { sandbox, onError = (error) => process.emitWarning(error) } = this.#options;
    const found: Revision[] = [];
    for (const spec of readRevisions(this.#runtimeDir, onError)) {
      const revision = this.#prepare(spec);
      if (await this.#artifacts.has(spec.artifact).catch(() => false)) found.push(revision);
      else this.#forget(revision, "it cannot be run again: its artifact is gone");
    }
    await sandbox.endStrays("function", new Set(found.flatMap(recordedProcesses)));
    for (const revision of found) {
      try {
        await this.#open(revision);
        revision.proven = revision.replicas.every(({ wasReady }) => wasReady);
      } catch (cause) {
        const { spec, log } = revision;
        log.write("platform", `${spec.function}: the platform could not run it again\n`);
        onError(new Error(`revision ${spec.revisionId} could not be adopted`, { cause }));
      }
    }
  }

  async start(
    spec: RevisionSpec,
    { log, signal }: { readonly log: LogSink; readonly signal: AbortSignal },
  ): Promise<Upstream[]> {
    signal.throwIfAborted();
    // Counted before anything is awaited: a call that fails meanwhile must know that another one still waits.
    const key = JSON.stringify([spec.ownerId, spec.revisionId]);
    this.#waiting.set(key, (this.#waiting.get(key) ?? 0) + 1);
    try {
      return await this.#startCounted(spec, log, signal, () => this.#waiting.get(key) === 1);
    } finally {
      const left = (this.#waiting.get(key) ?? 1) - 1;
      if (left === 0) this.#waiting.delete(key);
      else this.#waiting.set(key, left);
    }
  }

  async #startCounted(
    spec: RevisionSpec,
    log: LogSink,
    signal: AbortSignal,
    isLast: () => boolean,
  ): Promise<Upstream[]> {
    const revision = await this.#findOrOpen(spec);
    try {
      await this.#untilReady(revision, log, signal);
      revision.proven = true;
      return revision.replicas.map(({ replica }) => replica.upstream);
    } catch (error) {
      if (!revision.proven && isLast()) await this.#stop(revision, 0);
      throw error;
    }
  }

  async stop(ref: RevisionRef, { graceMs }: { readonly graceMs: number }): Promise<void> {
    const revision = this.#revisions.get(ref.revisionId) ?? (await this.#starting.get(ref.revisionId));
    if (revision === undefined) return;
    if (revision.spec.ownerId !== ref.ownerId) throw new NotTheOwner();
    await this.#stop(revision, graceMs);
  }

  list(): readonly RunningRevision[] {
    return [...this.#revisions.values()].map(({ spec, replicas }) => ({
      revisionId: spec.revisionId,
      functionId: spec.functionId,
      ownerId: spec.ownerId,
      replicas: replicas.map(({ replica }) => replica),
    }));
  }

  onChange(listener: (functionId: string) => void): Disposable {
    // Each call is a subscription of its own, also with a function that is subscribed already.
    const own = (functionId: string) => listener(functionId);
    this.#listeners.add(own);
    return { [Symbol.dispose]: () => void this.#listeners.delete(own) };
  }

  async stopAll({ graceMs }: { readonly graceMs: number }): Promise<void> {
    await Promise.allSettled(this.#starting.values());
    await Promise.all([...this.#revisions.values()].map((revision) => this.#stop(revision, graceMs)));
  }

  [Symbol.asyncDispose](): Promise<void> {
    this.#disposed ??= this.#dispose();
    return this.#disposed;
  }

  async #dispose(): Promise<void> {
    await Promise.allSettled(this.#starting.values());
    await Promise.all([...this.#revisions.values()].map((revision) => this.#leave(revision)));
    clearInterval(this.#drain);
    this.#revisions.clear();
    this.#listeners.clear();
  }

  async #leave({ stopping, replicas, spools }: Revision): Promise<void> {
    // What is being ended is ended; whoever asked for it is told where that fails.
    await stopping?.catch(() => undefined);
    await Promise.all(replicas.map((replica) => replica.leave()));
    for (const spool of spools) {
      spool.drain();
      spool[Symbol.dispose]();
    }
  }

  async #findOrOpen(spec: RevisionSpec): Promise<Revision> {
    const found = this.#revisions.get(spec.revisionId) ?? (await this.#starting.get(spec.revisionId));
    if (found !== undefined) {
      if (found.spec.ownerId !== spec.ownerId) throw new NotTheOwner();
      if (found.stopping === undefined) return found;
      await found.stopping;
    }
    const underWay = this.#starting.get(spec.revisionId);
    if (underWay !== undefined) return this.#findOrOpen(spec);
    const opening = this.#create(spec);
    this.#starting.set(spec.revisionId, opening);
    try {
      return await opening;
    } finally {
      this.#starting.delete(spec.revisionId);
    }
  }

  async #create(spec: RevisionSpec): Promise<Revision> {
    const revision = this.#prepare(spec);
    revision.files.create(spec);
    await this.#open(revision);
    return revision;
  }

  #prepare(spec: RevisionSpec): Revision {
    const files = new RevisionFiles(this.#runtimeDir, spec.revisionId);
    const log = this.#options.logs.open({ kind: "function", functionId: spec.functionId });
    return { spec, files, log, replicas: [], spools: [], proven: false, stopping: undefined };
  }

  async #open(revision: Revision): Promise<void> {
    const { spec, spools, replicas } = revision;
    try {
      const manifest = await this.#artifacts.readManifest(spec.artifact);
      for (const number of replicaNumbers(spec)) {
        const spool = this.#openSpool(revision, number);
        spools.push(spool);
        replicas.push(await this.#openReplica(revision, manifest, number, spool));
      }
      this.#revisions.set(spec.revisionId, revision);
    } catch (error) {
      await this.#stop(revision, 0);
      throw error;
    }
  }

  #openSpool({ spec, files, log }: Revision, number: number): Spool {
    return new Spool({
      path: files.spoolOf(number),
      log,
      source: `${spec.function}-${number}`,
      buffer: this.#buffer,
      floodBytes: this.#options.floodBytes ?? FLOOD_BYTES,
    });
  }

  #openReplica(
    { spec, files, log }: Revision,
    manifest: ArtifactManifest,
    number: number,
    spool: Spool,
  ): Promise<SupervisedReplica> {
    const { sandbox, backOff = BACK_OFF, healthDeadlineMs = 30_000 } = this.#options;
    return SupervisedReplica.open({
      number,
      spec,
      files,
      sandbox,
      spool,
      backOff,
      healthDeadlineMs,
      ports: this.#ports,
      command: (port) => this.#commandOf(spec, files, manifest, port),
      onChange: () => this.#announce(spec.functionId),
      onProblem: (problem) => log.write("platform", `${problem}\n`),
    });
  }

  #commandOf(
    spec: RevisionSpec,
    files: RevisionFiles,
    { start }: ArtifactManifest,
    port: number,
  ): Omit<Command, "id" | "output" | "statusFile"> {
    const { sandbox, toolchains } = this.#options;
    const toolchain = start.program === undefined ? undefined : toolchains.find(start.program);
    const program = start.program === undefined ? [] : toolchain?.programs[start.program];
    if (program === undefined) throw new Error(`${start.program} is not on this machine`);
    const root: Mount = { host: this.#artifacts.rootOf(spec.artifact), inside: "/home/app", access: "read" };
    const secrets: Mount = { host: files.secretsFolder, inside: SECRETS_PATH, access: "read" };
    const heapMiB = Math.floor((spec.memoryLimitBytes * HEAP_SHARE) / 1024 / 1024);
    const heap = start.heapArgument === undefined ? [] : [`${start.heapArgument}${heapMiB}`];
    const [file, ...args] = [...program, ...heap, ...start.args];
    if (file === undefined) throw new Error("the artifact does not say how it is started");
    return {
      kind: "function",
      file,
      args,
      cwd: sandbox.view(root),
      environment: {
        PATH: [...(toolchain?.path ?? []), "/usr/local/bin", "/usr/bin", "/bin"].join(":"),
        HOME: "/tmp",
        LANG: "C.UTF-8",
        ...start.environment,
        ...spec.environment,
        PORT: String(port),
        http_port: String(port),
        OPENFAAS_NAME: spec.function,
        OPENFAAS_NAMESPACE: spec.owner,
        secret_mount_path: sandbox.view(secrets),
      },
      mounts: [...(toolchain?.reads ?? []).map(readOnly), root, secrets],
      limits: {
        memoryBytes: spec.memoryLimitBytes,
        processes: PROCESSES,
        tmpBytes: TMP_BYTES,
        background: false,
      },
    };
  }

  async #untilReady(revision: Revision, log: LogSink, signal: AbortSignal): Promise<void> {
    const { spec, replicas } = revision;
    const restartsBefore = new Map(replicas.map((each) => [each, each.replica.restarts]));
    const restartsOf = (each: SupervisedReplica) => each.replica.restarts - (restartsBefore.get(each) ?? 0);
    const deadline = Date.now() + spec.healthInitialDelayMs + (this.#options.healthDeadlineMs ?? 30_000);
    for (;;) {
      signal.throwIfAborted();
      if (revision.stopping !== undefined)
        throw new Retryable(`function ${spec.function} was stopped while it started`);
      const waitingFor = replicas.filter(({ replica }) => replica.state !== "ready");
      if (waitingFor.length === 0) return;
      const lost = waitingFor.find((each) => restartsOf(each) > RESTARTS_BEFORE_READY);
      const failed = lost ?? (Date.now() >= deadline ? waitingFor[0] : undefined);
      if (failed !== undefined) {
        const problem = `function ${spec.function} did not become healthy: ${failed.diagnose()}`;
        throw new Rejected("function-unhealthy", problem);
      }
      const restarts = countRestarts(replicas);
      await this.#nextChange(deadline - Date.now(), signal);
      if (countRestarts(replicas) > restarts) reportEnds(spec, replicas, log);
    }
  }

  /** Resolves at the next change of any replica, after `ms`, or on abort. */
  async #nextChange(ms: number, signal: AbortSignal): Promise<void> {
    const over = new AbortController();
    using _subscription = this.onChange(() => over.abort());
    await pause(ms, AbortSignal.any([over.signal, signal]));
  }

  #stop(revision: Revision, graceMs: number): Promise<void> {
    // Whoever is in more of a hurry than the first one has the say.
    if (revision.stopping) for (const replica of revision.replicas) replica.hurry(graceMs);
    const end = () => this.#end(revision, graceMs);
    revision.stopping = revision.stopping?.catch(end) ?? end();
    return revision.stopping;
  }

  async #end(revision: Revision, graceMs: number): Promise<void> {
    revision.files.markStopping();
    await Promise.all(revision.replicas.map((replica) => replica.stop(graceMs)));
    for (const spool of revision.spools) {
      await spool.finish();
      spool[Symbol.dispose]();
    }
    revision.files.remove();
    this.#revisions.delete(revision.spec.revisionId);
    this.#announce(revision.spec.functionId);
  }

  #forget({ spec, files, log }: Revision, reason: string): void {
    log.write("platform", `${spec.function}: ${reason}\n`);
    files.remove();
  }

  #drainSpools(): void {
    for (const { spools } of this.#revisions.values()) for (const spool of spools) spool.drain();
  }

  #announce(functionId: string): void {
    for (const listener of this.#listeners) listener(functionId);
  }
}

function replicaNumbers(spec: RevisionSpec): number[] {
  return Array.from({ length: spec.replicas }, (_, index) => index + 1);
}

/** Ids of the processes that the revision's records name. A record that cannot be read is removed, and its replica starts anew. */
function recordedProcesses({ spec, files, log }: Revision): string[] {
  return replicaNumbers(spec).flatMap((number) => {
    try {
      return files.readReplica(number)?.process?.id ?? [];
    } catch {
      files.forgetReplica(number);
      log.write("platform", `${spec.function}-${number}: its record could not be read; it starts anew\n`);
      return [];
    }
  });
}

function readOnly(path: string): Mount {
  return { host: path, inside: path, access: "read" };
}

function countRestarts(replicas: readonly SupervisedReplica[]): number {
  return replicas.reduce((sum, { replica }) => sum + replica.restarts, 0);
}

function reportEnds(spec: RevisionSpec, replicas: readonly SupervisedReplica[], log: LogSink): void {
  for (const { replica } of replicas) {
    if (replica.state !== "backing-off") continue;
    log.write(spec.function, `${replica.id}: ${replica.lastExit ?? "ended"}, starting it again\n`);
  }
}
