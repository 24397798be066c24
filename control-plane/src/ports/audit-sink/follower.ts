import { setTimeout as delay } from "node:timers/promises";
import { errorMessage } from "@openfaas-cloud/shared/known-error.ts";
import type { Logger } from "../../logger.ts";
import { HostUnavailable } from "../source-host/host-errors.ts";
import type { Store } from "../store/store.ts";
import type { AuditReceiver, KeptEvent } from "./audit-sink.ts";

/** Looked for this often where nobody said that there is one: what a transaction appended shows when that is committed. */
const POLL_MS = 5_000;
const FIRST_PAUSE_MS = 1_000;
const LONGEST_PAUSE_MS = 5 * 60_000;
/** How long a platform that stops waits for events to arrive; what has not by then is brought after the next start. */
const STOP_MS = 2_000;

/**
 * Brings events to one receiver, in order. The table itself is the queue, and how far it got is kept in the store, so that nothing
 * is lost when either side is away, and nothing piles up in memory.
 */
export class Follower implements AsyncDisposable {
  readonly #store: Store;
  readonly #receiver: AuditReceiver;
  readonly #logger: Logger;
  readonly #pollMs: number;
  readonly #firstPauseMs: number;
  /** Ends waiting. */
  readonly #stopping = new AbortController();
  /** Ends what is under way. */
  readonly #aborted = new AbortController();
  readonly #done: Promise<void>;
  #woken = Promise.withResolvers<void>();

  /** Of a receiver that was never told anything, tells what is appended from now on. */
  static async open(options: FollowerOptions): Promise<Follower> {
    const { store, receiver } = options;
    const last = await store
      .selectFrom("audit_events")
      .select((select) => select.fn.max("id").as("id"))
      .executeTakeFirst();
    await store
      .insertInto("meta")
      .values({ key: keyOf(receiver), value: String(last?.id ?? 0) })
      .onConflict((conflict) => conflict.doNothing())
      .execute();
    return new Follower(options);
  }

  private constructor({ store, receiver, logger, pollMs, firstPauseMs }: FollowerOptions) {
    this.#store = store;
    this.#receiver = receiver;
    this.#logger = logger;
    this.#pollMs = pollMs ?? POLL_MS;
    this.#firstPauseMs = firstPauseMs ?? FIRST_PAUSE_MS;
    this.#done = this.#run();
  }

  /** There may be an event. */
  wake(): void {
    this.#woken.resolve();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#stopping.abort();
    const timer = setTimeout(() => this.#aborted.abort(), STOP_MS);
    await this.#done;
    clearTimeout(timer);
  }

  /** Brings what there is and waits for more; when it is to stop, until all is brought or something does not arrive. */
  async #run(): Promise<void> {
    let failures = 0;
    for (;;) {
      // Before looking: what is appended while it looks wakes it again.
      this.#woken = Promise.withResolvers();
      const brought = await this.#bringNext().catch((error: unknown) => new Undelivered({ cause: error }));
      const failed = brought instanceof Undelivered;
      if (!failed && brought > 0 && !this.#aborted.signal.aborted) continue;
      if (this.#stopping.signal.aborted) return;
      if (failed) await this.#wait(this.#pauseAfter(brought, failures));
      else await this.#wait(this.#pollMs, this.#woken.promise);
      failures = failed ? failures + 1 : 0;
    }
  }

  /** @returns how many events arrived. */
  async #bringNext(): Promise<number> {
    const events = await this.#next();
    const last = events.at(-1);
    if (last === undefined) return 0;
    await this.#receiver.deliver(events, this.#aborted.signal);
    await this.#store
      .updateTable("meta")
      .set({ value: String(last.id) })
      .where("key", "=", keyOf(this.#receiver))
      .execute();
    return events.length;
  }

  async #next(): Promise<KeptEvent[]> {
    const told = await this.#store
      .selectFrom("meta")
      .select("value")
      .where("key", "=", keyOf(this.#receiver))
      .executeTakeFirstOrThrow();
    const rows = await this.#store
      .selectFrom("audit_events")
      .selectAll()
      .where("id", ">", Number(told.value))
      .orderBy("id")
      .limit(this.#receiver.most)
      .execute();
    return rows.map(({ owner_id, details, hash, ...row }) => ({
      ...row,
      ownerId: owner_id ?? undefined,
      details: JSON.parse(details) as Record<string, unknown>,
      hash: hash ?? "",
    }));
  }

  #pauseAfter({ cause }: Undelivered, failures: number): number {
    const asked = cause instanceof HostUnavailable ? cause.retryAfterMs : undefined;
    const own = this.#firstPauseMs * 2 ** Math.min(failures, 20) * (0.5 + Math.random());
    const pauseMs = Math.min(asked ?? own, LONGEST_PAUSE_MS);
    this.#logger.warn(
      { receiver: this.#receiver.name, error: errorMessage(cause), pauseMs },
      "audit events wait, since a receiver of them did not take them",
    );
    return pauseMs;
  }

  async #wait(ms: number, woken?: Promise<void>): Promise<void> {
    const over = new AbortController();
    const signal = AbortSignal.any([this.#stopping.signal, over.signal]);
    const elapsed = delay(ms, undefined, { ref: false, signal }).catch(() => undefined);
    await Promise.race(woken ? [elapsed, woken] : [elapsed]);
    over.abort();
  }
}

class Undelivered extends Error {
  constructor(options: { readonly cause: unknown }) {
    super("audit events were not delivered", options);
  }
}

export interface FollowerOptions {
  readonly store: Store;
  readonly receiver: AuditReceiver;
  readonly logger: Logger;
  readonly pollMs?: number | undefined;
  readonly firstPauseMs?: number | undefined;
}

function keyOf({ name }: AuditReceiver): string {
  return `audit_told:${name}`;
}
