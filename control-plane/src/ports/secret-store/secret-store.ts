/** Secrets of owners: written by people, read by nobody but the functions that name them in their stack file. */
export interface SecretStore {
  /** @throws KnownError `secret-invalid` where the name or the size does not do. */
  set(ownerId: string, name: string, value: string): Promise<void>;
  remove(ownerId: string, name: string): Promise<void>;
  /** Names, in order; never values. */
  list(ownerId: string): Promise<readonly { readonly name: string; readonly updatedAt: number }[]>;
  /** Values of those among `names` that this owner has. */
  reveal(ownerId: string, names: readonly string[]): Promise<Readonly<Record<string, string>>>;
}
