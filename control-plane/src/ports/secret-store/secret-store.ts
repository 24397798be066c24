import type { Queries } from "../store/store.ts";

/** Secrets of owners: written by people, read by nobody but the functions that name them in their stack file. */
export interface SecretStore {
  /**
   * @param within the transaction that records the act, where secrets are in the store.
   * @throws KnownError `secret-invalid` where the name or the size does not do.
   */
  set(ownerId: string, name: string, value: string, within?: Queries): Promise<void>;
  remove(ownerId: string, name: string, within?: Queries): Promise<void>;
  /** Names, in order; never values. */
  list(ownerId: string): Promise<readonly { readonly name: string; readonly updatedAt: number }[]>;
  /** Values of those among `names` that this owner has. */
  reveal(ownerId: string, names: readonly string[]): Promise<Readonly<Record<string, string>>>;
}
