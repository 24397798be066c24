import { createHash, randomBytes } from "node:crypto";
import { KnownError } from "@openfaas-cloud/shared/known-error.ts";
import { sha256 } from "../ids.ts";
import type { Logger } from "../logger.ts";
import type { AuditSink } from "../ports/audit-sink/audit-sink.ts";
import { sanitiseLogText } from "../ports/log-store/sanitise.ts";
import { GrantRevoked, HostUnavailable, SignInRefused } from "../ports/source-host/host-errors.ts";
import type {
  Identity,
  OwnerAccess,
  PersonGrant,
  RemoteHost,
  SignInProvider,
} from "../ports/source-host/remote-host.ts";
import type { SignInRow } from "../ports/store/schema.ts";
import type { Store } from "../ports/store/store.ts";
import { Retryable } from "../rejected.ts";
import type { Urls } from "../urls.ts";
import { isOperator } from "./caller.ts";
import type { Memberships } from "./memberships.ts";
import { subjectOf } from "./person-grants.ts";
import { returnPath } from "./return-path.ts";
import type { Origin, Sessions } from "./sessions.ts";

/** Somebody who begins has so long to come back. */
export const SIGN_IN_MS = 10 * 60_000;
const EXCHANGE_MS = 20_000;
/** Begun and not come back from: in all, and from one address. */
const MOST_WAITING = 20_000;
const MOST_OF_ADDRESS = 100;
const MAX_NAME = 200;

/** Why somebody is not signed in. */
export type SignInProblem =
  | "unknown-host"
  | "stale"
  | "denied"
  | "refused"
  | "not-enrolled"
  | "not-known"
  | "host-unavailable";

/** Somebody could not be signed in; `title` is the host's, where it is known which one it was. */
export class SignInFailed extends KnownError<"sign-in-failed"> {
  readonly problem: SignInProblem;
  readonly title: string | undefined;

  constructor(problem: SignInProblem, title?: string, options?: { readonly cause?: unknown }) {
    super("sign-in-failed", `signing in failed: ${problem}`, options);
    this.problem = problem;
    this.title = title;
  }
}

/**
 * Whether somebody who is no operator may come in. They may where they belong to an owner that is enrolled. Rejects with
 * `Retryable` where that is not known.
 */
export type MaySignIn = (candidate: {
  readonly instance: string;
  readonly owners: readonly OwnerAccess[];
}) => boolean | Promise<boolean>;

/** What the host sent somebody back with. */
export interface SentBack {
  readonly state: string;
  readonly code: string | undefined;
  /** The host's own word for why there is no code (RFC 6749 §4.1.2.1). */
  readonly error: string | undefined;
}

/**
 * Signing in with a source host (RFC 6749 §4.1, with PKCE, RFC 7636). What somebody comes back with counts once, within ten
 * minutes, and only in the browser that began: by a state of which the store has the hash, and a secret in that browser.
 */
export class SignIns {
  readonly #ports: SignInPorts;
  readonly #now: () => number;

  constructor(ports: SignInPorts) {
    this.#ports = ports;
    this.#now = ports.now ?? Date.now;
  }

  /**
   * @param browser what this browser holds, and brings again when it comes back
   * @returns where to send it. @throws SignInFailed
   */
  async begin(
    hostName: string,
    wanted: { readonly browser: string; readonly returnTo: string | undefined; readonly address: string },
  ): Promise<URL> {
    const { host, signIn } = this.#hostNamed(hostName);
    await this.#makeRoom(wanted.address);
    const state = secret();
    const codeVerifier = secret();
    await this.#ports.store
      .insertInto("sign_ins")
      .values({
        hash: sha256(state),
        instance: host.instance,
        browser_hash: sha256(wanted.browser),
        code_verifier: codeVerifier,
        return_to: returnPath(wanted.returnTo),
        address: wanted.address,
        expires_at: this.#now() + SIGN_IN_MS,
      })
      .execute();
    const codeChallenge = createHash("sha256").update(codeVerifier).digest("base64url");
    return signIn.authorizeUrl({ state, codeChallenge, redirectUri: this.#ports.urls.signInCallback });
  }

  /** @returns the session's cookie, and where to go. @throws SignInFailed */
  async complete(
    sentBack: SentBack,
    browser: string | undefined,
    origin: Origin,
  ): Promise<{ readonly cookie: string; readonly returnTo: string }> {
    const begun = await this.#spend(sentBack.state, browser);
    const { host, signIn } = this.#hostNamed(begun.instance);
    if (sentBack.error === "access_denied") throw new SignInFailed("denied", host.title);
    if (sentBack.code === undefined || sentBack.error !== undefined)
      throw new SignInFailed("refused", host.title);
    const arrived = await this.#ask(host, signIn, { code: sentBack.code, codeVerifier: begun.code_verifier });
    const cookie = await this.#welcome(host, arrived, origin);
    return { cookie, returnTo: begun.return_to };
  }

  /** By its instance, or by its kind (`github`) where it is the only one of it. */
  #hostNamed(name: string): { readonly host: RemoteHost; readonly signIn: SignInProvider } {
    const { remote } = this.#ports.hosts;
    const ofKind = remote.filter(({ kind }) => kind === name);
    const host =
      remote.find(({ instance }) => instance === name) ?? (ofKind.length === 1 ? ofKind[0] : undefined);
    if (host?.signIn === undefined) throw new SignInFailed("unknown-host");
    return { host, signIn: host.signIn };
  }

  async #makeRoom(address: string): Promise<void> {
    const { store } = this.#ports;
    await store.deleteFrom("sign_ins").where("expires_at", "<=", this.#now()).execute();
    const { all, ofAddress } = await store
      .selectFrom("sign_ins")
      .select((select) => [
        select.fn.countAll<number>().as("all"),
        select.fn.countAll<number>().filterWhere("address", "=", address).as("ofAddress"),
      ])
      .executeTakeFirstOrThrow();
    const isFull = Number(ofAddress) >= MOST_OF_ADDRESS;
    if (!isFull && Number(all) < MOST_WAITING) return;
    // Whoever begins many drives out what was begun first, at their own address first, and keeps nobody from beginning.
    let oldest = store.selectFrom("sign_ins").select("hash").orderBy("expires_at").limit(1);
    if (isFull) oldest = oldest.where("address", "=", address);
    await store.deleteFrom("sign_ins").where("hash", "in", oldest).execute();
  }

  /** What was begun by this state, which counts no more from here on, whatever else is wrong. */
  async #spend(state: string, browser: string | undefined): Promise<SignInRow> {
    const begun = await this.#ports.store
      .deleteFrom("sign_ins")
      .where("hash", "=", sha256(state))
      .returningAll()
      .executeTakeFirst();
    const isSound =
      begun !== undefined &&
      browser !== undefined &&
      begun.browser_hash === sha256(browser) &&
      begun.expires_at > this.#now();
    if (!isSound) throw new SignInFailed("stale");
    return begun;
  }

