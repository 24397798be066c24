import type { Queries } from "../store/store.ts";

export interface AuditEvent {
  /** Subject of the person, `platform`, or the source host's instance where a delivery of it was the cause. */
  readonly actor: string;
  /** `run.end`, `session.sign-in` … */
  readonly action: string;
  /** What it was done to, by names a person knows. */
  readonly object: string;
  readonly result: string;
  /** Of whom it is; `undefined` for what belongs to the platform. */
  readonly ownerId?: string | undefined;
  /** Address that the act came from; `undefined` where it came from the platform itself. */
  readonly address?: string | undefined;
  /** Old and new values of settings. Never a secret. */
  readonly details?: Readonly<Record<string, unknown>> | undefined;
}

/** Who did what, kept for good: events are only ever appended. */
export interface AuditSink {
  /** @param within the transaction of the act, so that neither is there without the other. */
  append(event: AuditEvent, within?: Queries): Promise<void>;
}

/** An event as it is kept: numbered from 1 without a gap, its text escaped and cut, chained to the one before by its hash. */
export interface KeptEvent {
  readonly id: number;
  /** Milliseconds since the epoch. */
  readonly at: number;
  readonly actor: string;
  readonly action: string;
  readonly object: string;
  readonly result: string;
  readonly ownerId: string | undefined;
  readonly address: string;
  readonly details: Readonly<Record<string, unknown>>;
  readonly hash: string;
}

/** Somebody outside of the store who is told of every event, in order; of one twice where it is not certain that it arrived. */
export interface AuditReceiver {
  /** Names what it has been told in the store, so it never changes. */
  readonly name: string;
  /** How many events it takes at once. */
  readonly most: number;
  /**
   * Resolves when the events arrived. Whatever it rejects with, the same ones are brought again; not before the pause that a
   * `HostUnavailable` names.
   */
  deliver(events: readonly KeptEvent[], signal: AbortSignal): Promise<void>;
}
