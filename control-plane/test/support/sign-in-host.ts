import { createHash, randomUUID } from "node:crypto";
import { GrantRevoked, HostUnavailable, SignInRefused } from "../../src/ports/source-host/host-errors.ts";
import type {
  OwnerAccess,
  PersonGrant,
  RemoteHost,
  SignInProvider,
} from "../../src/ports/source-host/remote-host.ts";
import type { Role } from "../../src/role.ts";

interface Asked {
  readonly state: string;
  readonly codeChallenge: string;
  readonly redirectUri: string;
}

/**
 * A source host as far as people sign in with it: it has accounts that belong to owners, gives out codes once, holds the code
 * verifier against its challenge, and keeps a ledger of what it was asked.
 */
export class SignInHost implements SignInProvider {
  readonly instance: string;
  readonly ledger: { readonly call: "exchange" | "access"; readonly person: string }[] = [];
  /** Told for whatever is asked while it is set. */
  failure: Error | undefined;
  /** Answers wait for it. */
  gate: Promise<void> = Promise.resolve();
  readonly #codes = new Map<string, Asked & { readonly person: string }>();
  readonly #owners = new Map<string, Map<string, Role>>();
  readonly #revoked = new Set<string>();

  constructor(instance = "git.test") {
    this.instance = instance;
  }

  /** What the person is at the owner from now on; nothing where there is no role. */
  setRole(person: string, owner: string, role: Role | undefined): void {
    const owners = this.#owners.get(person) ?? new Map<string, Role>();
    if (role === undefined) owners.delete(owner);
    else owners.set(owner, role);
    this.#owners.set(person, owners);
  }

  revokeGrantsOf(person: string): void {
    this.#revoked.add(person);
  }

  /** The person agrees on the host's page. @returns where the browser is sent. */
  agree(authorizeUrl: string, person: string): string {
    const asked = askedBy(authorizeUrl);
    const code = randomUUID();
    this.#codes.set(code, { ...asked, person });
    return sentBack(asked, { code });
  }

  deny(authorizeUrl: string, error = "access_denied"): string {
    return sentBack(askedBy(authorizeUrl), { error });
  }

  authorizeUrl({ state, codeChallenge, redirectUri }: Asked): URL {
    const url = new URL(`https://${this.instance}/authorize`);
    url.searchParams.set("state", state);
    url.searchParams.set("code_challenge", codeChallenge);
    url.searchParams.set("code_challenge_method", "S256");
    url.searchParams.set("redirect_uri", redirectUri);
    return url;
  }

  async exchange({
    code,
    codeVerifier,
    redirectUri,
  }: Parameters<SignInProvider["exchange"]>[0]): ReturnType<SignInProvider["exchange"]> {
    const issued = this.#codes.get(code);
    this.#codes.delete(code);
    this.ledger.push({ call: "exchange", person: issued?.person ?? "nobody" });
    await this.#answer();
    const challenge = createHash("sha256").update(codeVerifier).digest("base64url");
    if (issued === undefined || issued.codeChallenge !== challenge || issued.redirectUri !== redirectUri)
      throw new SignInRefused("the code is not known");
    const { person } = issued;
    this.#revoked.delete(person);
    return { identity: { sourceId: person, login: person, name: `Dr. ${person}` }, grant: grantOf(person) };
  }

  async fetchAccess(grant: PersonGrant): ReturnType<SignInProvider["fetchAccess"]> {
    const person = grant.accessToken.split(".")[1] ?? "";
    this.ledger.push({ call: "access", person });
    const owners: OwnerAccess[] = [...(this.#owners.get(person) ?? [])].map(([sourceId, role]) => ({
      owner: { sourceId, login: sourceId, kind: "organization" },
      role,
    }));
    await this.#answer();
    if (this.#revoked.has(person)) throw new GrantRevoked("taken back");
    return { grant: grantOf(person), owners };
  }

  /** As a source host: nothing but signing in is asked of it here. */
  asHost(): RemoteHost {
    const unasked = () => Promise.reject(new Error("nobody asks for this"));
    return {
      kind: "gitlab",
      instance: this.instance,
      title: `Git (${this.instance})`,
      webUrl: `https://${this.instance}`,
      linkUrl: undefined,
      topic: undefined,
      signIn: this,
      verify: unasked,
      parse: () => ({ kind: "ignored", reason: "nobody asks for this" }),
      fetchRepository: unasked,
      fetchInstallation: unasked,
      listRepositories: unasked,
      fetchHead: unasked,
      redeliver: unasked,
      fetchCommit: unasked,
      reportStatus: unasked,
      reportDeployment: unasked,
      settlePush: unasked,
      tidy: unasked,
      forget: unasked,
      [Symbol.asyncDispose]: async () => undefined,
    };
  }

  async #answer(): Promise<void> {
    await this.gate;
    if (this.failure) throw this.failure;
  }
}

export const NOT_ANSWERING = new HostUnavailable("Git is not answering.");

/** Another one each time, as hosts do that give out refresh tokens. */
function grantOf(person: string): PersonGrant {
  return { accessToken: `grant.${person}.${randomUUID()}`, refreshToken: undefined, expiresAt: undefined };
}

function askedBy(authorizeUrl: string): Asked {
  const { searchParams } = new URL(authorizeUrl);
  return {
    state: searchParams.get("state") ?? "",
    codeChallenge: searchParams.get("code_challenge") ?? "",
    redirectUri: searchParams.get("redirect_uri") ?? "",
  };
}

function sentBack({ redirectUri, state }: Asked, answer: Readonly<Record<string, string>>): string {
  const url = new URL(redirectUri);
  for (const [name, value] of Object.entries({ ...answer, state })) url.searchParams.set(name, value);
  return url.href;
}
