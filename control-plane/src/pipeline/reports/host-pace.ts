import { setTimeout as delay } from "node:timers/promises";
import { HostUnavailable } from "../../ports/source-host/host-errors.ts";

/** Reports under way to one host at once. */
const MAX_UNDER_WAY = 4;
const FIRST_PAUSE_MS = 1_000;
const LONGEST_PAUSE_MS = 30_000;

interface Host {
  underWay: number;
  readonly waiting: (() => void)[];
  /** Failures in a row that are the host's own, whoever asks. */
  failures: number;
  /** Nothing is sent to it before. */
  notBefore: number;
}

/** Keeps few calls under way to each host, and none for a while to one that does not answer. */
export class HostPace {
  readonly #hosts = new Map<string, Host>();
  readonly #firstPauseMs: number;

  constructor(firstPauseMs = FIRST_PAUSE_MS) {
    this.#firstPauseMs = firstPauseMs;
  }

  /** @throws what `send` throws; the signal's reason where that aborted before it was called. */
  async run(instance: string, send: () => Promise<void>, signal: AbortSignal): Promise<void> {
    const host = this.#hosts.get(instance) ?? { underWay: 0, waiting: [], failures: 0, notBefore: 0 };
    this.#hosts.set(instance, host);
    if (host.underWay >= MAX_UNDER_WAY) await new Promise<void>((resolve) => host.waiting.push(resolve));
    else host.underWay += 1;
    try {
      const pauseMs = host.notBefore - Date.now();
      if (pauseMs > 0) await delay(pauseMs, undefined, { signal });
      signal.throwIfAborted();
      await send();
      host.failures = 0;
    } catch (error) {
      if (isOfHost(error)) {
        host.failures += 1;
        const pauseMs = this.#firstPauseMs * 2 ** (host.failures - 1);
        host.notBefore = Date.now() + Math.min(pauseMs, LONGEST_PAUSE_MS);
      }
      throw error;
    } finally {
      // Whoever is next takes this one's place.
      const next = host.waiting.shift();
      if (next) next();
      else host.underWay -= 1;
    }
  }
}

/** No answer at all or an error of its own; what it says to one credential is no reason to keep the others waiting. */
function isOfHost(error: unknown): boolean {
  return error instanceof HostUnavailable && (error.status === undefined || error.status >= 500);
}
