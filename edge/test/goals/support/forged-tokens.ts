import {
  createHmac,
  createPublicKey,
  generateKeyPairSync,
  type KeyObject,
  randomBytes,
  sign as signRaw,
} from "node:crypto";
import type { Signer } from "../../support/tokens.ts";
import { signer } from "../../support/tokens.ts";

/** Order of P-256: an `s` may be replaced by what is left to it. */
const ORDER = 0xffffffff00000000ffffffffffffffffbce6faada7179e84f3b9cac2fc632551n;

const encode = (value: unknown): string => Buffer.from(JSON.stringify(value)).toString("base64url");

interface JwsOptions {
  readonly header: object;
  readonly payload: object;
  readonly key: KeyObject;
  readonly digest: string | null;
  readonly dsaEncoding?: "ieee-p1363" | "der";
}

/** Signs whatever it is given: libraries refuse to make half of these. */
function jws({ header, payload, key, digest, dsaEncoding = "ieee-p1363" }: JwsOptions): string {
  const text = `${encode(header)}.${encode(payload)}`;
  return `${text}.${signRaw(digest, Buffer.from(text), { key, dsaEncoding }).toString("base64url")}`;
}

export interface Claims {
  readonly [name: string]: unknown;
}

/** Claims of a session that would be good. */
export function goodClaims(more: Claims = {}): Claims {
  const nowS = Math.floor(Date.now() / 1000);
  return {
    sub: "local:alice",
    name: "Alice",
    organizations: ["alice"],
    iss: "openfaas-cloud",
    aud: "system.console.test",
    jti: randomBytes(9).toString("base64url"),
    iat: nowS,
    exp: nowS + 3600,
    ...more,
  };
}

/**
 * Tokens of which none may be accepted, each with what is wrong with it. `trap` is a URL at which a key could be had; `more`
 * are claims of a session that would be good where that is none of `goodClaims`.
 */
