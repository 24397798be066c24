import { SESSION_COOKIE, SESSION_MAX_AGE_S } from "@openfaas-cloud/shared/session.ts";
import { TRPCError } from "@trpc/server";
import { z } from "zod";
import { personOfToken, revokedIds, revokeSession, spendSignInCode } from "../access/credentials.ts";
import { ownersOf } from "../ports/store/owners.ts";
import { procedure, publicProcedure, router } from "./procedure.ts";
import type { Person } from "./views.ts";

const COOKIE_ATTRIBUTES = "Path=/; Secure; HttpOnly; SameSite=Lax";

export const sessionRouter = router({
  current: publicProcedure.query(({ ctx }): Person | null =>
    ctx.person ? { name: ctx.person.name, owners: ctx.person.owners.map(({ slug }) => slug) } : null,
  ),

  /** By the code of a one-time link, or by an access token, which lasts and so is there when the link is spent. */
  signIn: publicProcedure
    .input(
      z.union([
        z.object({ code: z.string().min(1).max(200) }),
        z.object({ token: z.string().min(1).max(200) }),
      ]),
    )
    .mutation(async ({ ctx, input }): Promise<Person> => {
      const { store, sessions, audit } = ctx.ports;
      const person =
        "code" in input ? await spendSignInCode(store, input.code) : await personOfToken(store, input.token);
      if (!person) {
        throw new TRPCError({
          code: "UNAUTHORIZED",
          message:
            "code" in input
              ? "This link was used already or is too old. Sign in with your access token instead."
              : "This token is not known or has expired. It is the password in the push URL that the start command prints.",
        });
      }
      const owners = (await ownersOf(store, person.subject)).map(({ slug }) => slug);
      const token = await sessions.issue({ ...person, owners });
      ctx.setCookie(`${SESSION_COOKIE}=${token}; Max-Age=${SESSION_MAX_AGE_S}; ${COOKIE_ATTRIBUTES}`);
      await audit.append({
        actor: person.subject,
        action: "session.sign-in",
        object: person.subject,
        result: "signed in",
      });
      return { name: person.name, owners };
    }),

  signOut: procedure.mutation(async ({ ctx }) => {
    const { store, routes, sessions } = ctx.ports;
    if (ctx.person.session) {
      await revokeSession(store, ctx.person.session);
      await routes.publishSettings(async (current) => ({
        ...current,
        keys: [...sessions.keys],
        revoked: await revokedIds(store),
      }));
    }
    ctx.setCookie(`${SESSION_COOKIE}=; Max-Age=0; ${COOKIE_ATTRIBUTES}`);
  }),
});
