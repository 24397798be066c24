import { Secret } from "@openfaas-cloud/shared/env.ts";
import * as oauth from "oauth4webapi";
import { z } from "zod";
import { higher, type Role } from "../../../role.ts";
import type { HostAnswer, HostClient } from "../host-client.ts";
import { GrantRevoked, HostUnavailable, SignInRefused } from "../host-errors.ts";
import type { Identity, OwnerAccess, PersonGrant, SignInProvider } from "../remote-host.ts";
import { Renewals } from "../renewals.ts";
import type { ApiCall, GitHubApi } from "./api.ts";
import { ApiAccount, Installer, ownerFacts } from "./facts.ts";

/** A grant is renewed when it ends within so long. */
const SPARE_MS = 60_000;
/** What GitHub says where it is the platform's own set-up that it refuses (docs: "Troubleshooting OAuth app access token request errors"). */
const OUR_FAULT: ReadonlySet<string> = new Set([
  "incorrect_client_credentials",
  "invalid_client",
  "redirect_uri_mismatch",
  "unsupported_grant_type",
]);

export interface SignInOptions {
  readonly api: GitHubApi;
  readonly client: HostClient;
  /** `https://github.com` */
  readonly webUrl: string;
  readonly oauth: { readonly id: string; readonly secret: Secret };
}

const Person = ApiAccount.extend({ name: z.string().nullish() });
const Membership = z.object({
  state: z.string(),
  role: z.string(),
  organization: ApiAccount.omit({ type: true }),
});
const Installations = z.object({
  installations: z.array(z.object({ id: z.int().positive(), account: Installer })),
});
const Permissions = z.object({
  pull: z.boolean().optional(),
  push: z.boolean().optional(),
  maintain: z.boolean().optional(),
  admin: z.boolean().optional(),
});
const Repositories = z.object({
  repositories: z.array(z.object({ permissions: Permissions.optional() })),
});

/** Sign-in by the App's own user access tokens (docs.github.com: "Generating a user access token for a GitHub App"). */
export class GitHubSignIn implements SignInProvider {
  readonly #api: GitHubApi;
  readonly #webUrl: string;
  readonly #client: oauth.Client;
  readonly #clientAuth: oauth.ClientAuth;
  readonly #server: oauth.AuthorizationServer;
  readonly #send: HostClient["send"];
  readonly #renewals = new Renewals();

  constructor({ api, client, webUrl, oauth: { id, secret } }: SignInOptions) {
    this.#api = api;
    this.#webUrl = webUrl;
    this.#client = { client_id: id };
    this.#clientAuth = oauth.ClientSecretPost(secret.reveal());
    this.#server = { issuer: webUrl, token_endpoint: `${webUrl}/login/oauth/access_token` };
    this.#send = (request) => client.send(request);
  }

  authorizeUrl: SignInProvider["authorizeUrl"] = ({ state, codeChallenge, redirectUri }) => {
    const url = new URL(`${this.#webUrl}/login/oauth/authorize`);
    url.search = new URLSearchParams({
      client_id: this.#client.client_id,
      redirect_uri: redirectUri,
      state,
      code_challenge: codeChallenge,
      code_challenge_method: "S256",
    }).toString();
    return url;
  };

