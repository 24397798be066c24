import { createHash } from "node:crypto";
import type { AccessTokenAnswer } from "@openfaas-cloud/shared/access-token.ts";
import type { Route, RouteSettings } from "@openfaas-cloud/shared/route.ts";
import { SESSION_COOKIE } from "@openfaas-cloud/shared/session.ts";
import { route } from "../../support/feed-server.ts";
import { type Signer, signer } from "../../support/tokens.ts";
import type { Random } from "./random.ts";

export type Outcome =
  | "granted"
  | "signed-out"
  | "scope-missing"
  | "forbidden"
  | "cross-site"
  | "unavailable"
  | "malformed";

/** Everything that is true of a token; the model decides by it, the edge by the token alone. */
export interface Token {
  readonly text: string;
  readonly kind: "session" | "access-token" | "nonsense";
  readonly id: string;
  /** As they are now; `formerly` until `changedMs`. */
  organizations: readonly string[];
  formerly: readonly string[];
  changedMs: number;
  readonly madeMs: number;
  /** By the clock of the world, with tolerance. */
  readonly endMs: number;
  readonly kid: string;
  revoked: boolean;
}

export interface Call {
  readonly route: Route;
  readonly method: string;
  readonly lines: string[];
  /** What the lines were made from. */
  readonly authorization: { readonly token: Token; readonly scheme: "bearer" | "basic" } | undefined;
  readonly twoAuthorizations: boolean;
  readonly cookies: readonly Token[];
  readonly crossSite: boolean;
}

const OWNERS = ["alice", "bob", "carol", "alic", "alice-2"];
const POLICIES = ["public", "signed-in", "members", "token"] as const;
const SECOND = 1000;
const NEVER = Number.NEGATIVE_INFINITY;
/** The ages that SECURITY.md §3 allows. */
const GOOD_FOR_MS = 60 * SECOND;
const BAD_FOR_MS = 5 * SECOND;
const UNAVAILABLE_FOR_MS = 1 * SECOND;

/** Persons, tokens, functions and policies that change at random, and what is true of them at any time. */
export class AccessWorld {
  readonly #random: Random;
  readonly #nowMs: () => number;
  readonly #byDigest = new Map<string, Token>();
  #signers: Signer[] = [];
  tokens: Token[] = [];
  routes: Route[] = [];
  revoked: string[] = [];
  /** Whether the control plane answers; since when it does or does not. */
  available = true;
  sinceMs = NEVER;
  #count = 0;

  constructor(random: Random, nowMs: () => number) {
    this.#random = random;
    this.#nowMs = nowMs;
  }

  async fill(tokens: number): Promise<this> {
    this.routes = OWNERS.flatMap((owner) =>
      POLICIES.map((access) => route(`${owner}/${access}`, [], { access })),
    );
    await this.rotate();
    for (let i = 0; i < tokens; i++) await this.add();
    return this;
  }

  get settings(): RouteSettings {
    return { keys: this.#signers.map(({ key }) => key), revoked: [...this.revoked], listOwners: false };
  }

  /** A new key before the ones there are, of which the oldest goes: what it signed counts no more. */
  async rotate(): Promise<void> {
    this.#signers = [await signer(), ...this.#signers].slice(0, 3);
  }

  async add(): Promise<void> {
    await this.#add(
      this.#random.pick(["session", "session", "access-token", "access-token", "nonsense"] as const),
      this.#random.between(-120, 1200),
    );
  }

  /** One that counts for a while. */
  addGood(kind: "session" | "access-token"): Promise<Token> {
    return this.#add(kind, 1200);
  }

  async #add(kind: Token["kind"], forS: number): Promise<Token> {
    const random = this.#random;
    this.#count += 1;
    const nowMs = this.#nowMs();
    const id = `token-${this.#count}`;
    const organizations = random.shuffled(OWNERS).slice(0, random.between(0, 3));
    const signer = random.pick(this.#signers);
    const base = {
      kind,
      id,
      organizations,
      formerly: organizations,
      changedMs: NEVER,
      madeMs: nowMs,
      revoked: false,
    };
    let token: Token;
    if (kind === "session") {
      const nowS = Math.floor(nowMs / SECOND);
      const exp = nowS + forS;
      const text = await signer.sign({ jti: id, organizations, iat: nowS, exp });
      token = { ...base, text, endMs: (exp + 60) * SECOND, kid: signer.key.kid };
    } else if (kind === "access-token") {
      const endMs = random.chance(0.3) && forS > 0 ? nowMs + forS * SECOND : Number.POSITIVE_INFINITY;
      token = { ...base, text: `ofc_${random.word(random.between(16, 60))}`, endMs, kid: "" };
    } else {
      const texts = [
        "ofc_unknown-0123456789",
        "ofc_",
        "a.b.c",
        "",
        "x".repeat(random.between(1, 60)),
        "eyJhbGciOiJub25lIn0.e30.",
      ];
      token = { ...base, text: random.pick(texts), endMs: NEVER, kid: "" };
    }
    this.tokens.push(token);
    if (kind === "access-token")
      this.#byDigest.set(createHash("sha256").update(token.text).digest("hex"), token);
    // So that what is called is what changes.
    if (this.tokens.length > 400) this.tokens.splice(random.between(0, 100), 1);
    return token;
  }

