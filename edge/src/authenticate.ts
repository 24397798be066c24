import { createHash } from "node:crypto";
import { errorMessage } from "@openfaas-cloud/shared/known-error.ts";
import type { Route, RouteSettings } from "@openfaas-cloud/shared/route.ts";
import {
  CLOCK_TOLERANCE_S,
  SESSION_COOKIE,
  SESSION_ISSUER,
  SessionClaims,
} from "@openfaas-cloud/shared/session.ts";
import { importJWK, type JWSHeaderParameters, jwtVerify } from "jose";
import { LRUCache } from "lru-cache";
import { cookieValues, type RequestHead } from "./headers.ts";
import type { Logger } from "./logger.ts";
import type { Refusal } from "./refusal.ts";

const POSITIVE_TTL_MS = 60_000;
const NEGATIVE_TTL_MS = 5_000;
const MAX_VERDICTS = 100_000;
const MAX_TOKEN_CHARACTERS = 8 * 1024;

export type Access =
  | { readonly kind: "granted"; readonly credential: "none" | "cookie" | "bearer" }
  | { readonly kind: "signed-out" }
  | { readonly kind: "forbidden" };

const PUBLIC: Access = { kind: "granted", credential: "none" };

interface Verdict {
  /** `undefined` for a token that does not count. */
  readonly claims: SessionClaims | undefined;
}

/**
 * Decides who may call a function, by the keys and revocations of one RouteSettings. New settings get a new authenticator
 * with an empty memory: what is remembered under one set of keys never answers for another.
 */
export class Authenticator {
  readonly #audience: string;
  readonly #settings: RouteSettings;
  readonly #revoked: ReadonlySet<string>;
  readonly #keys = new Map<string, ReturnType<typeof importJWK>>();
  /** Made when first needed: its arrays are as long as its bound, and many edges serve public functions alone. */
  #verdicts: LRUCache<string, Verdict> | undefined;
  readonly #logger: Logger;

  constructor(settings: RouteSettings, systemDomain: string, logger: Logger) {
    this.#audience = `system.${systemDomain}`;
    this.#settings = settings;
    this.#revoked = new Set(settings.revoked);
    this.#logger = logger;
  }

  /** Synchronous for all but a token seen for the first time, so that public functions never wait. */
  authenticate(route: Route, head: RequestHead): Access | Promise<Access> {
    if (route.access === "public") return PUBLIC;
    const presented = presentedToken(head);
    if (presented === undefined) return { kind: "signed-out" };
    // The digest covers the whole token: what differs in a byte is another token.
    const key = createHash("sha256").update(presented.token).digest("base64");
    const known = this.#verdicts?.get(key);
    if (known !== undefined) return decide(route, known, presented.credential);
    return this.#verify(presented.token, key).then((verdict) => decide(route, verdict, presented.credential));
  }

  async #verify(token: string, key: string): Promise<Verdict> {
    const claims = await this.#claimsOf(token);
    const verdict = { claims };
    this.#verdicts ??= new LRUCache<string, Verdict>({ max: MAX_VERDICTS });
    this.#verdicts.set(key, verdict, { ttl: claims === undefined ? NEGATIVE_TTL_MS : positiveTtlMs(claims) });
    return verdict;
  }

  async #claimsOf(token: string): Promise<SessionClaims | undefined> {
    try {
      const { payload } = await jwtVerify(token, (header) => this.#keyFor(header), {
        algorithms: ["ES256"],
        issuer: SESSION_ISSUER,
        audience: this.#audience,
        clockTolerance: CLOCK_TOLERANCE_S,
        requiredClaims: ["exp", "jti", "sub"],
      });
      const claims = SessionClaims.parse(payload);
      return this.#revoked.has(claims.jti) ? undefined : claims;
    } catch (error) {
      this.#logger.debug({ error: errorMessage(error) }, "token refused");
      return undefined;
    }
  }

  /** By the header's `kid` among the keys of the settings, and from nowhere else: a token cannot bring or point to a key. */
  #keyFor(header: JWSHeaderParameters): ReturnType<typeof importJWK> {
    const jwk = this.#settings.keys.find((candidate) => candidate.kid === header.kid);
    if (jwk === undefined) throw new Error("no such key");
    const known = this.#keys.get(jwk.kid) ?? importJWK(jwk, "ES256");
    this.#keys.set(jwk.kid, known);
    return known;
  }
}

function positiveTtlMs(claims: SessionClaims): number {
  const leftMs = (claims.exp + CLOCK_TOLERANCE_S) * 1000 - Date.now();
  return Math.max(1, Math.min(POSITIVE_TTL_MS, leftMs));
}

interface Presented {
  readonly token: string;
  readonly credential: "cookie" | "bearer";
}

/** Two cookies of our name mean that somebody tossed one in: signed out, whatever else was sent. */
function presentedToken(head: RequestHead): Presented | undefined {
  const cookies = cookieValues(head.cookies, SESSION_COOKIE);
  if (cookies.length > 1) return undefined;
  const bearer = /^bearer +(\S+)$/i.exec(head.authorization ?? "")?.[1];
  const token = bearer ?? cookies[0];
  if (token === undefined || token.length > MAX_TOKEN_CHARACTERS) return undefined;
  return { token, credential: bearer === undefined ? "cookie" : "bearer" };
}

function decide(route: Route, verdict: Verdict, credential: "cookie" | "bearer"): Access {
  if (verdict.claims === undefined) return { kind: "signed-out" };
  switch (route.access) {
    case "public":
    case "signed-in":
      return { kind: "granted", credential };
    case "members":
      return verdict.claims.organizations.includes(route.owner)
        ? { kind: "granted", credential }
        : { kind: "forbidden" };
  }
}

export const FORBIDDEN: Refusal = {
  status: 403,
  code: "forbidden",
  message: "You are signed in, but this function answers only to members of its owner.",
};

export function signedOut(dashboard: string): Refusal {
  return {
    status: 401,
    code: "signed-out",
    message:
      "This function answers only to people who are signed in. Send a session or access token as a bearer.",
    links: [{ href: `//${dashboard}`, text: "Sign in at the dashboard" }],
  };
}
