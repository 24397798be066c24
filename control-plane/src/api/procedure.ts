import type { IncomingMessage, ServerResponse } from "node:http";
import { KnownError } from "@openfaas-cloud/shared/known-error.ts";
import { SESSION_COOKIE } from "@openfaas-cloud/shared/session.ts";
import { initTRPC, type TRPCCreateRouterOptions, TRPCError } from "@trpc/server";
import { ZodError, z } from "zod";
import { addressOf, type Caller, type Calling, identify } from "../access/caller.ts";
import type { Memberships } from "../access/memberships.ts";
import type { OpenStreams } from "../access/open-streams.ts";
import type { Scope } from "../access/scopes.ts";
import type { Sessions } from "../access/sessions.ts";
import type { Logger } from "../logger.ts";
import type { AuditEvent, AuditSink } from "../ports/audit-sink/audit-sink.ts";
import type { Builder } from "../ports/builder/builder.ts";
import type { LogStore } from "../ports/log-store/log-store.ts";
import type { Queue } from "../ports/queue/queue.ts";
import type { Runtime } from "../ports/runtime/runtime.ts";
import type { SecretStore } from "../ports/secret-store/secret-store.ts";
import type { RemoteHost } from "../ports/source-host/remote-host.ts";
import type { OwnerOfPerson } from "../ports/store/owners.ts";
import { findRun } from "../ports/store/runs.ts";
import type { Queries, Store } from "../ports/store/store.ts";
import type { UsageSource } from "../ports/usage-source/usage-source.ts";
import type { GitHubAppMaker } from "../remote-hosts.ts";
import { isAtLeast, type Role } from "../role.ts";
import type { RoutePublisher } from "../routes/route-publisher.ts";
import type { RunFeed } from "../run-feed.ts";
import type { Sealing } from "../sealing.ts";
import type { Urls } from "../urls.ts";
import type { HostHealth } from "../webhooks/reconcile.ts";
import type { RemovalBrake } from "../webhooks/removal-brake.ts";

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
  readonly sessions: Sessions;
  readonly memberships: Memberships;
  readonly streams: OpenStreams;
  /** Hosts that people may sign in with, among others. */
  readonly hosts: {
    readonly remote: readonly RemoteHost[];
    find(instance: string): RemoteHost | undefined;
  };
  /** Subjects of the people who run the platform, beside the local one. */
  readonly operators: ReadonlySet<string>;
  readonly gitHubApps: GitHubAppMaker;
  /** How well each remote host is followed. */
  readonly following: {
    status(): readonly HostHealth[];
    /** Reads the host soon: something may go on. */
    soon(instance: string): void;
  };
  readonly brake: RemovalBrake;
  readonly sealing: Sealing;
  readonly routes: RoutePublisher;
  readonly urls: Urls;
  readonly logger: Logger;
}

export interface ApiContext {
  readonly ports: ApiPorts;
  readonly calling: Calling;
  readonly address: string;
  readonly userAgent: string;
  setCookie(cookie: string): void;
}

/**
 * Who may call a procedure. Each names one, and what it names is what its builder enforces: there is no other way to make a
 * procedure here, and no router is built of one that names none.
 */
export type Policy =
  | { readonly kind: "anyone" }
  /** A person, by a session or by a token with the scope. */
  | { readonly kind: "signed-in" }
  /** A person by a session: for what decides who may be that person, which no token may. */
  | { readonly kind: "in-person" }
  | { readonly kind: "operator" }
  /** A person who has at least this role at the owner of what is asked about. */
  | { readonly kind: "of-owner"; readonly role: Role };

interface Meta {
  readonly policy: Policy;
}

/** A stream is opened anew this often at least, and with that the person is looked at again. */
const MOST_STREAM_MS = 10 * 60_000;
const STREAM_PING_MS = 15_000;

const t = initTRPC
  .context<ApiContext>()
  .meta<Meta>()
  .create({
    sse: { maxDurationMs: MOST_STREAM_MS, ping: { enabled: true, intervalMs: STREAM_PING_MS } },
    errorFormatter: ({ shape, error: { cause } }) => {
      // A stack names files of this machine; a message of what was not foreseen may name anything.
      const { stack: _, ...data } = shape.data;
      const isInternal = data.code === "INTERNAL_SERVER_ERROR";
      // A schema's message is JSON; people are shown this one.
      const said = cause instanceof ZodError ? problemsOf(cause) : shape.message;
      return {
        ...shape,
        data,
        message: isInternal ? "An error of the platform; the operator finds it in the log." : said,
      };
    },
  });

