import { lstatSync } from "node:fs";
import { opendir } from "node:fs/promises";
import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";

export interface DiskUse {
  readonly bytes: number;
  readonly inodes: number;
}

const NOTHING: DiskUse = { bytes: 0, inodes: 0 };
/** No cache is walked further than this to learn what it held before a build. */
const MOST_OF_CACHE: DiskUse = { bytes: Number.MAX_VALUE, inodes: 1_000_000 };
/** Entries looked at between two turns of everything else: about a millisecond's. */
const ENTRIES_A_TURN = 256;
/** A walk takes at most this share of the time, however much there is to walk. */
const SHARE = 0.2;

/**
 * What the folder takes of the disk, or what was counted of it when it was more than `most`. What cannot be looked into, and
 * is not merely gone, is taken for more than any limit.
 */
export async function diskUse(folder: string, most: DiskUse): Promise<DiskUse> {
  let { bytes, inodes } = NOTHING;
  const folders = [folder];
  for (let at = folders.pop(); at !== undefined; at = folders.pop()) {
    try {
      for await (const { name } of await opendir(at, { bufferSize: ENTRIES_A_TURN })) {
        const stat = lstatSync(join(at, name), { throwIfNoEntry: false });
        if (stat === undefined) continue;
        inodes++;
        // What a file takes, not how long it is: it may have holes.
        bytes += stat.blocks * 512;
        if (stat.isDirectory()) folders.push(join(at, name));
        if (exceeds({ bytes, inodes }, most)) return { bytes, inodes };
      }
    } catch (error) {
      if (!isGone(error)) return { bytes: Number.POSITIVE_INFINITY, inodes };
    }
  }
  return { bytes, inodes };
}

function isGone(error: unknown): boolean {
  const { code } = error as NodeJS.ErrnoException;
  return code === "ENOENT" || code === "ENOTDIR";
}

export function exceeds(use: DiskUse, most: DiskUse): boolean {
  return use.bytes > most.bytes || use.inodes > most.inodes;
}

/**
 * Looks again and again at what grows: all of `work`, and of `cache`, which was there before, what has come to it. Looking is
 * not a quota: what is written between two looks is seen late, and what is deleted but still open is not seen.
 */
export class DiskWatch {
  readonly #folders: { readonly work: string; readonly cache: string };
  readonly #limit: DiskUse;
  readonly #intervalMs: number;
  readonly #before: Promise<DiskUse>;

  /** Made before anything is written. A cache that could not be looked into counts as if it had held nothing. */
  constructor(
    folders: { readonly work: string; readonly cache: string },
    options: { readonly limit: DiskUse; readonly intervalMs: number },
  ) {
    this.#folders = folders;
    this.#limit = options.limit;
    this.#intervalMs = options.intervalMs;
    this.#before = diskUse(folders.cache, MOST_OF_CACHE).then((use) =>
      Number.isFinite(use.bytes) ? use : NOTHING,
    );
  }

  /** Which limit has been passed, if any. */
  async look(): Promise<"bytes" | "inodes" | undefined> {
    const { bytes, inodes } = this.#limit;
    const before = await this.#before;
    const work = await diskUse(this.#folders.work, this.#limit);
    const most = { bytes: before.bytes + bytes, inodes: before.inodes + inodes };
    const cache = await diskUse(this.#folders.cache, most);
    if (work.bytes + Math.max(0, cache.bytes - before.bytes) > bytes) return "bytes";
    return work.inodes + Math.max(0, cache.inodes - before.inodes) > inodes ? "inodes" : undefined;
  }

  /** Looks until a limit has been passed; `undefined` when `signal` aborted before. */
  async untilExceeded(signal: AbortSignal): Promise<"bytes" | "inodes" | undefined> {
    while (!signal.aborted) {
      const since = performance.now();
      const passed = await this.look();
      if (passed !== undefined) return passed;
      const waitMs = Math.max(this.#intervalMs, (performance.now() - since) / SHARE);
      await delay(waitMs, undefined, { signal, ref: false }).catch(() => undefined);
    }
    return undefined;
  }
}
