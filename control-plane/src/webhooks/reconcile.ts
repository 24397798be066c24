import { setTimeout as sleep } from "node:timers/promises";
import { KnownError } from "@openfaas-cloud/shared/known-error.ts";
import type { Logger } from "../logger.ts";
import { sourceHostRead, sourceHostUp } from "../metrics.ts";
import { HostUnavailable } from "../ports/source-host/host-errors.ts";
import type { RemoteHost } from "../ports/source-host/remote-host.ts";
import { readingOf, recordReading } from "../ports/store/readings.ts";
import type { NamedRepository } from "../ports/store/repositories.ts";
import type { Store } from "../ports/store/store.ts";
import type { Links, Listed } from "./links.ts";

const INTERVAL_MS = 60_000;
/** On top of the interval at most, so that hosts are not read in step. */
const SPREAD_MS = 6_000;
/** Between the beginnings of two readings, where somebody asks for one. */
const SOONEST_MS = 5_000;
const HEAD_INTERVAL_MS = 10 * 60_000;
const HEADS_AT_ONCE = 4;
/** So many branches in a row that cannot be read are the host's failure and not theirs. */
const FAILURES_OF_HOST = 3;
const FIRST_BACKOFF_MS = 2_000;
const LONGEST_BACKOFF_MS = 60_000;
/** A host may ask for a longer pause than that, but not for any. */
const LONGEST_PAUSE_MS = 15 * 60_000;
/** A reading that takes longer hangs. */
const READING_MS = 10 * 60_000;
/** What was asked for once is asked for again so much later, since a delivery takes a while to count as lost. */
const OVERLAP_MS = 5 * 60_000;
/** How far back a loss is looked for at most. */
const LONGEST_LOSS_MS = 24 * 60 * 60_000;

export interface Clock {
  now(): number;
  /** Rejects where `signal` aborts. */
  delay(ms: number, signal: AbortSignal): Promise<unknown>;
}

/** How well a source host is followed. Times in milliseconds since the epoch. */
export interface HostHealth {
  readonly instance: string;
  readonly title: string;
  /** When the last reading began that was complete; `undefined` where none was since the platform started. */
  readonly readAt: number | undefined;
  /** Since when readings fail; `undefined` where the last one was complete. */
  readonly failingSince: number | undefined;
  /** For people. It stays when the host is well again. */
  readonly lastError: { readonly at: number; readonly message: string } | undefined;
}

interface ReconcilePorts {
  readonly store: Store;
  readonly links: Links;
  /** Deploys the newest commit of the repository's deploy branch, where that is not done or under way. */
  readonly deployHead: (host: RemoteHost, repository: NamedRepository, signal: AbortSignal) => Promise<void>;
  readonly logger: Logger;
  readonly clock?: Clock;
}

interface Followed {
  readonly host: RemoteHost;
  /** By the id of the repository. */
  readonly heads: Map<string, HeadState>;
  /** Branches that were last read before are to be read again. */
  headsDueSince: number;
  health: HostHealth;
  failures: number;
  beganAt: number;
  wake: AbortController;
}

interface HeadState {
  readonly triedAt: number;
  readonly isRead: boolean;
  readonly pushedAt: number | undefined;
}

/**
 * Finds what no delivery said: lost pushes, links and removals. Each host is read once a minute, one reading after the other: it
 * is asked to send again what it could not deliver, then for all that is linked, then for the branches that may have moved. A
 * branch is read where the host's list shows another push, after the host or the platform was away, and every ten minutes.
 */
export class Reconcile implements AsyncDisposable {
  readonly #ports: ReconcilePorts;
  readonly #clock: Clock;
  readonly #followed = new Map<string, Followed>();
  readonly #disposed = new AbortController();
  readonly #loops: Promise<void>[] = [];

