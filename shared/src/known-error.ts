/**
 * Base of every failure that is expected and has words of its own.
 *
 * `kind` is a literal that code may branch on. `message` is for people: what happened, to what, and what to do. It is
 * shown to them as it is, so it never holds a secret, a path of this machine or an internal address.
 */
export class KnownError<Kind extends string = string> extends Error {
  readonly kind: Kind;

  constructor(kind: Kind, message: string, options?: { readonly cause?: unknown }) {
    super(message, options);
    this.name = "KnownError";
    this.kind = kind;
  }
}

/** What an unknown thrown value says of itself, for logs and for messages that quote a cause. */
export function errorMessage(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
