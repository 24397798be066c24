import { closeSync, copyFileSync, openSync, readFileSync, renameSync, statSync, truncateSync } from "node:fs";

const LIMIT_BYTES = 10 * 1024 * 1024;

/**
 * Where a process writes what it says. It writes to the file itself and not through a pipe, so that it never waits for
 * the supervisor; one older file is kept beside it.
 */
export class ProcessLog {
  readonly path: string;
  readonly #limitBytes: number;
  #startedAt = 0;

  constructor(path: string, limitBytes = LIMIT_BYTES) {
    this.path = path;
    this.#limitBytes = limitBytes;
  }

  /** Hands the file to `use` as a descriptor to give to a process that starts now. */
  lend<T>(use: (descriptor: number) => T): T {
    if (this.#size() > this.#limitBytes) renameSync(this.path, `${this.path}.1`);
    this.#startedAt = this.#size();
    const descriptor = openSync(this.path, "a", 0o600);
    try {
      return use(descriptor);
    } finally {
      closeSync(descriptor);
    }
  }

  /** Keeps the file within its limit while a process has it open: emptied in place, since that process appends to it. */
  trim(): void {
    if (this.#size() <= this.#limitBytes) return;
    copyFileSync(this.path, `${this.path}.1`);
    truncateSync(this.path);
    this.#startedAt = 0;
  }

  /** The last lines of the process that was started last, without stack frames: those would push out what went wrong. */
  tail(count: number): string[] {
    try {
      const text = readFileSync(this.path).subarray(this.#startedAt).toString("utf8");
      return text
        .split("\n")
        .filter((line) => line.trim() !== "" && !/^\s+at /.test(line))
        .slice(-count);
    } catch {
      return [];
    }
  }

  #size(): number {
    return statSync(this.path, { throwIfNoEntry: false })?.size ?? 0;
  }
}
