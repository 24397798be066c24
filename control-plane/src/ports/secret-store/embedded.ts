import { createCipheriv, createDecipheriv, randomBytes } from "node:crypto";
import { KnownError } from "@openfaas-cloud/shared/known-error.ts";
import type { Store } from "../store/store.ts";
import type { SecretStore } from "./secret-store.ts";

const NAME = /^[a-z0-9]([a-z0-9._-]{0,251}[a-z0-9])?$/;
const MAX_BYTES = 256 * 1024;
/** Values shorter than this cannot be masked in a log without masking half of it. */
const MIN_BYTES = 8;
const CIPHER = "aes-256-gcm";
const NONCE_BYTES = 12;
const TAG_BYTES = 16;

/**
 * Secrets in the store, each sealed with AES-256-GCM under a key that is kept outside of it. Owner and name are bound in as
 * associated data, so that a sealed value moved to another row does not open.
 */
export function openEmbeddedSecretStore(store: Store, key: Buffer): SecretStore {
  return {
    async set(ownerId, name, value) {
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
        sealed: seal(key, binding(ownerId, name), value),
        updated_at: Date.now(),
      };
      await store
        .insertInto("secrets")
        .values(row)
        .onConflict((conflict) => conflict.columns(["owner_id", "name"]).doUpdateSet(row))
        .execute();
    },

    async remove(ownerId, name) {
      await store.deleteFrom("secrets").where("owner_id", "=", ownerId).where("name", "=", name).execute();
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
      return Object.fromEntries(
        rows.map((row) => [row.name, open(key, binding(ownerId, row.name), row.sealed)]),
      );
    },
  };
}

function binding(ownerId: string, name: string): Buffer {
  return Buffer.from(JSON.stringify([ownerId, name]));
}

function seal(key: Buffer, bound: Buffer, value: string): string {
  const nonce = randomBytes(NONCE_BYTES);
  const cipher = createCipheriv(CIPHER, key, nonce).setAAD(bound);
  const sealed = Buffer.concat([cipher.update(value, "utf8"), cipher.final()]);
  return Buffer.concat([nonce, cipher.getAuthTag(), sealed]).toString("base64");
}

function open(key: Buffer, bound: Buffer, sealed: string): string {
  const bytes = Buffer.from(sealed, "base64");
  const decipher = createDecipheriv(CIPHER, key, bytes.subarray(0, NONCE_BYTES))
    .setAAD(bound)
    .setAuthTag(bytes.subarray(NONCE_BYTES, NONCE_BYTES + TAG_BYTES));
  return Buffer.concat([decipher.update(bytes.subarray(NONCE_BYTES + TAG_BYTES)), decipher.final()]).toString(
    "utf8",
  );
}
