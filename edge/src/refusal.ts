/** Everything a client may be refused for: error code in the answer, label value in metrics. A new one is added here. */
export const REFUSAL_CODES = [
  "authorization-invalid",
  "body-idle",
  "body-too-large",
  "client-stalled",
  "control-plane-broken",
  "control-plane-down",
  "control-plane-late",
  "cross-site",
  "edge-fault",
  "forbidden",
  "framing-invalid",
  "header-invalid",
  "header-underscore",
  "host-invalid",
  "host-mismatch",
  "https-required",
  "method-refused",
  "no-function-named",
  "no-replica",
  "not-found",
  "not-ready",
  "path-ambiguous",
  "rate-exceeded",
  "request-invalid",
  "scope-missing",
  "signed-out",
  "target-invalid",
  "target-too-long",
  "token-not-checked",
  "too-many-headers",
  "too-many-requests",
  "unknown-function",
  "unknown-host",
  "upstream-broken",
  "upstream-late",
  "upstream-unreachable",
  "version-refused",
] as const;
export type RefusalCode = (typeof REFUSAL_CODES)[number];

/** Why a request ended without a whole answer from upstream. */
export type Reason = RefusalCode | "client-gone";

/** An ordinary no, as the phases return it; respond-error.ts turns it into bytes. */
export interface Refusal {
  readonly status: number;
  readonly code: RefusalCode;
  /** For people: what happened and what to do. Never an internal address. */
  readonly message: string;
  readonly retryAfterS?: number;
  /** Where the same is answered, with a status that says so. */
  readonly location?: string;
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
export function malformed(code: RefusalCode, message: string, status = 400): Refusal {
  return { status, code, message, close: true };
}
