import { randomBytes } from "node:crypto";
import { mkdir, readFile, rename, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { errorMessage, KnownError } from "@openfaas-cloud/shared/known-error.ts";
import { z } from "zod";
import type { Customers } from "../config.ts";
import { sha256 } from "../ids.ts";
import type { Logger } from "../logger.ts";
import { Retryable } from "../rejected.ts";
import { CustomerList, type CustomerQuestion } from "./customer-list.ts";
import { fetchCustomers } from "./fetch-customers.ts";

/** The original's, which follows the cache of GitHub's raw files. */
const CACHE_MS = 5 * 60_000;
const FETCH_MS = 10_000;
const FIRST_PAUSE_MS = 2_000;
const LONGEST_PAUSE_MS = CACHE_MS;

/**
 * Which owners of remote source hosts may deploy, and with that which people may sign in: those on the operator's list, and
 * nobody where there is none.
 *
 * The list is read again after five minutes, once for all who wait for it. One that cannot be read or is none changes nothing: the
 * last good one goes on, also over a restart. Where there never was a good one nobody knows who is allowed, which is neither yes
 * nor no.
 */
export interface AllowedOwners {
  /** @throws Retryable where it is not known yet. */
  isAllowed(asked: CustomerQuestion): Promise<boolean>;
  /**
   * Whether somebody who is no operator may sign in: one of whose owners, the own account among them, is allowed.
   * @throws Retryable where it is not known yet.
   */
  maySignIn(candidate: {
    readonly instance: string;
    readonly owners: readonly Pick<CustomerQuestion, "owner">[];
  }): Promise<boolean>;
  /** What to tell somebody who is not allowed. */
  readonly refusal: string;
}

export interface AllowedOwnersOptions {
  /** `undefined`: the operator named no list. */
  readonly source: Customers | undefined;
  /** Folder for the last good list. */
  readonly dir: string;
  readonly logger: Logger;
  readonly now?: () => number;
  readonly fetchMs?: number;
}

export async function openAllowedOwners(options: AllowedOwnersOptions): Promise<AllowedOwners> {
  const { source } = options;
  const list = source && (await CachedList.open({ ...options, source }));
  // At once and beside the start, so that one that cannot be read is in the log before anybody asks.
  list?.current().catch(() => undefined);
  return {
    isAllowed: async (asked) => (await list?.current())?.has(asked) ?? false,
    async maySignIn({ instance, owners }) {
      const current = await list?.current();
      return owners.some(({ owner }) => current?.has({ instance, owner }) ?? false);
    },
    refusal: source
      ? "This account is not on the list of customers of this platform. Ask its operator to add it."
      : "No customers are configured, so nobody may deploy. The operator names a list of them in CONTROL_PLANE_CUSTOMERS (a file) or CONTROL_PLANE_CUSTOMERS_URL.",
  };
}

const Kept = z.object({ source: z.string(), text: z.string() });

class CachedList {
  readonly #source: Customers;
  readonly #file: string;
  readonly #logger: Logger;
  readonly #now: () => number;
  readonly #fetchMs: number;
  #list: CustomerList | undefined;
  /** When to read it again. */
  #staleAt = 0;
  #failures = 0;
  #problem = "";
  #fetching: Promise<void> | undefined;

  static async open(options: AllowedOwnersOptions & { readonly source: Customers }): Promise<CachedList> {
    await mkdir(options.dir, { recursive: true, mode: 0o700 });
    const cached = new CachedList(options);
    await cached.#readKept();
    return cached;
  }

  private constructor(options: AllowedOwnersOptions & { readonly source: Customers }) {
    this.#source = options.source;
    this.#file = join(options.dir, "customers.json");
    this.#logger = options.logger;
    this.#now = options.now ?? Date.now;
    this.#fetchMs = options.fetchMs ?? FETCH_MS;
  }

  async current(): Promise<CustomerList> {
    if (this.#now() >= this.#staleAt) {
      this.#fetching ??= this.#refresh().finally(() => {
        this.#fetching = undefined;
      });
      await this.#fetching;
    }
    if (this.#list) return this.#list;
    throw new Retryable(
      `Who may deploy here is not known yet: the list of customers cannot be read. ${this.#problem}`,
    );
  }

  /** Never rejects. */
  async #refresh(): Promise<void> {
    try {
      const text = await fetchCustomers(this.#source, AbortSignal.timeout(this.#fetchMs));
      const list = new CustomerList(text);
      this.#list = list;
      this.#staleAt = this.#now() + CACHE_MS;
      this.#failures = 0;
      await this.#keep(text);
    } catch (error) {
      const pauseMs = Math.min(FIRST_PAUSE_MS * 2 ** this.#failures++, LONGEST_PAUSE_MS);
      this.#staleAt = this.#now() + pauseMs;
      // The operator's words; a file's path or a network's error is for the log alone.
      this.#problem = error instanceof KnownError ? error.message : "";
      this.#logger.error(
        { error: errorMessage(error), pauseMs, goesOn: this.#list !== undefined },
        "the list of customers cannot be read",
      );
    }
  }

  async #keep(text: string): Promise<void> {
    const fresh = `${this.#file}.${randomBytes(6).toString("hex")}`;
    try {
      await writeFile(fresh, JSON.stringify({ source: this.#sourceId(), text }), {
        mode: 0o600,
        flush: true,
      });
      await rename(fresh, this.#file);
    } catch (error) {
      this.#logger.error({ err: error }, "the list of customers could not be kept for the next start");
    }
  }

  async #readKept(): Promise<void> {
    try {
      const kept = Kept.parse(JSON.parse(await readFile(this.#file, "utf8")));
      if (kept.source === this.#sourceId()) this.#list = new CustomerList(kept.text);
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code === "ENOENT") return;
      this.#logger.error({ err: error }, "the list of customers that was kept cannot be used");
    }
  }

  /** A list from somewhere else says nothing; a digest, since an address may hold a secret. */
  #sourceId(): string {
    return sha256(JSON.stringify(this.#source));
  }
}
