import { randomUUID } from "node:crypto";
import { SESSION_COOKIE, SESSION_MAX_AGE_S } from "@openfaas-cloud/shared/session.ts";
import type { Logger } from "../logger.ts";
import { ownersOf } from "../ports/store/owners.ts";
import type { SessionRow } from "../ports/store/schema.ts";
import type { Queries, Store } from "../ports/store/store.ts";
import type { RoutePublisher } from "../routes/route-publisher.ts";
import { type AlsoWrite, type KnownPerson, revokedIds, revokeSession } from "./credentials.ts";
import type { OpenStreams } from "./open-streams.ts";
import type { SessionTokens } from "./session-token.ts";

/** A session in which nothing is asked for so long is over. */
export const SESSION_IDLE_S = 60 * 60;
/** A token is replaced by another one when it is so old: one that was stolen is of use for no longer than its thief is quick. */
const RENEW_AFTER_MS = 15 * 60_000;
/** Whoever got no answer with the next token may ask again after so long. */
const RENEW_AGAIN_MS = 60_000;
/** What was asked beside the request that got the next token still brings the one before. */
const OVERLAP_MS = 60_000;
/** `seen_at` is written this often at most. */
const SEEN_STEP_MS = 60_000;
/** The next sign-in ends the oldest of them. */
const MOST_OF_PERSON = 50;
const MAX_USER_AGENT = 300;
const MAX_ADDRESS = 100;
/** The bound of the claim. */
const MAX_ORGANIZATIONS = 1000;
/** Name and value: browsers throw a larger one away (RFC 6265bis §5.6), and with it the sign-in. */
const MAX_COOKIE = 4096;
const SWEEP_MS = 30_000;
const CONFIRM_MS = 10_000;

const COOKIE_ATTRIBUTES = "Path=/; Secure; HttpOnly; SameSite=Lax";
export const SIGNED_OUT_COOKIE = `${SESSION_COOKIE}=; Max-Age=0; ${COOKIE_ATTRIBUTES}`;

/** Where a session was begun from, as the person sees it in the list of their sessions. */
export interface Origin {
  readonly address: string;
  readonly userAgent: string;
}

/** A session that a request brought. */
export interface FoundSession extends KnownPerson {
  /** The same for as long as the session goes on. */
  readonly session: string;
  readonly jti: string;
  /** The browser is to be given another token. */
  readonly isRenewalDue: boolean;
}

export interface ListedSession extends Origin {
  readonly session: string;
  readonly createdAt: number;
  readonly seenAt: number;
  readonly endsAt: number;
}

/**
 * Who is signed in, in which browsers.
 *
 * A session lasts eight hours at most and ends after an hour in which nothing was asked. What the browser holds is a token
 * of an hour, which is replaced while the session is used: the one before it counts until the next one was brought, and a
 * minute longer. The store has a row for each token that counts, so that a session is over here at once when its rows are
 * gone; edges, which decide alone, are told which tokens no longer count (`tellEdges`).
 */
export class Sessions implements AsyncDisposable {
  readonly #store: Store;
  readonly #tokens: SessionTokens;
  readonly #routes: RoutePublisher;
  readonly #streams: OpenStreams;
  readonly #logger: Logger;
  readonly #now: () => number;
  readonly #stop = new AbortController();
  #sweeping: Promise<void> = Promise.resolve();

  constructor(ports: {
    readonly store: Store;
    readonly tokens: SessionTokens;
    readonly routes: RoutePublisher;
    readonly streams: OpenStreams;
    readonly logger: Logger;
    /** Milliseconds since the epoch. */
    readonly now?: () => number;
  }) {
    this.#store = ports.store;
    this.#tokens = ports.tokens;
    this.#routes = ports.routes;
    this.#streams = ports.streams;
    this.#logger = ports.logger;
    this.#now = ports.now ?? Date.now;
  }

  /** Goes on sweeping in the background until this is disposed. */
  start(): void {
    const timer = setInterval(() => {
      this.#sweeping = this.#sweeping
        .then(() => this.sweep())
        .catch((error: unknown) =>
          this.#logger.error({ err: error }, "sessions could not be swept; trying again"),
        );
    }, SWEEP_MS);
    timer.unref();
    this.#stop.signal.addEventListener("abort", () => clearInterval(timer));
  }

