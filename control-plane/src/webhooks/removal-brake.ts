import type { Transaction } from "kysely";
import { newId } from "../ids.ts";
import type { Logger } from "../logger.ts";
import { removalsHeld } from "../metrics.ts";
import type { AuditSink } from "../ports/audit-sink/audit-sink.ts";
import type { NamedRepository } from "../ports/store/repositories.ts";
import type { RemovalBrakeRow, Schema } from "../ports/store/schema.ts";
import type { Queries, Store } from "../ports/store/store.ts";

/** So many repositories or functions may go at once, whatever part of all they are. */
const FEW = 5;
/** What went shortly before counts as well, so that a host that forgets bit by bit is noticed. */
const WINDOW_MS = 60 * 60_000;
/** After so long a second reading does for what one installation's removal would take along. */
const SECOND_READING_MS = 30 * 60_000;

/** What was read: everything of the host, or of one installation. */
export type Scope =
  | { readonly kind: "host" }
  | { readonly kind: "installation"; readonly installation: string; readonly isRemoved: boolean };

/** A repository that is not linked any more, as a reading has it. */
export interface Gone {
  readonly repository: NamedRepository;
  /** For people. */
  readonly reason: string;
  /** When the host said so of this repository; `undefined` where it is only not among those that it listed. */
  readonly askedAt: number | undefined;
}

export interface HeldRemoval {
  readonly id: string;
  readonly instance: string;
  /** `undefined` where the whole host was read. */
  readonly installation: string | undefined;
  readonly repositories: readonly { readonly repositoryId: string; readonly reason: string }[];
  /** How many functions would go with them. */
  readonly functions: number;
  readonly engagedAt: number;
  readonly confirmedAt: number | undefined;
}

/**
 * Keeps one reading of a source host from taking away more than half of what is linked, where that is more than a few: that is
 * how a host that answers wrongly looks, or a credential that lost its reach.
 *
 * What it holds back stays routed until an operator confirms, however often the host repeats itself: such a fault is the same at
 * every reading, so time proves nothing. Only where one installation is read does a second reading do, half an hour later. There a
 * delivery was the cause besides the host's answer, one owner is concerned, and an owner who took the platform's access away
 * must not depend on somebody looking. What is confirmed is looked at once more before it goes, and it is this and no more:
 * whatever vanishes after that is judged anew.
 */
export class RemovalBrake {
  readonly #store: Store;
  readonly #audit: AuditSink;
  readonly #logger: Logger;
  readonly #now: () => number;

  constructor(ports: {
    readonly store: Store;
    readonly audit: AuditSink;
    readonly logger: Logger;
    readonly now?: () => number;
  }) {
    this.#store = ports.store;
    this.#audit = ports.audit;
    this.#logger = ports.logger;
    this.#now = ports.now ?? Date.now;
  }

  /** What is held back now, the oldest first; what was confirmed too, until the reading that takes it. */
  async list(): Promise<readonly HeldRemoval[]> {
    const rows = await this.#store.selectFrom("removal_brakes").selectAll().orderBy("id").execute();
    return rows.map((row) => ({
      id: row.id,
      instance: row.instance,
      installation: row.installation ?? undefined,
      repositories: Object.entries(reasonsOf(row)).map(([repositoryId, reason]) => ({
        repositoryId,
        reason,
      })),
      functions: row.functions,
      engagedAt: row.engaged_at,
      confirmedAt: row.confirmed_at ?? undefined,
    }));
  }

