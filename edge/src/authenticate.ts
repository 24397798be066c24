import { createHash } from "node:crypto";
import { errorMessage } from "@openfaas-cloud/shared/known-error.ts";
import type { Route, RouteSettings } from "@openfaas-cloud/shared/route.ts";
import {
  CLOCK_TOLERANCE_S,
  SESSION_COOKIE,
  SESSION_ISSUER,
  SessionClaims,
  type VerificationKey,
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
  | {
      readonly kind: "granted";
      readonly credential: "none" | "cookie" | "bearer";
      /** `undefined` where nobody had to be anybody. */
      readonly session: Session | undefined;
    }
  | { readonly kind: "signed-out" }
  | { readonly kind: "forbidden" };

/** A token that was found good. */
export interface Session {
  readonly claims: SessionClaims;
  /** Of the key it was signed with. */
  readonly kid: string;
}

const PUBLIC: Access = { kind: "granted", credential: "none", session: undefined };

interface Verdict {
  /** `undefined` for a token that does not count. */
  readonly session: Session | undefined;
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

  /** Whether what was opened once may go on: by the policy, keys and revocations of now, and by the clock. */
  stillGrants(route: Route, session: Session | undefined): boolean {
    if (route.access === "public") return true;
    if (session === undefined || Date.now() >= endMsOf(session.claims)) return false;
    return (
      this.#keyOf(session.kid) !== undefined && !this.#isRevoked(session) && isFor(route, session.claims)
    );
  }

  #isRevoked({ claims }: Session): boolean {
    return this.#revoked.has(claims.jti);
  }

  async #verify(token: string, key: string): Promise<Verdict> {
    const session = await this.#sessionOf(token);
    const verdict = { session };
    this.#verdicts ??= new LRUCache<string, Verdict>({ max: MAX_VERDICTS });
    this.#verdicts.set(key, verdict, {
      ttl: session === undefined ? NEGATIVE_TTL_MS : positiveTtlMs(session.claims),
    });
    return verdict;
  }

  async #sessionOf(token: string): Promise<Session | undefined> {
    try {
      const { payload, protectedHeader } = await jwtVerify(token, (header) => this.#keyFor(header), {
        algorithms: ["ES256"],
        issuer: SESSION_ISSUER,
        audience: this.#audience,
        clockTolerance: CLOCK_TOLERANCE_S,
        requiredClaims: ["exp", "jti", "sub"],
      });
      const session = { claims: SessionClaims.parse(payload), kid: protectedHeader.kid ?? "" };
      return this.#isRevoked(session) ? undefined : session;
    } catch (error) {
      this.#logger.debug({ error: errorMessage(error) }, "token refused");
      return undefined;
    }
  }

  /** By the header's `kid` among the keys of the settings, and from nowhere else: a token cannot bring or point to a key. */
  #keyFor(header: JWSHeaderParameters): ReturnType<typeof importJWK> {
    const jwk = this.#keyOf(header.kid);
    if (jwk === undefined) throw new Error("no such key");
    const known = this.#keys.get(jwk.kid) ?? importJWK(jwk, "ES256");
    this.#keys.set(jwk.kid, known);
    return known;
  }

  #keyOf(kid: string | undefined): VerificationKey | undefined {
    return this.#settings.keys.find((candidate) => candidate.kid === kid);
  }
}

/** When a token stops to count, by our own clock. */
function endMsOf(claims: SessionClaims): number {
  return (claims.exp + CLOCK_TOLERANCE_S) * 1000;
}

function positiveTtlMs(claims: SessionClaims): number {
  return Math.max(1, Math.min(POSITIVE_TTL_MS, endMsOf(claims) - Date.now()));
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

function decide(route: Route, { session }: Verdict, credential: "cookie" | "bearer"): Access {
  if (session === undefined) return { kind: "signed-out" };
  return isFor(route, session.claims) ? { kind: "granted", credential, session } : { kind: "forbidden" };
}

function isFor(route: Route, claims: SessionClaims): boolean {
  switch (route.access) {
    case "public":
    case "signed-in":
      return true;
    case "members":
      return claims.organizations.includes(route.owner);
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