  exchange: SignInProvider["exchange"] = async ({ code, codeVerifier, redirectUri }, signal) => {
    // The state was compared with the browser's by whoever took the answer.
    const callback = oauth.validateAuthResponse(
      this.#server,
      this.#client,
      new URLSearchParams({ code }),
      oauth.skipStateCheck,
    );
    const grant = await this.#requestGrant(
      (options) =>
        oauth.authorizationCodeGrantRequest(
          this.#server,
          this.#client,
          this.#clientAuth,
          callback,
          redirectUri,
          codeVerifier,
          options,
        ),
      signal,
      (why) => new SignInRefused(`${this.#api.title} does not take the sign-in (${why}). Sign in again.`),
    );
    return { identity: identityOf(await this.#fetchPerson(grant, signal)), grant };
  };

  fetchAccess: SignInProvider["fetchAccess"] = async (given, signal) => {
    const isEnding = given.expiresAt !== undefined && given.expiresAt - SPARE_MS < Date.now();
    const grant = isEnding ? await this.#refresh(given, signal) : given;
    return { grant, owners: await this.#fetchOwners(grant, signal) };
  };

  #refresh({ refreshToken }: PersonGrant, signal: AbortSignal): Promise<PersonGrant> {
    if (refreshToken === undefined)
      throw new GrantRevoked(`What ${this.#api.title} granted has ended. Sign in again.`);
    const renew = (patience: AbortSignal) =>
      this.#requestGrant(
        (options) =>
          oauth.refreshTokenGrantRequest(this.#server, this.#client, this.#clientAuth, refreshToken, options),
        patience,
        () => new GrantRevoked(`${this.#api.title} does not renew what was granted. Sign in again.`),
      );
    return this.#renewals.once(refreshToken, renew, signal);
  }

  async #requestGrant(
    request: (options: oauth.TokenEndpointRequestOptions) => Promise<Response>,
    signal: AbortSignal,
    refused: (why: string) => Error,
  ): Promise<PersonGrant> {
    const options = {
      signal,
      [oauth.customFetch]: (url: string, init: oauth.CustomFetchOptions<"POST", URLSearchParams>) =>
        this.#fetchToken(url, init, signal),
      ...(this.#webUrl.startsWith("http:") ? { [oauth.allowInsecureRequests]: true } : {}),
    };
    const response = await request(options);
    try {
      const granted = await oauth.processRefreshTokenResponse(this.#server, this.#client, response);
      return {
        accessToken: granted.access_token,
        refreshToken: granted.refresh_token,
        expiresAt: granted.expires_in === undefined ? undefined : Date.now() + granted.expires_in * 1000,
      };
    } catch (error) {
      if (error instanceof oauth.ResponseBodyError && !OUR_FAULT.has(error.error)) throw refused(error.error);
      // Not its cause: what came instead may hold a token.
      const why = error instanceof oauth.ResponseBodyError ? ` (${error.error})` : "";
      throw new HostUnavailable(`${this.#api.title} gives no access token to the platform${why}.`, {
        status: response.status,
      });
    }
  }

  async #fetchToken(
    url: string,
    init: oauth.CustomFetchOptions<"POST", URLSearchParams>,
    signal: AbortSignal,
  ): Promise<Response> {
    const answer = await this.#send({
      method: "POST",
      url,
      headers: { ...init.headers, accept: "application/json" },
      body: init.body.toString(),
      signal,
    });
    return new Response(answer.text, {
      status: isRefusal(answer) ? 400 : answer.status,
      headers: { "content-type": answer.headers.get("content-type") ?? "text/plain" },
    });
  }

  async #fetchOwners(grant: PersonGrant, signal: AbortSignal): Promise<OwnerAccess[]> {
    const access = new Map<number, OwnerAccess>();
    const add = (account: ApiAccount, role: Role) => {
      const known = access.get(account.id);
      access.set(account.id, {
        owner: ownerFacts(account),
        role: known === undefined ? role : higher(known.role, role),
      });
    };
    const person = await this.#fetchPerson(grant, signal);
    add(person, "admin");
    for (const { role, organization } of await this.#fetchMemberships(grant, signal)) {
      if (role === "admin") add({ ...organization, type: "Organization" }, "admin");
    }
    for (const { id, account } of await this.#fetchInstallations(grant, signal)) {
      if ("slug" in account || access.get(account.id)?.role === "admin") continue;
      const role = await this.#fetchRole(id, grant, signal);
      if (role !== undefined) add(account, role);
    }
    return [...access.values()];
  }

  #fetchPerson(grant: PersonGrant, signal: AbortSignal): Promise<z.infer<typeof Person>> {
    return this.#asPerson(grant, signal, "/user", (call) => this.#api.read(call, Person));
  }

  async #fetchMemberships(grant: PersonGrant, signal: AbortSignal): Promise<z.infer<typeof Membership>[]> {
    const pages = await this.#asPerson(grant, signal, "/user/memberships/orgs", (call) =>
      this.#api.readPages({ ...call, query: { state: "active" } }, z.array(Membership)),
    );
    return pages.flat();
  }

  async #fetchInstallations(
    grant: PersonGrant,
    signal: AbortSignal,
  ): Promise<z.infer<typeof Installations>["installations"]> {
    const pages = await this.#asPerson(grant, signal, "/user/installations", (call) =>
      this.#api.readPages(call, Installations),
    );
    return pages.flatMap((page) => page.installations);
  }

  /** By what the person may do in any repository of the account that the App is installed on. */
  async #fetchRole(installation: number, grant: PersonGrant, signal: AbortSignal): Promise<Role | undefined> {
    const path = `/user/installations/${installation}/repositories`;
    const pages = await this.#asPerson(grant, signal, path, (call) =>
      this.#api.readPages(call, Repositories),
    );
    const permissions = pages.flatMap((page) => page.repositories.map((it) => it.permissions ?? {}));
    if (permissions.some(({ push, maintain, admin }) => push || maintain || admin)) return "developer";
    return permissions.some(({ pull }) => pull) ? "viewer" : undefined;
  }

  async #asPerson<T>(
    { accessToken }: PersonGrant,
    signal: AbortSignal,
    path: string,
    ask: (call: ApiCall) => Promise<T>,
  ): Promise<T> {
    try {
      return await ask({ method: "GET", path, token: new Secret(accessToken), signal });
    } catch (error) {
      if (!(error instanceof HostUnavailable) || error.status !== 401) throw error;
      throw new GrantRevoked(`${this.#api.title} does not take what it granted any more. Sign in again.`, {
        cause: error,
      });
    }
  }
}

/** GitHub says with success that it refuses. */
function isRefusal({ status, text }: HostAnswer): boolean {
  if (status !== 200) return false;
  try {
    return z.object({ error: z.string() }).safeParse(JSON.parse(text)).success;
  } catch {
    return false;
  }
}

function identityOf({ id, login, name }: z.infer<typeof Person>): Identity {
  return { sourceId: String(id), login, name: name || login };
}
