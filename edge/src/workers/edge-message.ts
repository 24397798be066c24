import type { ReadyMessage } from "@openfaas-cloud/shared/process-message.ts";

/**
 * What an edge process that was started by another one tells it over the IPC channel. Both are of this program, though a
 * worker may be of a newer version than its primary: what a primary does not know it passes over.
 */
export type FromEdge =
  /** It accepts. */
  | ReadyMessage
  /** It has a table to serve from. Once. */
  | { readonly kind: "serving" }
  /** How many client connections it has. */
  | { readonly kind: "connections"; readonly open: number }
  /** Everything it has counted, as its last word. */
  | { readonly kind: "last-counts"; readonly metrics: string };

/** What a primary tells a worker. */
export interface FromPrimary {
  /** How many client connections that one of the others has which has the fewest. */
  readonly kind: "fewest";
  readonly open: number;
}

/** Resolves when it was said, or when there is nobody to say it to. */
export function tellParent(message: FromEdge): Promise<void> {
  return new Promise((resolve) => {
    if (process.send === undefined) resolve();
    else process.send(message, () => resolve());
  });
}
