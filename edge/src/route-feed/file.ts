import { randomBytes } from "node:crypto";
import { mkdir, open, readdir, readFile, rename, rm, stat } from "node:fs/promises";
import { join } from "node:path";
import { setImmediate as yieldToLoop } from "node:timers/promises";
import { errorMessage, KnownError } from "@openfaas-cloud/shared/known-error.ts";
import { headChecksumOf } from "@openfaas-cloud/shared/route-digest.ts";
import type { Logger } from "../logger.ts";
import { RouteTable } from "../route-table.ts";
import { LOOPBACK, UpstreamRule } from "../upstream-rule.ts";
import { judgeStored, type RejectReason } from "./route-feed.ts";

const GENERATIONS = 3;
/** Between the end of one save and the start of the next. */
const LEAST_REST_MS = 200;
/** Large tables are saved less often, so that saving takes at most a tenth of the time. */
const SAVE_REST_FACTOR = 10;
const ROUTES_PER_TURN = 500;
/** No save takes so long: who began an older one is dead. */
const ABANDONED_MS = 600_000;

/**
 * The last tables on disk, newest last, each a RouteSnapshot in a file of its own: `routes-<sequence>.json`. Saving is
 * asynchronous and behind the serving of a table; a file appears whole or not at all. An edge and its successor share the
 * directory for a while: neither disturbs what the other writes.
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

  constructor(directory: string, logger: Logger, rule = new UpstreamRule(LOOPBACK)) {
    this.#directory = directory;
    this.#logger = logger;
    this.#rule = rule;
  }

  /**
   * The newest generation that is whole; a bad one is passed over, since any good table is better than none.
   *
   * @param onRejected told why, of each that can be read and not be used
   * @throws KnownError `data-unusable` where the directory can neither be made nor read
   */
  async load(onRejected: (reason: RejectReason) => void = () => undefined): Promise<RouteTable | undefined> {
    const names = await this.#open();
    for (const name of names.toReversed()) {
      const read = await this.#read(name);
      if (read instanceof RouteTable) return read;
      if (read.reason !== undefined) onRejected(read.reason);
      this.#logger.error(
        { file: name, ...read },
        "stored routes cannot be used, trying the generation before",
      );
    }
    return undefined;
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

  async [Symbol.asyncDispose](): Promise<void> {
    while (this.#saving !== undefined || this.#unsaved !== undefined) {
      if (this.#saving === undefined) this.#start();
      await this.#saving;
    }
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
    try {
      await this.#write(table);
      const stale = (await this.#generations()).slice(0, -GENERATIONS);
      for (const name of stale) await rm(join(this.#directory, name), { force: true });
    } catch (error) {
      // Served all the same: a full disk must not stop traffic. The next change tries again.
      this.#logger.error({ error: errorMessage(error) }, "routes could not be stored");
    }
    const endedMs = performance.now();
    this.#nextSaveAt = endedMs + Math.max(LEAST_REST_MS, (endedMs - startedMs) * SAVE_REST_FACTOR);
  }

  async #write(table: RouteTable): Promise<void> {
    const temporary = join(this.#directory, `routes-${randomBytes(6).toString("hex")}.tmp`);
    {
      await using file = await open(temporary, "w", 0o600);
      for (const text of serialised(table)) {
        await file.appendFile(text);
        await yieldToLoop();
      }
      await file.sync();
    }
    // Looked up only now, since somebody else may have saved meanwhile.
    const sequence = (sequenceOf((await this.#generations()).at(-1) ?? "") ?? 0) + 1;
    await rename(temporary, join(this.#directory, `routes-${String(sequence).padStart(12, "0")}.json`));
    await using directory = await open(this.#directory, "r");
    await directory.sync();
  }

  async #read(name: string): Promise<RouteTable | Unusable> {
    const path = join(this.#directory, name);
    try {
      const text = await readFile(path, "utf8");
      const { mtimeMs } = await stat(path);
      const judged = judgeStored(parseJson(text), this.#rule);
      if (!(judged instanceof RouteTable)) return { reason: judged.reason };
      this.#storedAtMs = mtimeMs;
      return judged;
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
    return names.filter((name) => sequenceOf(name) !== undefined).toSorted();
  }
}

/** Either what is in it, or what kept us from reading it. */
type Unusable =
  | { readonly reason: RejectReason; readonly error?: undefined }
  | { readonly reason?: undefined; readonly error: string };

/** `undefined` where it is not JSON: that is no snapshot either. */
function parseJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}

function sequenceOf(name: string): number | undefined {
  const match = /^routes-(\d{12})\.json$/.exec(name);
  return match === null ? undefined : Number(match[1]);
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
