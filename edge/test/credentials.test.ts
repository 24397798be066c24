import { expect, test } from "vitest";
import { isPlatformCredential } from "../src/credentials.ts";

const encode = (value: unknown): string => Buffer.from(JSON.stringify(value)).toString("base64url");
const jwt = (claims: unknown): string => `${encode({ alg: "ES256" })}.${encode(claims)}.c2ln`;
const basic = (pair: string): string => `Basic ${Buffer.from(pair).toString("base64")}`;

test.each<[string, string, boolean]>([
  ["a session token", `Bearer ${jwt({ iss: "openfaas-cloud" })}`, true],
  ["a session token in another case and spacing", `bEARER   ${jwt({ iss: "openfaas-cloud" })} `, true],
  ["a session token that has expired", `Bearer ${jwt({ iss: "openfaas-cloud", exp: 1 })}`, true],
  ["an access token", "Bearer ofc_0123456789", true],
  ["an access token as password", basic("alice:ofc_0123456789"), true],
  ["an access token as user", basic("ofc_0123456789:"), true],
  ["a token of another issuer", `Bearer ${jwt({ iss: "https://accounts.example" })}`, false],
  ["a token without an issuer", `Bearer ${jwt({})}`, false],
  ["a token whose payload is null", `Bearer ${jwt(null)}`, false],
  ["a token that is opaque", "Bearer abcdef", false],
  ["a token with dots that is no JWT", "Bearer a.b.c", false],
  ["a function's own password", basic("alice:secret"), false],
  ["an access token under a scheme of its own", "Token ofc_0123456789abcdef", true],
  ["an access token without a scheme", "ofc_0123456789abcdef", true],
  ["an access token in quotes after a tab", 'Bearer\t"ofc_0123456789abcdef"', true],
  ["a session token as password", basic(`alice:${jwt({ iss: "openfaas-cloud" })}`), true],
  [
    "a basic pair with a space in it",
    basic("alice:ofc_0123456789").replace("Basic YWxp", "Basic YWxp "),
    true,
  ],
  ["an access token in single quotes", "Token token='ofc_0123456789abcdef'", true],
  ["an access token after a name", "ApiKey id:ofc_0123456789abcdef", true],
  [
    "an access token in a path",
    "AWS4-HMAC-SHA256 Credential=ofc_0123456789abcdef/20261125/eu, Signature=00",
    true,
  ],
  ["an access token whose pair was not encoded", "Basic me:ofc_0123456789abcdef", true],
  ["an access token glued to its scheme", "Bearerofc_0123456789abcdef0123456789abcdef", true],
  ["a function's own name that holds our prefix", basic("mofc_admin_user:pw"), false],
  ["an access token in brackets", "Bearer <ofc_0123456789abcdef>", true],
  ["an access token in a URL", "Bearer http://me:ofc_0123456789abcdef@x/", true],
  [
    "an access token in a pair under another scheme",
    basic("me:ofc_0123456789abcdef").replace("Basic", "Bearer"),
    true,
  ],
  ["an access token behind two colons", basic("a:b:ofc_0123456789abcdef"), true],
  ["an access token with its scheme in a pair", basic("Bearer ofc_0123456789abcdef"), true],
  [
    "an access token in UTF-16",
    `Basic ${Buffer.from("me:ofc_0123456789abcdef", "utf16le").toString("base64")}`,
    true,
  ],
  ["a session token with a fourth part", `Bearer ${jwt({ iss: "openfaas-cloud" })}.x`, true],
  ["a session token with a tab in it", `Bearer ${jwt({ iss: "openfaas-cloud" }).replace(".", ".\t")}`, true],
  ["another's token that names us", `Bearer ${jwt({ iss: "x", aud: "openfaas-cloud" })}`, false],
  ["a session token in single quotes", `Token token='${jwt({ iss: "openfaas-cloud" })}'`, true],
  ["another scheme", "Digest username=ofc_x", false],
  ["more words than anybody looks at", `Bearer ${"a.b.c ".repeat(64)}`, true],
  ["as many words as a scheme may have", `Digest ${'a="b", '.repeat(31)}`, false],
  ["an empty value", "", false],
])("%s", (_what, authorization, isOurs) => {
  expect(isPlatformCredential(authorization)).toBe(isOurs);
});
