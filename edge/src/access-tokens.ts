import { AccessTokenAnswer, type AccessTokenQuestion } from "@openfaas-cloud/shared/access-token.ts";
import type { Secret } from "@openfaas-cloud/shared/env.ts";
import { errorMessage } from "@openfaas-cloud/shared/known-error.ts";
import type { Rate } from "@openfaas-cloud/shared/route.ts";
import { LRUCache } from "lru-cache";
import { Pool } from "undici";
import type { Logger } from "./logger.ts";
import { RateGate } from "./rate-gate.ts";

/** What became of a question; `unavailable` says nothing about the token. */
export type AccessTokenFinding = AccessTokenAnswer | { readonly kind: "unavailable" };

/** Who knows access tokens. */
export interface AccessTokens {
  /**
   * Asks who the token of this digest stands for. Answers within a time of its own, and never throws. `undefined` where the
   * question was not asked, since there are too many.
   */
  find(digest: string, asker: Asker): Promise<AccessTokenFinding> | undefined;
}

export interface Asker {
  /** Whose function is called: nobody's callers may use up everybody's questions. */
  readonly owner: string;
  /** The token was found good before. Whoever makes up tokens cannot keep such a one from being asked about. */
  readonly wasGood: boolean;
}

const ANSWER_WITHIN_MS = 2_000;
const CONNECTIONS = 8;
/** Under way or waiting for a connection. */
const MAX_QUESTIONS = 1_000;
/** Of tokens not known here: of all of them, and of those for one owner's functions. */
const STRANGERS: Rate = { perS: 100, burst: 200 };
const STRANGERS_OF_OWNER: Rate = { perS: 50, burst: 100 };
const MAX_OWNERS = 1_000;
const MAX_ANSWER_BYTES = 128 * 1024;

/** Asks the control plane. A question that it does not answer at once, whole and as agreed is one that was not answered. */
export class HttpAccessTokens implements AccessTokens, AsyncDisposable {
  readonly #authorization: string;
  readonly #logger: Logger;
  readonly #pool: Pool;
  readonly #strangers = new RateGate();
  readonly #strangersOf = new LRUCache<string, RateGate>({ max: MAX_OWNERS });
  #questions = 0;

  constructor(origin: string, credential: Secret, logger: Logger) {
    this.#authorization = `Bearer ${credential.reveal()}`;
    this.#logger = logger;
    this.#pool = new Pool(origin, {
      connections: CONNECTIONS,
      connectTimeout: ANSWER_WITHIN_MS,
      maxResponseSize: MAX_ANSWER_BYTES,
    });
  }

  find(digest: string, asker: Asker): Promise<AccessTokenFinding> | undefined {
    if (this.#questions >= MAX_QUESTIONS) return undefined;
    if (!asker.wasGood && !this.#mayAsk(asker.owner)) return undefined;
    return this.#ask({ digest });
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#pool.destroy();
  }

  #mayAsk(owner: string): boolean {
    const nowMs = performance.now();
    const gate = this.#strangersOf.get(owner) ?? new RateGate();
    this.#strangersOf.set(owner, gate);
    return gate.pass(STRANGERS_OF_OWNER, nowMs) === 0 && this.#strangers.pass(STRANGERS, nowMs) === 0;
  }

  async #ask(question: AccessTokenQuestion): Promise<AccessTokenFinding> {
    this.#questions += 1;
    try {
      const { statusCode, body } = await this.#pool.request({
        method: "POST",
        path: "/internal/access-tokens",
        headers: { authorization: this.#authorization, "content-type": "application/json" },
        body: JSON.stringify(question),
        // Over all of it, the wait for a connection included.
        signal: AbortSignal.timeout(ANSWER_WITHIN_MS),
      });
      if (statusCode !== 200) {
        await body.dump();
        throw new Error(`the control plane answered ${statusCode}`);
      }
      return AccessTokenAnswer.parse(await body.json());
    } catch (error) {
      this.#logger.debug({ error: errorMessage(error) }, "an access token could not be asked about");
      return { kind: "unavailable" };
    } finally {
      this.#questions -= 1;
    }
  }
}