  /** Signs the person in. @returns the cookie to set. */
  async begin(person: KnownPerson, origin: Origin, also?: AlsoWrite): Promise<string> {
    const now = this.#now();
    const row = freshRow(now, {
      session: randomUUID(),
      subject: person.subject,
      created_at: now,
      ends_at: now + SESSION_MAX_AGE_S * 1000,
      address: origin.address.slice(0, MAX_ADDRESS),
      user_agent: origin.userAgent.slice(0, MAX_USER_AGENT),
    });
    const ended = await this.#store.transaction().execute(async (transaction) => {
      const ended = await this.#endOldest(transaction, person.subject);
      await transaction.insertInto("sessions").values(row).execute();
      await also?.(transaction);
      return ended;
    });
    if (ended > 0) await this.#tellEnded(person.subject);
    return this.#cookieOf(row, person);
  }

  /** Whose token this is; `undefined` where it is none of ours. Tells nothing about whether the session goes on. */
  async subjectOf(token: string): Promise<{ readonly subject: string; readonly jti: string } | undefined> {
    const claims = await this.#tokens.verify(token);
    return claims && { subject: claims.sub, jti: claims.jti };
  }

  /** The session that this token is of, where it goes on. */
  async find(jti: string): Promise<FoundSession | undefined> {
    const now = this.#now();
    const row = await this.#store
      .selectFrom("sessions")
      .innerJoin("people", "people.subject", "sessions.subject")
      .selectAll("sessions")
      .select("people.name")
      .where("jti", "=", jti)
      .executeTakeFirst();
    if (!row || row.expires_at <= now) return undefined;
    if (row.replaced_at !== null && row.replaced_at + OVERLAP_MS <= now) return undefined;
    await this.#markSeen(row, now);
    return {
      subject: row.subject,
      name: row.name,
      session: row.session,
      jti,
      isRenewalDue: row.renew_at <= now && row.replaced_at === null,
    };
  }

  /** @returns the cookie with the next token; `undefined` where another request gets it. */
  async renew(found: FoundSession): Promise<string | undefined> {
    const now = this.#now();
    // In one transaction, so that a session that is ended meanwhile does not come back.
    const next = await this.#store.transaction().execute(async (transaction) => {
      const row = await transaction
        .updateTable("sessions")
        .set({ renew_at: now + RENEW_AGAIN_MS })
        .where("jti", "=", found.jti)
        .where("renew_at", "<=", now)
        .where("replaced_at", "is", null)
        .returningAll()
        .executeTakeFirst();
      if (!row) return undefined;
      const fresh = freshRow(now, row);
      await transaction.insertInto("sessions").values(fresh).execute();
      return fresh;
    });
    return next && this.#cookieOf(next, found);
  }

  /** @returns whether the person had such a session. */
  async end(subject: string, session: string, also?: AlsoWrite): Promise<boolean> {
    return this.#end(subject, session, also);
  }

  /** Signs the person out everywhere. */
  async endAll(subject: string, also?: AlsoWrite): Promise<void> {
    await this.#end(subject, undefined, also);
  }

  /** As `endAll`, with more in one transaction: edges are to be told (`tellEdges`) once that is through. */
  async endAllWithin(within: Queries, subject: string): Promise<void> {
    await endRows(within, subject, undefined);
  }

  /** The person's sessions that go on, the one used last first. */
  async list(subject: string, within: Queries = this.#store): Promise<ListedSession[]> {
    const rows = await within
      .selectFrom("sessions")
      .selectAll()
      .where("subject", "=", subject)
      .where("expires_at", ">", this.#now())
      .orderBy("issued_at")
      .execute();
    const bySession = new Map<string, ListedSession>();
    for (const row of rows) {
      const seenAt = Math.max(bySession.get(row.session)?.seenAt ?? 0, row.seen_at ?? row.issued_at);
      bySession.set(row.session, {
        session: row.session,
        createdAt: row.created_at,
        seenAt,
        endsAt: row.ends_at,
        address: row.address,
        userAgent: row.user_agent,
      });
    }
    return [...bySession.values()].sort((a, b) => b.seenAt - a.seenAt);
  }

  /**
   * What the person may do changed: the browser gets another token at its next request here. Where they may do less, edges
   * are to be told that the present ones no longer count (`tellEdges`, once the transaction is through).
   */
  async replaceTokens(
    within: Queries,
    subject: string,
    change: { readonly mayDoLess: boolean },
  ): Promise<void> {
    const rows = await within
      .updateTable("sessions")
      .set({ renew_at: 0 })
      .where("subject", "=", subject)
      .where("expires_at", ">", this.#now())
      .returning(["jti", "expires_at"])
      .execute();
    if (change.mayDoLess) for (const row of rows) await revokeRow(within, row);
  }

  /** Tells edges the present keys and revocations. @returns the version of the routes to confirm. */
  async tellEdges(): Promise<number> {
    return this.#routes.publishSettings(async (current) => ({
      ...current,
      keys: [...this.#tokens.keys],
      revoked: await revokedIds(this.#store),
    }));
  }

  /** Ends what was replaced a while ago, forgets what ended of itself, and looks whether the signing key is too old. */
  async sweep(): Promise<void> {
    const now = this.#now();
    await this.#store.deleteFrom("sessions").where("expires_at", "<=", now).execute();
    const replaced = await this.#store.transaction().execute(async (transaction) => {
      const rows = await transaction
        .deleteFrom("sessions")
        .where("replaced_at", "<=", now - OVERLAP_MS)
        .returning(["jti", "expires_at"])
        .execute();
      for (const row of rows) await revokeRow(transaction, row);
      return rows.length;
    });
    if (replaced > 0) await this.tellEdges();
    await this.#tokens.rotate(async () => {
      const version = await this.tellEdges();
      const tooLate = AbortSignal.any([AbortSignal.timeout(CONFIRM_MS), this.#stop.signal]);
      // An edge that is away learns of the key with its next snapshot.
      await this.#routes.confirmed(version, tooLate).catch(() => undefined);
    });
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#stop.abort();
    await this.#sweeping;
  }

  /**
   * The token says what the person may do now. Read after its row is there: whatever changes from now on finds the row, and
   * has it replaced.
   */
  async #cookieOf(row: SessionRow, person: KnownPerson): Promise<string> {
    const owners = await ownersOf(this.#store, person.subject, this.#now());
    const slugs = owners.slice(0, MAX_ORGANIZATIONS).map(({ slug }) => slug);
    const lifetimeS = Math.max(1, Math.floor((row.expires_at - row.issued_at) / 1000));
    for (;;) {
      const token = await this.#tokens.issue({
        subject: person.subject,
        name: person.name,
        owners: slugs,
        jti: row.jti,
        lifetimeS,
      });
      const cookie = `${SESSION_COOKIE}=${token}`;
      if (cookie.length <= MAX_COOKIE || slugs.length === 0)
        return `${cookie}; Max-Age=${lifetimeS}; ${COOKIE_ATTRIBUTES}`;
      // Anybody may make somebody a member of many. What is left out holds here, where the store is asked, and at no edge.
      slugs.length = Math.floor(slugs.length * 0.8);
    }
  }

  /** A token that is brought for the first time has arrived: those that were issued before it are not needed any more. */
  async #markSeen(row: SessionRow, now: number): Promise<void> {
    if (row.seen_at !== null && row.seen_at > now - SEEN_STEP_MS) return;
    await this.#store.updateTable("sessions").set({ seen_at: now }).where("jti", "=", row.jti).execute();
    if (row.seen_at !== null) return;
    await this.#store
      .updateTable("sessions")
      .set({ replaced_at: now })
      .where("session", "=", row.session)
      .where("jti", "!=", row.jti)
      .where("issued_at", "<=", row.issued_at)
      .where("replaced_at", "is", null)
      .execute();
  }

  async #endOldest(within: Queries, subject: string): Promise<number> {
    const tooMany = (await this.list(subject, within)).slice(MOST_OF_PERSON - 1);
    for (const { session } of tooMany) await endRows(within, subject, session);
    return tooMany.length;
  }

  async #end(subject: string, session: string | undefined, also?: AlsoWrite): Promise<boolean> {
    const ended = await this.#store.transaction().execute(async (transaction) => {
      const rows = await endRows(transaction, subject, session);
      if (rows > 0) await also?.(transaction);
      return rows > 0;
    });
    if (ended) await this.#tellEnded(subject);
    return ended;
  }

  async #tellEnded(subject: string): Promise<void> {
    this.#streams.cut(subject);
    await this.tellEdges();
  }
}

