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
  jwtVerify,
  SignJWT,
} from "jose";
import { z } from "zod";
import { ensureKeyFile } from "./key-file.ts";

const ALGORITHM = "ES256";

const KeyFile = z.object({ private: z.looseObject({ kty: z.literal("EC") }), public: VerificationKey });

/** Signs sessions and says which public key verifies them. */
export interface SessionTokens {
  readonly keys: readonly VerificationKey[];
  issue(session: { subject: string; name: string; owners: readonly string[] }): Promise<string>;
  /** The claims, or `undefined` for whatever is not a session of ours that still counts. */
  verify(token: string): Promise<SessionClaims | undefined>;
}

export async function openSessionTokens(keyFile: string, audience: string): Promise<SessionTokens> {
  const file = await ensureKeyFile(keyFile, makeKeyFile);
  const stored = KeyFile.parse(JSON.parse(file.toString("utf8")));
  const privateKey = (await importJWK(stored.private, ALGORITHM)) as CryptoKey;
  const publicKey = (await importJWK(stored.public, ALGORITHM)) as CryptoKey;
  const { kid } = stored.public;

  return {
    keys: [stored.public],

    issue({ subject, name, owners }) {
      return new SignJWT({ name, organizations: [...owners] })
        .setProtectedHeader({ alg: ALGORITHM, kid })
        .setSubject(subject)
        .setIssuer(SESSION_ISSUER)
        .setAudience(audience)
        .setJti(randomUUID())
        .setIssuedAt()
        .setExpirationTime(`${SESSION_MAX_AGE_S}s`)
        .sign(privateKey);
    },

    async verify(token) {
      try {
        const { payload } = await jwtVerify(token, publicKey, {
          algorithms: [ALGORITHM],
          issuer: SESSION_ISSUER,
          audience,
          clockTolerance: CLOCK_TOLERANCE_S,
        });
        return SessionClaims.parse(payload);
      } catch {
        // Whatever is wrong with it, the answer is the same: nobody is signed in by it.
        return undefined;
      }
    },
  };
}

async function makeKeyFile(): Promise<Buffer> {
  const pair = await generateKeyPair(ALGORITHM, { extractable: true });
  const publicJwk = await exportJWK(pair.publicKey);
  const kid = await calculateJwkThumbprint(publicJwk);
  return Buffer.from(
    JSON.stringify({
      private: await exportJWK(pair.privateKey),
      public: VerificationKey.parse({ ...publicJwk, kid }),
    }),
  );
}
