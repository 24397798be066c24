import { join } from "node:path";
import { temporaryFolder } from "../../test/support/temporary-folder.ts";
import { RunFeed } from "../src/pipeline/run-feed.ts";
import { openSqlQueue } from "../src/ports/queue/sql.ts";
import { openSqliteStore } from "../src/ports/store/sqlite.ts";
import { describeQueue } from "./contracts/queue.ts";
import { addOwners } from "./support/owners.ts";

describeQueue("sqlite", async () => {
  const dir = await temporaryFolder();
  const store = await openSqliteStore(join(dir.path, "store.sqlite"));
  await addOwners(store);
  let now = Date.now();
  return {
    store,
    queue: openSqlQueue({ store, feed: new RunFeed(), now: () => now }),
    advance: (ms) => {
      now += ms;
    },
    async [Symbol.asyncDispose]() {
      await store.destroy();
      await dir[Symbol.asyncDispose]();
    },
  };
});