  /** An operator says that it is right. It goes with the next reading. @returns false where nothing of this id is held back. */
  async confirm(
    id: string,
    by: { readonly subject: string; readonly address: string | undefined },
  ): Promise<boolean> {
    const confirmed = await this.#store.transaction().execute(async (transaction) => {
      const row = await transaction
        .updateTable("removal_brakes")
        .set({ confirmed_at: this.#now(), confirmed_by: by.subject })
        .where("id", "=", id)
        .where("confirmed_at", "is", null)
        .returningAll()
        .executeTakeFirst();
      if (row === undefined) return false;
      await this.#audit.append(
        {
          actor: by.subject,
          action: "removal.confirm",
          object: scopeName(row),
          result: summaryOf(row),
          address: by.address,
          details: reasonsOf(row),
        },
        transaction,
      );
      return true;
    });
    if (confirmed) await this.#measure();
    return confirmed;
  }

  /** Ids of repositories that stay whatever the host says of them now: asking it is of no use. */
  async heldAt(instance: string): Promise<ReadonlySet<string>> {
    const rows = await brakesOf(this.#store, instance);
    return new Set(rows.filter((row) => !this.#isOpen(row)).flatMap((row) => Object.keys(reasonsOf(row))));
  }

  /**
   * Which of them may go. What may not is held back, and somebody is told.
   * @param gone of a host, all that is gone at it. What nobody asked it for by id does not go.
   */
  async judge(instance: string, scope: Scope, gone: readonly Gone[]): Promise<readonly Gone[]> {
    const going = await this.#store
      .transaction()
      .execute((transaction) => this.#judge(transaction, instance, scope, gone));
    await this.#measure();
    return going;
  }

  async #judge(
    transaction: Transaction<Schema>,
    instance: string,
    scope: Scope,
    gone: readonly Gone[],
  ): Promise<readonly Gone[]> {
    if (scope.kind === "host") await this.#letGo(transaction, instance, gone);
    const asked = gone.filter(({ askedAt }) => askedAt !== undefined);
    if (await isFewOfRemoved(transaction, scope, asked)) return asked;
    const brakes = await brakesOf(transaction, instance);
    const brakeOf = ({ repository }: Gone) =>
      brakes.find((row) => Object.hasOwn(reasonsOf(row), repository.id));
    const fresh = asked.filter((one) => brakeOf(one) === undefined);
    const open = asked.filter((one) => {
      const brake = brakeOf(one);
      return brake !== undefined && this.#isOpen(brake);
    });
    if (fresh.length === 0) return open;
    const counted = await countGoing(transaction, instance, scope, gone, this.#now() - WINDOW_MS);
    if (!isTooMuch(counted)) return [...open, ...fresh];
    await this.#engage(transaction, instance, scope, fresh);
    return open;
  }

  #isOpen({ confirmed_at, installation, engaged_at }: RemovalBrakeRow): boolean {
    return confirmed_at !== null || (installation !== null && engaged_at <= this.#now() - SECOND_READING_MS);
  }

  async #engage(
    transaction: Transaction<Schema>,
    instance: string,
    scope: Scope,
    fresh: readonly Gone[],
  ): Promise<void> {
    const row: RemovalBrakeRow = {
      id: newId(this.#now()),
      instance,
      installation: scope.kind === "installation" ? scope.installation : null,
      reasons: JSON.stringify(Object.fromEntries(fresh.map((one) => [one.repository.id, one.reason]))),
      functions: await countRouted(
        transaction,
        fresh.map(({ repository }) => repository.id),
      ),
      engaged_at: this.#now(),
      confirmed_at: null,
      confirmed_by: null,
    };
    await transaction.insertInto("removal_brakes").values(row).execute();
    await this.#audit.append(
      {
        actor: instance,
        action: "removal.hold",
        object: scopeName(row),
        result: `${summaryOf(row)} would go at once; they stay until an operator confirms`,
        details: { id: row.id, ...reasonsOf(row) },
      },
      transaction,
    );
    this.#logger.error(
      { brake: row.id, instance, installation: row.installation, functions: row.functions },
      `${summaryOf(row)} of ${scopeName(row)} would go at once, more than half. Nothing was removed: check that the host and the platform's credential are well, then confirm`,
    );
  }

  /** What a complete reading does not find gone any more is nothing to hold back. */
  async #letGo(transaction: Transaction<Schema>, instance: string, gone: readonly Gone[]): Promise<void> {
    const goneIds = new Set(gone.map(({ repository }) => repository.id));
    for (const row of await brakesOf(transaction, instance)) {
      const all = Object.entries(reasonsOf(row));
      const still = all.filter(([repositoryId]) => goneIds.has(repositoryId));
      if (still.length === all.length) continue;
      const change = { reasons: JSON.stringify(Object.fromEntries(still)) };
      if (still.length > 0) {
        await transaction.updateTable("removal_brakes").set(change).where("id", "=", row.id).execute();
        continue;
      }
      await transaction.deleteFrom("removal_brakes").where("id", "=", row.id).execute();
      await this.#audit.append(
        {
          actor: instance,
          action: "removal.release",
          object: scopeName(row),
          result: row.confirmed_at === null ? "nothing of it is gone any more" : "done",
          details: { id: row.id },
        },
        transaction,
      );
    }
  }

  async #measure(): Promise<void> {
    const rows = await this.#store.selectFrom("removal_brakes").selectAll().execute();
    const held = rows.filter((row) => !this.#isOpen(row));
    removalsHeld.set(held.reduce((sum, row) => sum + Object.keys(reasonsOf(row)).length, 0));
  }
}

