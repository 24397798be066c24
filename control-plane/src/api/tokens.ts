import { TRPCError } from "@trpc/server";
import { z } from "zod";
import { createAccessToken, listAccessTokens, revokeAccessToken } from "../access/credentials.ts";
import { GRANTABLE_SCOPES, parseScopes } from "../access/scopes.ts";
import { inPerson, router } from "./procedure.ts";
import type { AccessTokenView, NewAccessTokenView } from "./views.ts";

const DAY_MS = 24 * 60 * 60_000;

const NewToken = z.object({
  name: z
    .string()
    .trim()
    .min(1)
    .max(100)
    .regex(/^[^\p{C}]*$/u, "must be printable"),
  scopes: z.array(z.enum(GRANTABLE_SCOPES)).min(1).max(GRANTABLE_SCOPES.length),
  /** `null` for a token that does not expire. */
  expiresInDays: z.int().min(1).max(365).nullable(),
});

/** The person's own access tokens. None of them can make, list or revoke another. */
export const tokensRouter = router({
  list: inPerson.query(async ({ ctx }): Promise<AccessTokenView[]> => {
    const rows = await listAccessTokens(ctx.ports.store, ctx.person.subject);
    return rows.map((row) => ({
      id: row.id,
      name: row.name,
      scopes: parseScopes(row.scopes),
      createdAt: row.created_at,
      expiresAt: row.expires_at ?? undefined,
      lastUsedAt: row.last_used_at ?? undefined,
    }));
  }),

  /** The token is in this answer and nowhere else. */
  create: inPerson.input(NewToken).mutation(async ({ ctx, input }): Promise<NewAccessTokenView> => {
    const { subject } = ctx.person;
    const scopes = GRANTABLE_SCOPES.filter((scope) => input.scopes.includes(scope));
    const expiresAt = input.expiresInDays === null ? null : Date.now() + input.expiresInDays * DAY_MS;
    const { name } = input;
    return createAccessToken(ctx.ports.store, subject, { name, scopes, expiresAt }, (transaction, id) => {
      const event = { action: "token.create", object: `${subject}: ${name}`, result: "created" };
      return ctx.record({ ...event, details: { id, scopes, expiresAt } }, transaction);
    });
  }),

  revoke: inPerson.input(z.object({ id: z.string().max(40) })).mutation(async ({ ctx, input }) => {
    const { subject } = ctx.person;
    const { store, streams, sessions } = ctx.ports;
    const name = await revokeAccessToken(store, subject, input.id, (transaction, name) => {
      const event = { action: "token.revoke", object: `${subject}: ${name}`, result: "revoked" };
      return ctx.record({ ...event, details: { id: input.id } }, transaction);
    });
    if (name === undefined)
      throw new TRPCError({ code: "NOT_FOUND", message: "You have no such token; it may be revoked." });
    streams.cut(subject);
    await sessions.tellEdges();
  }),
});
