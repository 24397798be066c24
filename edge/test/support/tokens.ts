import { KeyObject, sign as signBytes } from "node:crypto";
import type { VerificationKey } from "@openfaas-cloud/shared/session.ts";
import { VerificationKey as VerificationKeySchema } from "@openfaas-cloud/shared/session.ts";
import { type CryptoKey, exportJWK, generateKeyPair, SignJWT } from "jose";

export interface Signer {
  readonly key: VerificationKey;
  /** A session token of alice, valid unless told otherwise. */
  sign(claims?: Record<string, unknown>, header?: Record<string, unknown>): Promise<string>;
  /** Any payload and header at all: the library that `sign` uses refuses what is badly typed. */
  signRaw(payload: object, header?: object): string;
}

let count = 0;

export async function signer(kid = `key-${count++}`): Promise<Signer> {
  const { publicKey, privateKey } = await generateKeyPair("ES256", { extractable: true });
  return signerBy(VerificationKeySchema.parse({ ...(await exportJWK(publicKey)), kid }), privateKey);
}

/** By this key, whoever else signs by it. */
export function signerBy(key: VerificationKey, privateKey: CryptoKey): Signer {
  const { kid } = key;
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
    signRaw: (payload, header = {}) => {
      const text = [{ alg: "ES256", kid, ...header }, payload]
        .map((part) => Buffer.from(JSON.stringify(part)).toString("base64url"))
        .join(".");
      const signature = signBytes("sha256", Buffer.from(text), {
        key: KeyObject.from(privateKey),
        dsaEncoding: "ieee-p1363",
      });
      return `${text}.${signature.toString("base64url")}`;
    },
  };
}
