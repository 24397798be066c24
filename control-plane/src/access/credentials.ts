import { randomBytes } from "node:crypto";
import { CLOCK_TOLERANCE_S, SESSION_MAX_AGE_S } from "@openfaas-cloud/shared/session.ts";
import { newId, sha256 } from "../ids.ts";
import type { Queries, Store } from "../ports/store/store.ts";

const LINK_LIFETIME_MS = 60 * 60 * 1000;
/** `last_used_at` is written this often at most: every fetch of every clone would be a commit otherwise. */
const LAST_USED_STEP_MS = 60_000;
/** The bound of RouteSettings. */
const MAX_REVOKED = 100_000;

export interface KnownPerson {
  readonly subject: string;
  readonly name: string;
}

/**
 * Makes `token` the person's one token of this name: what had the name before counts no more, and edges are to be told so
 * (`revokedIds`). Only its hash is kept.
 */
export async function ensureAccessToken(
  store: Store,
  person: KnownPerson,
  name: string,
  token: string,
): Promise<void> {
  const hash = sha256(token);
  await store.transaction().execute(async (transaction) => {
    const replaced = await transaction
      .deleteFrom("access_tokens")
      .where("subject", "=", person.subject)
      .where("name", "=", name)
      .where("hash", "!=", hash)
      .returning("id")
      .execute();
    for (const { id } of replaced) {
      await revoke(transaction, id, Date.now() / 1000 + SESSION_MAX_AGE_S);
    }
    await transaction
      .insertInto("access_tokens")
      .values({
        id: newId(),
        subject: person.subject,
        name,
        hash,
        created_at: Date.now(),
        expires_at: null,
        last_used_at: null,
      })
      .onConflict((conflict) => conflict.column("hash").doUpdateSet({ subject: person.subject }))
      .execute();
  });
}

export interface KnownAccessToken extends KnownPerson {
  readonly id: string;
  /** `null` for never. */
  readonly expiresAt: number | null;
}

/** Whose token this is; `undefined` where it is unknown or has expired. */
export async function personOfToken(store: Store, token: string): Promise<KnownPerson | undefined> {
  const known = await findAccessToken(store, sha256(token));
  return known && { subject: known.subject, name: known.name };
}

/** The access token with this SHA-256, which counts as used; `undefined` where it is unknown or has expired. */
export async function findAccessToken(store: Store, hash: string): Promise<KnownAccessToken | undefined> {
  const now = Date.now();
  const row = await store
    .selectFrom("access_tokens")
    .innerJoin("people", "people.subject", "access_tokens.subject")
    .select(["people.subject", "people.name", "access_tokens.id", "last_used_at", "expires_at"])
    .where("hash", "=", hash)
    .executeTakeFirst();
  if (!row || (row.expires_at !== null && row.expires_at <= now)) return undefined;
  if ((row.last_used_at ?? 0) < now - LAST_USED_STEP_MS) {
    await store.updateTable("access_tokens").set({ last_used_at: now }).where("id", "=", row.id).execute();
  }
  return { subject: row.subject, name: row.name, id: row.id, expiresAt: row.expires_at };
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

/** Spends the code. @returns the person, or `undefined` for a code that is unknown, spent or too old. */
export async function spendSignInCode(store: Store, code: string): Promise<KnownPerson | undefined> {
  const now = Date.now();
  const spent = await store
    .updateTable("sign_in_links")
    .set({ used_at: now })
    .where("hash", "=", sha256(code))
    .where("used_at", "is", null)
    .where("expires_at", ">", now)
    .returning("subject")
    .executeTakeFirst();
  if (!spent) return undefined;
  return store
    .selectFrom("people")
    .select(["subject", "name"])
    .where("subject", "=", spent.subject)
    .executeTakeFirst();
}

export async function revokeSession(store: Store, session: { jti: string; exp: number }): Promise<void> {
  await revoke(store, session.jti, session.exp);
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

export async function isRevoked(store: Store, jti: string): Promise<boolean> {
  const row = await store
    .selectFrom("revoked_sessions")
    .select("jti")
    .where("jti", "=", jti)
    .executeTakeFirst();
  return row !== undefined;
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
