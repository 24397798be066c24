import type { IncomingMessage, ServerResponse } from "node:http";
import { KnownError } from "@openfaas-cloud/shared/known-error.ts";
import { SESSION_COOKIE } from "@openfaas-cloud/shared/session.ts";
import { initTRPC, TRPCError } from "@trpc/server";
import { isRevoked, personOfToken } from "../access/credentials.ts";
import type { SessionTokens } from "../access/session-token.ts";
import type { Logger } from "../logger.ts";
import type { AuditSink } from "../ports/audit-sink/audit-sink.ts";
import type { Builder } from "../ports/builder/builder.ts";
import type { LogStore } from "../ports/log-store/log-store.ts";
import type { Queue } from "../ports/queue/queue.ts";
import type { Runtime } from "../ports/runtime/runtime.ts";
import type { SecretStore } from "../ports/secret-store/secret-store.ts";
import { type OwnerOfPerson, ownersOf } from "../ports/store/owners.ts";
import type { Store } from "../ports/store/store.ts";
import type { UsageSource } from "../ports/usage-source/usage-source.ts";
import type { RoutePublisher } from "../routes/route-publisher.ts";
import type { RunFeed } from "../run-feed.ts";
import type { Urls } from "../urls.ts";

/** What procedures work with. */
export interface ApiPorts {
  readonly store: Store;
  readonly queue: Queue;
  readonly feed: RunFeed;
  readonly logs: LogStore;
  readonly builder: Builder;
  readonly runtime: Runtime;
  readonly usage: UsageSource;
  readonly secrets: SecretStore;
  readonly audit: AuditSink;
  readonly sessions: SessionTokens;
  readonly routes: RoutePublisher;
  readonly urls: Urls;
  readonly logger: Logger;
}

export interface SignedIn {
  readonly subject: string;
  readonly name: string;
  /** Owners the person may act for now, as the store says and not as the token did when it was issued. */
  readonly owners: readonly OwnerOfPerson[];
  /** The session; `undefined` where an access token was presented. */
  readonly session: { readonly jti: string; readonly exp: number } | undefined;
}

export interface ApiContext {
  readonly ports: ApiPorts;
  readonly person: SignedIn | undefined;
  setCookie(cookie: string): void;
}

/** A stream is opened anew this often at least, and with that the person is looked at again. */
const MOST_STREAM_MS = 10 * 60_000;
const STREAM_PING_MS = 15_000;

const t = initTRPC.context<ApiContext>().create({
  sse: { maxDurationMs: MOST_STREAM_MS, ping: { enabled: true, intervalMs: STREAM_PING_MS } },
  errorFormatter: ({ shape }) => {
    // A stack names files of this machine; a message of what was not foreseen may name anything.
    const { stack: _, ...data } = shape.data;
    const isInternal = data.code === "INTERNAL_SERVER_ERROR";
    return {
      ...shape,
      data,
      message: isInternal ? "An error of the platform; the operator finds it in the log." : shape.message,
    };
  },
});

export const { router } = t;

/** For what anybody may call. */
export const publicProcedure = t.procedure.use(async ({ next }) => {
  const result = await next();
  if (!result.ok && result.error.cause instanceof KnownError) {
    throw new TRPCError({
      code: "BAD_REQUEST",
      message: result.error.cause.message,
      cause: result.error.cause,
    });
  }
  return result;
});

/** For people who are signed in; what they may touch is decided by the owners in `ctx.person`. */
export const procedure = publicProcedure.use(({ ctx, next }) => {
  if (!ctx.person) throw new TRPCError({ code: "UNAUTHORIZED", message: "You are not signed in." });
  return next({ ctx: { ...ctx, person: ctx.person } });
});

/** The owner, where the person may act for it. A foreign one and a missing one look the same. */
export function requireOwner(person: SignedIn, slug: string): OwnerOfPerson {
  const owner = person.owners.find((candidate) => candidate.slug === slug);
  if (!owner)
    throw new TRPCError({ code: "NOT_FOUND", message: `There is no owner ${slug} that you may see.` });
  return owner;
}

/** Who is asking. @throws TRPCError FORBIDDEN for a browser's request that another site made. */
export async function openApiContext(
  request: IncomingMessage,
  response: ServerResponse,
  ports: ApiPorts,
): Promise<ApiContext> {
  requireSameOrigin(request, ports.urls);
  return {
    ports,
    person: await signedIn(request, ports),
    setCookie: (cookie) => response.appendHeader("set-cookie", cookie),
  };
}

/**
 * Functions run on sibling hosts, which browsers take for the same site, so a cookie's SameSite does not keep them out: the
 * browser's own word for where a request comes from does.
 */
function requireSameOrigin(request: IncomingMessage, urls: Urls): void {
  const site = request.headers["sec-fetch-site"];
  const { origin } = request.headers;
  const isOurs =
    site === undefined
      ? origin === undefined || origin === urls.system
      : site === "same-origin" || site === "none";
  if (!isOurs)
    throw new TRPCError({ code: "FORBIDDEN", message: "The API answers the dashboard's own pages only." });
}

async function signedIn(request: IncomingMessage, ports: ApiPorts): Promise<SignedIn | undefined> {
  const bearer = /^Bearer (\S{1,4096})$/.exec(request.headers.authorization ?? "")?.[1];
  if (bearer !== undefined) {
    const person = await personOfToken(ports.store, bearer);
    return person && { ...person, owners: await ownersOf(ports.store, person.subject), session: undefined };
  }
  const token = sessionCookie(request.headers.cookie ?? "");
  if (token === undefined) return undefined;
  const claims = await ports.sessions.verify(token);
  if (!claims || (await isRevoked(ports.store, claims.jti))) return undefined;
  return {
    subject: claims.sub,
    name: claims.name,
    owners: await ownersOf(ports.store, claims.sub),
    session: { jti: claims.jti, exp: claims.exp },
  };
}

/** Two cookies of our name mean that somebody tossed one of them: then neither counts. */
function sessionCookie(header: string): string | undefined {
  const values = header
    .split(";")
    .map((pair) => pair.trim())
    .filter((pair) => pair.startsWith(`${SESSION_COOKIE}=`))
    .map((pair) => pair.slice(SESSION_COOKIE.length + 1));
  return values.length === 1 ? values[0] : undefined;
}
