import * as oauth from "oauth4webapi";
import { z } from "zod";
import { higher, type Role } from "../../../role.ts";
import type { HostAnswer, HostClient } from "../host-client.ts";
import type { GitLabConfig } from "../host-config.ts";
import { GrantRevoked, HostUnavailable, SignInRefused } from "../host-errors.ts";
import type { Identity, OwnerAccess, OwnerFacts, PersonGrant, SignInProvider } from "../remote-host.ts";
import { Renewals } from "../renewals.ts";
import { messageOf, openGitLabApi } from "./api.ts";
import { GitLabFacts, Group, ownerOfGroup, ownerOfPerson } from "./facts.ts";

/** Reads who it is, and their groups and projects. */
const SCOPES = "read_user read_api";
/** A grant is renewed this long before it expires. */
const EARLY_MS = 60_000;

/** https://docs.gitlab.com/api/members/#roles */
const LEVELS = { reporter: 20, developer: 30, maintainer: 40 } as const;

/** https://docs.gitlab.com/api/users/#get-the-current-user */
const User = z.object({
  id: z.number().int().positive(),
  username: z.string().min(1),
  name: z.string().nullish(),
});
type User = z.infer<typeof User>;

/** https://docs.gitlab.com/api/oauth2/ */
export function openSignIn(options: {
  readonly config: Pick<GitLabConfig, "url" | "topic">;
  readonly oauthClient: NonNullable<GitLabConfig["oauth"]>;
  readonly client: HostClient;
  readonly title: string;
}): SignInProvider {
  const { config, oauthClient, client, title } = options;
  const endpoints: oauth.AuthorizationServer = {
    issuer: config.url,
    authorization_endpoint: `${config.url}/oauth/authorize`,
    token_endpoint: `${config.url}/oauth/token`,
  };
  const us: oauth.Client = { client_id: oauthClient.id };
  const secret = oauth.ClientSecretPost(oauthClient.secret.reveal());
  const renewals = new Renewals();

  const through = (signal: AbortSignal) => ({
    // An on-prem host may be reached by plain HTTP, where its operator says so in its address.
    [oauth.allowInsecureRequests]: true,
    [oauth.customFetch]: async (url: string, init: { headers: Record<string, string>; body: unknown }) => {
      const request = { url, headers: init.headers, body: String(init.body), signal };
      const { status, headers, text } = await client.send({ ...request, method: "POST" });
      // What is wrong stands in the body too, in more words.
      headers.delete("www-authenticate");
      return new Response(text === "" ? null : text, { status, headers });
    },
  });

  const apiOf = ({ accessToken }: PersonGrant) =>
    openGitLabApi({
      client,
      url: config.url,
      title,
      credential: { authorization: `Bearer ${accessToken}` },
      refusal: (answer) =>
        isRefusal(answer) ? new GrantRevoked(`${title} takes the grant no more.`) : undefined,
    });

  async function renew(refreshToken: string, signal: AbortSignal): Promise<PersonGrant> {
    try {
      const response = await oauth.refreshTokenGrantRequest(
        endpoints,
        us,
        secret,
        refreshToken,
        through(signal),
      );
      return grantOf(await oauth.processRefreshTokenResponse(endpoints, us, response));
    } catch (error) {
      const revoked = new GrantRevoked(`${title} does not renew the grant.`, { cause: error });
      throw failureOf(error, title, revoked);
    }
  }

  return {
    authorizeUrl({ state, codeChallenge, redirectUri }) {
      const url = new URL(`${config.url}/oauth/authorize`);
      url.search = new URLSearchParams({
        client_id: oauthClient.id,
        redirect_uri: redirectUri,
        response_type: "code",
        scope: SCOPES,
        state,
        code_challenge: codeChallenge,
        code_challenge_method: "S256",
      }).toString();
      return url;
    },

    async exchange({ code, codeVerifier, redirectUri }, signal) {
      if (code === "") throw new SignInRefused(`${title} gave no code.`);
      let grant: PersonGrant;
      try {
        const answered = new URLSearchParams({ code });
        const response = await oauth.authorizationCodeGrantRequest(
          endpoints,
          us,
          secret,
          // Whoever asks has compared the state already.
          oauth.validateAuthResponse(endpoints, us, answered, oauth.skipStateCheck),
          redirectUri,
          codeVerifier,
          through(signal),
        );
        grant = grantOf(await oauth.processAuthorizationCodeResponse(endpoints, us, response));
      } catch (error) {
        throw failureOf(
          error,
          title,
          new SignInRefused(`${title} does not take the code.`, { cause: error }),
        );
      }
      return { identity: identityOf(await apiOf(grant).get("/user", User, signal)), grant };
    },

    async fetchAccess(given, signal) {
      const expires = given.expiresAt !== undefined && given.expiresAt - EARLY_MS <= Date.now();
      const grant =
        expires && given.refreshToken !== undefined
          ? await renewals.once(given.refreshToken, renew.bind(undefined, given.refreshToken), signal)
          : given;
      const api = apiOf(grant);
      const facts = new GitLabFacts(api, { ...config, title });
      /** What may be reached with at least this level: groups that are owners, and linked projects below such groups. */
      const groupsBy = (level: number) =>
        api.list("/groups", Group, { query: { min_access_level: level, top_level_only: true }, signal });
      const projectsBy = (level: number) =>
        facts.listLinked({ membership: true, min_access_level: level }, signal);
      const [user, read, write, admin, reads, writes] = await Promise.all([
        api.get("/user", User, signal),
        groupsBy(LEVELS.reporter),
        groupsBy(LEVELS.developer),
        groupsBy(LEVELS.maintainer),
        projectsBy(LEVELS.reporter),
        projectsBy(LEVELS.developer),
      ]);
      const owners = new Access();
      owners.add(ownerOfPerson(user), "admin");
      for (const group of read) owners.addRoot(group, "viewer");
      for (const group of write) owners.addRoot(group, "developer");
      for (const group of admin) owners.addRoot(group, "admin");
      // Whoever may make a project in a group maintains it: that alone is no say over the whole group's functions.
      for (const { owner } of reads) owners.addBelow(owner, "viewer");
      for (const { owner } of writes) owners.addBelow(owner, "developer");
      return { grant, owners: owners.all };
    },
  };
}

