import type { Secret } from "@openfaas-cloud/shared/env.ts";
import { errorMessage } from "@openfaas-cloud/shared/known-error.ts";
import { Pool } from "undici";
import type { Records } from "./function-records.ts";
import type { Logger } from "./logger.ts";
import type { RouteTable } from "./route-table.ts";

const EVERY_MS = 2_000;
const ANSWER_WITHIN_MS = 5_000;
/**
 * Functions in one report: a millisecond to write, and a transaction of the receiver's that ends before we give up on its
 * answer. Where more were called, several reports go out one after the other.
 */
const MAX_FUNCTIONS = 1_000;
/**
 * For saying what is left, at the end, what is being said included. With half a second for the last answers to reach their
 * clients (leave-taking.ts) it is less than a primary grants its workers, and a supervisor its edge, besides the drain.
 */
const LAST_WORDS_MS = 750;

export interface UsageReporterOptions {
  readonly origin: string;
  readonly credential: Secret;
  readonly edgeId: string;
  readonly records: Records;
  readonly table: () => RouteTable | undefined;
  readonly logger: Logger;
  readonly onDropped: () => void;
  readonly everyMs?: number;
}

/** Refusals that another attempt may overcome: a credential being changed, a wait too long, too much at once. */
const WORTH_ANOTHER_ATTEMPT = new Set([401, 408, 429]);

/**
 * Tells the control plane what was invoked. A report that was not acknowledged is sent again as it was, under its sequence,
 * before anything newer: the receiver counts each sequence once, so nothing counts twice, and nothing is lost but a report
 * that the receiver refuses for what it says, which would hold up all others for ever.
 */
export class UsageReporter implements AsyncDisposable {
  readonly #options: UsageReporterOptions;
  readonly #pool: Pool;
  readonly #timer: NodeJS.Timeout;
  #sequence = 0;
  /** A UsageReport as it was and will be sent. */
  #unacknowledged: string | undefined;
  #sending: Promise<void> | undefined;

  constructor(options: UsageReporterOptions) {
    this.#options = options;
    this.#pool = new Pool(options.origin, {
      connections: 1,
      connectTimeout: 2_000,
      headersTimeout: ANSWER_WITHIN_MS,
    });
    this.#timer = setInterval(() => void this.#report(), options.everyMs ?? EVERY_MS).unref();
  }

  /** Says what is left, if there is somebody to say it to. */
  async [Symbol.asyncDispose](): Promise<void> {
    clearInterval(this.#timer);
    // Ends what is under way, and nothing goes out any more.
    const tooLong = setTimeout(() => void this.#pool.destroy(), LAST_WORDS_MS);
    await this.#sending;
    while (await this.#send()) {
      // The next report.
    }
    clearTimeout(tooLong);
    await this.#pool.destroy();
  }

  #report(): Promise<void> {
    this.#sending ??= this.#sendAll().finally(() => {
      this.#sending = undefined;
    });
    return this.#sending;
  }

  /** What there is now; what is counted meanwhile has time until the next round. */
  async #sendAll(): Promise<void> {
    const { records, table } = this.#options;
    const kept = this.#unacknowledged === undefined ? 0 : 1;
    const reports = kept + Math.ceil(records.unreported / MAX_FUNCTIONS);
    for (let i = 0; i < reports && (await this.#send()); i++);
    const served = table();
    if (served !== undefined) records.prune(served);
  }

  /** Tells whether a report went out and is over, so that there may be another. */
  async #send(): Promise<boolean> {
    const { logger, onDropped } = this.#options;
    this.#unacknowledged ??= this.#nextReport();
    if (this.#unacknowledged === undefined) return false;

    const status = await this.#post(this.#unacknowledged);
    if (status === undefined || status >= 500 || WORTH_ANOTHER_ATTEMPT.has(status)) {
      logger.debug({ status }, "usage kept back");
      return false;
    }
    if (status >= 300) {
      onDropped();
      logger.error({ status, sequence: this.#sequence - 1 }, "usage report refused, given up");
    }
    this.#unacknowledged = undefined;
    return true;
  }

  #nextReport(): string | undefined {
    const { edgeId, records } = this.#options;
    const functions = records.takeUnreported(MAX_FUNCTIONS);
    if (functions.length === 0) return undefined;
    const sequence = this.#sequence;
    this.#sequence += 1;
    return `{"edge":${JSON.stringify(edgeId)},"sequence":${sequence},"functions":[${functions.join(",")}]}`;
  }

  /** The status answered; `undefined` where there was no answer. */
  async #post(report: string): Promise<number | undefined> {
    const { credential, logger } = this.#options;
    try {
      const { statusCode, body } = await this.#pool.request({
        method: "POST",
        path: "/internal/usage",
        headers: { authorization: `Bearer ${credential.reveal()}`, "content-type": "application/json" },
        body: report,
        signal: AbortSignal.timeout(ANSWER_WITHIN_MS),
      });
      await body.dump();
      return statusCode;
    } catch (error) {
      logger.debug({ error: errorMessage(error) }, "usage not sent");
      return undefined;
    }
  }
}
