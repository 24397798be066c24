import { randomBytes } from "node:crypto";
import { ACCESS_TOKEN_PREFIX } from "@openfaas-cloud/shared/access-token.ts";
import { KnownError } from "@openfaas-cloud/shared/known-error.ts";
import { CLOCK_TOLERANCE_S, SESSION_MAX_AGE_S } from "@openfaas-cloud/shared/session.ts";
import { newId, sha256 } from "../ids.ts";
import type { AccessTokenRow } from "../ports/store/schema.ts";
import type { Queries, Store } from "../ports/store/store.ts";
import { EVERY_SCOPE, type GrantableScope, parseScopes, type Scope } from "./scopes.ts";

const LINK_LIFETIME_MS = 60 * 60 * 1000;
/** `last_used_at` is written this often at most: every fetch of every clone would be a commit otherwise. */
const LAST_USED_STEP_MS = 60_000;
/** The bound of RouteSettings. */
const MAX_REVOKED = 100_000;
const MAX_TOKENS_OF_PERSON = 100;
const TOKEN_BYTES = 32;

export interface KnownPerson {
  readonly subject: string;
  readonly name: string;
}

/**
 * Makes `token` the person's one token of this name, for everything: what had the name before counts no more, and edges are to
 * be told so (`revokedIds`). Only its hash is kept. @returns false where the person has revoked this very token: it stays so.
 */
export async function ensureAccessToken(
  store: Store,
  person: KnownPerson,
  name: string,
  token: string,
): Promise<boolean> {
  const hash = sha256(token);
  const scopes = JSON.stringify(EVERY_SCOPE);
  return store.transaction().execute(async (transaction) => {
    const replaced = await transaction
      .deleteFrom("access_tokens")
      .where("subject", "=", person.subject)
      .where("name", "=", name)
      .where("hash", "!=", hash)
      .returning(["id", "epoch"])
      .execute();
    for (const old of replaced) await revokeForEdges(transaction, old);
    const { expires_at } = await transaction
      .insertInto("access_tokens")
      .values({
        id: newId(),
        subject: person.subject,
        name,
        hash,
        scopes,
        created_at: Date.now(),
        expires_at: null,
        last_used_at: null,
      })
      .onConflict((conflict) => conflict.column("hash").doUpdateSet({ subject: person.subject, scopes }))
      .returning("expires_at")
      .executeTakeFirstOrThrow();
    return expires_at === null;
  });
}

export interface NewAccessToken {
  /** Unique among the person's. */
  readonly name: string;
  readonly scopes: readonly GrantableScope[];
  /** Milliseconds since the epoch; `null` for never. */
  readonly expiresAt: number | null;
}

/** Writes more within the transaction of an act, such as its audit event, so that neither is there without the other. */
export type AlsoWrite<About extends readonly unknown[] = []> = (
  transaction: Queries,
  ...about: About
) => Promise<void>;

/**
 * Makes an access token of the person. @returns the token, which is not kept and cannot be had again.
 * @throws KnownError `token-refused` where the name is taken, or where there are too many.
 */
export async function createAccessToken(
  store: Store,
  subject: string,
  wanted: NewAccessToken,
  also?: AlsoWrite<[id: string]>,
): Promise<{ readonly id: string; readonly token: string }> {
  const id = newId();
  const token = `${ACCESS_TOKEN_PREFIX}${randomBytes(TOKEN_BYTES).toString("base64url")}`;
  await store.transaction().execute(async (transaction) => {
    const others = await transaction
      .selectFrom("access_tokens")
      .select("name")
      .where("subject", "=", subject)
      .execute();
    if (others.some(({ name }) => name === wanted.name))
      throw new KnownError(
        "token-refused",
        `You have a token named ${wanted.name} already: revoke it first.`,
      );
    if (others.length >= MAX_TOKENS_OF_PERSON)
      throw new KnownError("token-refused", `You have ${others.length} tokens: revoke one that is not used.`);
    await transaction
      .insertInto("access_tokens")
      .values({
        id,
        subject,
        name: wanted.name,
        hash: sha256(token),
        scopes: JSON.stringify(wanted.scopes),
        created_at: Date.now(),
        expires_at: wanted.expiresAt,
        last_used_at: null,
      })
      .execute();
    await also?.(transaction, id);
  });
  return { id, token };
}

/** The person's tokens, those that have expired among them, newest first. */
export async function listAccessTokens(store: Store, subject: string): Promise<AccessTokenRow[]> {
  return store
    .selectFrom("access_tokens")
    .selectAll()
    .where("subject", "=", subject)
    .orderBy("id", "desc")
    .execute();
}

/** Takes the token back, and edges are to be told so. @returns its name; `undefined` where the person has no such token. */
export async function revokeAccessToken(
  store: Store,
  subject: string,
  id: string,
  also?: AlsoWrite<[name: string]>,
): Promise<string | undefined> {
  return store.transaction().execute(async (transaction) => {
    const token = await transaction
      .selectFrom("access_tokens")
      .select(["id", "epoch", "name", "scopes"])
      .where("id", "=", id)
      .where("subject", "=", subject)
      .executeTakeFirst();
    if (!token) return undefined;
    // Remembered, since the next start brings it again.
    if (parseScopes(token.scopes).includes("sign-in"))
      await transaction.updateTable("access_tokens").set({ expires_at: 0 }).where("id", "=", id).execute();
    else await transaction.deleteFrom("access_tokens").where("id", "=", id).execute();
    await revokeForEdges(transaction, token);
    await also?.(transaction, token.name);
    return token.name;
  });
}

