/** An ordinary no, as the phases return it; respond-error.ts turns it into bytes. */
export interface Refusal {
  readonly status: number;
  /** Literal and of a fixed set: error code for clients, label value in metrics. */
  readonly code: string;
  /** For people: what happened and what to do. Never an internal address. */
  readonly message: string;
  readonly retryAfterS?: number;
  /** Whether the connection is of no further use, since what follows on it cannot be trusted or is not wanted. */
  readonly close?: boolean;
  /** What else a page may offer. */
  readonly links?: readonly Link[];
}

export interface Link {
  /** Relative, or with a host and no scheme: whether a TLS terminator stands before us is not known here. */
  readonly href: string;
  readonly text: string;
}

/** What is said when an upstream fails, in the words of whoever it belongs to. */
export interface Failures {
  /** There is no replica to ask. */
  readonly absent: Refusal;
  readonly unreachable: Refusal;
  readonly broken: Refusal;
  readonly late: Refusal;
}

/** A request that is not one we can read in exactly one way: refused, and its connection with it. */
export function malformed(code: string, message: string, status = 400): Refusal {
  return { status, code, message, close: true };
}
