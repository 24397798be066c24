import {
  FeedMessage,
  type RouteChange,
  type RouteSnapshot,
  RouteSnapshot as RouteSnapshotSchema,
} from "@openfaas-cloud/shared/route.ts";
import { z } from "zod";
import { RouteTable } from "../route-table.ts";

/**
 * Where route tables come from while the edge runs. An adapter hands every message to a `Receiver` in the order it was sent,
 * one at a time, and acts on the verdict: `applied` and `current` are confirmed to the sender, `rejected` makes it ask for a
 * snapshot again. It never gives up; being disposed is the only end.
 */
export interface RouteFeed extends AsyncDisposable {
  readonly connected: boolean;
}

export type Verdict =
  /** The table was replaced. */
  | { readonly kind: "applied"; readonly table: RouteTable }
  /** A snapshot of the very table that is served. */
  | { readonly kind: "current"; readonly table: RouteTable }
  /** Nothing to do. */
  | { readonly kind: "heartbeat" }
  /** Not adopted: the table served before is served on. */
  | { readonly kind: "rejected"; readonly reason: RejectReason };

export const REJECT_REASONS = ["schema", "checksum", "collapse", "stale", "gap", "line-too-long"] as const;
export type RejectReason = (typeof REJECT_REASONS)[number];

/** The table served at present, and the only place that replaces it. */
export class Receiver {
  #table: RouteTable | undefined;
  readonly #onReplaced: (next: RouteTable, previous: RouteTable | undefined, touched: Touched) => void;

  constructor(onReplaced: (next: RouteTable, previous: RouteTable | undefined, touched: Touched) => void) {
    this.#onReplaced = onReplaced;
  }

  get table(): RouteTable | undefined {
    return this.#table;
  }

  /** Synchronous from the message to the table being served. */
  receive(message: unknown): Verdict {
    const verdict = judge(message, this.#table);
    if (verdict.kind !== "applied") return verdict;
    this.#replace(verdict.table, verdict.touched);
    return verdict;
  }

  /** Takes up the table of an earlier run. */
  restore(table: RouteTable): void {
    this.#replace(table, "all");
  }

  #replace(next: RouteTable, touched: Touched): void {
    const previous = this.#table;
    this.#table = next;
    this.#onReplaced(next, previous, touched);
  }
}

/** The names a change speaks of; `all` for a snapshot. */
export type Touched = "all" | readonly { readonly owner: string; readonly function: string }[];

type Judgement =
  | Exclude<Verdict, { kind: "applied" }>
  | { readonly kind: "applied"; readonly table: RouteTable; readonly touched: Touched };

const Envelope = z.object({
  kind: z.literal("snapshot"),
  epoch: z.string(),
  version: z.number(),
  checksum: z.string(),
});

function judge(message: unknown, current: RouteTable | undefined): Judgement {
  // Looked at before all routes are validated: after a reconnect this is nearly always the table we have.
  const envelope = Envelope.safeParse(message);
  if (envelope.success && current !== undefined && isSame(envelope.data, current)) {
    return { kind: "current", table: current };
  }
  const parsed = FeedMessage.safeParse(message);
  if (!parsed.success) return { kind: "rejected", reason: "schema" };
  switch (parsed.data.kind) {
    case "snapshot":
      return judgeSnapshot(parsed.data, current);
    case "change":
      return judgeChange(parsed.data, current);
    case "heartbeat":
      return current !== undefined && parsed.data.version === current.version
        ? { kind: "heartbeat" }
        : { kind: "rejected", reason: "gap" };
  }
}

function isSame(one: { epoch: string; version: number; checksum: string }, table: RouteTable): boolean {
  return one.epoch === table.epoch && one.version === table.version && one.checksum === table.checksum;
}

function judgeSnapshot(snapshot: RouteSnapshot, current: RouteTable | undefined): Judgement {
  if (current !== undefined && snapshot.epoch === current.epoch && snapshot.version < current.version) {
    return { kind: "rejected", reason: "stale" };
  }
  const table = tableOf(snapshot);
  if (table === undefined) return { kind: "rejected", reason: "checksum" };
  if (current !== undefined && !snapshot.forced && isCollapse(current.size, table.size)) {
    return { kind: "rejected", reason: "collapse" };
  }
  return { kind: "applied", table, touched: "all" };
}

function judgeChange(change: RouteChange, current: RouteTable | undefined): Judgement {
  if (current === undefined || change.version !== current.version + 1)
    return { kind: "rejected", reason: "gap" };
  const table = current.withChange(change);
  if (table.checksum !== change.checksum) return { kind: "rejected", reason: "checksum" };
  return { kind: "applied", table, touched: [...change.removals, ...change.upserts] };
}

/** The table of a snapshot whose checksum holds; two routes of one name make it not hold. */
function tableOf(snapshot: RouteSnapshot): RouteTable | undefined {
  const table = RouteTable.fromSnapshot(snapshot);
  return table.checksum === snapshot.checksum && table.size === snapshot.routes.length ? table : undefined;
}

/** A snapshot that lost or gained this much is taken for a fault of its maker. Small tables may do as they like. */
function isCollapse(before: number, after: number): boolean {
  return Math.max(before, after) >= 10 && (after * 2 < before || after > before * 2);
}

/** A stored snapshot, as strictly as one from the wire. */
export function parseStored(value: unknown): RouteTable | undefined {
  const parsed = RouteSnapshotSchema.safeParse(value);
  return parsed.success ? tableOf(parsed.data) : undefined;
}