interface Counted {
  readonly repositories: { readonly going: number; readonly all: number };
  readonly functions: { readonly going: number; readonly all: number };
}

function isTooMuch({ repositories, functions }: Counted): boolean {
  return [repositories, functions].some(({ going, all }) => going > FEW && going > all / 2);
}

/** An owner of few functions who positively took the grant back: nobody else is concerned. */
async function isFewOfRemoved(queries: Queries, scope: Scope, gone: readonly Gone[]): Promise<boolean> {
  if (scope.kind === "host" || !scope.isRemoved || gone.length === 0) return false;
  const owners = [...new Set(gone.map(({ repository }) => repository.owner_id))];
  const row = await queries
    .selectFrom("functions")
    .select((select) => select.fn.countAll<number>().as("count"))
    .where("owner_id", "in", owners)
    .where("unrouted_at", "is", null)
    .executeTakeFirstOrThrow();
  return Number(row.count) <= FEW;
}

async function countGoing(
  queries: Queries,
  instance: string,
  scope: Scope,
  gone: readonly Gone[],
  since: number,
): Promise<Counted> {
  let query = queries
    .selectFrom("repositories")
    .select(["id", "unlinked_at"])
    .select((select) =>
      select
        .selectFrom("functions")
        .select((inner) => inner.fn.countAll<number>().as("count"))
        .whereRef("functions.repository_id", "=", "repositories.id")
        .as("functions"),
    )
    .where("source_host", "=", instance)
    .where("source_id", "is not", null)
    .where((where) => where.or([where("unlinked_at", "is", null), where("unlinked_at", ">", since)]));
  if (scope.kind === "installation") query = query.where("installation", "=", scope.installation);
  const goneIds = new Set(gone.map(({ repository }) => repository.id));
  const all = await query.execute();
  const going = all.filter(({ id, unlinked_at }) => unlinked_at !== null || goneIds.has(id));
  const sum = (rows: typeof all) => rows.reduce((total, { functions }) => total + Number(functions), 0);
  return {
    repositories: { going: going.length, all: all.length },
    functions: { going: sum(going), all: sum(all) },
  };
}

async function countRouted(queries: Queries, repositoryIds: readonly string[]): Promise<number> {
  const row = await queries
    .selectFrom("functions")
    .select((select) => select.fn.countAll<number>().as("count"))
    .where("repository_id", "in", repositoryIds)
    .where("unrouted_at", "is", null)
    .executeTakeFirstOrThrow();
  return Number(row.count);
}

function brakesOf(queries: Queries, instance: string): Promise<RemovalBrakeRow[]> {
  return queries
    .selectFrom("removal_brakes")
    .selectAll()
    .where("instance", "=", instance)
    .orderBy("id")
    .execute();
}

function reasonsOf({ reasons }: RemovalBrakeRow): Readonly<Record<string, string>> {
  return JSON.parse(reasons) as Record<string, string>;
}

function summaryOf(row: RemovalBrakeRow): string {
  return `${Object.keys(reasonsOf(row)).length} repositories with ${row.functions} functions`;
}

function scopeName({ instance, installation }: RemovalBrakeRow): string {
  return installation === null ? instance : `${instance}, installation ${installation}`;
}
