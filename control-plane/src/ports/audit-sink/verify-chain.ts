import type { Queries } from "../store/store.ts";
import { type ChainRow, chainHash, GENESIS, readChain } from "./chain.ts";
import type { AuditHead } from "./head.ts";

export type ChainVerdict =
  | {
      readonly kind: "intact";
      readonly events: number;
      /** Written before there were hashes: what happened to them before the first hashed event cannot be known. */
      readonly unhashed: number;
      /** Hash of the last event. */
      readonly hash: string;
      /** The last event up to which an exported head vouches; 0 where there is none. What follows it may have been cut off or made up. */
      readonly vouched: number;
    }
  | {
      readonly kind: "broken";
      /** The first event that is not as it was written: changed, missing, or never there. */
      readonly event: number;
      readonly reason: string;
    };

/**
 * Walks the whole chain, in bounded steps, and against every head that was exported. Finds an event that was changed, dropped,
 * swapped or put in; an end that was cut off or replaced only where a head tells of it.
 */
export async function verifyChain(
  queries: Queries,
  heads: readonly AuditHead[] = [],
  step?: number,
): Promise<ChainVerdict> {
  const expected = Map.groupBy(heads, ({ event }) => event);
  const walk = { hash: GENESIS, events: 0, unhashed: 0 };
  for await (const rows of readChain(queries, step)) {
    for (const row of rows) {
      const reason = follow(walk, row, expected);
      if (reason !== undefined) return broken(walk.events + 1, reason);
    }
  }

  const { events, unhashed, hash } = walk;
  const beyond = heads.filter((head) => head.event > events).toSorted((a, b) => b.event - a.event)[0];
  if (beyond) return broken(events + 1, cutOff(beyond, events));
  return {
    kind: "intact",
    events,
    unhashed,
    hash,
    vouched: heads.reduce((last, head) => Math.max(last, head.event), 0),
  };
}

interface Walk {
  /** Hash of the last event that was as it should be. */
  hash: string;
  events: number;
  unhashed: number;
}

/** Takes the next event into the walk. @returns what is wrong with it. */
function follow(
  walk: Walk,
  row: ChainRow,
  expected: ReadonlyMap<number, readonly AuditHead[]>,
): string | undefined {
  const event = walk.events + 1;
  if (row.id !== String(event)) return numbering(row.id, event);
  const hash = chainHash(walk.hash, row);
  const isUnhashed = row.hash === null && walk.unhashed === walk.events;
  if (!isUnhashed && row.hash !== hash) return wrongHash(row.hash, event);
  const contrary = expected.get(event)?.find((head) => head.hash !== hash);
  if (contrary) return replaced(contrary);
  walk.hash = hash;
  walk.events = event;
  if (isUnhashed) walk.unhashed = event;
  return undefined;
}

function broken(event: number, reason: string): ChainVerdict {
  return { kind: "broken", event, reason };
}

function numbering(found: string, event: number): string {
  return BigInt(found) > event
    ? `Event ${event} is missing: after event ${event - 1} comes event ${found}.`
    : `There is an event ${found}, and numbers begin with 1.`;
}

function wrongHash(found: string | null, event: number): string {
  return found === null
    ? `Event ${event} has no hash, and those before it have.`
    : `Event ${event} is not what was written after event ${event - 1}: it was changed, or put in its place.`;
}

function replaced({ event, at }: AuditHead): string {
  return `Event ${event} is not the one that was exported at ${isoTime(at)}: it or an event before it was replaced.`;
}

function cutOff({ event, at }: AuditHead, last: number): string {
  return `The end is cut off: the last event is ${last}, and at ${isoTime(at)} there was event ${event}.`;
}

function isoTime(at: number): string {
  return new Date(at).toISOString();
}
