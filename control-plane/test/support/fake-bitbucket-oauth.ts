import { createHash, randomBytes } from "node:crypto";
import { z } from "zod";
import type { Answer, Asked, Route } from "./fake-bitbucket-server.ts";

/** An OAuth client as the vendor knows it. */
export interface RegisteredClient {
  readonly id: string;
  readonly secret: string;
  redirectUri: string;
}

interface Code {
  readonly challenge: string;
  readonly redirectUri: string;
  readonly scope: string;
}

/** What a browser sends to the consent page: RFC 6749 §4.1.1 with PKCE (RFC 7636 §4.3). */
const AuthorizeQuery = z.strictObject({
  response_type: z.literal("code"),
  client_id: z.string(),
  redirect_uri: z.url(),
  scope: z.string(),
  state: z.string().min(1),
  code_challenge: z.string().regex(/^[\w-]{43}$/),
  code_challenge_method: z.literal("S256"),
});
const clientInBody = { client_id: z.string().optional(), client_secret: z.string().optional() };
const TokenForm = z.discriminatedUnion("grant_type", [
  z.strictObject({
    grant_type: z.literal("authorization_code"),
    code: z.string(),
    redirect_uri: z.url(),
    code_verifier: z.string().regex(/^[\w.~-]{43,128}$/),
    ...clientInBody,
  }),
  z.strictObject({ grant_type: z.literal("refresh_token"), refresh_token: z.string(), ...clientInBody }),
]);
const Tokens = z.strictObject({
  access_token: z.string(),
  refresh_token: z.string(),
  expires_in: z.number(),
  token_type: z.string(),
  scope: z.string().optional(),
  scopes: z.string().optional(),
});
const TokenError = z.strictObject({ error: z.string(), error_description: z.string() });

/** The sign-in of a Bitbucket: a consent page that Alice sees, and the tokens that come of it. */
export class FakeOAuth {
  readonly #client: RegisteredClient;
  readonly #clientAuth: "basic" | "body";
  /** Whether a refresh token counts once only. */
  readonly #rotates: boolean;
  readonly #codes = new Map<string, Code>();
  readonly #access = new Map<string, { readonly scope: string }>();
  readonly #refresh = new Map<string, { readonly scope: string }>();

  constructor(options: {
    readonly client: RegisteredClient;
    readonly clientAuth: "basic" | "body";
    readonly rotates: boolean;
  }) {
    this.#client = options.client;
    this.#clientAuth = options.clientAuth;
    this.#rotates = options.rotates;
  }

  /** What a token of Alice's lets do; `undefined` for everything that is none. */
  scopeOf(authorization: string | undefined): string | undefined {
    return this.#access.get((authorization ?? "").replace(/^Bearer /, ""))?.scope;
  }

  revoke(): void {
    this.#access.clear();
    this.#refresh.clear();
  }

  /** The access tokens end before their time; they can be renewed. */
  expire(): void {
    this.#access.clear();
  }

  routes(paths: { readonly authorize: RegExp; readonly token: RegExp }): Route[] {
    return [
      {
        method: "GET",
        path: paths.authorize,
        query: AuthorizeQuery,
        answers: { 200: z.string() },
        answer: ({ url }) => ({ status: 200, body: page(url) }),
      },
      {
        method: "POST",
        path: paths.authorize,
        query: AuthorizeQuery,
        answers: { 302: z.undefined(), 400: z.string() },
        answer: (asked) => this.#allow(asked),
      },
      {
        method: "POST",
        path: paths.token,
        body: { as: "form", schema: TokenForm },
        answers: { 200: Tokens, 400: TokenError, 401: TokenError },
        answer: (asked) => this.#give(asked),
      },
    ];
  }

  #allow({ url }: Asked): Answer {
    const query = AuthorizeQuery.parse(Object.fromEntries(url.searchParams));
    if (query.client_id !== this.#client.id || query.redirect_uri !== this.#client.redirectUri) {
      return { status: 400, body: "<p>No such application.</p>" };
    }
    const code = randomBytes(16).toString("hex");
    this.#codes.set(code, {
      challenge: query.code_challenge,
      redirectUri: query.redirect_uri,
      scope: query.scope,
    });
    const back = new URL(query.redirect_uri);
    back.searchParams.set("code", code);
    back.searchParams.set("state", query.state);
    return { status: 302, headers: { location: back.href } };
  }

  #give({ authorization, body }: Asked): Answer {
    const form = TokenForm.parse(body);
    if (!this.#isClient(authorization, form)) return refused(401, "invalid_client");
    if (form.grant_type === "refresh_token") {
      const grant = this.#refresh.get(form.refresh_token);
      if (grant === undefined) return refused(400, "invalid_grant");
      if (this.#rotates) this.#refresh.delete(form.refresh_token);
      return this.#tokens(grant.scope, this.#rotates ? undefined : form.refresh_token);
    }
    const code = this.#codes.get(form.code);
    this.#codes.delete(form.code);
    const challenge = createHash("sha256").update(form.code_verifier).digest("base64url");
    if (code === undefined || code.challenge !== challenge || code.redirectUri !== form.redirect_uri) {
      return refused(400, "invalid_grant");
    }
    return this.#tokens(code.scope);
  }

  #tokens(scope: string, refreshToken = randomBytes(16).toString("hex")): Answer {
    const accessToken = randomBytes(16).toString("hex");
    this.#access.set(accessToken, { scope });
    this.#refresh.set(refreshToken, { scope });
    return {
      status: 200,
      body: {
        access_token: accessToken,
        refresh_token: refreshToken,
        expires_in: 7200,
        token_type: "bearer",
        scope,
      },
    };
  }

  #isClient(
    authorization: string | undefined,
    form: { client_id?: string | undefined; client_secret?: string | undefined },
  ): boolean {
    const { id, secret } = this.#client;
    if (this.#clientAuth === "body") return form.client_id === id && form.client_secret === secret;
    return authorization === `Basic ${Buffer.from(`${id}:${secret}`).toString("base64")}`;
  }
}

/** What Alice's browser brings back after she saw the page and pressed its button. */
export async function allow(authorizeUrl: URL): Promise<{ readonly code: string; readonly state: string }> {
  const shown = await (await fetch(authorizeUrl)).text();
  if (!shown.includes("Grant access")) throw new Error(`the consent page says: ${shown}`);
  const answer = await fetch(authorizeUrl, { method: "POST", redirect: "manual" });
  const back = new URL(answer.headers.get("location") ?? "");
  return { code: back.searchParams.get("code") ?? "", state: back.searchParams.get("state") ?? "" };
}

function page({ pathname, search }: URL): string {
  const action = `${pathname}${search}`.replaceAll("&", "&amp;").replaceAll('"', "&quot;");
  return `<!doctype html><title>Bitbucket</title><link rel="icon" href="data:,"><h1>Confirm access to your account</h1>
<form method="post" action="${action}"><button>Grant access</button></form>`;
}

function refused(status: number, error: string): Answer {
  return { status, body: { error, error_description: "Not taken." } };
}
