import type { VerificationKey } from "@openfaas-cloud/shared/session.ts";
import { VerificationKey as VerificationKeySchema } from "@openfaas-cloud/shared/session.ts";
import { exportJWK, generateKeyPair, SignJWT } from "jose";

export interface Signer {
  readonly key: VerificationKey;
  /** A session token of alice, valid unless told otherwise. */
  sign(claims?: Record<string, unknown>, header?: Record<string, unknown>): Promise<string>;
}

let count = 0;

export async function signer(kid = `key-${count++}`): Promise<Signer> {
  const { publicKey, privateKey } = await generateKeyPair("ES256", { extractable: true });
  const key = VerificationKeySchema.parse({ ...(await exportJWK(publicKey)), kid });
  return {
    key,
    sign: (claims = {}, header = {}) => {
      const nowS = Math.floor(Date.now() / 1000);
      return new SignJWT({
        sub: "local:alice",
        name: "Alice",
        organizations: ["alice"],
        iss: "openfaas-cloud",
        aud: "system.console.test",
        jti: `jti-${count++}`,
        iat: nowS,
        exp: nowS + 3600,
        ...claims,
      })
        .setProtectedHeader({ alg: "ES256", kid, ...header })
        .sign(privateKey);
    },
  };
}
