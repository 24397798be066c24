import { join } from "node:path";
import { temporaryFolder } from "../../test/support/temporary-folder.ts";
import { openSqlQueue } from "../src/ports/queue/sql.ts";
import { openSqliteStore } from "../src/ports/store/sqlite.ts";
import { RunFeed, type RunNews } from "../src/run-feed.ts";
import { describeQueue } from "./contracts/queue.ts";
import { addOwners } from "./support/owners.ts";

describeQueue("sqlite", async () => {
  const dir = await temporaryFolder();
  const store = await openSqliteStore(join(dir.path, "store.sqlite"));
  await addOwners(store);
  let now = Date.now();
  const feed = new RunFeed();
  const news: [string, RunNews][] = [];
  feed.onChange((...one) => void news.push(one));
  return {
    store,
    news,
    queue: openSqlQueue({ store, feed, now: () => now }),
    advance: (ms) => {
      now += ms;
    },
    async [Symbol.asyncDispose]() {
      await store.destroy();
      await dir[Symbol.asyncDispose]();
    },
  };
});