  async #ask(
    host: RemoteHost,
    signIn: SignInProvider,
    answer: { readonly code: string; readonly codeVerifier: string },
  ): Promise<Arrived> {
    const signal = AbortSignal.timeout(EXCHANGE_MS);
    try {
      const redirectUri = this.#ports.urls.signInCallback;
      const { identity, grant } = await signIn.exchange({ ...answer, redirectUri }, signal);
      return { identity, ...(await signIn.fetchAccess(grant, signal)) };
    } catch (error) {
      this.#ports.logger.warn({ err: error, instance: host.instance }, "somebody could not be signed in");
      if (error instanceof SignInRefused || error instanceof GrantRevoked)
        throw new SignInFailed("refused", host.title, { cause: error });
      if (error instanceof HostUnavailable || signal.aborted)
        throw new SignInFailed("host-unavailable", host.title, { cause: error });
      throw error;
    }
  }

  async #welcome(host: RemoteHost, { identity, grant, owners }: Arrived, origin: Origin): Promise<string> {
    const { store, memberships, sessions, audit, operators, maySignIn } = this.#ports;
    const { instance } = host;
    const subject = subjectOf(instance, identity.sourceId);
    const cause = { actor: subject, address: origin.address };
    const event = { ...cause, action: "session.sign-in", object: subject };
    const mayComeIn = isOperator(subject, operators) || (await known(maySignIn({ instance, owners }), host));
    if (!mayComeIn) {
      await audit.append({ ...event, result: "refused: belongs to no owner that may deploy here" });
      throw new SignInFailed("not-enrolled", host.title);
    }
    const login = shown(identity.login);
    const person = { subject, name: shown(identity.name) || login };
    const names = { name: person.name, login };
    await store
      .insertInto("people")
      .values({ subject, ...names, created_at: this.#now() })
      .onConflict((conflict) => conflict.column("subject").doUpdateSet(names))
      .execute();
    await memberships.keep(subject, instance, { grant, owners }, cause);
    return sessions.begin(person, origin, (transaction) =>
      audit.append({ ...event, result: `signed in with ${instance}` }, transaction),
    );
  }
}

export interface SignInPorts {
  readonly store: Store;
  readonly hosts: { readonly remote: readonly RemoteHost[] };
  readonly memberships: Memberships;
  readonly sessions: Sessions;
  readonly operators: ReadonlySet<string>;
  readonly maySignIn: MaySignIn;
  readonly audit: AuditSink;
  readonly urls: Urls;
  readonly logger: Logger;
  /** Milliseconds since the epoch. */
  readonly now?: () => number;
}

interface Arrived {
  readonly identity: Identity;
  readonly grant: PersonGrant;
  readonly owners: readonly OwnerAccess[];
}

/** A stranger's own words, which stand in reasons of runs and so in terminals and on other hosts, as text that acts on nobody. */
function shown(name: string): string {
  return sanitiseLogText(name.slice(0, 10 * MAX_NAME))
    .trim()
    .slice(0, MAX_NAME);
}

async function known(answer: boolean | Promise<boolean>, { title }: RemoteHost): Promise<boolean> {
  try {
    return await answer;
  } catch (error) {
    throw error instanceof Retryable ? new SignInFailed("not-known", title, { cause: error }) : error;
  }
}

/** 32 random bytes: 43 characters of base64url, which is also what a code verifier has to be (RFC 7636 §4.1). */
export function secret(): string {
  return randomBytes(32).toString("base64url");
}
