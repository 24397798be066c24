import { randomBytes } from "node:crypto";
import { mkdir, open, readdir, readFile, rename, rm, stat } from "node:fs/promises";
import { join } from "node:path";
import { setImmediate as yieldToLoop } from "node:timers/promises";
import { errorMessage, KnownError } from "@openfaas-cloud/shared/known-error.ts";
import { headChecksumOf } from "@openfaas-cloud/shared/route-digest.ts";
import type { Logger } from "../logger.ts";
import { RouteTable } from "../route-table.ts";
import type { UpstreamRule } from "../upstream-rule.ts";
import { judgeStored, type RejectReason } from "./route-feed.ts";

/** One more than an edge that goes can still store: what it is storing, and what it holds back. */
const GENERATIONS = 3;
/** Between the end of one save and the start of the next. */
const LEAST_REST_MS = 200;
/** A full disk is seldom given room within the second, and each attempt takes for a moment what is left of it. */
const LEAST_REST_AFTER_FAILURE_MS = 2_000;
/** Large tables are saved less often, so that saving takes at most a tenth of the time. */
const SAVE_REST_FACTOR = 10;
const ROUTES_PER_TURN = 500;
/** What lasts until an operator does something. */
const SAID_EVERY_MS = 60_000;
/** No save takes so long: who began an older one is dead. */
const ABANDONED_MS = 600_000;

/**
 * The last tables on disk, each a RouteSnapshot in a file of its own: `routes-<sequence>-<version>.json`. Saving is
 * asynchronous and behind the serving of a table; a file appears whole or not at all. An edge and its successor share the
 * directory for a while: neither disturbs what the other writes, and the older one may write an older table last. So the
 * sequence, by which they are written, tells the epoch that is in use, and the version which of its tables is the newest.
 */
export class RouteFiles implements AsyncDisposable {
  readonly #directory: string;
  readonly #logger: Logger;
  readonly #rule: UpstreamRule;
  #storedAtMs: number | undefined;
  #unsaved: RouteTable | undefined;
  #timer: NodeJS.Timeout | undefined;
  #saving: Promise<void> | undefined;
  #nextSaveAt = 0;
  #sayAt = 0;

  constructor(directory: string, logger: Logger, rule: UpstreamRule) {
    this.#directory = directory;
    this.#logger = logger;
    this.#rule = rule;
  }

  /**
   * The newest table that is whole; a bad one is passed over, since any good table is better than none.
   *
   * @param onRejected told why, of each that can be read and not be used
   * @throws KnownError `data-unusable` where the directory can neither be made nor read
   */
  async load(onRejected: (reason: RejectReason) => void = () => undefined): Promise<RouteTable | undefined> {
    const names = await this.#open();
    let newest: Stored | undefined;
    for (const name of names.toReversed()) {
      // Reading one takes seconds where there are many routes.
      if (newest !== undefined && versionOf(name) <= newest.table.version) continue;
      const read = await this.#read(name);
      if (read.table !== undefined) {
        if (newest === undefined || isLater(read.table, newest.table)) newest = read;
        continue;
      }
      if (read.reason !== undefined) onRejected(read.reason);
      this.#logger.error({ file: name, ...read }, "stored routes cannot be used, trying the ones before");
    }
    this.#storedAtMs = newest?.storedAtMs;
    return newest?.table;
  }

  /** When the table that was loaded had come into use, by the wall clock: a restart makes it no younger. */
  get storedAtMs(): number | undefined {
    return this.#storedAtMs;
  }

  /** Has the table saved: at once after a rest, since until then a crash goes back to the table before; else the last of those that come during it. */
  keep(table: RouteTable): void {
    this.#unsaved = table;
    if (this.#saving !== undefined) return;
    const restMs = this.#nextSaveAt - performance.now();
    if (restMs <= 0) this.#start();
    else this.#timer ??= setTimeout(() => this.#start(), restMs);
  }

  /** What waits is saved without a rest, in one attempt: where the disk is full it would not be the last to fail. */
  async [Symbol.asyncDispose](): Promise<void> {
    await this.#saving;
    this.#start();
    await this.#saving;
    clearTimeout(this.#timer);
  }

  #start(): void {
    clearTimeout(this.#timer);
    this.#timer = undefined;
    const table = this.#unsaved;
    this.#unsaved = undefined;
    if (table === undefined) return;
    this.#saving = this.#save(table).finally(() => {
      this.#saving = undefined;
      if (this.#unsaved !== undefined) this.keep(this.#unsaved);
    });
  }

  async #save(table: RouteTable): Promise<void> {
    const startedMs = performance.now();
    let leastRestMs = LEAST_REST_MS;
    try {
      await this.#write(table);
      await this.#removeOld();
    } catch (error) {
      // Served all the same: a full disk must not stop traffic.
      this.#unsaved ??= table;
      leastRestMs = LEAST_REST_AFTER_FAILURE_MS;
      this.#sayNotStored(error);
    }
    const endedMs = performance.now();
    this.#nextSaveAt = endedMs + Math.max(leastRestMs, (endedMs - startedMs) * SAVE_REST_FACTOR);
  }

