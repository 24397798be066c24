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