  constructor(ports: ReconcilePorts) {
    this.#ports = ports;
    this.#clock = ports.clock ?? {
      now: Date.now,
      delay: (ms, signal) => sleep(ms, undefined, { signal }),
    };
  }

  /** From now on until disposed. */
  follow(host: RemoteHost): void {
    const { instance, title } = host;
    if (this.#followed.has(instance)) throw new Error(`${instance} is followed already`);
    const followed: Followed = {
      host,
      heads: new Map(),
      headsDueSince: Number.NEGATIVE_INFINITY,
      health: { instance, title, readAt: undefined, failingSince: undefined, lastError: undefined },
      failures: 0,
      beganAt: Number.NEGATIVE_INFINITY,
      wake: new AbortController(),
    };
    this.#followed.set(instance, followed);
    this.#loops.push(this.#loop(followed));
  }

  /** Reads the host and all its branches soon: a delivery of it was lost, or something held back may go on. */
  soon(instance: string): void {
    const followed = this.#followed.get(instance);
    if (followed === undefined) return;
    followed.headsDueSince = this.#clock.now();
    // One that is away is asked when its turn comes, however many would like to know.
    followed.wake.abort();
  }

  status(): readonly HostHealth[] {
    return [...this.#followed.values()].map(({ health }) => health);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#disposed.abort();
    await Promise.all(this.#loops);
  }

  async #loop(followed: Followed): Promise<void> {
    const { signal } = this.#disposed;
    while (!signal.aborted) {
      followed.wake = new AbortController();
      const waitMs = await this.#read(followed);
      if (followed.failures > 0) {
        await this.#wait(waitMs, signal);
      } else {
        await this.#wait(waitMs, AbortSignal.any([signal, followed.wake.signal]));
        await this.#wait(followed.beganAt + SOONEST_MS - this.#clock.now(), signal);
      }
    }
  }

  async #wait(ms: number, signal: AbortSignal): Promise<void> {
    if (ms > 0 && !signal.aborted) await this.#clock.delay(ms, signal).catch(() => undefined);
  }

  /** Never rejects. @returns how long to wait before the next one. */
  async #read(followed: Followed): Promise<number> {
    const { host } = followed;
    followed.beganAt = this.#clock.now();
    const deadline = AbortSignal.timeout(READING_MS);
    const signal = AbortSignal.any([this.#disposed.signal, deadline]);
    let isListed = false;
    try {
      await host.redeliver(await this.#lostSince(followed), signal);
      const listed = await this.#ports.links.lookAtHost(host, signal);
      isListed = true;
      await this.#readHeads(followed, listed, signal);
      await this.#succeeded(followed);
      return INTERVAL_MS + Math.random() * SPREAD_MS;
    } catch (error) {
      if (this.#disposed.signal.aborted) return 0;
      // Whatever is pushed until it is back may be lost.
      if (!isListed) followed.headsDueSince = this.#clock.now();
      return this.#failed(followed, deadline.aborted ? tooSlow(host, error) : error);
    }
  }

  async #lostSince({ health, host, beganAt }: Followed): Promise<Date> {
    const readAt = health.readAt ?? (await readingOf(this.#ports.store, host.instance));
    return new Date(Math.max(beganAt - LONGEST_LOSS_MS, (readAt ?? beganAt) - OVERLAP_MS));
  }

  async #readHeads(followed: Followed, listed: readonly Listed[], signal: AbortSignal): Promise<void> {
    const { heads } = followed;
    const linked = new Set(listed.map(({ repository }) => repository.id));
    for (const id of heads.keys()) if (!linked.has(id)) heads.delete(id);
    const triedAt = ({ repository }: Listed) => heads.get(repository.id)?.triedAt ?? 0;
    // Those that never succeed come after all that were tried longer ago.
    const due = listed
      .filter((one) => this.#isDue(followed, one))
      .toSorted((a, b) => triedAt(a) - triedAt(b))
      .values();
    let inARow = 0;
    const work = async () => {
      for (const one of due) {
        const failure = await this.#readHead(followed, one, signal);
        inARow = failure ? inARow + 1 : 0;
        if (failure && inARow >= FAILURES_OF_HOST) throw failure.error;
      }
    };
    await Promise.all(Array.from({ length: HEADS_AT_ONCE }, work));
  }

  #isDue({ heads, headsDueSince }: Followed, { repository, pushedAt }: Listed): boolean {
    const head = heads.get(repository.id);
    if (head === undefined || !head.isRead || head.pushedAt !== pushedAt) return true;
    return head.triedAt <= Math.max(headsDueSince, this.#clock.now() - HEAD_INTERVAL_MS);
  }

  async #readHead(
    { heads, host }: Followed,
    { repository, pushedAt }: Listed,
    signal: AbortSignal,
  ): Promise<{ readonly error: unknown } | undefined> {
    const triedAt = this.#clock.now();
    heads.set(repository.id, { triedAt, isRead: false, pushedAt });
    try {
      await this.#ports.deployHead(host, repository, signal);
      heads.set(repository.id, { triedAt, isRead: true, pushedAt });
      return undefined;
    } catch (error) {
      signal.throwIfAborted();
      this.#ports.logger.warn(
        { err: error, instance: host.instance, repository: repository.full_name },
        "the deploy branch of a repository could not be read; trying again",
      );
      return { error };
    }
  }

  async #succeeded(followed: Followed): Promise<void> {
    const { host, beganAt } = followed;
    await recordReading(this.#ports.store, host.instance, beganAt);
    if (followed.failures > 0)
      this.#ports.logger.info({ instance: host.instance }, `${host.title} is read again`);
    followed.failures = 0;
    followed.health = { ...followed.health, readAt: beganAt, failingSince: undefined };
    sourceHostUp.set({ host: host.instance }, 1);
    sourceHostRead.set({ host: host.instance }, beganAt / 1000);
  }

  /** @returns how long to wait: longer each time. */
  #failed(followed: Followed, error: unknown): number {
    const { host, health } = followed;
    const at = this.#clock.now();
    const isForeseen = error instanceof KnownError;
    if (followed.failures === 0 || !isForeseen)
      this.#ports.logger.error({ err: error, instance: host.instance }, `${host.title} could not be read`);
    followed.failures += 1;
    const message = isForeseen
      ? error.message
      : "An error of the platform ended the reading; the operator finds it in the log.";
    followed.health = { ...health, failingSince: health.failingSince ?? at, lastError: { at, message } };
    sourceHostUp.set({ host: host.instance }, 0);
    const backoffMs = Math.min(LONGEST_BACKOFF_MS, FIRST_BACKOFF_MS * 2 ** (followed.failures - 1));
    const askedMs = error instanceof HostUnavailable ? (error.retryAfterMs ?? 0) : 0;
    return Math.max(Math.min(askedMs, LONGEST_PAUSE_MS), backoffMs * (0.5 + Math.random() / 2));
  }
}

function tooSlow({ title }: RemoteHost, cause: unknown): HostUnavailable {
  return new HostUnavailable(`${title} could not be read within ${READING_MS / 60_000} minutes.`, { cause });
}
