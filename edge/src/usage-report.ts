import type { Secret } from "@openfaas-cloud/shared/env.ts";
import { errorMessage } from "@openfaas-cloud/shared/known-error.ts";
import type { UsageReport } from "@openfaas-cloud/shared/route.ts";
import { Pool } from "undici";
import type { Records } from "./function-records.ts";
import type { Logger } from "./logger.ts";
import type { RouteTable } from "./route-table.ts";

const EVERY_MS = 2_000;
const ANSWER_WITHIN_MS = 5_000;

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
  #unacknowledged: UsageReport | undefined;
  #sending: Promise<boolean> | undefined;

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
    await this.#sending;
    // One for what was kept back, and one for what was counted since.
    for (let reports = 0; reports < 2; reports++) if (!(await this.#report())) break;
    await this.#pool.destroy();
  }

  #report(): Promise<boolean> {
    this.#sending ??= this.#send().finally(() => {
      this.#sending = undefined;
    });
    return this.#sending;
  }

  /** Tells whether the report is over, so that the next may be made. */
  async #send(): Promise<boolean> {
    const { edgeId, records, logger, table, onDropped } = this.#options;
    if (this.#unacknowledged === undefined) {
      const functions = records.takeUnreported();
      if (functions.length > 0) {
        this.#unacknowledged = { edge: edgeId, sequence: this.#sequence, functions };
        this.#sequence += 1;
      }
    }
    const served = table();
    if (served !== undefined) records.prune(served);
    if (this.#unacknowledged === undefined) return false;

    const status = await this.#post(this.#unacknowledged);
    if (status === undefined || status >= 500 || WORTH_ANOTHER_ATTEMPT.has(status)) {
      logger.debug({ status }, "usage kept back");
      return false;
    }
    if (status >= 300) {
      onDropped();
      logger.error({ status, sequence: this.#unacknowledged.sequence }, "usage report refused, given up");
    }
    this.#unacknowledged = undefined;
    return true;
  }

  /** The status answered; `undefined` where there was no answer. */
  async #post(report: UsageReport): Promise<number | undefined> {
    const { credential, logger } = this.#options;
    try {
      const { statusCode, body } = await this.#pool.request({
        method: "POST",
        path: "/internal/usage",
        headers: { authorization: `Bearer ${credential.reveal()}`, "content-type": "application/json" },
        body: JSON.stringify(report),
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
