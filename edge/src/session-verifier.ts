import { errorMessage } from "@openfaas-cloud/shared/known-error.ts";
import {
  CLOCK_TOLERANCE_S,
  SESSION_ISSUER,
  SESSION_MAX_AGE_S,
  SessionClaims,
  type VerificationKey,
} from "@openfaas-cloud/shared/session.ts";
import { importJWK, type JWSHeaderParameters, jwtVerify } from "jose";
import type { Logger } from "./logger.ts";

/** A verification key as long as it is among the settings' keys; another object stands for another time. */
export interface SigningKey {
  readonly jwk: VerificationKey;
  imported: ReturnType<typeof importJWK> | undefined;
}

export interface VerifiedSession {
  readonly claims: SessionClaims;
  readonly key: SigningKey;
}

/** Verifies session tokens, by the keys it was given last. */
export class SessionVerifier {
  readonly #audience: string;
  readonly #logger: Logger;
  readonly #keys = new Map<string, SigningKey>();

  constructor(systemDomain: string, logger: Logger) {
    this.#audience = `system.${systemDomain}`;
    this.#logger = logger;
  }

  /** Moves on to these keys; what was known of a key that stays is kept. Tells whether anything changed. */
  follow(keys: readonly VerificationKey[]): boolean {
    const next = new Map<string, SigningKey>();
    for (const jwk of keys) {
      // Of two keys of one name the newer one counts, which comes first.
      if (next.has(jwk.kid)) continue;
      const known = this.#keys.get(jwk.kid);
      const stays = known !== undefined && known.jwk.x === jwk.x && known.jwk.y === jwk.y;
      next.set(jwk.kid, stays ? known : { jwk, imported: undefined });
    }
    const changed =
      next.size !== this.#keys.size || [...next].some(([kid, key]) => this.#keys.get(kid) !== key);
    this.#keys.clear();
    for (const [kid, key] of next) this.#keys.set(kid, key);
    return changed;
  }

  /** Whether this key still counts. */
  has(key: SigningKey): boolean {
    return this.#keys.get(key.jwk.kid) === key;
  }

  /** `undefined` for whatever is not a session of ours that counts by the keys and by this time. */
  async verify(token: string, nowMs: number): Promise<VerifiedSession | undefined> {
    let key: SigningKey | undefined;
    try {
      const { payload } = await jwtVerify(
        token,
        (header) => {
          key = this.#keyFor(header);
          key.imported ??= importJWK(key.jwk, "ES256");
          return key.imported;
        },
        {
          algorithms: ["ES256"],
          issuer: SESSION_ISSUER,
          audience: this.#audience,
          clockTolerance: CLOCK_TOLERANCE_S,
          maxTokenAge: SESSION_MAX_AGE_S,
          requiredClaims: ["exp", "jti", "sub"],
          currentDate: new Date(nowMs),
        },
      );
      const claims = SessionClaims.parse(payload);
      return key === undefined ? undefined : { claims, key };
    } catch (error) {
      this.#logger.debug({ error: errorMessage(error) }, "token refused");
      return undefined;
    }
  }

  /** By the header's `kid` among the keys of the settings, and from nowhere else: a token cannot bring or point to a key. */
  #keyFor({ kid }: JWSHeaderParameters): SigningKey {
    const key = kid === undefined ? undefined : this.#keys.get(kid);
    if (key === undefined) throw new Error("no such key");
    return key;
  }
}
