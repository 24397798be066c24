import { readFile } from "node:fs/promises";
import { KnownError } from "@openfaas-cloud/shared/known-error.ts";
import {
  CompactSign,
  type CryptoKey,
  calculateJwkThumbprint,
  compactVerify,
  exportJWK,
  generateKeyPair,
  importJWK,
  type JWK,
} from "jose";
import { z } from "zod";

const ALGORITHM = "ES256";
/** So that nothing else signed by the same kind of key can be taken for a head. */
const TYPE = "audit-head+jws";

/** The end of the chain at some time: as long as it stands, so does every event up to there. */
export const AuditHead = z.strictObject({
  event: z.int().positive(),
  hash: z.string().regex(/^[0-9a-f]{64}$/),
  /** Milliseconds since the epoch. */
  at: z.int().positive().max(8.64e15),
});
export type AuditHead = z.infer<typeof AuditHead>;

const PublicKey = z.looseObject({
  kty: z.literal("EC"),
  crv: z.literal("P-256"),
  x: z.string(),
  y: z.string(),
});
/** A public key on its own, or the pair that the platform signs with. */
const AnyKeyFile = z.union([z.object({ public: PublicKey }).transform((pair) => pair.public), PublicKey]);
const KeyPair = z.object({ private: z.looseObject({ kty: z.literal("EC") }), public: PublicKey });

/**
 * Signs heads as JWS (RFC 7515) with ES256, by a key that is made for nothing else. A signature and no HMAC, so that whoever
 * keeps the heads elsewhere can check them without being able to make one; no session key, since sessions' keys may be
 * replaced at any time and heads have to be checked for years.
 */
export interface HeadSigner {
  /** A compact JWS. */
  sign(head: AuditHead): Promise<string>;
  /** The key that verifies it, as JWK without the private part. */
  readonly publicKey: JWK;
}

/** @param content of a key file that `makeHeadKey` made. */
export async function openHeadSigner(content: Buffer): Promise<HeadSigner> {
  const pair = KeyPair.parse(JSON.parse(content.toString("utf8")));
  const key = (await importJWK(pair.private, ALGORITHM)) as CryptoKey;
  const header = { alg: ALGORITHM, typ: TYPE, kid: await calculateJwkThumbprint(pair.public) };
  return {
    publicKey: pair.public,
    sign: (head) => new CompactSign(Buffer.from(JSON.stringify(head))).setProtectedHeader(header).sign(key),
  };
}

export async function makeHeadKey(): Promise<Buffer> {
  const pair = await generateKeyPair(ALGORITHM, { extractable: true });
  return Buffer.from(
    JSON.stringify({
      private: await exportJWK(pair.privateKey),
      public: await exportJWK(pair.publicKey),
    }),
  );
}

/** The key that heads are verified with, from a file that holds it alone or with its private part. */
export async function readHeadKey(file: string): Promise<CryptoKey> {
  const key = AnyKeyFile.parse(JSON.parse(await readFile(file, "utf8")));
  return (await importJWK(key, ALGORITHM)) as CryptoKey;
}

/** The head, or `undefined` for whatever was not signed by this key as one. */
export async function verifyHead(jws: string, key: CryptoKey): Promise<AuditHead | undefined> {
  try {
    const { payload, protectedHeader } = await compactVerify(jws, key, { algorithms: [ALGORITHM] });
    return protectedHeader.typ === TYPE
      ? AuditHead.parse(JSON.parse(Buffer.from(payload).toString("utf8")))
      : undefined;
  } catch {
    return undefined;
  }
}

/** Every head in the file. @throws KnownError `audit-head-invalid` for a line that was not signed by this key. */
export async function readHeads(file: string, key: CryptoKey): Promise<AuditHead[]> {
  const lines = (await readFile(file, "utf8")).split("\n");
  const heads: AuditHead[] = [];
  for (const [i, line] of lines.entries()) {
    if (line === "") continue;
    const head = await verifyHead(line, key);
    if (!head) {
      throw new KnownError(
        "audit-head-invalid",
        `Line ${i + 1} of the exported heads is not signed by this key.`,
      );
    }
    heads.push(head);
  }
  return heads;
}
