import { KnownError } from "@openfaas-cloud/shared/known-error.ts";
import type { Annotation } from "./ports/source-host/source-host.ts";

/** Why a run ended without success when its author has to change something. Each is a row of the README's table. */
export type RejectedKind =
  | "source-missing"
  | "source-too-large"
  | "source-refused"
  | "stack-file-missing"
  | "nothing-to-deploy"
  | "stack-file-invalid"
  | "language-unsupported"
  | "handler-invalid"
  | "secret-missing"
  | "name-taken"
  | "superseded"
  | "unlinked"
  | "build-failed"
  | "build-timeout"
  | "function-unhealthy";

/** The author of the push must change something; the same commit would fail again. */
export class Rejected extends KnownError<RejectedKind> {
  /** The lines it is about, where it is about lines of a file. */
  readonly annotations: readonly Annotation[];

  constructor(
    kind: RejectedKind,
    message: string,
    options: { readonly cause?: unknown; readonly annotations?: readonly Annotation[] } = {},
  ) {
    super(kind, message, "cause" in options ? { cause: options.cause } : {});
    this.annotations = options.annotations ?? [];
  }
}

/** Nothing is wrong with the commit: the platform or something it depends on could not do its part. A new try may succeed. */
export class Retryable extends KnownError<"platform-unavailable"> {
  constructor(message: string, options?: { readonly cause?: unknown }) {
    super("platform-unavailable", message, options);
  }
}
