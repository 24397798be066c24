import { linkSync, readFileSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { KnownError } from "@openfaas-cloud/shared/known-error.ts";
import { must } from "@openfaas-cloud/shared/must.ts";
import { findProcess, isRunning, type ProcessIdentity } from "./process-identity.ts";

interface Holder {
  readonly supervisor: ProcessIdentity;
  /** The planes it started: they may outlive a supervisor that was killed, while they end by themselves. */
  readonly planes: readonly ProcessIdentity[];
}

/** One data folder, one supervisor. The file names the process that holds the folder; when that is gone, so is the lock. */
export class DataLock implements Disposable {
  readonly #path: string;
  readonly #supervisor = must(findProcess(process.pid), "this process");

  private constructor(path: string) {
    this.#path = path;
  }

  /**
   * Resolves once the folder is ours and no process of its last holder runs any more.
   * @throws KnownError `data-in-use`
   */
  static async acquire(data: string, leftoverMs = 35_000): Promise<DataLock> {
    const lock = new DataLock(join(data, "supervisor.lock"));
    const leftovers: ProcessIdentity[] = [];
    while (!lock.#take()) {
      const [holder, text] = lock.#read();
      if (holder !== undefined && isRunning(holder.supervisor)) {
        throw new KnownError(
          "data-in-use",
          `${data} is in use by process ${holder.supervisor.pid}. Stop that one, or choose another folder with --data.`,
        );
      }
      if (lock.#removeStale(text)) leftovers.push(...(holder?.planes ?? []));
    }
    await endAll(leftovers, leftoverMs);
    return lock;
  }

  recordPlanes(pids: readonly number[]): void {
    const planes = pids.flatMap((pid) => findProcess(pid) ?? []);
    renameSync(this.#writeBeside({ supervisor: this.#supervisor, planes }), this.#path);
  }

  [Symbol.dispose](): void {
    rmSync(this.#path, { force: true });
  }

  /** Linked into place whole, so that nobody ever reads half a lock. */
  #take(): boolean {
    const written = this.#writeBeside({ supervisor: this.#supervisor, planes: [] });
    try {
      linkSync(written, this.#path);
      return true;
    } catch (error) {
      if (error instanceof Error && "code" in error && error.code === "EEXIST") return false;
      throw error;
    } finally {
      rmSync(written, { force: true });
    }
  }

  #writeBeside(holder: Holder): string {
    const path = `${this.#path}.${process.pid}`;
    writeFileSync(path, JSON.stringify(holder), { mode: 0o600 });
    return path;
  }

  #read(): [Holder | undefined, string] {
    try {
      const text = readFileSync(this.#path, "utf8");
      return [parseHolder(text), text];
    } catch {
      return [undefined, ""];
    }
  }

  /** Two that find the same stale lock must not remove each other's new one: what was moved away is looked at again. */
  #removeStale(stale: string): boolean {
    const aside = `${this.#path}.${process.pid}.stale`;
    try {
      renameSync(this.#path, aside);
      if (readFileSync(aside, "utf8") === stale) return true;
      linkSync(aside, this.#path);
      return false;
    } catch {
      return false;
    } finally {
      rmSync(aside, { force: true });
    }
  }
}

function parseHolder(text: string): Holder | undefined {
  try {
    const { supervisor, planes } = JSON.parse(text);
    return Number.isInteger(supervisor.pid) && Array.isArray(planes) ? { supervisor, planes } : undefined;
  } catch {
    return undefined;
  }
}

async function endAll(processes: readonly ProcessIdentity[], ms: number): Promise<void> {
  const deadline = performance.now() + ms;
  for (const one of processes) signal(one, "SIGTERM");
  for (const one of processes) {
    while (isRunning(one)) {
      if (performance.now() > deadline) signal(one, "SIGKILL");
      await sleep(20);
    }
  }
}

function signal(one: ProcessIdentity, name: NodeJS.Signals): void {
  try {
    if (isRunning(one)) process.kill(one.pid, name);
  } catch {
    // It ended between the look and the signal.
  }
}
