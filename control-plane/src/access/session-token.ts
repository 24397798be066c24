import { randomUUID } from "node:crypto";
import {
  CLOCK_TOLERANCE_S,
  SESSION_ISSUER,
  SESSION_MAX_AGE_S,
  SessionClaims,
  VerificationKey,
} from "@openfaas-cloud/shared/session.ts";
import {
  type CryptoKey,
  calculateJwkThumbprint,
  exportJWK,
  generateKeyPair,
  importJWK,
  type JWSHeaderParameters,
  jwtVerify,
  SignJWT,
} from "jose";
import { z } from "zod";
import { ensureKeyFile, replaceKeyFile } from "./key-file.ts";

const ALGORITHM = "ES256";
/** A key signs for so long before another one takes its place. */
const KEY_AGE_MS = 7 * 24 * 60 * 60_000;
/** What it signed last goes on verifying: a session's longest, what clocks may differ by, and the time that a change takes. */
const RETIRED_FOR_MS = (SESSION_MAX_AGE_S + CLOCK_TOLERANCE_S + 5 * 60) * 1000;

const KeyFile = z.object({
  private: z.looseObject({ kty: z.literal("EC") }),
  public: VerificationKey,
  /** Since when it signs. */
  since: z.number().default(0),
  /** Those before it, newest first. Nothing can be signed by them any more. */
  retired: z
    .array(z.object({ public: VerificationKey, until: z.number() }))
    .max(90)
    .default([]),
});
type KeyFile = z.infer<typeof KeyFile>;

/** Signs sessions and says which public keys verify them. */
export interface SessionTokens {
  /** Newest first. */
  readonly keys: readonly VerificationKey[];
  issue(session: {
    readonly subject: string;
    readonly name: string;
    readonly owners: readonly string[];
    readonly jti?: string;
    /** Seconds; a session's longest where it is left out. */
    readonly lifetimeS?: number;
  }): Promise<string>;
  /** The claims, or `undefined` for whatever is not a session of ours that still counts. */
  verify(token: string): Promise<SessionClaims | undefined>;
  /**
   * Lets another key sign where the present one is old, and forgets those that retired long ago. The new one signs once
   * `publish` resolved, so that whoever verifies knows it by then; where that rejects, the next call tries again.
   */
  rotate(publish: () => Promise<void>): Promise<void>;
}

export interface SessionTokensOptions {
  /** Milliseconds since the epoch. */
  readonly now?: () => number;
  readonly keyAgeMs?: number;
}

export async function openSessionTokens(
  keyFile: string,
  audience: string,
  options: SessionTokensOptions = {},
): Promise<SessionTokens> {
  const now = options.now ?? Date.now;
  const content = await ensureKeyFile(keyFile, async () => encode(await makeKey(now())));
  const stored = KeyFile.parse(JSON.parse(content.toString("utf8")));
  const signer = (await importJWK(stored.private, ALGORITHM)) as CryptoKey;
  return new Tokens({
    keyFile,
    audience,
    now,
    keyAgeMs: options.keyAgeMs ?? KEY_AGE_MS,
    stored,
    signer: { kid: stored.public.kid, key: signer },
  });
}

interface Signer {
  readonly kid: string;
  readonly key: CryptoKey;
}

interface TokensState {
  readonly keyFile: string;
  readonly audience: string;
  readonly now: () => number;
  readonly keyAgeMs: number;
  readonly stored: KeyFile;
  readonly signer: Signer;
}

class Tokens implements SessionTokens {
  readonly #options: Pick<TokensState, "keyFile" | "audience" | "now" | "keyAgeMs">;
  /** As the file has it: what is published, and what is to sign. */
  #stored: KeyFile;
  /** What signs; behind the file's while a new key is being published. */
  #signer: Signer;
  readonly #imported = new Map<string, Promise<CryptoKey>>();

  constructor({ stored, signer, ...options }: TokensState) {
    this.#options = options;
    this.#stored = stored;
    this.#signer = signer;
  }

  get keys(): readonly VerificationKey[] {
    return [this.#stored.public, ...this.#stored.retired.map((retired) => retired.public)];
  }

  issue({
    subject,
    name,
    owners,
    jti = randomUUID(),
    lifetimeS = SESSION_MAX_AGE_S,
  }: Parameters<SessionTokens["issue"]>[0]): Promise<string> {
    const { audience, now } = this.#options;
    const issuedAtS = Math.floor(now() / 1000);
    return new SignJWT({ name, organizations: [...owners] })
      .setProtectedHeader({ alg: ALGORITHM, kid: this.#signer.kid })
      .setSubject(subject)
      .setIssuer(SESSION_ISSUER)
      .setAudience(audience)
      .setJti(jti)
      .setIssuedAt(issuedAtS)
      .setExpirationTime(issuedAtS + lifetimeS)
      .sign(this.#signer.key);
  }

  async verify(token: string): Promise<SessionClaims | undefined> {
    try {
      const { payload } = await jwtVerify(token, (header) => this.#keyFor(header), {
        algorithms: [ALGORITHM],
        issuer: SESSION_ISSUER,
        audience: this.#options.audience,
        clockTolerance: CLOCK_TOLERANCE_S,
        maxTokenAge: SESSION_MAX_AGE_S,
        requiredClaims: ["exp", "jti", "sub"],
        currentDate: new Date(this.#options.now()),
      });
      return SessionClaims.parse(payload);
    } catch {
      // Whatever is wrong with it, the answer is the same: nobody is signed in by it.
      return undefined;
    }
  }

  async rotate(publish: () => Promise<void>): Promise<void> {
    const now = this.#options.now();
    const retired = this.#stored.retired.filter(({ until }) => until > now);
    const isOld = now - this.#stored.since >= this.#options.keyAgeMs;
    if (isOld) {
      const before = { public: this.#stored.public, until: now + RETIRED_FOR_MS };
      await this.#store({ ...(await makeKey(now)), retired: [before, ...retired] });
    } else if (retired.length < this.#stored.retired.length) {
      await this.#store({ ...this.#stored, retired });
    } else if (this.#signer.kid === this.#stored.public.kid) {
      return;
    }
    await publish();
    const { public: next } = this.#stored;
    if (this.#signer.kid !== next.kid)
      this.#signer = { kid: next.kid, key: (await importJWK(this.#stored.private, ALGORITHM)) as CryptoKey };
  }

  async #store(stored: KeyFile): Promise<void> {
    await replaceKeyFile(this.#options.keyFile, encode(stored));
    this.#stored = stored;
    this.#imported.clear();
  }

  #keyFor({ kid }: JWSHeaderParameters): Promise<CryptoKey> {
    const jwk = this.keys.find((key) => key.kid === kid);
    if (jwk === undefined) throw new Error("no such key");
    const known = this.#imported.get(jwk.kid);
    if (known) return known;
    const imported = importJWK(jwk, ALGORITHM) as Promise<CryptoKey>;
    this.#imported.set(jwk.kid, imported);
    return imported;
  }
}

async function makeKey(since: number): Promise<KeyFile> {
  const pair = await generateKeyPair(ALGORITHM, { extractable: true });
  const publicJwk = await exportJWK(pair.publicKey);
  const kid = await calculateJwkThumbprint(publicJwk);
  return KeyFile.parse({
    private: await exportJWK(pair.privateKey),
    public: { ...publicJwk, kid },
    since,
    retired: [],
  });
}

function encode(keys: KeyFile): Buffer {
  return Buffer.from(JSON.stringify(keys));
}
