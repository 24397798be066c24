import { createPrivateKey, type KeyObject } from "node:crypto";
import { setTimeout as delay } from "node:timers/promises";
import { Secret } from "@openfaas-cloud/shared/env.ts";
import { errorMessage, KnownError } from "@openfaas-cloud/shared/known-error.ts";
import { SignJWT } from "jose";
import { z } from "zod";
import type { HostAnswer } from "../host-client.ts";
import { HostUnavailable } from "../host-errors.ts";
import type { SourceKey } from "../source-host.ts";
import type { GitHubApi, RequestBody } from "./api.ts";
import { ApiRepository, Installer } from "./facts.ts";

/** GitHub takes ten minutes at most, by its own clock. */
const JWT_S = 8 * 60;
const CLOCK_SKEW_S = 60;
/** A token is used no longer than until so long before its end. */
const SPARE_MS = 5 * 60_000;
const MOST_TOKENS = 1000;
/** For so many tries, a new token may be unknown to the part of GitHub that is asked. */
const MOST_TRIES = 3;
const PAUSE_MS = 1000;

/** What tokens are made for, and the least that it takes. */
const PERMISSIONS = {
  facts: { metadata: "read" },
  source: { contents: "read" },
  checks: { checks: "write" },
  statuses: { statuses: "write" },
  deployments: { deployments: "write" },
} as const satisfies Record<
  string,
  NonNullable<RequestBody<"apps/create-installation-access-token">>["permissions"]
>;
export type Purpose = keyof typeof PERMISSIONS;

const Installation = z.object({
  id: z.int().positive(),
  account: Installer,
  suspended_at: z.string().nullish(),
});
export type Installation = z.infer<typeof Installation>;

const RepositoryToken = z.object({
  token: z.string().min(1),
  expires_at: z.iso.datetime({ offset: true }),
  repositories: z.tuple([ApiRepository]),
});
const InstallationToken = z.object({ token: z.string().min(1) });

/** Access to one repository, for one purpose, for less than an hour. */
export interface RepositoryGrant {
  readonly token: Secret;
  /** As it was when the token was made. */
  readonly repository: ApiRepository;
  readonly expiresAt: number;
}

/** What GitHub positively says is not there. */
export interface Absent {
  readonly kind: "absent";
  readonly reason: string;
}

/** What the platform may do as a GitHub App, and the tokens that it does it with. */
export class GitHubApp {
  readonly #api: GitHubApi;
  readonly #appId: number;
  readonly #key: KeyObject;
  readonly #pauseMs: number;
  /** The oldest first. */
  readonly #grants = new Map<string, RepositoryGrant>();

  /** @throws KnownError `config-invalid` where the private key is none. */
  constructor(options: {
    readonly api: GitHubApi;
    readonly appId: number;
    readonly privateKey: Secret;
    readonly pauseMs?: number | undefined;
  }) {
    this.#api = options.api;
    this.#appId = options.appId;
    this.#key = readKey(options.privateKey);
    this.#pauseMs = options.pauseMs ?? PAUSE_MS;
  }

