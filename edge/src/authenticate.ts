import { hash } from "node:crypto";
import { ACCESS_TOKEN, type AccessTokenAnswer } from "@openfaas-cloud/shared/access-token.ts";
import type { Route, RouteSettings } from "@openfaas-cloud/shared/route.ts";
import { CLOCK_TOLERANCE_S, SESSION_MAX_AGE_S } from "@openfaas-cloud/shared/session.ts";
import { LRUCache } from "lru-cache";
import type { AccessTokens } from "./access-tokens.ts";
import { type Presented, presentedToken } from "./credentials.ts";
import { isCrossSite } from "./cross-site.ts";
import type { RequestLines } from "./exchange.ts";
import type { Logger } from "./logger.ts";
import type { TokenCounts } from "./metrics.ts";
import type { Refusal } from "./refusal.ts";
import {
  FROM_ANOTHER_SITE,
  NO_MEMBER,
  NOT_CHECKED,
  SCOPE_LACKING,
  signedOut,
  TOKEN_MISSING,
} from "./refusal-texts.ts";
import type { RequestHead } from "./request-fields.ts";
import { SessionVerifier, type SigningKey, type VerifiedSession } from "./session-verifier.ts";

const GOOD_FOR_MS = 60_000;
const BAD_FOR_MS = 5_000;
/** A control plane that did not answer is not asked about the same token again at once. */
const UNKNOWN_FOR_MS = 1_000;
/** From this age on an access token's verdict is renewed beside the requests that use it, so that none of them waits. */
const RENEW_AFTER_MS = 30_000;
const RENEW_AGAIN_MS = 5_000;
/** Apart, so that no flood of made-up tokens drives out what is known of good ones. Together 100,000. */
const MAX_GOOD = 90_000;
const MAX_BAD = 10_000;
/** Tokens seen for the first time that are looked into at once. */
const MAX_UNDER_WAY = 10_000;

export type Access =
  | {
      readonly kind: "granted";
      /** `authorization` stays behind: it was meant for us. */
      readonly credential: "none" | "cookie" | "authorization";
      /** `undefined` where nobody had to be anybody. */
      readonly session: Session | undefined;
    }
  | Denied;

export interface Denied {
  readonly kind: "signed-out" | "scope-missing" | "forbidden" | "cross-site" | "unavailable";
}

/** Whom a token stands for, as far as decisions need it. */
export interface Session {
  /** What revocations name: a session's `jti`, an access token's id. */
  readonly id: string;
  /** Slugs of the owners the person may act for. */
  readonly organizations: readonly string[];
  /** When it stops to count, by our own clock. */
  readonly endMs: number;
  /** What signed it; `undefined` for an access token. */
  readonly key: SigningKey | undefined;
}

interface GoodVerdict {
  readonly session: Session;
  readonly untilMs: number;
  renewMs: number;
  /** The settings that the session was last held against. */
  settings: number;
}

interface BadVerdict {
  readonly kind: "signed-out" | "scope-missing" | "unavailable";
  readonly untilMs: number;
  /** The keys it was found bad by. */
  readonly keys: number;
}

interface Moment {
  readonly wallMs: number;
  readonly steadyMs: number;
  /** Which keys there were. */
  readonly keys: number;
}

/** A request that may bring a token. */
export interface Asking extends RequestLines {
  /** Its token was not known when it came, and is counted. */
  tokenLookedInto?: boolean;
}

export interface AuthenticatorOptions {
  readonly systemDomain: string;
  readonly accessTokens: AccessTokens;
  readonly logger: Logger;
  readonly counts: TokenCounts;
  /** The clocks: of the world, by which tokens end, and one that never jumps, by which verdicts age. */
  readonly wallMs?: () => number;
  readonly steadyMs?: () => number;
}

/**
 * Decides who may call a function.
 *
 * What is remembered is whom a token stands for, under the SHA-256 of the whole token; the route's policy is applied to it at
 * each request. A verdict never outlives what it was found by, without being thrown away for what does not concern it: a good
 * one is held against the keys and revocations of new settings when it is used for the first time under them, and a bad one
 * counts only as long as the keys are the same, since a new key may be its own.
 */
export class Authenticator {
  readonly #verifier: SessionVerifier;
  readonly #accessTokens: AccessTokens;
  readonly #counts: TokenCounts;
  readonly #wallMs: () => number;
  readonly #steadyMs: () => number;
  /** Made when first needed: their arrays are as long as their bounds, and many edges serve public functions alone. */
  #good: LRUCache<string, GoodVerdict> | undefined;
  #bad: LRUCache<string, BadVerdict> | undefined;
  readonly #underWay = new Map<string, Promise<void>>();
  #revoked: ReadonlySet<string> = new Set();
  #settings = 0;
  #keys = 0;

