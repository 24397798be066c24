import { mkdirSync, rmdirSync, statSync } from "node:fs";
import { dirname } from "node:path";
import { errorCode } from "./error-code.ts";

/** The folders that one start makes; those that nothing came into go again with it. */
export class NewFolders implements Disposable {
  readonly #made: string[] = [];

  /**
   * Makes the folder with all that is missing above it, for nobody else to look into.
   * @throws Error that says of which part it failed, and why
   */
  make(path: string): void {
    const missing: string[] = [];
    for (let at = path; !isFolder(at); at = dirname(at)) missing.push(at);
    // Part by part: Node's own recursive mkdir never ends where the system has no place for anything new, as below /proc.
    for (const part of missing.reverse()) this.#makeOne(part);
  }

  #makeOne(path: string): void {
    try {
      mkdirSync(path, { mode: 0o700 });
    } catch (error) {
      // Another start may have made it since.
      if (errorCode(error) === "EEXIST" && isFolder(path)) return;
      throw new Error(`${path} cannot be made (${errorCode(error)})`, { cause: error });
    }
    this.#made.push(path);
  }

  [Symbol.dispose](): void {
    for (const path of this.#made.splice(0).reverse()) {
      try {
        rmdirSync(path);
      } catch {
        // Something came into it: it stays.
      }
    }
  }
}

function isFolder(path: string): boolean {
  try {
    if (statSync(path).isDirectory()) return true;
  } catch (error) {
    const code = errorCode(error);
    if (code === "ENOENT" || code === "ENOTDIR") return false;
    throw new Error(`${path} cannot be looked at (${code})`, { cause: error });
  }
  throw new Error(`${path} is a file, not a folder`);
}
