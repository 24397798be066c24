import { setImmediate as breathe } from "node:timers/promises";
import { errorMessage, KnownError } from "@openfaas-cloud/shared/known-error.ts";
import type { Logger } from "../logger.ts";
import { deliveriesWaiting, deliveriesWorkedOff } from "../metrics.ts";
import type { AuditEvent, AuditSink } from "../ports/audit-sink/audit-sink.ts";
import { HostUnavailable } from "../ports/source-host/host-errors.ts";
import type { RemoteHost } from "../ports/source-host/remote-host.ts";
import {
  countTry,
  countWaiting,
  type DueDelivery,
  finishDelivery,
  listDue,
  listInstances,
  listUnsorted,
  postpone,
  readBody,
  removeOldDeliveries,
  setLane,
} from "../ports/store/deliveries.ts";
import type { Store } from "../ports/store/store.ts";
import { Retryable } from "../rejected.ts";
import { type FollowDelivery, type Followed, laneOf, NotShownYet } from "./follow-delivery.ts";

const MINUTE_MS = 60_000;
const DAY_MS = 24 * 60 * MINUTE_MS;
const SORTED_AT_ONCE = 100;
const REMOVED_AT_ONCE = 200;

export interface InboxLimits {
  /** Deliveries of one host that are worked off at once. */
  readonly perHost: number;
  /** For one try of one delivery. */
  readonly tryMs: number;
  /** Pause after the first try; each after it is three times as long, up to the longest. */
  readonly firstPauseMs: number;
  readonly longestPauseMs: number;
  /** Until a delivery whose host does not answer counts as failed; it is tried a few times in any case. */
  readonly giveUpMs: number;
  /** How often the store is looked at although nothing said so. */
  readonly pollMs: number;
  /** How long a delivery is known after it came. */
  readonly keepMs: number;
}

const LIMITS: InboxLimits = {
  perHost: 4,
  tryMs: 2 * MINUTE_MS,
  firstPauseMs: 1_000,
  longestPauseMs: 5 * MINUTE_MS,
  giveUpMs: 60 * MINUTE_MS,
  pollMs: 1_000,
  keepMs: 8 * DAY_MS,
};
const LONGEST_HOST_PAUSE_MS = 30_000;
const FEWEST_TRIES = 3;
/** Where a try came to no end, since the process did, it counts as well. */
const MOST_TRIES = 30;
/** Of a delivery that the platform itself fails at. */
const MOST_CRASHES = 5;

type End = Pick<Followed, "state" | "result"> | { readonly state: "failed"; readonly result: string };

/**
 * Works off the stored deliveries: those of one repository in the order they came, several repositories at once, and each
 * host apart from the others, so that one which does not answer holds up nobody else. All it knows is in the store: whatever
 * kills it, the next one goes on.
 */
export class Inbox implements AsyncDisposable {
  readonly #store: Store;
  readonly #hosts: { find(instance: string): RemoteHost | undefined };
  readonly #follow: FollowDelivery;
  readonly #audit: AuditSink;
  readonly #logger: Logger;
  readonly #now: () => number;
  readonly #limits: InboxLimits;
  /** What is worked off now: delivery → instance and lane. */
  readonly #active = new Map<string, { readonly delivery: DueDelivery; readonly done: Promise<void> }>();
  /** Hosts that did not answer are left alone for a while, longer each time. */
  readonly #pauses = new Map<string, { readonly until: number; readonly failures: number }>();
  readonly #stopping = new AbortController();
  readonly #timers: readonly NodeJS.Timeout[];
  #round: Promise<void> | undefined;
  #again = false;
  #tidying: Promise<void> | undefined;

