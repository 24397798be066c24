import { setImmediate as yieldToLoop } from "node:timers/promises";
import { FeedMessage, Route, type RouteChange, RouteSnapshot } from "@openfaas-cloud/shared/route.ts";
import { headChecksumOf } from "@openfaas-cloud/shared/route-digest.ts";
import { z } from "zod";
import { RouteTable, RouteTableBuilder } from "../route-table.ts";
import type { UpstreamRule } from "../upstream-rule.ts";

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
  | Rejection;

export type Rejection =
  | { readonly kind: "rejected"; readonly reason: Exclude<RejectReason, "collapse" | "stale" | "upstream"> }
  /** With the numbers of routes before and after, since this one may need an operator. */
  | {
      readonly kind: "rejected";
      readonly reason: "collapse";
      readonly served: number;
      readonly offered: number;
    }
  /** With both versions: it lasts until an operator does something. */
  | {
      readonly kind: "rejected";
      readonly reason: "stale";
      readonly servedVersion: number;
      readonly offeredVersion: number;
    }
  /** With the upstream that no route may name here, since this one may need the operator too. */
  | {
      readonly kind: "rejected";
      readonly reason: "upstream";
      readonly route: Pick<Route, "owner" | "function">;
      readonly url: string;
    };

export const REJECT_REASONS = [
  "schema",
  "checksum",
  "collapse",
  "stale",
  "gap",
  "upstream",
  "line-too-long",
] as const;
export type RejectReason = (typeof REJECT_REASONS)[number];

/** The table served at present, and the only place that replaces it. */
export class Receiver {
  #table: RouteTable | undefined;
  readonly #onReplaced: (next: RouteTable, previous: RouteTable | undefined, touched: Touched) => void;
  readonly #rule: UpstreamRule;

  constructor(
    onReplaced: (next: RouteTable, previous: RouteTable | undefined, touched: Touched) => void,
    rule: UpstreamRule,
  ) {
    this.#onReplaced = onReplaced;
    this.#rule = rule;
  }

  get table(): RouteTable | undefined {
    return this.#table;
  }

