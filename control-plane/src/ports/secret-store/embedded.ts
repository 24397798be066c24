import { KnownError } from "@openfaas-cloud/shared/known-error.ts";
import type { Sealing } from "../../sealing.ts";
import type { Store } from "../store/store.ts";
import type { SecretStore } from "./secret-store.ts";

const NAME = /^[a-z0-9]([a-z0-9._-]{0,251}[a-z0-9])?$/;
const MAX_BYTES = 256 * 1024;
/** Values shorter than this cannot be masked in a log without masking half of it. */
const MIN_BYTES = 8;

/** Secrets in the store, each sealed for its owner and name, so that a value moved to another row does not open. */
export function openEmbeddedSecretStore(store: Store, sealing: Sealing): SecretStore {
  return {
    async set(ownerId, name, value, within = store) {
      if (!NAME.test(name)) {
        throw new KnownError(
          "secret-invalid",
          "A secret's name is a file name of a-z, 0-9, '.', '_' and '-'.",
        );
      }
      const bytes = Buffer.byteLength(value);
      if (bytes < MIN_BYTES || bytes > MAX_BYTES) {
        throw new KnownError(
          "secret-invalid",
          `A secret has ${MIN_BYTES} bytes at least and 256 KiB at most.`,
        );
      }
      const row = {
        owner_id: ownerId,
        name,
        sealed: sealing.seal([ownerId, name], value),
        updated_at: Date.now(),
      };
      await within
        .insertInto("secrets")
        .values(row)
        .onConflict((conflict) => conflict.columns(["owner_id", "name"]).doUpdateSet(row))
        .execute();
    },

    async remove(ownerId, name, within = store) {
      await within.deleteFrom("secrets").where("owner_id", "=", ownerId).where("name", "=", name).execute();
    },

    async list(ownerId) {
      const rows = await store
        .selectFrom("secrets")
        .select(["name", "updated_at"])
        .where("owner_id", "=", ownerId)
        .orderBy("name")
        .execute();
      return rows.map((row) => ({ name: row.name, updatedAt: row.updated_at }));
    },

    async reveal(ownerId, names) {
      if (names.length === 0) return {};
      const rows = await store
        .selectFrom("secrets")
        .selectAll()
        .where("owner_id", "=", ownerId)
        .where("name", "in", [...names])
        .execute();
      return Object.fromEntries(rows.map((row) => [row.name, sealing.open([ownerId, row.name], row.sealed)]));
    },
  };
}