  constructor(options: {
    readonly store: Store;
    readonly hosts: { find(instance: string): RemoteHost | undefined };
    readonly follow: FollowDelivery;
    readonly audit: AuditSink;
    readonly logger: Logger;
    readonly now?: () => number;
    readonly limits?: Partial<InboxLimits>;
  }) {
    this.#store = options.store;
    this.#hosts = options.hosts;
    this.#follow = options.follow;
    this.#audit = options.audit;
    this.#logger = options.logger;
    this.#now = options.now ?? Date.now;
    this.#limits = { ...LIMITS, ...options.limits };
    this.#timers = [
      setInterval(() => this.wake(), this.#limits.pollMs),
      setInterval(() => this.#tidySoon(), 60 * MINUTE_MS),
    ];
    this.wake();
    this.#tidySoon();
  }

  /** Something was stored. */
  wake(): void {
    if (this.#stopping.signal.aborted) return;
    this.#again = true;
    this.#round ??= this.#rounds().finally(() => {
      this.#round = undefined;
      if (this.#again) this.wake();
    });
  }

  /** Breaks off what is under way; it is done again by the next inbox. */
  async [Symbol.asyncDispose](): Promise<void> {
    this.#stopping.abort();
    for (const timer of this.#timers) clearInterval(timer);
    await this.#round;
    await this.#tidying;
    await Promise.all([...this.#active.values()].map(({ done }) => done));
  }

  async #rounds(): Promise<void> {
    try {
      while (this.#again && !this.#stopping.signal.aborted) {
        this.#again = false;
        await this.#sort();
        for (const instance of await listInstances(this.#store)) await this.#startDue(instance);
        deliveriesWaiting.set(await countWaiting(this.#store));
      }
    } catch (error) {
      this.#again = false;
      this.#logger.error({ err: error }, "the stored deliveries could not be read; trying again");
    }
  }

  /** Reads each new delivery for its lane, in the order they came, so that no later one of the lane is started before it. */
  async #sort(): Promise<void> {
    for (;;) {
      const unsorted = await listUnsorted(this.#store, SORTED_AT_ONCE);
      for (const { id, instance, event } of unsorted) {
        if (this.#stopping.signal.aborted) return;
        const lane = laneIn(this.#hosts.find(instance), event, await readBody(this.#store, id));
        await setLane(this.#store, id, lane ?? `alone ${id}`);
      }
      if (unsorted.length < SORTED_AT_ONCE) return;
      await breathe();
    }
  }

  async #startDue(instance: string): Promise<void> {
    const now = this.#now();
    if ((this.#pauses.get(instance)?.until ?? 0) > now) return;
    const active = [...this.#active.values()].filter(({ delivery }) => delivery.instance === instance);
    const busyLanes = active.map(({ delivery }) => delivery.lane);
    const limit = this.#limits.perHost - active.length;
    if (limit <= 0) return;
    for (const delivery of await listDue(this.#store, { instance, busyLanes, now, limit })) {
      const done = this.#work(delivery).then(
        () => this.#end(delivery),
        (error: unknown) => {
          // The store failed, and not the delivery: the next look finds it as it was.
          this.#logger.error({ err: error, delivery: delivery.id }, "a delivery could not be worked off");
          this.#active.delete(delivery.id);
        },
      );
      this.#active.set(delivery.id, { delivery, done });
    }
  }

  #end({ id }: DueDelivery): void {
    this.#active.delete(id);
    this.wake();
  }

  async #work(row: DueDelivery): Promise<void> {
    const host = this.#hosts.find(row.instance);
    if (!host) return this.#fail(row, `${row.instance} is no source host of this platform any more.`);
    if (row.attempts >= MOST_TRIES) return this.#fail(row, "The platform ended each time that it was tried.");
    await countTry(this.#store, row.id);
    const tries = row.attempts + 1;
    const deadline = AbortSignal.timeout(this.#limits.tryMs);
    const signal = AbortSignal.any([this.#stopping.signal, deadline]);
    let followed: Followed;
    try {
      followed = await this.#follow(
        host,
        host.parse(row.event, await readBody(this.#store, row.id)),
        tries,
        signal,
      );
    } catch (error) {
      if (this.#stopping.signal.aborted) return;
      const reason = deadline.aborted ? new HostUnavailable(`${host.title} is not answering.`) : error;
      return this.#failed(row, tries, reason);
    }
    const { state, result, unanswered, ...about } = followed;
    if (unanswered) this.#pause(row.instance, unanswered);
    else this.#pauses.delete(row.instance);
    await this.#finish(row, followed, {
      ...about,
      result: state === "done" ? result : `${state}: ${result}`,
    });
  }

  async #failed(row: DueDelivery, tries: number, error: unknown): Promise<void> {
    const isHosts = error instanceof HostUnavailable;
    // Also where it is the platform that does not know yet, as who its customers are.
    const mayPass = error instanceof Retryable;
    if (!mayPass) this.#logger.error({ err: error, delivery: row.id }, "a delivery could not be followed");
    const words = error instanceof KnownError ? error.message : "An error of the platform; its log has it.";
    const { giveUpMs } = this.#limits;
    const isLate = tries >= FEWEST_TRIES && this.#now() - row.received_at >= giveUpMs;
    if (isLate || tries >= (mayPass ? MOST_TRIES : MOST_CRASHES)) return this.#fail(row, words);
    if (isHosts && !(error instanceof NotShownYet)) this.#pause(row.instance, error);
    const askedMs = isHosts ? (error.retryAfterMs ?? 0) : 0;
    const pauseMs = Math.max(this.#pauseAfter(tries), Math.min(askedMs, giveUpMs));
    await postpone(this.#store, row.id, this.#now() + pauseMs, words);
  }

  #fail(row: DueDelivery, reason: string): Promise<void> {
    this.#logger.warn({ delivery: row.id, host: row.instance, reason }, "a delivery is given up");
    return this.#finish(
      row,
      { state: "failed", result: reason },
      {
        actor: row.instance,
        action: "delivery.fail",
        object: `${row.event} ${row.delivery_id}`,
        result: `failed: ${reason}`,
      },
    );
  }

  /** The event is there exactly if the delivery is finished. */
  async #finish(row: DueDelivery, { state, result }: End, event: AuditEvent): Promise<void> {
    await this.#store.transaction().execute(async (transaction) => {
      await finishDelivery(transaction, row.id, { state, result }, this.#now());
      await this.#audit.append(event, transaction);
    });
    deliveriesWorkedOff.inc({ state });
  }

  /** As long as the host asks, otherwise longer each time, but never so long that a push is not heard of for minutes. */
  #pause(instance: string, { retryAfterMs }: HostUnavailable): void {
    // What was under way together fails together, and is one failure.
    if ((this.#pauses.get(instance)?.until ?? 0) > this.#now()) return;
    const failures = (this.#pauses.get(instance)?.failures ?? 0) + 1;
    const ownMs = Math.min(this.#pauseAfter(failures), LONGEST_HOST_PAUSE_MS);
    const pauseMs = Math.max(ownMs, Math.min(retryAfterMs ?? 0, this.#limits.giveUpMs));
    this.#pauses.set(instance, { until: this.#now() + pauseMs, failures });
  }

  /** With jitter, so that what failed together does not come back together. */
  #pauseAfter(tries: number): number {
    const { firstPauseMs, longestPauseMs } = this.#limits;
    return Math.min(firstPauseMs * 3 ** (tries - 1), longestPauseMs) * (0.5 + Math.random());
  }

  #tidySoon(): void {
    this.#tidying ??= this.#tidy()
      .catch((error: unknown) =>
        this.#logger.error({ err: error }, `old deliveries could not be removed: ${errorMessage(error)}`),
      )
      .finally(() => {
        this.#tidying = undefined;
      });
  }

  /** In small steps, between which others get at the store. */
  async #tidy(): Promise<void> {
    const before = this.#now() - this.#limits.keepMs;
    while (!this.#stopping.signal.aborted) {
      const removed = await removeOldDeliveries(this.#store, before, REMOVED_AT_ONCE);
      if (removed < REMOVED_AT_ONCE) return;
      await breathe();
    }
  }
}

/** `undefined` for what is to be finished like any other, and in no order. */
function laneIn(host: RemoteHost | undefined, event: string, body: string): string | undefined {
  try {
    const delivery = host?.parse(event, body);
    return delivery === undefined || delivery.kind === "ignored" ? undefined : laneOf(delivery);
  } catch {
    // Whoever works it off comes to the same error, and says so.
    return undefined;
  }
}