function problemsOf({ issues }: ZodError): string {
  return issues.map(({ path, message }) => `${path.join(".") || "input"}: ${message}.`).join(" ");
}

/** @throws Error for a procedure that names no policy: the process does not start with one. */
export function router<Procedures extends TRPCCreateRouterOptions>(procedures: Procedures) {
  const built = t.router(procedures);
  for (const [path, procedure] of Object.entries(built._def.procedures)) {
    const { meta } = (procedure as { readonly _def: { readonly meta?: unknown } })._def;
    if (!hasPolicy(meta)) throw new Error(`the procedure ${path} does not say who may call it`);
  }
  return built;
}

function hasPolicy(meta: unknown): meta is Meta {
  return typeof meta === "object" && meta !== null && "policy" in meta && meta.policy !== undefined;
}

/** A token is for what its scopes say, whatever is called. */
const base = t.procedure
  .use(async ({ next }) => {
    const result = await next();
    if (!result.ok && result.error.cause instanceof KnownError) {
      throw new TRPCError({
        code: "BAD_REQUEST",
        message: result.error.cause.message,
        cause: result.error.cause,
      });
    }
    return result;
  })
  .use(({ ctx, type, next }) => {
    if (ctx.calling.kind === "known")
      requireScope(ctx.calling.caller, type === "mutation" ? "write" : "read");
    return next();
  });

const signedInBase = base.use(({ ctx, next }) => {
  const person = requirePerson(ctx.calling);
  const record = (event: Omit<AuditEvent, "actor" | "address">, within?: Queries) =>
    ctx.ports.audit.append({ ...event, actor: person.subject, address: ctx.address }, within);
  return next({ ctx: { ...ctx, person, record } });
});

/** For what anybody may call. */
export const anyone = base.meta({ policy: { kind: "anyone" } });

/** For people who are signed in; what they may touch is decided by the owners in `ctx.person`. */
export const signedIn = signedInBase.meta({ policy: { kind: "signed-in" } });

/** For what only the person may do, and none of their tokens. */
export const inPerson = signedInBase.meta({ policy: { kind: "in-person" } }).use(({ ctx, next }) => {
  if (ctx.person.by.kind !== "session")
    throw new TRPCError({
      code: "FORBIDDEN",
      message: "No access token may do this: sign in to the dashboard.",
    });
  return next({ ctx: { ...ctx, session: ctx.person.by.session } });
});

/** For the people who run the platform. */
export const operator = signedInBase.meta({ policy: { kind: "operator" } }).use(({ ctx, next }) => {
  if (!ctx.person.isOperator)
    throw new TRPCError({ code: "FORBIDDEN", message: "This is for the operators of the platform." });
  return next();
});

const OwnerRef = z.object({ owner: z.string().max(63) });
const SomeOwnerRef = z.object({ owner: z.string().max(63).optional() });
const RunRef = z.object({ id: z.string().max(40) });

/** For people with at least this role at the owner that the input names, which is in `ctx.owner`. */
export function ofOwner(role: Role) {
  return signedInBase
    .meta({ policy: { kind: "of-owner", role } })
    .input(OwnerRef)
    .use(({ ctx, input, next }) =>
      next({ ctx: { ...ctx, owner: requireOwner(ctx.person, input.owner, role) } }),
    );
}

/** As `ofOwner`, or for all owners of whom the person has this role where the input names none: they are in `ctx.owners`. */
export function ofOwners(role: Role) {
  return signedInBase
    .meta({ policy: { kind: "of-owner", role } })
    .input(SomeOwnerRef)
    .use(({ ctx, input, next }) => {
      const owners =
        input.owner === undefined
          ? ctx.person.owners.filter((owner) => isAtLeast(owner.role, role))
          : [requireOwner(ctx.person, input.owner, role)];
      return next({ ctx: { ...ctx, owners } });
    });
}

/** For people with at least this role at the owner of the run that the input names, which is in `ctx.run`. */
export function ofRun(role: Role) {
  return signedInBase
    .meta({ policy: { kind: "of-owner", role } })
    .input(RunRef)
    .use(async ({ ctx, input, next }) => {
      const { owners } = ctx.person;
      const run = await findRun(
        ctx.ports.store,
        input.id,
        owners.map(({ id }) => id),
      );
      const owner = run && owners.find(({ id }) => id === run.owner_id);
      if (!run || !owner)
        throw new TRPCError({ code: "NOT_FOUND", message: "There is no such run that you may see." });
      requireRole(owner, role);
      return next({ ctx: { ...ctx, run } });
    });
}

