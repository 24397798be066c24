import { randomBytes } from "node:crypto";
import { join } from "node:path";
import { expect, test } from "vitest";
import { temporaryFolder } from "../../test/support/temporary-folder.ts";
import { readStoredHosts, storeHost } from "../src/ports/source-host/stored-hosts.ts";
import { openSqliteStore } from "../src/ports/store/sqlite.ts";
import { Sealing } from "../src/sealing.ts";

test("a source host that was kept opens again, and under another key says which one does not", async () => {
  await using folder = await temporaryFolder();
  const store = await openSqliteStore(join(folder.path, "store.sqlite"));
  try {
    const sealing = new Sealing(randomBytes(32));
    const written = { kind: "gitlab", url: "https://git.test", token: "the-token", webhookTokens: "a-token" };
    await storeHost(store, sealing, written);
    expect(await readStoredHosts(store, sealing)).toMatchObject([
      { kind: "gitlab", url: "https://git.test" },
    ]);
    const asked = readStoredHosts(store, new Sealing(randomBytes(32)));
    await expect(asked).rejects.toMatchObject({
      kind: "data-unusable",
      message: expect.stringContaining("source host git.test cannot be opened"),
    });
  } finally {
    await store.destroy();
  }
});
