import { ACCESS_TOKEN, ACCESS_TOKEN_PREFIX } from "@openfaas-cloud/shared/access-token.ts";
import { PLATFORM_COOKIE_PREFIX, SESSION_COOKIE, SESSION_ISSUER } from "@openfaas-cloud/shared/session.ts";
import type { RequestHead } from "./request-fields.ts";

const MAX_TOKEN_CHARACTERS = 8 * 1024;
/** No scheme needs as many; to look for one of ours among thousands costs more than the request they come with. */
const MAX_WORDS = 64;

/** A token that a request was sent with, of whatever worth. */
export interface Presented {
  readonly token: string;
  /** `basic` and `cookie` are what browsers send of themselves, whoever made them ask. */
  readonly by: "bearer" | "basic" | "cookie";
}

/**
 * The token that a request is judged by: what `Authorization` says before any cookie, since that was said on purpose. Two
 * cookies of our name mean that somebody tossed one in: nothing counts then, whatever else was sent. A basic pair is the
 * function's own business, unless an access token is in it, as in the URLs that git pushes to.
 */
export function presentedToken(head: RequestHead): Presented | undefined {
  const cookies = head.cookies.length === 0 ? NONE : cookieValues(head.cookies, SESSION_COOKIE);
  if (cookies.length > 1) return undefined;
  const presented = fromAuthorization(head.authorization) ?? fromCookie(cookies[0]);
  return presented === undefined || presented.token.length > MAX_TOKEN_CHARACTERS ? undefined : presented;
}

const NONE: readonly string[] = [];

function fromAuthorization(authorization: string | undefined): Presented | undefined {
  if (authorization === undefined) return undefined;
  const end = authorization.indexOf(" ");
  const scheme = (end === -1 ? authorization : authorization.slice(0, end)).toLowerCase();
  const rest = end === -1 ? "" : authorization.slice(end).trim();
  // Also where nothing follows: no cookie stands in for it.
  if (scheme === "bearer") return { token: rest, by: "bearer" };
  if (scheme !== "basic") return undefined;
  const token = pairOf(rest).find((part) => ACCESS_TOKEN.test(part));
  return token === undefined ? undefined : { token, by: "basic" };
}

/** An access token is no cookie: what it opens must not open to what a browser sends of itself. */
function fromCookie(token: string | undefined): Presented | undefined {
  return token === undefined || token.startsWith(ACCESS_TOKEN_PREFIX) ? undefined : { token, by: "cookie" };
}

/** Password and user name, in this order. */
function pairOf(encoded: string): [string, string] {
  const pair = Buffer.from(encoded, "base64").toString("latin1");
  const colon = pair.indexOf(":");
  return colon === -1 ? ["", pair] : [pair.slice(colon + 1), pair.slice(0, colon)];
}

/**
 * Whether an `Authorization` value has the platform's own in it: a session token or an access token, whatever the scheme, plain
 * or in base64, and whatever stands around it. Looks at what it claims to be and verifies nothing: one that has expired must
 * not reach a function either.
 */
export function isPlatformCredential(authorization: string): boolean {
  if (authorization.split(/[\s,;="]+/).length > MAX_WORDS) return true;
  if (hasToken(authorization) || runsOf(authorization).some(hidesToken)) return true;
  const value = authorization.slice(authorization.search(/\s/) + 1).trim();
  if (!/\s/.test(value)) return false;
  // Spaces in base64 are nothing to the one decoder, and its end to the other.
  const unbroken = value.replaceAll(/\s+/g, "");
  return hasToken(unbroken) || runsOf(unbroken).some(hidesToken);
}

/** What begins so, if it was cut as well; within a longer word only what is long enough to be no part of a name. */
const ACCESS_TOKEN_WITHIN = new RegExp(
  `(?<![A-Za-z0-9])${ACCESS_TOKEN_PREFIX}[\\w-]{8}|${ACCESS_TOKEN_PREFIX}[\\w-]{20}`,
);
/** What a JSON object begins with in base64, and so each part of a session token but its signature. */
const OBJECT_IN_BASE64 = "eyJ";

function hidesToken(base64: string): boolean {
  const text = Buffer.from(base64, "base64").toString("latin1");
  // UTF-16 is ASCII with a zero beside each character.
  return hasToken(text.includes("\0") ? text.replaceAll("\0", "") : text);
}

function hasToken(text: string): boolean {
  if (text.includes(ACCESS_TOKEN_PREFIX) && ACCESS_TOKEN_WITHIN.test(text)) return true;
  return text.includes(OBJECT_IN_BASE64) && runsOf(text).some(isSessionPayload);
}

/** What may be base64 of more than a few bytes, of either alphabet. */
function runsOf(text: string): readonly string[] {
  return text.match(/[\w+/-]{16,}/g) ?? NONE;
}

/** The middle of a session token, the one part of it that tells whose it is. */
function isSessionPayload(base64: string): boolean {
  if (!base64.startsWith(OBJECT_IN_BASE64)) return false;
  const text = Buffer.from(base64, "base64").toString("utf8");
  // What we signed spells it plainly. Hundreds of runs that are no JSON would cost as many exceptions.
  if (!text.includes(SESSION_ISSUER)) return false;
  try {
    const payload: unknown = JSON.parse(text);
    return (
      payload !== null && typeof payload === "object" && "iss" in payload && payload.iss === SESSION_ISSUER
    );
  } catch {
    return false;
  }
}

/** `undefined` where nothing is left. Names are compared without case, as browsers compare cookie name prefixes. */
export function withoutPlatformCookies(value: string): string | undefined {
  if (!value.toLowerCase().includes(PLATFORM_COOKIE_LOWER)) return value;
  const kept = value.split(";").filter((pair) => !isPlatformCookie(pair));
  const rest = kept.join(";").trim();
  return rest === "" ? undefined : rest;
}

const PLATFORM_COOKIE_LOWER = PLATFORM_COOKIE_PREFIX.toLowerCase();

/** At the start of a pair, or after what some parser takes for the end of one; nameless ones are read back as names. */
const PLATFORM_COOKIE = new RegExp(`(^\\s*=?|[\\s,"'])${PLATFORM_COOKIE_LOWER}`, "i");

export function isPlatformCookie(pair: string): boolean {
  return PLATFORM_COOKIE.test(pair);
}

/** The values a cookie was sent with; more than one means that somebody tossed one in. */
function cookieValues(cookies: readonly string[], name: string): string[] {
  const values: string[] = [];
  for (const line of cookies) {
    if (!line.includes(name)) continue;
    for (const pair of line.split(";")) {
      const at = pair.indexOf("=");
      if (at !== -1 && pair.slice(0, at).trim() === name) values.push(pair.slice(at + 1).trim());
    }
  }
  return values;
}
