import type { Ending } from "./ending.ts";
import type { ProcessIdentity } from "./process-table.ts";

/** Whether functions are kept from each other and from the platform. Without isolation only one owner is served. */
export type Isolation =
  | { readonly kind: "sandboxed"; readonly by: string }
  | { readonly kind: "none"; readonly reason: string };

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

/** What must be kept on disk to find a function's process again. */
export interface ProcessRecord {
  readonly id: string;
  readonly kind: Command["kind"];
  readonly outer: ProcessIdentity;
  readonly statusFile: string;
  readonly cgroup: readonly string[];
  readonly memoryBytes: number;
  readonly processes: number;
}

export interface SandboxedProcess {
  readonly record: ProcessRecord;
  /** Resolves when nothing of it is left; rejects where something of it could not be ended. */
  readonly ended: Promise<Ending>;
  /** The command's process and all it started, as the machine numbers them. */
  pids(): readonly number[];
  /** Asks the command itself to end. */
  terminate(): void;
  /**
   * Ends everything of it, and resolves when nothing is left. `because` is told in the ending.
   * @throws where processes are left after 10 s: the kernel does not end one that hangs in a system call.
   */
  kill(because?: string): Promise<void>;
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
  /**
   * Ends what runs of this data folder but is in nobody's records: what a crash left between a start and its record. What
   * does not end is a process warning.
   */
  endStrays(kind: Command["kind"], known: ReadonlySet<string>): Promise<void>;
}