/** The owner, where the person may act for it. A foreign one and a missing one look the same. */
function requireOwner(person: Caller, slug: string, role: Role): OwnerOfPerson {
  const owner = person.owners.find((candidate) => candidate.slug === slug);
  if (!owner)
    throw new TRPCError({ code: "NOT_FOUND", message: `There is no owner ${slug} that you may see.` });
  requireRole(owner, role);
  return owner;
}

function requireRole(owner: OwnerOfPerson, role: Role): void {
  if (isAtLeast(owner.role, role)) return;
  throw new TRPCError({
    code: "FORBIDDEN",
    message: `You are a ${owner.role} of ${owner.slug}, and this is for a ${role}. What you are follows from what you may do where its repositories live.`,
  });
}

function requirePerson(calling: Calling): Caller {
  const caller = callerOf(calling);
  if (caller) return caller;
  const message =
    calling.kind === "anonymous" && calling.isRefused
      ? "This access token is not known, or it was revoked or has expired: make another on the dashboard's account page."
      : "You are not signed in. A program sends an access token, as a bearer or as the password of HTTP Basic.";
  throw new TRPCError({ code: "UNAUTHORIZED", message });
}

/** `undefined` where nobody is signed in. @throws TRPCError where it is not known yet what somebody who is may do. */
export function callerOf(calling: Calling): Caller | undefined {
  switch (calling.kind) {
    case "known":
      return calling.caller;
    case "anonymous":
      return undefined;
    case "unknown":
      throw new TRPCError({
        code: "SERVICE_UNAVAILABLE",
        message: "Your source host has not said yet what you may do. Try again in a moment.",
      });
  }
}

function requireScope({ by }: Caller, scope: Scope): void {
  if (by.kind === "session" || by.scopes.includes(scope)) return;
  throw new TRPCError({
    code: "FORBIDDEN",
    message: `This access token lacks the scope ${scope}: make one that has it on the dashboard's account page.`,
  });
}

/** Who is asking, and how they are answered. */
export async function openApiContext(
  { request, response, isStream }: ApiCall,
  ports: ApiPorts,
): Promise<ApiContext> {
  let calling = await identify(request, ports);
  const setCookie = (cookie: string) => void response.appendHeader("set-cookie", cookie);
  if (calling.kind === "known") {
    if (calling.cookie !== undefined) setCookie(calling.cookie);
    if (isStream) {
      cutWithAccess(calling.caller.subject, response, ports.streams);
      // What changed before there was anything to cut.
      calling = await identify(request, ports);
    }
  }
  return {
    ports,
    calling,
    address: addressOf(request),
    userAgent: request.headers["user-agent"] ?? "",
    setCookie,
  };
}

interface ApiCall {
  readonly request: IncomingMessage;
  readonly response: ServerResponse;
  /** Whether the answer goes on until somebody ends it. */
  readonly isStream: boolean;
}

function cutWithAccess(subject: string, response: ServerResponse, streams: OpenStreams): void {
  const stream = streams.add(subject, () => response.destroy());
  response.on("close", () => stream[Symbol.dispose]());
}

/**
 * Whether a page of the dashboard asks, or no page at all. Functions run on sibling hosts, which browsers take for the same
 * site, so a cookie's SameSite does not keep them out: the browser's own word for where a request comes from does. Who says
 * neither is no browser of today, and may bring no cookie to what changes something.
 *
 * A Basic pair is also sent by browsers of themselves, once somebody typed it in, so that a page of another site is refused
 * with it as with a cookie. Who says neither may bring it, as `curl -u` does: no answer of the API's asks a browser for one, and
 * what changes something takes JSON alone, which no page sends to another site without asking first.
 */
export function isOwnOrigin(request: IncomingMessage, urls: Urls): boolean {
  const site = request.headers["sec-fetch-site"];
  const { origin, cookie } = request.headers;
  if (site !== undefined) return site === "same-origin" || site === "none";
  if (origin !== undefined) return origin === urls.system;
  return request.method === "GET" || cookieFree(cookie);
}

function cookieFree(header: string | undefined): boolean {
  return !(header ?? "").includes(`${SESSION_COOKIE}=`);
}