  /**
   * A large snapshot is judged between requests; the table is replaced in one step, when all of it was found good. The next
   * message waits for the verdict.
   */
  async receive(message: unknown): Promise<Verdict> {
    const verdict = await judge(message, this.#table, this.#rule);
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

/** A snapshot whose routes are still to be validated, one by one. */
const UnreadSnapshot = RouteSnapshot.extend({ routes: z.array(z.unknown()).max(200_000) });
type UnreadSnapshot = z.infer<typeof UnreadSnapshot>;

/** What takes about 3 ms. */
const ROUTES_PER_TURN = 250;

function judge(
  message: unknown,
  current: RouteTable | undefined,
  rule: UpstreamRule,
): Judgement | Promise<Judgement> {
  // Looked at before all routes are validated: after a reconnect this is nearly always the table we have.
  const envelope = Envelope.safeParse(message);
  if (envelope.success) {
    if (current !== undefined && isSame(envelope.data, current)) return { kind: "current", table: current };
    const snapshot = UnreadSnapshot.safeParse(message);
    if (!snapshot.success) return { kind: "rejected", reason: "schema" };
    return judgeSnapshot(snapshot.data, current, rule);
  }
  const parsed = FeedMessage.safeParse(message);
  if (!parsed.success || parsed.data.kind === "snapshot") return { kind: "rejected", reason: "schema" };
  switch (parsed.data.kind) {
    case "change":
      return judgeChange(parsed.data, current, rule);
    case "heartbeat":
      return current !== undefined && parsed.data.version === current.version
        ? { kind: "heartbeat" }
        : { kind: "rejected", reason: "gap" };
  }
}

function isSame(one: { epoch: string; version: number; checksum: string }, table: RouteTable): boolean {
  return one.epoch === table.epoch && one.version === table.version && one.checksum === table.checksum;
}

async function judgeSnapshot(
  snapshot: UnreadSnapshot,
  current: RouteTable | undefined,
  rule: UpstreamRule,
): Promise<Judgement> {
  if (!hasOwnHead(snapshot)) return { kind: "rejected", reason: "checksum" };
  if (current !== undefined && snapshot.epoch === current.epoch && snapshot.version < current.version) {
    const versions = { servedVersion: current.version, offeredVersion: snapshot.version };
    return { kind: "rejected", reason: "stale", ...versions };
  }
  const table = await readInTurns(snapshot, rule);
  if (!(table instanceof RouteTable)) return table;
  if (!isWhole(table, snapshot)) return { kind: "rejected", reason: "checksum" };
  if (current !== undefined && !snapshot.forced && isCollapse(current.size, table.size)) {
    return { kind: "rejected", reason: "collapse", served: current.size, offered: table.size };
  }
  return { kind: "applied", table, touched: "all" };
}

/** Requests are served between two turns. */
async function readInTurns(snapshot: UnreadSnapshot, rule: UpstreamRule): Promise<RouteTable | Rejection> {
  const builder = new RouteTableBuilder(snapshot);
  for (const [i, unread] of snapshot.routes.entries()) {
    if (i > 0 && i % ROUTES_PER_TURN === 0) await yieldToLoop();
    const route = Route.safeParse(unread);
    if (!route.success) return { kind: "rejected", reason: "schema" };
    const misplaced = findMisplaced(route.data, rule);
    if (misplaced !== undefined) return misplaced;
    builder.add(route.data);
  }
  return builder.build();
}

function findMisplaced(route: Route, rule: UpstreamRule): Rejection | undefined {
  const upstream = route.upstreams.find(({ url }) => !rule.allows(url));
  if (upstream === undefined) return undefined;
  const { owner, function: functionName } = route;
  return {
    kind: "rejected",
    reason: "upstream",
    route: { owner, function: functionName },
    url: upstream.url,
  };
}

function judgeChange(change: RouteChange, current: RouteTable | undefined, rule: UpstreamRule): Judgement {
  if (current === undefined || change.version !== current.version + 1)
    return { kind: "rejected", reason: "gap" };
  for (const route of change.upserts) {
    const misplaced = findMisplaced(route, rule);
    if (misplaced !== undefined) return misplaced;
  }
  const table = current.withChange(change);
  if (table.checksum !== change.checksum) return { kind: "rejected", reason: "checksum" };
  return { kind: "applied", table, touched: [...change.removals, ...change.upserts] };
}

/** Whether epoch and version are the ones that the snapshot was made with; its checksum is of what they are the epoch and version of. */
function hasOwnHead(snapshot: Omit<RouteSnapshot, "routes">): boolean {
  return snapshot.headChecksum === undefined || snapshot.headChecksum === headChecksumOf(snapshot);
}

/** Two routes of one name are one in the table, and make the checksum or the number not hold. */
function isWhole(table: RouteTable, snapshot: { checksum: string; routes: readonly unknown[] }): boolean {
  return table.checksum === snapshot.checksum && table.size === snapshot.routes.length;
}

const SMALL_TABLE = 10;
const LARGE_TABLE = 10_000;

/**
 * A snapshot that is taken for a fault of its maker. One that lost more than half its routes takes them from people who use
 * them; small tables may do as they like. One that grew takes nothing from anybody, so that only a size is refused which no
 * platform gets to while its edge looks away: an edge that refused less would be locked out by an ordinary push.
 */
function isCollapse(before: number, after: number): boolean {
  const shrank = before >= SMALL_TABLE && after * 2 < before;
  const exploded = after > LARGE_TABLE && after > before * 2;
  return shrank || exploded;
}

/** A stored snapshot, as strictly as one from the wire. */
export function judgeStored(value: unknown, rule: UpstreamRule): RouteTable | Rejection {
  const parsed = RouteSnapshot.safeParse(value);
  if (!parsed.success) return { kind: "rejected", reason: "schema" };
  if (!hasOwnHead(parsed.data)) return { kind: "rejected", reason: "checksum" };
  for (const route of parsed.data.routes) {
    const misplaced = findMisplaced(route, rule);
    if (misplaced !== undefined) return misplaced;
  }
  const table = RouteTable.fromSnapshot(parsed.data);
  return isWhole(table, parsed.data) ? table : { kind: "rejected", reason: "checksum" };
}
