import { errorMessage, KnownError } from "@openfaas-cloud/shared/known-error.ts";
import type { Logger } from "../logger.ts";
import type { Certificate } from "./certificate.ts";
import { byName, type Found, findPairs, type Pair, readPair } from "./certificate-files.ts";
import { CertificateSet } from "./certificate-set.ts";

/** A look at 10,000 certificates takes a while: so many times as long as it took is the rest after it. */
const REST_FACTOR = 10;
/** What cannot be used is tried again, and complained about again, so often: with the look after it, within a minute. */
const RETRY_EVERY_MS = 55_000;
/** Of the problems of one reading, so many are logged. */
const MAX_LOGGED = 10;

export interface CertificateWatchOptions {
  readonly directory: string;
  readonly lookEveryMs: number;
  readonly retryEveryMs?: number;
  readonly logger: Logger;
  /** A set is served now, the first one excepted. */
  readonly onReplaced: (set: CertificateSet) => void;
}

interface Known {
  readonly name: string;
  readonly folder: string;
  readonly stamp: string;
  readonly certificate: Certificate;
}

/**
 * Keeps the certificates of a directory, and looks for changes every few seconds: events of the file system get lost over
 * links and network mounts, a look does not. A change is read when it has held still from one look to the next, so that a
 * certificate is not taken with the key of the one before.
 *
 * Each pair is judged alone. One that cannot be used, or not yet, leaves its predecessor in place, or is left out where it has
 * none, and keeps nobody else's renewal waiting; one whose key is gone is dropped. What lies in a folder that cannot be read is
 * known on as it was. A set without any certificate replaces none.
 */
export class CertificateWatch implements AsyncDisposable {
  /** Readings that found something of no use; they repeat while it lies there. */
  rejections = 0;
  readonly #options: CertificateWatchOptions;
  #known: ReadonlyMap<string, Known> = new Map();
  #set: CertificateSet | undefined;
  /** Of the directory: as it was read last, and as the last look saw it. */
  #readStamp = "";
  #seenStamp = "";
  #retryAtMs = Number.POSITIVE_INFINITY;
  #timer: NodeJS.Timeout | undefined;
  #looking: Promise<void> | undefined;
  #closed = false;

  private constructor(options: CertificateWatchOptions) {
    this.#options = options;
  }

  /** @throws KnownError `certificates-unusable` where not one is usable */
  static async open(options: CertificateWatchOptions): Promise<CertificateWatch> {
    const watch = new CertificateWatch(options);
    const problems = await watch.#read(await watch.#find());
    if (watch.#set === undefined) throw unusable(options.directory, problems);
    watch.#schedule(0);
    return watch;
  }

  get set(): CertificateSet {
    if (this.#set === undefined) throw new Error("open() gives no watch without a set");
    return this.#set;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#closed = true;
    clearTimeout(this.#timer);
    await this.#looking;
  }

  #schedule(lookTookMs: number): void {
    if (this.#closed) return;
    const restMs = Math.max(this.#options.lookEveryMs, lookTookMs * REST_FACTOR);
    this.#timer = setTimeout(() => {
      const startedMs = performance.now();
      this.#looking = this.#look()
        .catch((error) => this.#complain([errorMessage(error)]))
        .finally(() => this.#schedule(performance.now() - startedMs));
    }, restMs).unref();
  }

  async #look(): Promise<void> {
    const found = await this.#find();
    const stamp = stampOf(found);
    const heldStill = stamp === this.#seenStamp;
    this.#seenStamp = stamp;
    const isNew = stamp !== this.#readStamp && heldStill;
    if (isNew || performance.now() >= this.#retryAtMs) await this.#read(found);
  }

  /** The error in place of the pairs where the directory cannot be read. */
  async #find(): Promise<Found | Error> {
    try {
      return await findPairs(this.#options.directory);
    } catch (error) {
      return error instanceof Error ? error : new Error(errorMessage(error));
    }
  }

  async #read(found: Found | Error): Promise<readonly string[]> {
    const problems =
      found instanceof Error
        ? [`The directory cannot be read: ${found.message}`]
        : await this.#readPairs(found);
    this.#readStamp = stampOf(found);
    this.#seenStamp = this.#readStamp;
    this.#complain(problems);
    return problems;
  }

  /** @returns the problems */
  async #readPairs({ pairs, unread }: Found): Promise<string[]> {
    const problems = unread.map(({ folder, code }) => `${folder}: The directory cannot be read: ${code}`);
    const unreadFolders = new Set(unread.map(({ folder }) => folder));
    const known = [...this.#known.values()].filter(({ folder }) => unreadFolders.has(folder));
    for (const pair of pairs) {
      const before = this.#known.get(pair.name);
      const now = before?.stamp === pair.stamp ? before : await readKnown(pair);
      if (typeof now === "string") problems.push(now);
      const kept = typeof now === "string" ? before : now;
      if (kept !== undefined) known.push(kept);
    }
    if (known.length > 0) this.#adopt(known.toSorted(byName));
    else if (problems.length === 0)
      problems.push(
        "There is no key with its certificate in the directory: neither tls.key with tls.crt nor privkey.pem with fullchain.pem.",
      );
    return problems;
  }

  #adopt(known: readonly Known[]): void {
    this.#known = new Map(known.map((each) => [each.name, each]));
    const previous = this.#set;
    const certificates = known.map(({ certificate }) => certificate);
    if (isSame(certificates, previous?.certificates)) return;
    const next = new CertificateSet(certificates);
    this.#set = next;
    const { logger, onReplaced } = this.#options;
    logger.info(
      { certificates: next.certificates.length, default: next.default.name },
      "certificates loaded",
    );
    const nowMs = Date.now();
    for (const { name, expiresMs } of next.certificates.filter((each) => each.expiresMs <= nowMs)) {
      logger.warn(
        { certificate: name, expired: new Date(expiresMs).toISOString() },
        "certificate has expired",
      );
    }
    if (previous !== undefined) onReplaced(next);
  }

  #complain(problems: readonly string[]): void {
    this.#retryAtMs = Number.POSITIVE_INFINITY;
    if (problems.length === 0) return;
    this.#retryAtMs = performance.now() + (this.#options.retryEveryMs ?? RETRY_EVERY_MS);
    this.rejections += 1;
    this.#options.logger.error(
      { problems: problems.slice(0, MAX_LOGGED), count: problems.length },
      "certificates cannot be used, what was served before is served on",
    );
  }
}

/** What is wrong with the pair in place of what is in it. */
async function readKnown(pair: Pair): Promise<Known | string> {
  try {
    return { name: pair.name, folder: pair.folder, stamp: pair.stamp, certificate: await readPair(pair) };
  } catch (error) {
    if (!(error instanceof KnownError)) throw error;
    return `${pair.name}: ${error.message}`;
  }
}

function isSame(some: readonly Certificate[], others: readonly Certificate[] | undefined): boolean {
  return some.length === others?.length && some.every((certificate, i) => certificate === others[i]);
}

function stampOf(found: Found | Error): string {
  if (found instanceof Error) return found.message;
  const unread = found.unread.map(({ folder, code }) => `${folder} ${code}`);
  return [...found.pairs.map(({ name, stamp }) => `${name} ${stamp}`), ...unread].join("\n");
}

function unusable(directory: string, problems: readonly string[]): KnownError {
  const listed = problems.map((problem) => `  ${problem}`).join("\n");
  return new KnownError(
    "certificates-unusable",
    `EDGE_TLS_CERTIFICATES (${directory}) holds no certificate that can be used:\n${listed}`,
  );
}
