import { mkdirSync } from "node:fs";
import { resolve } from "node:path";
import type { Isolation } from "../ports/runtime/runtime.ts";
import { openBubblewrap } from "./bubblewrap.ts";
import { type Cgroups, findCgroups, removeEmptyCgroups } from "./cgroup.ts";
import { type ProcessRecord, processesIn, type SandboxedProcess } from "./sandboxed-process.ts";
import { scopeOf } from "./scope.ts";
import { findSandboxFault } from "./self-test.ts";

/** A folder or file of this machine that a sandboxed process sees. */
export interface Mount {
  readonly host: string;
  /** Where it appears in the sandbox. */
  readonly inside: string;
  readonly access: "read" | "write";
}

export interface Limits {
  readonly memoryBytes: number;
  readonly processes: number;
  /** Size of the private `/tmp`. */
  readonly tmpBytes: number;
  /** Gives way to everything else on the machine: lowest CPU and disk priority. */
  readonly background: boolean;
}

/** Takes output as it comes; nothing of it is kept back. */
export type Output =
  | { readonly kind: "stream"; readonly write: (chunk: Uint8Array) => void }
  | { readonly kind: "file"; readonly fd: number };

export interface Command {
  /** Unique among what runs of this data folder: `[a-z0-9-]`. */
  readonly id: string;
  /** A build ends with the platform; a function goes on without it. */
  readonly kind: "build" | "function";
  readonly file: string;
  readonly args: readonly string[];
  /** As the process sees it, see `Sandbox.view`. */
  readonly cwd: string;
  /** All of its environment; nothing of the platform's own is added. */
  readonly environment: Readonly<Record<string, string>>;
  readonly mounts: readonly Mount[];
  readonly limits: Limits;
  readonly output: Output;
  /** File that the sandbox keeps its own notes in while the process lives; gone with its folder, which the caller owns. */
  readonly statusFile: string;
}

/**
 * Runs commands so that they cannot reach the platform, nor each other: they see the system's programs, what they were
 * given, a private `/tmp`, and themselves. The network is shared with the machine.
 *
 * Where the machine has no means for that, they run as plain child processes, `isolation` says so, and only the limits hold.
 */
export interface Sandbox {
  readonly isolation: Isolation;
  /** The path under which a process given `mount` finds it. */
  view(mount: Mount): string;
  start(command: Command): SandboxedProcess;
  /** Finds a function again that a former platform on the same data started; `undefined` when nothing of it runs. */
  adopt(record: ProcessRecord): SandboxedProcess | undefined;
  /** Ends what runs of this data folder but is in nobody's records: what a crash left between a start and its record. */
  endStrays(kind: Command["kind"], known: ReadonlySet<string>): Promise<void>;
}

export interface SandboxOptions {
  readonly dataDir: string;
  /** `none` runs everything as plain child processes, on machines that could do better too. */
  readonly mode?: "auto" | "none";
  /** Whether limits are held by control groups where the machine allows; else, and with `none`, by looking each second. */
  readonly cgroups?: "auto" | "none";
}

/** How a sandbox turns a command into what is really started. */
export interface Confinement {
  readonly isolation: Isolation;
  view(mount: Mount): string;
  /** `settings` go to the file over a pipe, as its descriptor 3, where they are secret. */
  wrap(command: Command): {
    readonly file: string;
    readonly args: readonly string[];
    readonly environment: Readonly<Record<string, string>>;
    readonly settings: string | undefined;
  };
}

/** Takes the strongest isolation that proves itself here and now. */
export async function openSandbox(options: SandboxOptions): Promise<Sandbox> {
  const dataDir = resolve(options.dataDir);
  mkdirSync(dataDir, { recursive: true });
  const scope = scopeOf(dataDir);
  const cgroups = options.cgroups === "none" ? undefined : findCgroups(`openfaas-cloud-${scope}`);
  if (cgroups !== undefined) removeEmptyCgroups(cgroups);
  if (options.mode === "none") {
    return makeSandbox(unconfined("isolation was switched off"), cgroups, scope);
  }
  const bubblewrap = openBubblewrap(dataDir);
  if (bubblewrap.kind === "absent") return makeSandbox(unconfined(bubblewrap.reason), cgroups, scope);
  const sandbox = makeSandbox(bubblewrap.confinement, cgroups, scope);
  const fault = await findSandboxFault(sandbox, dataDir);
  return fault === undefined ? sandbox : makeSandbox(unconfined(fault), cgroups, scope);
}

function makeSandbox(confinement: Confinement, cgroups: Cgroups | undefined, scope: string): Sandbox {
  const context = { confinement, cgroups, scope };
  return {
    isolation: confinement.isolation,
    view: (mount) => confinement.view(mount),
    ...processesIn(context),
  };
}

function unconfined(reason: string): Confinement {
  return {
    isolation: { kind: "none", reason },
    view: (mount) => mount.host,
    wrap: (command) => ({
      file: command.file,
      args: command.args,
      environment: command.environment,
      settings: undefined,
    }),
  };
}
