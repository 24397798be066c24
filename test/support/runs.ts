import { readdirSync } from "node:fs";
import { join } from "node:path";
import { DatabaseSync } from "node:sqlite";
import { must } from "@openfaas-cloud/shared/must.ts";

export interface RunRecord {
  readonly id: string;
  readonly commit: string;
  readonly state: string;
  readonly reason: string | null;
  readonly attempts: number;
}

/** The runs as they are stored, oldest first: what is true also while the control plane is down. */
export function readRuns(platform: { readonly data: string }): RunRecord[] {
  const folder = join(platform.data, "control-plane");
  const file = must(
    readdirSync(folder).find((name) => /\.(sqlite3?|db)$/.test(name)),
    `a store in ${folder}`,
  );
  const store = new DatabaseSync(join(folder, file), { readOnly: true });
  try {
    store.exec("PRAGMA busy_timeout = 5000");
    const query =
      'SELECT id, commit_sha AS "commit", state, reason, attempts FROM runs ORDER BY created_at, generation';
    return store.prepare(query).all() as unknown as RunRecord[];
  } finally {
    store.close();
  }
}
