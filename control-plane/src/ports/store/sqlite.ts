import { mkdirSync } from "node:fs";
import { dirname } from "node:path";
import { DatabaseSync, type SQLInputValue } from "node:sqlite";
import { Kysely, SqliteDialect } from "kysely";
import { migrate } from "./migrations.ts";
import type { Schema } from "./schema.ts";
import type { Store } from "./store.ts";

/** Opens the SQLite file (made where absent) and brings its schema up to date. Dispose of it with `destroy()`. */
export async function openSqliteStore(file: string): Promise<Store> {
  mkdirSync(dirname(file), { recursive: true, mode: 0o700 });
  const database = new DatabaseSync(file);
  database.exec("PRAGMA journal_mode = WAL");
  // FULL: a commit is on the disk before it is acknowledged, also when the power fails.
  database.exec("PRAGMA synchronous = FULL");
  database.exec("PRAGMA foreign_keys = ON");
  database.exec("PRAGMA busy_timeout = 5000");
  const store = storeOf(database);
  await migrate(store);
  return store;
}

/** Opens the SQLite file as it is, beside a platform that may be running, and so that nothing can be written to it. */
export function openSqliteForReading(file: string): Store {
  return storeOf(new DatabaseSync(file, { readOnly: true }));
}

function storeOf(database: DatabaseSync): Store {
  return new Kysely<Schema>({ dialect: new SqliteDialect({ database: kyselyDatabase(database) }) });
}

/** Kysely's SQLite dialect speaks better-sqlite3; this is node:sqlite in those words. */
function kyselyDatabase(database: DatabaseSync) {
  return {
    close: () => database.close(),
    prepare: (sql: string) => {
      const statement = database.prepare(sql);
      return {
        reader: statement.columns().length > 0,
        all: (parameters: readonly unknown[]) => statement.all(...(parameters as SQLInputValue[])),
        run: (parameters: readonly unknown[]) => statement.run(...(parameters as SQLInputValue[])),
        iterate: (parameters: readonly unknown[]) =>
          statement.iterate(...(parameters as SQLInputValue[])) as IterableIterator<unknown>,
      };
    },
  };
}
