import { KnownError } from "@openfaas-cloud/shared/known-error.ts";
import type { Sealing } from "../../sealing.ts";
import type { Queries, Store } from "../store/store.ts";
import { HostConfig, instanceOf } from "./host-config.ts";

const PURPOSE = "source-host";

/** The source hosts that were added from the dashboard, oldest first. @throws KnownError `data-unusable` */
export async function readStoredHosts(store: Store, sealing: Sealing): Promise<readonly HostConfig[]> {
  const rows = await store.selectFrom("source_hosts").selectAll().orderBy("created_at").execute();
  return rows.map(({ instance, sealed }) => {
    try {
      return HostConfig.parse(JSON.parse(sealing.open([PURPOSE, instance], sealed)));
    } catch {
      // Not its cause, which may quote what was opened.
      throw new KnownError(
        "data-unusable",
        `What is kept of the source host ${instance} cannot be opened: it was sealed under another key, or changed. ` +
          "Put back the data folder's keys as they were when it was added.",
      );
    }
  });
}

/**
 * Keeps a source host for good, its secrets sealed.
 * @param written as an entry of the operator's file.
 * @returns the parsed one, or `undefined` where one of this instance is kept already.
 */
export async function storeHost(
  store: Queries,
  sealing: Sealing,
  written: unknown,
): Promise<HostConfig | undefined> {
  const config = HostConfig.parse(written);
  const instance = instanceOf(config);
  const stored = await store
    .insertInto("source_hosts")
    .values({
      instance,
      kind: config.kind,
      sealed: sealing.seal([PURPOSE, instance], JSON.stringify(written)),
      created_at: Date.now(),
    })
    .onConflict((conflict) => conflict.doNothing())
    .executeTakeFirst();
  return stored.numInsertedOrUpdatedRows === 1n ? config : undefined;
}
