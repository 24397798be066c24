import type { Secret } from "@openfaas-cloud/shared/env.ts";
import { z } from "zod";
import type { HostAnswer, HostClient } from "../host-client.ts";
import { GrantRevoked, HostUnavailable, SignInRefused } from "../host-errors.ts";
import type { PersonGrant, SignInProvider } from "../remote-host.ts";

/** A grant that ends sooner than this is renewed before it is used. */
const RENEW_BEFORE_MS = 60_000;
const RENEW_MS = 30_000;
const MOST_RENEWED = 1_000;

const Tokens = z.object({
  access_token: z.string().min(1),
  refresh_token: z.string().min(1).optional(),
  expires_in: z.number().positive().optional(),
});
const TokenError = z.object({ error: z.string() });

export interface OAuthOptions {
  readonly title: string;
  readonly client: HostClient;
  readonly authorizeUrl: string;
  readonly tokenUrl: string;
  readonly clientId: string;
  readonly clientSecret: Secret;
  /** How the client proves itself to the token endpoint (RFC 6749 §2.3.1). */
  readonly clientAuth: "basic" | "body";
  readonly scope: string;
}

/** The grants of people at one Bitbucket. */
export class OAuth {
  readonly #options: OAuthOptions;
  /** By refresh token. Some hosts take one once only, so that two who ask at once must not both use it. */
  readonly #underWay = new Map<string, Promise<PersonGrant>>();
  /** By the refresh token that was used up: what came of it must not be lost where something else then failed. */
  readonly #renewed = new Map<string, PersonGrant>();

  constructor(options: OAuthOptions) {
    this.#options = options;
  }

  authorizeUrl: SignInProvider["authorizeUrl"] = ({ state, codeChallenge, redirectUri }) => {
    const url = new URL(this.#options.authorizeUrl);
    url.search = new URLSearchParams({
      response_type: "code",
      client_id: this.#options.clientId,
      redirect_uri: redirectUri,
      scope: this.#options.scope,
      state,
      code_challenge: codeChallenge,
      code_challenge_method: "S256",
    }).toString();
    return url;
  };

  /** @throws SignInRefused where the host does not take the code. */
  async exchange(
    answer: { readonly code: string; readonly codeVerifier: string; readonly redirectUri: string },
    signal: AbortSignal,
  ): Promise<PersonGrant> {
    const form = {
      grant_type: "authorization_code",
      code: answer.code,
      redirect_uri: answer.redirectUri,
      code_verifier: answer.codeVerifier,
    };
    return this.#ask(form, signal, ["invalid_grant", "invalid_request"], () => {
      return new SignInRefused(`${this.#options.title} does not take this sign-in any more. Sign in again.`);
    });
  }

  /** The grant, or a new one where it is about to end. @throws GrantRevoked */
  async current(grant: PersonGrant, signal: AbortSignal): Promise<PersonGrant> {
    return isEnding(grant) ? this.renew(grant, signal) : grant;
  }

  /** @throws GrantRevoked where the host says that the grant counts no more, and where it cannot be renewed. */
  async renew(grant: PersonGrant, signal: AbortSignal): Promise<PersonGrant> {
    signal.throwIfAborted();
    const { refreshToken } = grant;
    if (refreshToken === undefined) throw this.#revoked();
    const earlier = this.#renewed.get(refreshToken);
    if (earlier !== undefined && earlier.accessToken !== grant.accessToken && !isEnding(earlier))
      return earlier;
    return untilAborted(this.#underWay.get(refreshToken) ?? this.#begin(refreshToken), signal);
  }

  /** Not ended by whoever asked for it: its result is wanted in any case. */
  #begin(refreshToken: string): Promise<PersonGrant> {
    const renewal = this.#renewOnce(refreshToken).finally(() => this.#underWay.delete(refreshToken));
    this.#underWay.set(refreshToken, renewal);
    // Whoever waits for it may have gone by then.
    renewal.catch(() => undefined);
    return renewal;
  }

  async #renewOnce(refreshToken: string): Promise<PersonGrant> {
    const form = { grant_type: "refresh_token", refresh_token: refreshToken };
    const signal = AbortSignal.timeout(RENEW_MS);
    const given = await this.#ask(form, signal, ["invalid_grant"], () => this.#revoked());
    const renewed = { ...given, refreshToken: given.refreshToken ?? refreshToken };
    this.#renewed.delete(refreshToken);
    this.#renewed.set(refreshToken, renewed);
    const [oldest = refreshToken] = this.#renewed.keys();
    if (this.#renewed.size > MOST_RENEWED) this.#renewed.delete(oldest);
    return renewed;
  }

  async #ask(
    form: Record<string, string>,
    signal: AbortSignal,
    refusals: readonly string[],
    refused: () => Error,
  ): Promise<PersonGrant> {
    const { title, client, tokenUrl, clientId, clientSecret, clientAuth } = this.#options;
    const isBasic = clientAuth === "basic";
    const answer = await client.send({
      method: "POST",
      url: tokenUrl,
      headers: {
        accept: "application/json",
        "content-type": "application/x-www-form-urlencoded",
        ...(isBasic ? { authorization: basic(clientId, clientSecret.reveal()) } : {}),
      },
      body: new URLSearchParams(
        isBasic ? form : { ...form, client_id: clientId, client_secret: clientSecret.reveal() },
      ).toString(),
      signal,
    });
    if (answer.status === 200) return grantOf(answer, title);
    const error = errorOf(answer);
    if (error !== undefined && refusals.includes(error)) throw refused();
    throw new HostUnavailable(
      `${title} gives no token: it says ${answer.status}${error === undefined ? "" : ` (${error})`}. Check the OAuth client.`,
      { status: answer.status },
    );
  }

  #revoked(): GrantRevoked {
    return new GrantRevoked(`${this.#options.title} does not take the grant any more. Sign in again.`);
  }
}

/** HTTP Basic (RFC 7617). */
export function basic(user: string, password: string): string {
  return `Basic ${Buffer.from(`${user}:${password}`).toString("base64")}`;
}

function isEnding({ expiresAt }: PersonGrant): boolean {
  return expiresAt !== undefined && expiresAt - Date.now() < RENEW_BEFORE_MS;
}

function grantOf({ text, status }: HostAnswer, title: string): PersonGrant {
  const parsed = Tokens.safeParse(jsonOf(text));
  // The cause would quote what may be a token.
  if (!parsed.success) throw new HostUnavailable(`${title} answers with no token.`, { status });
  const { access_token, refresh_token, expires_in } = parsed.data;
  return {
    accessToken: access_token,
    refreshToken: refresh_token,
    expiresAt: expires_in === undefined ? undefined : Date.now() + expires_in * 1000,
  };
}

/** The error code of RFC 6749 §5.2. */
function errorOf({ text }: HostAnswer): string | undefined {
  const error = TokenError.safeParse(jsonOf(text)).data?.error;
  return error !== undefined && /^\w{1,50}$/.test(error) ? error : undefined;
}

function jsonOf(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}

async function untilAborted<T>(promise: Promise<T>, signal: AbortSignal): Promise<T> {
  const aborted = Promise.withResolvers<never>();
  const abort = () => aborted.reject(signal.reason);
  signal.addEventListener("abort", abort, { once: true });
  try {
    return await Promise.race([promise, aborted.promise]);
  } finally {
    signal.removeEventListener("abort", abort);
  }
}