  #sayNotStored(error: unknown): void {
    if (performance.now() < this.#sayAt) return;
    this.#sayAt = performance.now() + SAID_EVERY_MS;
    this.#logger.error(
      { directory: this.#directory, error: errorMessage(error) },
      "routes could not be stored, they are served and storing is tried again; see that the directory can be written and its " +
        "disk has room: until then a restart goes back to the routes stored before",
    );
  }

  async #write(table: RouteTable): Promise<void> {
    const temporary = join(this.#directory, `routes-${randomBytes(6).toString("hex")}.tmp`);
    try {
      await writeWhole(temporary, table);
      // Looked up only now, since somebody else may have saved meanwhile.
      const last = (await this.#generations()).at(-1);
      const sequence = last === undefined ? 1 : sequenceOf(last) + 1;
      // Two who take the same number at once do not write over each other: of one epoch, tables of one version are the same.
      const name = `routes-${String(sequence).padStart(12, "0")}-${table.version}.json`;
      await rename(temporary, join(this.#directory, name));
    } catch (error) {
      // The half of a table would keep the room that the next attempt needs.
      await rm(temporary, { force: true });
      throw error;
    }
    await this.#syncDirectory();
  }

  /** So that its name outlives a loss of power. It is stored without as well, and some file systems cannot do it. */
  async #syncDirectory(): Promise<void> {
    try {
      await using directory = await open(this.#directory, "r");
      await directory.sync();
    } catch (error) {
      this.#logger.warn({ error: errorMessage(error) }, "the directory of stored routes could not be synced");
    }
  }

  async #removeOld(): Promise<void> {
    try {
      const old = (await this.#generations()).slice(0, -GENERATIONS);
      for (const name of old) await rm(join(this.#directory, name), { force: true });
    } catch (error) {
      this.#logger.error({ error: errorMessage(error) }, "old stored routes could not be removed");
    }
  }

  async #read(name: string): Promise<Stored | Unusable> {
    const path = join(this.#directory, name);
    try {
      const text = await readFile(path, "utf8");
      const { mtimeMs } = await stat(path);
      const judged = judgeStored(parseJson(text), this.#rule);
      if (!(judged instanceof RouteTable)) return { reason: judged.reason };
      return { table: judged, storedAtMs: mtimeMs };
    } catch (error) {
      return { error: errorMessage(error) };
    }
  }

  /** The generations in the directory, which is made where there is none. */
  async #open(): Promise<string[]> {
    try {
      await mkdir(this.#directory, { recursive: true });
      await this.#removeAbandoned();
      return await this.#generations();
    } catch (error) {
      const message = `The data directory ${this.#directory} cannot be used: ${errorMessage(error)}. Choose one that this user may write to (EDGE_DATA).`;
      throw new KnownError("data-unusable", message, { cause: error });
    }
  }

  async #removeAbandoned(): Promise<void> {
    for (const name of await readdir(this.#directory)) {
      if (!name.endsWith(".tmp")) continue;
      const path = join(this.#directory, name);
      const { mtimeMs } = await stat(path).catch(() => ({ mtimeMs: Number.POSITIVE_INFINITY }));
      if (Date.now() - mtimeMs > ABANDONED_MS) await rm(path, { force: true });
    }
  }

  async #generations(): Promise<string[]> {
    const names = await readdir(this.#directory);
    return names.filter((name) => NAME.test(name)).toSorted();
  }
}

async function writeWhole(path: string, table: RouteTable): Promise<void> {
  await using file = await open(path, "w", 0o600);
  for (const text of serialised(table)) {
    await file.appendFile(text);
    await yieldToLoop();
  }
  await file.sync();
}

interface Stored {
  readonly table: RouteTable;
  readonly storedAtMs: number;
}

/** Either what is in it, or what kept us from reading it. */
type Unusable = { readonly table?: undefined } & (
  | { readonly reason: RejectReason; readonly error?: undefined }
  | { readonly reason?: undefined; readonly error: string }
);

/** Versions of two epochs tell nothing about each other. */
function isLater(one: RouteTable, other: RouteTable): boolean {
  return one.epoch === other.epoch && one.version > other.version;
}

/** `undefined` where it is not JSON: that is no snapshot either. */
function parseJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}

/** Sequence, and version where the name tells it: edges before this one wrote names without. */
const NAME = /^routes-(\d{12})(?:-(\d+))?\.json$/;

function sequenceOf(name: string): number {
  return Number(NAME.exec(name)?.[1] ?? 0);
}

function versionOf(name: string): number {
  return Number(NAME.exec(name)?.[2] ?? 0);
}

/** A RouteSnapshot's text in pieces small enough to be made between two requests. */
function* serialised(table: RouteTable): Iterable<string> {
  const { epoch, version, checksum, settings } = table;
  const fields = { epoch, version, checksum, forced: false };
  const headChecksum = headChecksumOf(fields);
  const head = JSON.stringify({ kind: "snapshot", ...fields, headChecksum, settings });
  yield `${head.slice(0, -1)},"routes":[`;
  let batch: string[] = [];
  let separator = "";
  for (const route of table.routes()) {
    batch.push(JSON.stringify(route));
    if (batch.length < ROUTES_PER_TURN) continue;
    yield separator + batch.join(",");
    separator = ",";
    batch = [];
  }
  yield `${batch.length > 0 ? separator + batch.join(",") : ""}]}\n`;
}