/** Of one session, or of all of the person's. @returns how many tokens do not count any more. */
async function endRows(within: Queries, subject: string, session: string | undefined): Promise<number> {
  let query = within.deleteFrom("sessions").where("subject", "=", subject);
  if (session !== undefined) query = query.where("session", "=", session);
  const rows = await query.returning(["jti", "expires_at"]).execute();
  for (const row of rows) await revokeRow(within, row);
  return rows.length;
}

/** A token of the session that is issued now. */
function freshRow(
  now: number,
  session: Pick<SessionRow, "session" | "subject" | "created_at" | "ends_at" | "address" | "user_agent">,
): SessionRow {
  return {
    jti: randomUUID(),
    session: session.session,
    subject: session.subject,
    created_at: session.created_at,
    ends_at: session.ends_at,
    issued_at: now,
    seen_at: null,
    renew_at: now + RENEW_AFTER_MS,
    expires_at: Math.min(session.ends_at, now + SESSION_IDLE_S * 1000),
    replaced_at: null,
    address: session.address,
    user_agent: session.user_agent,
  };
}

async function revokeRow(
  queries: Queries,
  row: { readonly jti: string; readonly expires_at: number },
): Promise<void> {
  await revokeSession(queries, { jti: row.jti, exp: row.expires_at / 1000 });
}