  revokeOne(): void {
    this.revoke(this.#random.pick(this.tokens));
  }

  /** Takes a token back: it is gone from the store, and its id is told to the edges. */
  revoke(token: Token): void {
    token.revoked = true;
    this.revoked = [...this.revoked, token.id].slice(-5_000);
  }

  changeMembership(): void {
    const tokens = this.tokens.filter(
      ({ kind, changedMs }) => kind === "access-token" && this.#nowMs() - changedMs > GOOD_FOR_MS,
    );
    if (tokens.length === 0) return;
    const token = this.#random.pick(tokens);
    token.formerly = token.organizations;
    token.organizations = this.#random.shuffled(OWNERS).slice(0, this.#random.between(0, 3));
    token.changedMs = this.#nowMs();
  }

  changePolicy(): void {
    const at = this.#random.between(0, this.routes.length);
    this.routes = this.routes.map((one, i) =>
      i === at ? { ...one, access: this.#random.pick(POLICIES) } : one,
    );
  }

  setAvailable(available: boolean): void {
    if (this.available === available) return;
    this.available = available;
    this.sinceMs = this.#nowMs();
  }

  /** What a control plane answers about a digest. */
  answer(digest: string): AccessTokenAnswer | undefined {
    if (!this.available) return undefined;
    const token = this.#byDigest.get(digest);
    const leftMs = (token?.endMs ?? 0) - this.#nowMs();
    if (token === undefined || token.revoked || leftMs <= 0) return { kind: "unknown" };
    const { id, organizations } = token;
    const expiresInMs = Number.isFinite(leftMs) ? leftMs : null;
    return { kind: "known", id, sub: "p", name: "P", organizations: [...organizations], expiresInMs };
  }

  call(): Call {
    const random = this.#random;
    const route = random.pick(this.routes);
    const host = `${route.owner}.fn.test`;
    const authorization = random.chance(0.55)
      ? { token: random.pick(this.tokens), scheme: random.pick(["bearer", "bearer", "basic"] as const) }
      : undefined;
    const cookies = random.chance(0.5) ? this.#cookies() : [];
    const twoAuthorizations = authorization !== undefined && random.chance(0.02);
    const method = random.pick(["GET", "GET", "POST"]);
    const origin = random.pick(ORIGINS);
    const pairs: [string, string][] = [
      ["Host", host],
      ["Accept", "*/*"],
      ["X-Other", random.word(5)],
      ...origin.lines(host),
    ];
    if (authorization !== undefined) {
      const value = authorizationValue(authorization.token.text, authorization.scheme, random);
      pairs.push(["Authorization", value]);
      if (twoAuthorizations) pairs.push([random.pick(["authorization", "AUTHORIZATION"]), value]);
    }
    pairs.push(...this.#cookieLines(cookies));
    const lines = random
      .shuffled(pairs)
      .flatMap(([name, value]) => [random.chance(0.3) ? name.toLowerCase() : name, value]);
    return {
      route,
      method,
      lines,
      authorization,
      twoAuthorizations,
      cookies,
      crossSite: origin.isCross(method),
    };
  }

  /** As plain a call as there is. */
  callWith(token: Token, route: Route): Call {
    const lines = ["Host", `${route.owner}.fn.test`, "Authorization", `Bearer ${token.text}`];
    const authorization = { token, scheme: "bearer" } as const;
    return {
      route,
      method: "GET",
      lines,
      authorization,
      twoAuthorizations: false,
      cookies: [],
      crossSite: false,
    };
  }

  /** What may come of a call made now. More than one thing only where a verdict may be as old as it may be. */
  expected(call: Call): ReadonlySet<Outcome> {
    if (call.twoAuthorizations) return new Set<Outcome>(["malformed"]);
    const { access } = call.route;
    if (access === "public") return new Set<Outcome>(["granted"]);
    if (call.cookies.length > 1) return new Set<Outcome>(["signed-out"]);
    const basic = call.authorization?.scheme === "basic";
    const isOurs =
      call.authorization !== undefined &&
      (!basic || LOOKS_LIKE_ACCESS_TOKEN.test(call.authorization.token.text));
    const [cookie] = call.cookies;
    // An access token counts for nothing there.
    const session = cookie?.text.startsWith("ofc_") ? undefined : cookie;
    const token = isOurs ? call.authorization?.token : session;
    if (token === undefined) return new Set<Outcome>(["signed-out"]);
    const ambient = !isOurs || basic;
    if (ambient && call.crossSite) return new Set<Outcome>(["cross-site"]);
    return this.#expectedOf(token, call.route);
  }

  #expectedOf(token: Token, { access, owner }: Route): ReadonlySet<Outcome> {
    const nowMs = this.#nowMs();
    const ofPerson = (organizations: readonly string[]): Outcome => {
      if (access === "token" && token.kind === "session") return "signed-out";
      return access === "signed-in" || organizations.includes(owner) ? "granted" : "forbidden";
    };
    const asked = LOOKS_LIKE_ACCESS_TOKEN.test(token.text);
    const counts = token.kind !== "nonsense" && !token.revoked && nowMs < token.endMs && this.#hasKey(token);
    const outcomes = new Set<Outcome>([counts ? ofPerson(token.organizations) : "signed-out"]);
    if (!asked) return outcomes;
    const sinceMs = nowMs - this.sinceMs;
    if (counts && nowMs - token.changedMs <= GOOD_FOR_MS) outcomes.add(ofPerson(token.formerly));
    // Made after it had been asked about; only possible where somebody guessed it.
    if (counts && nowMs - token.madeMs <= BAD_FOR_MS) outcomes.add("signed-out");
    if (this.available ? sinceMs <= UNAVAILABLE_FOR_MS : true) outcomes.add("unavailable");
    // Nothing that was known before is known any more.
    if (!this.available && sinceMs > GOOD_FOR_MS) return new Set<Outcome>(["unavailable"]);
    return outcomes;
  }

  #hasKey({ kind, kid }: Token): boolean {
    return kind !== "session" || this.#signers.some(({ key }) => key.kid === kid);
  }

  #cookies(): Token[] {
    return Array.from({ length: this.#random.chance(0.15) ? 2 : 1 }, () => this.#random.pick(this.tokens));
  }

  /** The cookies of our name among others, in one line or several. */
  #cookieLines(tokens: readonly Token[]): [string, string][] {
    const random = this.#random;
    const decoys = [
      `theme=${random.word(4)}`,
      `x${SESSION_COOKIE}=${random.word(8)}`,
      `${SESSION_COOKIE}x=${random.word(8)}`,
      `${SESSION_COOKIE.toLowerCase()}=${random.word(8)}`,
      `a=${SESSION_COOKIE}`,
    ];
    const ours = tokens.map(({ text }) => `${SESSION_COOKIE}=${text}`);
    const pairs = random.shuffled([...ours, ...random.shuffled(decoys).slice(0, random.between(0, 4))]);
    if (pairs.length === 0) return [];
    const separator = random.pick(["; ", ";", " ;  "]);
    if (pairs.length === 1 || random.chance(0.7)) return [["Cookie", pairs.join(separator)]];
    const at = random.between(1, pairs.length);
    return [
      ["Cookie", pairs.slice(0, at).join(separator)],
      ["cookie", pairs.slice(at).join(separator)],
    ];
  }
}

const LOOKS_LIKE_ACCESS_TOKEN = /^ofc_[A-Za-z0-9_-]{16,200}$/;

function authorizationValue(token: string, scheme: "bearer" | "basic", random: Random): string {
  if (scheme === "bearer")
    return `${random.pick(["Bearer", "bearer", "BEARER"])}${random.pick([" ", "  "])}${token}`;
  const pair = random.pick([`someone:${token}`, `${token}:`, `:${token}`]);
  return `${random.pick(["Basic", "basic"])} ${Buffer.from(pair).toString("base64")}`;
}

interface Origin {
  readonly lines: (host: string) => [string, string][];
  readonly isCross: (method: string) => boolean;
}

/** What browsers say of where a request comes from. */
const ORIGINS: readonly Origin[] = [
  { lines: () => [], isCross: () => false },
  { lines: () => [], isCross: () => false },
  { lines: (host) => [["Origin", `https://${host}`]], isCross: () => false },
  { lines: () => [["Origin", "http://mallory.fn.test"]], isCross: () => true },
  { lines: () => [["Origin", "null"]], isCross: () => true },
  { lines: () => [["Sec-Fetch-Site", "same-origin"]], isCross: () => false },
  { lines: () => [["Sec-Fetch-Site", "none"]], isCross: () => false },
  {
    lines: () => [
      ["Sec-Fetch-Site", "cross-site"],
      ["Sec-Fetch-Mode", "navigate"],
    ],
    isCross: (method) => method !== "GET",
  },
  {
    lines: () => [
      ["Sec-Fetch-Site", "same-site"],
      ["Sec-Fetch-Mode", "cors"],
    ],
    isCross: () => true,
  },
];
