/**
 * What the planes tell each other about access tokens (`POST /internal/access-tokens`, bearer credential of the feed). The
 * edge asks by the token's digest, so that the token itself goes no further than the edge; the digest opens nothing.
 */
import { z } from "zod";

/** Every access token begins so: by this it is told from the credentials of functions. */
export const ACCESS_TOKEN_PREFIX = "ofc_";

/** What is not of this shape is no access token, and nobody is asked about it. */
export const ACCESS_TOKEN = /^ofc_[\w-]{16,200}$/;

export const AccessTokenQuestion = z.object({
  /** SHA-256 of the whole token, hexadecimal. */
  digest: z.string().regex(/^[0-9a-f]{64}$/, "must be a SHA-256 in hexadecimal"),
});
export type AccessTokenQuestion = z.infer<typeof AccessTokenQuestion>;

export const AccessTokenAnswer = z.discriminatedUnion("kind", [
  z.object({
    kind: z.literal("known"),
    /** The token's id: what `RouteSettings.revoked` names when the token is taken back. */
    id: z.string().min(1).max(100),
    /** The person, as in a session's claims. */
    sub: z.string().min(1).max(200),
    name: z.string().max(200),
    /** Slugs of the owners the person may act for. */
    organizations: z.array(z.string().max(63)).max(1000),
    /** For how much longer it counts, milliseconds: a time to come would need two clocks that agree. `null` for ever. */
    expiresInMs: z.number().positive().nullable(),
  }),
  /** No token that counts: there is none, or it has expired. */
  z.object({
    kind: z.literal("unknown"),
    /** The token is there, and may not be used to call functions: its holder is told. */
    lacks: z.literal("invoke").optional(),
  }),
]);
export type AccessTokenAnswer = z.infer<typeof AccessTokenAnswer>;