  /** Proves that it is the App who asks (docs.github.com: "Generating a JSON Web Token (JWT) for a GitHub App"). */
  async jwt(): Promise<Secret> {
    const now = Math.floor(Date.now() / 1000);
    const jwt = await new SignJWT()
      .setProtectedHeader({ alg: "RS256", typ: "JWT" })
      .setIssuer(String(this.#appId))
      .setIssuedAt(now - CLOCK_SKEW_S)
      .setExpirationTime(now + JWT_S)
      .sign(this.#key);
    return new Secret(jwt);
  }

  /** As it is now, suspended too. @throws HostUnavailable */
  async fetchInstallation(installation: string, signal: AbortSignal): Promise<Installation | Absent> {
    const call = {
      method: "GET",
      path: `/app/installations/${encodeURIComponent(installation)}`,
      token: await this.jwt(),
      signal,
    } as const;
    const answer = await this.#api.send(call);
    if (answer.status !== 404) return this.#api.parse(answer, Installation, call);
    await this.#assertWorks(signal);
    return { kind: "absent", reason: "the GitHub App was uninstalled" };
  }

  /** Every one there is. @throws HostUnavailable */
  async listInstallations(signal: AbortSignal): Promise<Installation[]> {
    const call = { method: "GET", path: "/app/installations", token: await this.jwt(), signal } as const;
    return (await this.#api.readPages(call, z.array(Installation))).flat();
  }

  /** A token that sees which repositories an installation covers, and nothing in them. Not kept. */
  async listingToken(installation: string, signal: AbortSignal): Promise<Secret | Absent> {
    const answer = await this.#mint(installation, { permissions: PERMISSIONS.facts }, signal);
    if (answer.status === 403 || answer.status === 404) return this.#absence(installation, answer, signal);
    return new Secret(this.#api.parse(answer, InstallationToken, mintCall(installation)).token);
  }

  /**
   * A new token for this one repository. That GitHub makes it shows that the repository is linked now, and as what.
   * @throws HostUnavailable
   */
  async grant(key: SourceKey, purpose: Purpose, signal: AbortSignal): Promise<RepositoryGrant | Absent> {
    const installation = installationOf(key);
    const body = { repository_ids: [Number(key.id)], permissions: PERMISSIONS[purpose] };
    const answer = await this.#mint(installation, body, signal);
    if (answer.status === 403 || answer.status === 404 || (answer.status === 422 && purpose === "facts"))
      return this.#absence(installation, answer, signal);
    const minted = this.#api.parse(answer, RepositoryToken, mintCall(installation));
    const grant = {
      token: new Secret(minted.token),
      repository: minted.repositories[0],
      expiresAt: Date.parse(minted.expires_at),
    };
    this.#keep(nameOf(key, purpose), grant);
    return grant;
  }

  /**
   * Does something with a token that may have been made before. Where GitHub then does not find the repository, which may have
   * moved since, it is done once more with a new one.
   */
  async withGrant<T>(
    key: SourceKey,
    purpose: Purpose,
    signal: AbortSignal,
    act: (grant: RepositoryGrant) => Promise<T>,
  ): Promise<T> {
    const kept = this.#grants.get(nameOf(key, purpose));
    if (kept !== undefined && kept.expiresAt - SPARE_MS > Date.now()) {
      try {
        return await act(kept);
      } catch (error) {
        if (!(error instanceof HostUnavailable) || !isOutdated(error.status)) throw error;
      }
    }
    const grant = await this.grant(key, purpose, signal);
    if (!("kind" in grant)) return this.#withNew(grant, signal, act);
    throw new HostUnavailable(
      `${this.#api.title} does not let the platform see the repository: ${grant.reason}.`,
    );
  }

  async #withNew<T>(
    grant: RepositoryGrant,
    signal: AbortSignal,
    act: (grant: RepositoryGrant) => Promise<T>,
  ): Promise<T> {
    for (let tries = 1; ; tries++) {
      try {
        return await act(grant);
      } catch (error) {
        const isUnknown = error instanceof HostUnavailable && error.status === 401;
        if (!isUnknown || tries === MOST_TRIES) throw error;
      }
      await delay(this.#pauseMs * tries, undefined, { signal }).catch(() => signal.throwIfAborted());
    }
  }

  async #mint(
    installation: string,
    body: NonNullable<RequestBody<"apps/create-installation-access-token">>,
    signal: AbortSignal,
  ): Promise<HostAnswer> {
    const token = await this.jwt();
    return this.#api.send({ ...mintCall(installation), body, token, signal, isRepeatable: true });
  }

  /** Why no token was made, where that is what it means. */
  async #absence(installation: string, answer: HostAnswer, signal: AbortSignal): Promise<Absent> {
    const found = await this.fetchInstallation(installation, signal);
    if ("kind" in found) return found;
    if (found.suspended_at != null) return { kind: "absent", reason: "the GitHub App is suspended" };
    // It says the same number where the installation does not grant the permissions.
    if (answer.status === 422 && /\brepository that does not exist or is not accessible\b/.test(answer.text))
      return { kind: "absent", reason: "the GitHub App is not installed on the repository" };
    throw this.#api.unexpected(answer, mintCall(installation));
  }

  /** A GitHub that does not know the App either says nothing by not finding an installation. */
  async #assertWorks(signal: AbortSignal): Promise<void> {
    const call = { method: "GET", path: "/app", token: await this.jwt(), signal } as const;
    await this.#api.read(call, z.object({ id: z.literal(this.#appId) }));
  }

  #keep(name: string, grant: RepositoryGrant): void {
    this.#grants.delete(name);
    this.#grants.set(name, grant);
    for (const oldest of this.#grants.keys()) {
      if (this.#grants.size <= MOST_TOKENS) break;
      this.#grants.delete(oldest);
    }
  }
}

function mintCall(installation: string) {
  const path = `/app/installations/${encodeURIComponent(installation)}/access_tokens`;
  return { method: "POST", path } as const;
}

function nameOf(key: SourceKey, purpose: Purpose): string {
  return `${key.installation}/${key.id}/${purpose}`;
}

function installationOf({ id, installation }: SourceKey): string {
  if (installation === undefined || !/^\d+$/.test(installation) || !/^\d+$/.test(id))
    throw new Error(`not a repository of a GitHub App: ${id} of ${installation}`);
  return installation;
}

/** Renamed and moved repositories are redirected; a token may be taken back before its time. */
function isOutdated(status: number | undefined): boolean {
  return status !== undefined && [301, 302, 307, 308, 401, 403, 404].includes(status);
}

function readKey(privateKey: Secret): KeyObject {
  try {
    const key = createPrivateKey(privateKey.reveal());
    if (key.asymmetricKeyType === "rsa") return key;
    throw new Error(`it is of type ${key.asymmetricKeyType}`);
  } catch (error) {
    throw new KnownError(
      "config-invalid",
      `The private key of the GitHub App is no RSA key in PEM: ${errorMessage(error)}`,
    );
  }
}
