import { createHash } from "node:crypto";
import type { PersonGrant } from "./remote-host.ts";

/** No longer than a grant that was renewed counts. */
const REMEMBERED_MS = 3_600_000;
const MOST_REMEMBERED = 10_000;
const RENEW_MS = 30_000;

/**
 * Renews grants whose refresh token the host takes only once. So long a renewed grant is given to whoever still comes with the
 * old one: because they came at the same time, or because what they asked for failed after the renewal.
 */
export class Renewals {
  /** By the old refresh token's digest, the oldest first. */
  readonly #renewals = new Map<string, { readonly until: number; readonly grant: Promise<PersonGrant> }>();

  /**
   * Nobody's leaving stops it: what the host gives for the old grant, which counts no more, must not be lost.
   * @param renew asks the host; its signal is not the asker's.
   */
  once(
    refreshToken: string,
    renew: (signal: AbortSignal) => Promise<PersonGrant>,
    signal: AbortSignal,
  ): Promise<PersonGrant> {
    const now = Date.now();
    for (const [digest, { until }] of this.#renewals) {
      if (until > now && this.#renewals.size < MOST_REMEMBERED) break;
      this.#renewals.delete(digest);
    }
    const digest = createHash("sha256").update(refreshToken).digest("base64");
    const known = this.#renewals.get(digest);
    if (known !== undefined) return unlessAborted(known.grant, signal);
    const grant = renew(AbortSignal.timeout(RENEW_MS));
    this.#renewals.set(digest, { until: now + REMEMBERED_MS, grant });
    grant.catch(() => this.#renewals.delete(digest));
    return unlessAborted(grant, signal);
  }
}

async function unlessAborted<T>(work: Promise<T>, signal: AbortSignal): Promise<T> {
  signal.throwIfAborted();
  const aborted = Promise.withResolvers<never>();
  const abort = () => aborted.reject(signal.reason);
  signal.addEventListener("abort", abort);
  try {
    return await Promise.race([work, aborted.promise]);
  } finally {
    signal.removeEventListener("abort", abort);
  }
}
