export interface AuditEvent {
  /** Subject of the person, or `platform`. */
  readonly actor: string;
  /** `run.end`, `session.sign-in` … */
  readonly action: string;
  /** What it was done to, by names a person knows. */
  readonly object: string;
  readonly result: string;
}

/** Who did what, kept for good: events are only ever appended. */
export interface AuditSink {
  append(event: AuditEvent): Promise<void>;
}