export async function forgedTokens(
  issuer: Signer,
  trap: string,
  more: Claims = {},
): Promise<Map<string, string>> {
  const tokens = new Map<string, string>();
  const add = (what: string, token: string): void => {
    if (tokens.has(what)) throw new Error(`${what} stands twice`);
    tokens.set(what, token);
  };
  const { kid } = issuer.key;
  const good = await issuer.sign();
  const [header = "", payload = "", signature = ""] = good.split(".");
  const claims = goodClaims(more);
  const nowS = Math.floor(Date.now() / 1000);

  // No signature, or one of another kind.
  for (const alg of ["none", "None", "NONE", "nOnE", "", null, 0, ["ES256"]]) {
    add(`alg ${JSON.stringify(alg)}`, `${encode({ alg, kid })}.${payload}.`);
  }
  add("alg none, with a good token's signature", `${encode({ alg: "none", kid })}.${payload}.${signature}`);
  add("no alg", `${encode({ kid })}.${payload}.${signature}`);
  add("no header", `.${payload}.${signature}`);
  add("a good token without its signature", `${header}.${payload}.`);
  add("a good token without its signature's dot", `${header}.${payload}`);

  // HMAC with what everybody knows.
  const publicKey = createPublicKey({ key: issuer.key, format: "jwk" });
  const known: Record<string, string | Buffer> = {
    x: issuer.key.x,
    "the JWK": JSON.stringify(issuer.key),
    "the PEM": publicKey.export({ type: "spki", format: "pem" }),
    "the DER": publicKey.export({ type: "spki", format: "der" }),
    "the point": Buffer.concat([
      Buffer.from([4]),
      Buffer.from(issuer.key.x, "base64url"),
      Buffer.from(issuer.key.y, "base64url"),
    ]),
    nothing: "",
  };
  for (const [what, secret] of Object.entries(known)) {
    for (const [alg, digest] of [
      ["HS256", "sha256"],
      ["HS512", "sha512"],
    ] as const) {
      const text = `${encode({ alg, kid })}.${payload}`;
      add(`${alg} by ${what}`, `${text}.${createHmac(digest, secret).update(text).digest("base64url")}`);
    }
  }

  // Other kinds of key, under our key's id.
  const rsa = generateKeyPairSync("rsa", { modulusLength: 2048 }).privateKey;
  const curves = {
    ES384: ["P-384", "sha384"],
    ES512: ["P-521", "sha512"],
    ES256K: ["secp256k1", "sha256"],
  } as const;
  add("RS256", jws({ header: { alg: "RS256", kid }, payload: claims, key: rsa, digest: "sha256" }));
  add(
    "RS256 that says ES256",
    jws({ header: { alg: "ES256", kid }, payload: claims, key: rsa, digest: "sha256" }),
  );
  add(
    "EdDSA",
    jws({
      header: { alg: "EdDSA", kid },
      payload: claims,
      key: generateKeyPairSync("ed25519").privateKey,
      digest: null,
    }),
  );
  for (const [alg, [namedCurve, digest]] of Object.entries(curves)) {
    const { privateKey } = generateKeyPairSync("ec", { namedCurve });
    add(alg, jws({ header: { alg, kid }, payload: claims, key: privateKey, digest }));
    add(
      `${alg} that says ES256`,
      jws({ header: { alg: "ES256", kid }, payload: claims, key: privateKey, digest }),
    );
  }

  // A key of the forger's, and headers that say where it is.
  const { privateKey: own, publicKey: ownPublic } = generateKeyPairSync("ec", { namedCurve: "P-256" });
  const ownJwk = ownPublic.export({ format: "jwk" });
  const forged = (more: object): string =>
    jws({ header: { alg: "ES256", ...more }, payload: claims, key: own, digest: "sha256" });
  add("another key under our key's id", forged({ kid }));
  add("another key without an id", forged({}));
  const kids: unknown[] = [
    "",
    "key",
    null,
    0,
    true,
    [kid],
    [],
    { kid },
    "__proto__",
    "constructor",
    "toString",
    "../../../dev/null",
    "/dev/null",
    trap,
    `${kid}\u0000`,
    `${kid} `,
    kid.toUpperCase(),
    `' or '1'='1`,
    "x".repeat(2_000),
  ];
  for (const other of kids) add(`kid ${JSON.stringify(other).slice(0, 60)}`, forged({ kid: other }));
  for (const name of ["jku", "x5u"]) {
    add(`${name} with our key's id`, forged({ kid, [name]: trap }));
    add(`${name} with an id of its own`, forged({ kid: "own", [name]: trap }));
  }
  add("jwk in the header", forged({ kid: "own", jwk: ownJwk }));
  add("jwk in the header, under our key's id", forged({ kid, jwk: { ...ownJwk, kid } }));
  add(
    "x5c in the header",
    forged({ kid, x5c: [ownPublic.export({ type: "spki", format: "der" }).toString("base64")] }),
  );
  add(
    "alg twice",
    `${Buffer.from(`{"alg":"none","alg":"ES256","kid":"${kid}"}`).toString("base64url")}.${payload}.${signature}`,
  );

  // Our own key, and what must be understood, or is not.
  const heads: Record<string, object> = {
    "crit that nobody knows": { crit: ["urn:own"], "urn:own": 1 },
    "crit exp": { crit: ["exp"], exp: nowS + 1 },
    "crit empty": { crit: [] },
    "crit no list": { crit: "exp", exp: nowS },
    "b64 false": { b64: false, crit: ["b64"] },
  };
  for (const [what, more] of Object.entries(heads)) add(what, issuer.signRaw(claims, more));

  // Our own key, and claims that do not hold.
  const bad: Record<string, Claims> = {
    "iss of somebody else": { iss: "openfaas" },
    "iss in capitals": { iss: "OpenFaaS-Cloud" },
    "iss in a list": { iss: ["openfaas-cloud"] },
    "no iss": { iss: undefined },
    "aud of somebody else": { aud: "system.other.test" },
    "aud of a function": { aud: "alice.fn.test" },
    "aud in a list": { aud: [claims["aud"]] },
    "no aud": { aud: undefined },
    "exp in letters": { exp: String(nowS + 3600) },
    "exp in the past": { exp: nowS - 61 },
    "exp at the beginning": { exp: 0 },
    "exp null": { exp: null },
    "no exp": { exp: undefined },
    "nbf far ahead": { nbf: nowS + 3600 },
    "nbf in letters": { nbf: "0" },
    "iat ahead": { iat: nowS + 3600 },
    "iat nine hours ago": { iat: nowS - 9 * 3600, exp: nowS + 3600 },
    "no iat": { iat: undefined },
    "no sub": { sub: undefined },
    "sub empty": { sub: "" },
    "sub a number": { sub: 1 },
    "no jti": { jti: undefined },
    "jti a number": { jti: 7 },
    "organizations in one string": { organizations: "alice" },
    "organizations in a string of a list": { organizations: '["alice"]' },
    "organizations an object": { organizations: { 0: "alice", length: 1 } },
    "no organizations": { organizations: undefined },
    "name of 300 letters": { name: "x".repeat(300) },
  };
  for (const [what, more] of Object.entries(bad)) add(what, issuer.signRaw({ ...claims, ...more }));

  // A good token, changed.
  const bytes = Buffer.from(signature, "base64url");
  const zero = Buffer.alloc(64);
  const withSignature = (changed: Buffer): string => `${header}.${payload}.${changed.toString("base64url")}`;
  add("a signature of noughts", withSignature(zero));
  add("r nought", withSignature(Buffer.concat([zero.subarray(0, 32), bytes.subarray(32)])));
  add("s nought", withSignature(Buffer.concat([bytes.subarray(0, 32), zero.subarray(32)])));
  add("s the order", withSignature(Buffer.concat([bytes.subarray(0, 32), toBytes(ORDER)])));
  add("a signature cut short", withSignature(bytes.subarray(0, 63)));
  add("a signature with a byte more", withSignature(Buffer.concat([bytes, Buffer.from([0])])));
  add(
    "a signature with a bit changed",
    withSignature(Buffer.concat([bytes.subarray(0, 63), Buffer.from([(bytes[63] ?? 0) ^ 1])])),
  );
  add(
    "a signature in DER",
    withSignature(
      Buffer.concat([
        Buffer.from([0x30, 0x44, 2, 32]),
        bytes.subarray(0, 32),
        Buffer.from([2, 32]),
        bytes.subarray(32),
      ]),
    ),
  );
  const other = (await issuer.sign({ organizations: ["bob"] })).split(".");
  add("another token's signature", `${header}.${payload}.${other[2]}`);
  add("another token's claims", `${header}.${other[1]}.${signature}`);
  add(
    "more organizations",
    `${header}.${encode({ ...claims, organizations: ["alice", "bob"] })}.${signature}`,
  );
  add("trailing letters", `${good}x`);
  add("a trailing dot", `${good}.`);
  add("a fourth part", `${good}.${signature}`);
  add("five parts", `${encode({ alg: "dir", enc: "A256GCM" })}..${payload}.${payload}.${signature}`);
  add("padding", `${header}=.${payload}=.${signature}==`);
  add("quotes", `"${good}"`);
  add("in capitals", good.toUpperCase());
  add("in percent escapes", good.replaceAll(".", "%2E"));
  add("a comma and another", `${good},${good}`);
  add("the parts the other way round", `${signature}.${payload}.${header}`);
  add("a flattened JSON", JSON.stringify({ payload, protected: header, signature }));
  add("64 KiB", await issuer.sign({ name: "x".repeat(48_000) }));
  add("12 KiB", await issuer.sign({ name: "x".repeat(9_000) }));

  // Not even that.
  for (const text of [
    "..",
    ".",
    "a.b.c",
    "null",
    "undefined",
    "{}",
    "ofc_",
    `ofc_${"0".repeat(43)}`,
    "ofc_../../../internal",
    randomBytes(300).toString("base64url"),
  ]) {
    add(`just ${text.slice(0, 30)}`, text);
  }
  // Signed by whoever signs for another platform.
  add("another platform's", await (await signer()).sign());
  return tokens;
}

/** The same claims under the other signature that the curve has for them. */
export function twinOf(token: string): string {
  const [header, payload, signature = ""] = token.split(".");
  const bytes = Buffer.from(signature, "base64url");
  const s = BigInt(`0x${bytes.subarray(32).toString("hex")}`);
  return `${header}.${payload}.${Buffer.concat([bytes.subarray(0, 32), toBytes(ORDER - s)]).toString("base64url")}`;
}

function toBytes(value: bigint): Buffer {
  return Buffer.from(value.toString(16).padStart(64, "0"), "hex");
}
