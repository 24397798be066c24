import { TRPCError } from "@trpc/server";
import { z } from "zod";
import { type Caller, isOperator } from "../access/caller.ts";
import {
  findAccessToken,
  type KnownPerson,
  personOfSignInCode,
  spendSignInCode,
} from "../access/credentials.ts";
import { SIGNED_OUT_COOKIE } from "../access/sessions.ts";
import { sha256 } from "../ids.ts";
import { EMBEDDED } from "../ports/source-host/source-host.ts";
import { type ApiPorts, anyone, callerOf, inPerson, router } from "./procedure.ts";
import type { Person, SessionView, SignInHostView } from "./views.ts";

export const sessionRouter = router({
  current: anyone.query(({ ctx }): Person | null => {
    const caller = callerOf(ctx.calling);
    return caller ? toPerson(caller) : null;
  }),

  /** Where one may sign in, beside one-time links and the token of the start command. */
  hosts: anyone.query(({ ctx }): SignInHostView[] =>
    ctx.ports.hosts.remote
      .filter(({ signIn }) => signIn !== undefined)
      .map(({ instance, kind, title }) => ({ instance, kind, title, url: ctx.ports.urls.login(instance) })),
  ),

  /** By the code of a one-time link, or by the start command's token, which lasts and so is there when the link is spent. */
  signIn: anyone
    .input(
      z.union([
        z.object({ code: z.string().min(1).max(200) }),
        z.object({ token: z.string().min(1).max(200) }),
      ]),
    )
    .mutation(async ({ ctx, input }): Promise<Person> => {
      const { memberships, sessions, audit, operators } = ctx.ports;
      const person =
        "code" in input ? await personOfCode(input.code, ctx.ports) : await personOf(input.token, ctx.ports);
      const event = {
        actor: person.subject,
        action: "session.sign-in",
        object: person.subject,
        result: "code" in input ? "signed in by a one-time link" : "signed in by an access token",
        address: ctx.address,
      };
      const origin = { address: ctx.address, userAgent: ctx.userAgent };
      const cookie = await sessions.begin(person, origin, async (transaction) => {
        // With the session, so that a link whose sign-in failed is still good.
        if ("code" in input && !(await spendSignInCode(transaction, input.code))) throw linkSpent();
        await audit.append(event, transaction);
      });
      ctx.setCookie(cookie);
      const owners = await memberships.ownersOf(person.subject);
      return toPerson({ ...person, owners, isOperator: isOperator(person.subject, operators) });
    }),

  signOut: inPerson.mutation(async ({ ctx }) => {
    const { subject } = ctx.person;
    await ctx.ports.sessions.end(subject, ctx.session, (transaction) =>
      ctx.record({ action: "session.sign-out", object: subject, result: "signed out" }, transaction),
    );
    ctx.setCookie(SIGNED_OUT_COOKIE);
  }),

  /** In this browser and in every other one. */
  signOutEverywhere: inPerson.mutation(async ({ ctx }) => {
    const { subject } = ctx.person;
    const event = { action: "session.sign-out", object: subject, result: "signed out everywhere" };
    await ctx.ports.sessions.endAll(subject, (transaction) => ctx.record(event, transaction));
    ctx.setCookie(SIGNED_OUT_COOKIE);
  }),

  /** The person's own, the one used last first. */
  list: inPerson.query(async ({ ctx }): Promise<SessionView[]> => {
    const listed = await ctx.ports.sessions.list(ctx.person.subject);
    return listed.map(({ session, ...rest }) => ({ id: session, ...rest, isThis: session === ctx.session }));
  }),

  /** Ends another one of the person's sessions. */
  end: inPerson.input(z.object({ id: z.string().max(100) })).mutation(async ({ ctx, input }) => {
    const { subject } = ctx.person;
    const event = { action: "session.end", object: subject, result: "ended from another one" };
    const ended = await ctx.ports.sessions.end(subject, input.id, (transaction) =>
      ctx.record(event, transaction),
    );
    if (!ended)
      throw new TRPCError({ code: "NOT_FOUND", message: "You have no such session; it may have ended." });
  }),
});

async function personOfCode(code: string, { store }: ApiPorts): Promise<KnownPerson> {
  const person = await personOfSignInCode(store, code);
  if (!person) throw linkSpent();
  return person;
}

function linkSpent(): TRPCError {
  return new TRPCError({
    code: "UNAUTHORIZED",
    message: "This link was used already or is too old. Sign in with your access token instead.",
  });
}

/** A session may do all that its person may, and a token only what it was made for. */
async function personOf(token: string, { store }: ApiPorts): Promise<KnownPerson> {
  const found = await findAccessToken(store, sha256(token));
  if (found?.scopes.includes("sign-in")) return found;
  throw new TRPCError({
    code: "UNAUTHORIZED",
    message: found
      ? "This token is for programs and signs nobody in."
      : "This token is not known or has expired. It is the password in the push URL that the start command prints.",
  });
}

function toPerson({
  subject,
  name,
  owners,
  isOperator,
}: Pick<Caller, "subject" | "name" | "owners" | "isOperator">): Person {
  return {
    subject,
    name,
    owners: owners.map(({ slug, role, source_host }) => ({
      slug,
      role,
      host: source_host === EMBEDDED ? undefined : source_host,
    })),
    isOperator,
  };
}
