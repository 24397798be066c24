import type { IncomingMessage } from "node:http";
import { ACCESS_TOKEN } from "@openfaas-cloud/shared/access-token.ts";
import { SESSION_COOKIE } from "@openfaas-cloud/shared/session.ts";
import { basicPair } from "../basic-pair.ts";
import { sha256 } from "../ids.ts";
import type { OwnerOfPerson } from "../ports/store/owners.ts";
import type { Store } from "../ports/store/store.ts";
import { findAccessToken } from "./credentials.ts";
import type { Memberships, Standing } from "./memberships.ts";
import type { Scope } from "./scopes.ts";
import type { FoundSession, Sessions } from "./sessions.ts";

/** The person who started the platform, and who runs it. */
export const LOCAL_PERSON = "local";

/** Somebody who is known, by a session or by an access token. */
export interface Caller {
  readonly subject: string;
  readonly name: string;
  /** Owners the person may act for now, as the store says and not as a token did when it was issued. */
  readonly owners: readonly OwnerOfPerson[];
  /** Whether the person runs the platform. */
  readonly isOperator: boolean;
  readonly by:
    | { readonly kind: "session"; readonly session: string }
    | { readonly kind: "token"; readonly scopes: readonly Scope[] };
}

export type Calling =
  | {
      readonly kind: "anonymous";
      /** An access token was brought, and it counts for nothing. */
      readonly isRefused: boolean;
    }
  /** It has to be asked what the person may do, and there is no answer yet. */
  | { readonly kind: "unknown" }
  | {
      readonly kind: "known";
      readonly caller: Caller;
      /** For the browser: its next token. */
      readonly cookie: string | undefined;
    };

export interface CallerPorts {
  readonly store: Store;
  readonly sessions: Sessions;
  readonly memberships: Memberships;
  readonly operators: ReadonlySet<string>;
}

const ANONYMOUS: Calling = { kind: "anonymous", isRefused: false };
const REFUSED: Calling = { kind: "anonymous", isRefused: true };

/**
 * Who is asking. An access token counts before any cookie, since it was brought on purpose: no cookie stands in for one that is
 * none. It may come as a bearer, and in a Basic pair, as git and `curl -u` send it. What else `Authorization` says is for somebody
 * else: a proxy in front that asks for a password of its own passes it on.
 */
export async function identify(request: IncomingMessage, ports: CallerPorts): Promise<Calling> {
  const { authorization = "", cookie } = request.headers;
  const token = tokenIn(authorization);
  if (token !== undefined) return byToken(token, ports);
  const session = cookieValue(cookie, SESSION_COOKIE);
  return session === undefined ? ANONYMOUS : bySession(session, ports);
}

function tokenIn(authorization: string): string | undefined {
  const bearer = /^bearer +(\S+) *$/i.exec(authorization)?.[1];
  if (bearer !== undefined) return bearer;
  const { user, password } = basicPair(authorization) ?? {};
  return [password, user].find((part) => part !== undefined && ACCESS_TOKEN.test(part));
}

/** Where the request came from, as the edge that forwarded it says. */
export function addressOf(request: IncomingMessage): string {
  const said = request.headers["x-real-ip"];
  return (typeof said === "string" ? said : (request.socket.remoteAddress ?? "")).slice(0, 100);
}

/** `undefined` where there is none, and where there are two: then somebody tossed one of them in, and neither counts. */
export function cookieValue(header: string | undefined, name: string): string | undefined {
  const values = (header ?? "")
    .split(";")
    .map((pair) => pair.trim())
    .filter((pair) => pair.startsWith(`${name}=`))
    .map((pair) => pair.slice(name.length + 1));
  return values.length === 1 ? values[0] : undefined;
}

async function byToken(token: string, ports: CallerPorts): Promise<Calling> {
  const found = await findAccessToken(ports.store, sha256(token));
  if (!found) return REFUSED;
  const standing = await ports.memberships.ensure(found.subject);
  const by = { kind: "token", scopes: found.scopes } as const;
  return known(found, by, { standing, cookie: undefined }, ports);
}

async function bySession(token: string, ports: CallerPorts): Promise<Calling> {
  const claimed = await ports.sessions.subjectOf(token);
  if (!claimed) return ANONYMOUS;
  // First, since what the host says may end the session.
  const standing = await ports.memberships.ensure(claimed.subject);
  const found = await ports.sessions.find(claimed.jti);
  if (!found || found.subject !== claimed.subject) return ANONYMOUS;
  const by = { kind: "session", session: found.session } as const;
  return known(found, by, { standing, cookie: await nextCookie(found, standing, ports) }, ports);
}

async function nextCookie(
  found: FoundSession,
  standing: Standing,
  { sessions }: CallerPorts,
): Promise<string | undefined> {
  return found.isRenewalDue && standing !== "unknown" ? sessions.renew(found) : undefined;
}

async function known(
  person: { readonly subject: string; readonly name: string },
  by: Caller["by"],
  { standing, cookie }: { readonly standing: Standing; readonly cookie: string | undefined },
  { memberships, operators }: CallerPorts,
): Promise<Calling> {
  if (standing === "unknown") return { kind: "unknown" };
  if (standing === "ended") return by.kind === "token" ? REFUSED : ANONYMOUS;
  const { subject, name } = person;
  const caller = {
    subject,
    name,
    owners: await memberships.ownersOf(subject),
    isOperator: isOperator(subject, operators),
    by,
  };
  return { kind: "known", caller, cookie };
}

export function isOperator(subject: string, operators: ReadonlySet<string>): boolean {
  return subject === LOCAL_PERSON || operators.has(subject);
}