/** The most that a person may do, by owner. */
class Access {
  readonly #owners = new Map<string, OwnerAccess>();

  get all(): readonly OwnerAccess[] {
    return [...this.#owners.values()];
  }

  add(owner: OwnerFacts, role: Role): void {
    const known = this.#owners.get(owner.sourceId)?.role ?? role;
    this.#owners.set(owner.sourceId, { owner, role: higher(known, role) });
  }

  /** Versions that do not know `top_level_only` list the groups below, too. */
  addRoot(group: Group, role: Role): void {
    if (group.parent_id === undefined || group.parent_id === null) this.add(ownerOfGroup(group), role);
  }

  /** Of a project. People's own projects are theirs alone. */
  addBelow(owner: OwnerFacts, role: Role): void {
    if (owner.kind === "organization") this.add(owner, role);
  }
}

function identityOf({ id, username, name }: User): Identity {
  return {
    sourceId: id.toString(),
    login: username,
    name: name === undefined || name === null || name === "" ? username : name,
  };
}

function grantOf(answer: oauth.TokenEndpointResponse): PersonGrant {
  return {
    accessToken: answer.access_token,
    refreshToken: answer.refresh_token,
    expiresAt: answer.expires_in === undefined ? undefined : Date.now() + answer.expires_in * 1000,
  };
}

/** 403 in GitLab's own words is how it answers for an account that is blocked. */
function isRefusal({ status, text }: HostAnswer): boolean {
  return status === 401 || (status === 403 && messageOf(text) !== undefined);
}

/** `refusal` where GitLab does not take what the person brought, else what is wrong between it and us. */
function failureOf(error: unknown, title: string, refusal: Error): unknown {
  if (error instanceof oauth.ResponseBodyError) {
    if (error.error === "invalid_grant") return refusal;
    return new HostUnavailable(`${title} refuses the platform's OAuth application (${error.error}).`, {
      status: error.status,
      cause: error,
    });
  }
  if (error instanceof oauth.OperationProcessingError) {
    return new HostUnavailable(`${title} answered what cannot be read.`, { cause: error });
  }
  return error;
}