  constructor(options: AuthenticatorOptions) {
    this.#verifier = new SessionVerifier(options.systemDomain, options.logger);
    this.#accessTokens = options.accessTokens;
    this.#counts = options.counts;
    this.#wallMs = options.wallMs ?? (() => Date.now());
    this.#steadyMs = options.steadyMs ?? (() => performance.now());
  }

  /** How many verdicts are remembered. */
  get verdicts(): number {
    return (this.#good?.size ?? 0) + (this.#bad?.size ?? 0);
  }

  /** Moves on to these settings: from now on nothing is decided by the ones before. */
  follow(settings: RouteSettings): void {
    if (this.#verifier.follow(settings.keys)) this.#keys += 1;
    this.#revoked = new Set(settings.revoked);
    this.#settings += 1;
  }

  /**
   * Synchronous for all but a token that is not known yet, so that public functions never wait. A promise means that the
   * request is to be looked at again when it settles, from its route on: both may have changed meanwhile.
   */
  authenticate(route: Route, head: RequestHead, request: Asking): Access | Promise<void> {
    if (route.access === "public") return PUBLIC;
    const presented = presentedToken(head);
    if (presented === undefined) return SIGNED_OUT;
    if (presented.by !== "bearer" && isCrossSite(request, head.host)) return CROSS_SITE;
    const digest = hash("sha256", presented.token);
    const nowMs = this.#steadyMs();
    const known = this.#good?.get(digest);
    if (known !== undefined && nowMs < known.untilMs && this.#stillCounts(known)) {
      this.#countKnown(request);
      if (nowMs >= known.renewMs) this.#renew(known, digest, route, nowMs);
      return decide(route, known.session, presented.by);
    }
    const bad = this.#bad?.get(digest);
    if (bad !== undefined && nowMs < bad.untilMs && bad.keys === this.#keys) {
      this.#countKnown(request);
      return DENIED[bad.kind];
    }
    this.#countLookedInto(request);
    return this.#lookInto(presented.token, digest, route, known !== undefined);
  }

  /** Each request counts once: what one has waited for is no hit when it is looked at again. */
  #countKnown(request: Asking): void {
    if (request.tokenLookedInto !== true) this.#counts.known += 1;
  }

  #countLookedInto(request: Asking): void {
    if (request.tokenLookedInto === true) return;
    request.tokenLookedInto = true;
    this.#counts.verified += 1;
  }

  /** Whether what was opened once may go on: by the policy, keys and revocations of now, and by the clock. */
  stillGrants(route: Route, session: Session | undefined): boolean {
    if (route.access === "public") return true;
    if (session === undefined || this.#wallMs() >= session.endMs) return false;
    return this.#isCurrent(session) && isFor(route, session);
  }

  /** One comparison, but for the first time under new settings. */
  #stillCounts(verdict: GoodVerdict): boolean {
    if (verdict.settings === this.#settings) return true;
    if (!this.#isCurrent(verdict.session)) return false;
    verdict.settings = this.#settings;
    return true;
  }

  #isCurrent({ id, key }: Session): boolean {
    return !this.#revoked.has(id) && (key === undefined || this.#verifier.has(key));
  }

  /** Once for each token, however many requests bring it meanwhile. */
  #lookInto(token: string, digest: string, route: Route, wasGood: boolean): Denied | Promise<void> {
    const underWay = this.#underWay.get(digest);
    if (underWay !== undefined) return underWay;
    if (this.#underWay.size >= MAX_UNDER_WAY) return UNAVAILABLE;
    const finding = ACCESS_TOKEN.test(token)
      ? this.#ask(digest, route, wasGood)
      : this.#verify(token, digest);
    if (finding === undefined) return UNAVAILABLE;
    const settled = finding.finally(() => this.#underWay.delete(digest));
    this.#underWay.set(digest, settled);
    return settled;
  }

  async #verify(token: string, digest: string): Promise<void> {
    const asked = this.#moment();
    const verified = await this.#verifier.verify(token, asked.wallMs);
    if (verified === undefined) this.#rememberBad(digest, "signed-out", BAD_FOR_MS, asked);
    else this.#remember(digest, sessionOf(verified), Number.POSITIVE_INFINITY, asked);
  }

  #ask(digest: string, route: Route, wasGood: boolean): Promise<void> | undefined {
    const asked = this.#moment();
    return this.#accessTokens.find(digest, { owner: route.owner, wasGood })?.then((finding) => {
      switch (finding.kind) {
        case "known":
          this.#remember(digest, sessionByToken(finding, asked), RENEW_AFTER_MS, asked);
          break;
        case "unknown":
          this.#good?.delete(digest);
          this.#rememberBad(
            digest,
            finding.lacks === undefined ? "signed-out" : "scope-missing",
            BAD_FOR_MS,
            asked,
          );
          break;
        case "unavailable":
          // What is known goes on counting until it is too old.
          this.#rememberBad(digest, "unavailable", UNKNOWN_FOR_MS, this.#moment());
          break;
      }
    });
  }

  /** When something is asked: an answer is as old as its question, however long it was under way. */
  #moment(): Moment {
    return { wallMs: this.#wallMs(), steadyMs: this.#steadyMs(), keys: this.#keys };
  }

  /** Beside the request, which goes by what is known. */
  #renew(verdict: GoodVerdict, digest: string, route: Route, nowMs: number): void {
    verdict.renewMs = nowMs + RENEW_AGAIN_MS;
    if (this.#underWay.has(digest)) return;
    const finding = this.#ask(digest, route, true)?.finally(() => this.#underWay.delete(digest));
    if (finding !== undefined) this.#underWay.set(digest, finding);
  }

  /** What was revoked while it was looked into is not good; under keys that went meanwhile it is found out when it is used. */
  #remember(digest: string, session: Session, renewAfterMs: number, asked: Moment): void {
    const leftMs = session.endMs - asked.wallMs;
    if (leftMs <= 0 || this.#revoked.has(session.id)) {
      this.#good?.delete(digest);
      this.#rememberBad(digest, "signed-out", BAD_FOR_MS, this.#moment());
      return;
    }
    this.#good ??= new LRUCache<string, GoodVerdict>({ max: MAX_GOOD });
    const untilMs = asked.steadyMs + Math.min(GOOD_FOR_MS, leftMs);
    // Held against the settings when it is used.
    this.#good.set(digest, { session, untilMs, renewMs: asked.steadyMs + renewAfterMs, settings: -1 });
  }

  #rememberBad(digest: string, kind: BadVerdict["kind"], forMs: number, { steadyMs, keys }: Moment): void {
    this.#bad ??= new LRUCache<string, BadVerdict>({ max: MAX_BAD });
    this.#bad.set(digest, { kind, untilMs: steadyMs + forMs, keys });
  }
}

