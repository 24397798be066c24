import type { Kysely, Transaction } from "kysely";
import type { Schema } from "./schema.ts";

/**
 * Where the control plane remembers. Queries are written once, in Kysely, and kept with the thing they are about
 * (`owners.ts`, `functions.ts` …); an adapter is a dialect with the guarantees below.
 *
 * A commit is on the disk when its promise resolves. Transactions are serialisable. A query sees every commit that
 * resolved before it began.
 */
export type Store = Kysely<Schema>;

/** The store, or a transaction under way in it. */
export type Queries = Store | Transaction<Schema>;
