import { z } from "zod";
import type { PersonGrant } from "../ports/source-host/remote-host.ts";
import type { PersonGrantRow } from "../ports/store/schema.ts";
import type { Queries, Store } from "../ports/store/store.ts";
import type { Sealing } from "../sealing.ts";

const MOST_IN_ROUND = 1_000;
/** Access tokens used within this time count as in use: their person is looked after as one with a session. */
const IN_USE_MS = 15 * 60_000;

const Grant = z.object({
  accessToken: z.string(),
  refreshToken: z.string().optional(),
  expiresAt: z.number().optional(),
});

/** How a person of a source host is known here. */
export function subjectOf(instance: string, sourceId: string): string {
  return `${instance}:${sourceId}`;
}

export type PersonAbout = Pick<PersonGrantRow, "subject" | "checked_at">;

/** What the host says changed: for this person (the host's id of the account), for all of this owner (likewise), or for everybody. */
export interface AccessChange {
  readonly instance: string;
  readonly person?: string | undefined;
  readonly owner?: string | undefined;
}

/** The grants by which hosts are asked what people may do, sealed, with when they last said so. */
export class PersonGrants {
  readonly #store: Store;
  readonly #sealing: Sealing;
  readonly #now: () => number;

  constructor(ports: { readonly store: Store; readonly sealing: Sealing; readonly now: () => number }) {
    this.#store = ports.store;
    this.#sealing = ports.sealing;
    this.#now = ports.now;
  }

  find(subject: string): Promise<PersonGrantRow | undefined> {
    return this.#store
      .selectFrom("person_grants")
      .selectAll()
      .where("subject", "=", subject)
      .executeTakeFirst();
  }

  open({ subject, sealed }: PersonGrantRow): PersonGrant {
    const grant = Grant.parse(JSON.parse(this.#sealing.open(["person-grant", subject], sealed)));
    return {
      accessToken: grant.accessToken,
      refreshToken: grant.refreshToken,
      expiresAt: grant.expiresAt,
    };
  }

  /** In the place of the one before, with the host's word from now. */
  async keep(within: Queries, subject: string, instance: string, grant: PersonGrant): Promise<void> {
    const kept = { instance, sealed: this.#seal(subject, grant), checked_at: this.#now() };
    await within
      .insertInto("person_grants")
      .values({ subject, ...kept })
      .onConflict((conflict) => conflict.column("subject").doUpdateSet(kept))
      .execute();
  }

  /** The host has answered. @returns false where the person signed in anew meanwhile: what came of that is newer. */
  async renew(within: Queries, { subject, sealed }: PersonGrantRow, grant: PersonGrant): Promise<boolean> {
    const kept = await within
      .updateTable("person_grants")
      .set({ sealed: this.#seal(subject, grant), checked_at: this.#now() })
      .where("subject", "=", subject)
      .where("sealed", "=", sealed)
      .returning("subject")
      .executeTakeFirst();
    return kept !== undefined;
  }

  /** @returns false where it is there no more, or is another by now. */
  async remove(within: Queries, { subject, sealed }: PersonGrantRow): Promise<boolean> {
    const gone = await within
      .deleteFrom("person_grants")
      .where("subject", "=", subject)
      .where("sealed", "=", sealed)
      .returning("subject")
      .executeTakeFirst();
    return gone !== undefined;
  }

  /** Hosts that somebody signed in with. By steps over the index: there are few hosts, and as many grants as people. */
  async instances(): Promise<string[]> {
    const found: string[] = [];
    for (;;) {
      const { next } = await this.#store
        .selectFrom("person_grants")
        .select((select) => select.fn.min("instance").as("next"))
        .where("instance", ">", found.at(-1) ?? "")
        .executeTakeFirstOrThrow();
      if (next === null) return found;
      found.push(next);
    }
  }

  /** People of the host who have a session or use an access token, those that were asked about longest ago first. */
  async peopleAbout(instance: string): Promise<PersonAbout[]> {
    const now = this.#now();
    const about = this.#store
      .selectFrom("sessions")
      .select("subject")
      .where("expires_at", ">", now)
      // Not `union`, which goes through both tables in the order of subjects.
      .unionAll(
        this.#store
          .selectFrom("access_tokens")
          .select("subject")
          .where("last_used_at", ">", now - IN_USE_MS),
      );
    return (
      this.#store
        .selectFrom(about.as("about"))
        // Not `inner`, which may begin with the grants of everybody who ever signed in with the host.
        .crossJoin("person_grants")
        .whereRef("person_grants.subject", "=", "about.subject")
        .where("instance", "=", instance)
        .select(["person_grants.subject", "checked_at"])
        .distinct()
        .orderBy("checked_at")
        .limit(MOST_IN_ROUND)
        .execute()
    );
  }

  /** Subjects of the people whom the change may be about. */
  async concerned({ instance, person, owner }: AccessChange): Promise<string[]> {
    if (person !== undefined) {
      const subject = subjectOf(instance, person);
      return (await this.find(subject)) ? [subject] : [];
    }
    const rows = await (owner === undefined
      ? this.#store.selectFrom("person_grants").select("subject").where("instance", "=", instance)
      : this.#store
          .selectFrom("owners")
          .innerJoin("memberships", "memberships.owner_id", "owners.id")
          .innerJoin("person_grants", "person_grants.subject", "memberships.person")
          .select("person_grants.subject")
          .where("owners.source_host", "=", instance)
          .where("owners.source_owner_id", "=", owner)
    ).execute();
    return rows.map(({ subject }) => subject);
  }

  #seal(subject: string, grant: PersonGrant): string {
    return this.#sealing.seal(["person-grant", subject], JSON.stringify(grant));
  }
}