/** Edges are to ask anew about the person's tokens instead of going by what they remember. */
export async function forgetTokensOfEdges(queries: Queries, subject: string): Promise<void> {
  const tokens = await queries
    .selectFrom("access_tokens")
    .select(["id", "epoch"])
    .where("subject", "=", subject)
    .execute();
  for (const token of tokens) await revokeForEdges(queries, token);
  await queries
    .updateTable("access_tokens")
    .set((row) => ({ epoch: row("epoch", "+", 1) }))
    .where("subject", "=", subject)
    .execute();
}

/** An edge believes in a token for so long that its connections may last as long as a session. */
async function revokeForEdges(queries: Queries, token: Pick<AccessTokenRow, "id" | "epoch">): Promise<void> {
  await revoke(queries, edgeIdOf(token), Date.now() / 1000 + SESSION_MAX_AGE_S);
}

function edgeIdOf({ id, epoch }: Pick<AccessTokenRow, "id" | "epoch">): string {
  return epoch === 0 ? id : `${id}.${epoch}`;
}

export interface KnownAccessToken extends KnownPerson {
  readonly id: string;
  /** What edges know it by. */
  readonly edgeId: string;
  readonly scopes: readonly Scope[];
  /** `null` for never. */
  readonly expiresAt: number | null;
}

/** The access token with this SHA-256, which counts as used; `undefined` where it is unknown or has expired. */
export async function findAccessToken(store: Store, hash: string): Promise<KnownAccessToken | undefined> {
  const now = Date.now();
  const row = await store
    .selectFrom("access_tokens")
    .innerJoin("people", "people.subject", "access_tokens.subject")
    .select(["people.subject", "people.name"])
    .select(["access_tokens.id", "epoch", "scopes", "last_used_at", "expires_at"])
    .where("hash", "=", hash)
    .executeTakeFirst();
  if (!row || (row.expires_at !== null && row.expires_at <= now)) return undefined;
  if ((row.last_used_at ?? 0) < now - LAST_USED_STEP_MS) {
    await store.updateTable("access_tokens").set({ last_used_at: now }).where("id", "=", row.id).execute();
  }
  return {
    subject: row.subject,
    name: row.name,
    id: row.id,
    edgeId: edgeIdOf(row),
    scopes: parseScopes(row.scopes),
    expiresAt: row.expires_at,
  };
}

/** A code that signs the person in, once, within the hour. */
export async function makeSignInCode(store: Store, subject: string): Promise<string> {
  const code = randomBytes(32).toString("base64url");
  await store.deleteFrom("sign_in_links").where("expires_at", "<", Date.now()).execute();
  await store
    .insertInto("sign_in_links")
    .values({ hash: sha256(code), subject, expires_at: Date.now() + LINK_LIFETIME_MS, used_at: null })
    .execute();
  return code;
}

/** Whom the code signs in; `undefined` for one that is unknown, spent or too old. */
export async function personOfSignInCode(queries: Queries, code: string): Promise<KnownPerson | undefined> {
  return queries
    .selectFrom("sign_in_links")
    .innerJoin("people", "people.subject", "sign_in_links.subject")
    .select(["people.subject", "people.name"])
    .where("hash", "=", sha256(code))
    .where("used_at", "is", null)
    .where("expires_at", ">", Date.now())
    .executeTakeFirst();
}

/** @returns whether the code counted until now: that of two who bring it is so for one. */
export async function spendSignInCode(queries: Queries, code: string): Promise<boolean> {
  const now = Date.now();
  const spent = await queries
    .updateTable("sign_in_links")
    .set({ used_at: now })
    .where("hash", "=", sha256(code))
    .where("used_at", "is", null)
    .where("expires_at", ">", now)
    .returning("subject")
    .executeTakeFirst();
  return spent !== undefined;
}

/** `exp`: when the token ends of itself, seconds since the epoch. */
export async function revokeSession(queries: Queries, session: { jti: string; exp: number }): Promise<void> {
  await revoke(queries, session.jti, session.exp);
}

/** `exp`: until when somebody might believe in it otherwise, seconds since the epoch. */
async function revoke(queries: Queries, id: string, exp: number): Promise<void> {
  await queries.deleteFrom("revoked_sessions").where("expires_at", "<", Date.now()).execute();
  await queries
    .insertInto("revoked_sessions")
    // A token is believed for a little longer than it says, and so long it has to be known as revoked.
    .values({ jti: id, expires_at: Math.ceil((exp + CLOCK_TOLERANCE_S) * 1000) })
    .onConflict((conflict) => conflict.doNothing())
    .execute();
}

/** Ids of sessions that were ended before their time, and of access tokens that were taken back, for the edges. */
export async function revokedIds(store: Store): Promise<string[]> {
  const rows = await store
    .selectFrom("revoked_sessions")
    .select("jti")
    .where("expires_at", ">", Date.now())
    // More than edges take would stop every change of routes; those that end first are missed least.
    .orderBy("expires_at", "desc")
    .limit(MAX_REVOKED)
    .execute();
  return rows.map((row) => row.jti);
}
