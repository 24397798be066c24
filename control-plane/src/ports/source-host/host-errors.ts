import { KnownError } from "@openfaas-cloud/shared/known-error.ts";
import { Retryable } from "../../rejected.ts";

/**
 * A source host gave no answer to go by: none at all, an error of its own, too many requests, or it refuses the platform's
 * credential. Says nothing about what was asked.
 */
export class HostUnavailable extends Retryable {
  /** HTTP status; `undefined` where there was no answer. */
  readonly status: number | undefined;
  /** From the host's Retry-After or rate limit, milliseconds. */
  readonly retryAfterMs: number | undefined;

  constructor(
    message: string,
    options: {
      readonly status?: number | undefined;
      readonly retryAfterMs?: number | undefined;
      readonly cause?: unknown;
    } = {},
  ) {
    super(message, { cause: options.cause });
    this.status = options.status;
    this.retryAfterMs = options.retryAfterMs;
  }
}

/** The host does not take what somebody brought back from its sign-in page. */
export class SignInRefused extends KnownError<"sign-in-refused"> {
  constructor(message: string, options?: { readonly cause?: unknown }) {
    super("sign-in-refused", message, options);
  }
}

/** The person, or the host, took the grant back. */
export class GrantRevoked extends KnownError<"grant-revoked"> {
  constructor(message: string, options?: { readonly cause?: unknown }) {
    super("grant-revoked", message, options);
  }
}