function sessionByToken(answer: AccessTokenAnswer & { kind: "known" }, asked: Moment): Session {
  // A connection that it opened ends with a session's longest, by when the revocations told to an edge have gone again.
  const leftMs = Math.min(answer.expiresInMs ?? Number.POSITIVE_INFINITY, SESSION_MAX_AGE_S * 1000);
  const { id, organizations } = answer;
  return { id, organizations, endMs: asked.wallMs + leftMs, key: undefined };
}

function sessionOf({ claims, key }: VerifiedSession): Session {
  const endS = Math.min(claims.exp, claims.iat + SESSION_MAX_AGE_S) + CLOCK_TOLERANCE_S;
  return { id: claims.jti, organizations: claims.organizations, endMs: endS * 1000, key };
}

const PUBLIC: Access = { kind: "granted", credential: "none", session: undefined };
const SIGNED_OUT: Denied = { kind: "signed-out" };
const SCOPE_MISSING: Denied = { kind: "scope-missing" };
const FORBIDDEN: Denied = { kind: "forbidden" };
const CROSS_SITE: Denied = { kind: "cross-site" };
const UNAVAILABLE: Denied = { kind: "unavailable" };
const DENIED = {
  "signed-out": SIGNED_OUT,
  "scope-missing": SCOPE_MISSING,
  unavailable: UNAVAILABLE,
} as const;

function decide(route: Route, session: Session, by: Presented["by"]): Access {
  // A session is what somebody has who signed in: a machine's function takes it for nothing.
  if (route.access === "token" && session.key !== undefined) return SIGNED_OUT;
  if (!isFor(route, session)) return FORBIDDEN;
  return { kind: "granted", credential: by === "cookie" ? "cookie" : "authorization", session };
}

function isFor(route: Route, session: Session): boolean {
  switch (route.access) {
    case "public":
    case "signed-in":
      return true;
    case "members":
      return session.organizations.includes(route.owner);
    case "token":
      return session.key === undefined && session.organizations.includes(route.owner);
  }
}

/** What is said to whoever may not. */
export function denial({ kind }: Denied, { access }: Route, dashboard: string): Refusal {
  switch (kind) {
    case "signed-out":
      return access === "token" ? TOKEN_MISSING : signedOut(dashboard);
    case "scope-missing":
      return SCOPE_LACKING;
    case "forbidden":
      return NO_MEMBER;
    case "cross-site":
      return FROM_ANOTHER_SITE;
    case "unavailable":
      return NOT_CHECKED;
  }
}
