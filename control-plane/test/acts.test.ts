import { sql } from "kysely";
import { expect, test } from "vitest";
import { makeSignInCode } from "../src/access/credentials.ts";
import { newId } from "../src/ids.ts";
import { openAccessServer } from "./support/access-server.ts";

/** A trail on a disk that is full. */
async function openWithoutTrail() {
  const it = await openAccessServer();
  const browser = it.browser();
  await it.store
    .insertInto("people")
    .values({ subject: "local", name: "local", created_at: 0 })
    .onConflict((conflict) => conflict.doNothing())
    .execute();
  await it.store
    .insertInto("memberships")
    .values({ person: "local", owner_id: "owner-a", role: "admin" })
    .onConflict((conflict) => conflict.doNothing())
    .execute();
  await browser.ask("mutation", "session.signIn", { code: await makeSignInCode(it.store, "local") });
  await sql`create trigger full before insert on audit_events begin select raise(abort, 'full'); end`.execute(
    it.store,
  );
  return { it, browser };
}

test("a secret that the audit trail cannot tell of is not set", async () => {
  const { it, browser } = await openWithoutTrail();
  const secret = { owner: "a", name: "key", value: "long enough" };
  expect((await browser.call("mutation", "secrets.set", secret)).status).toBe(500);
  expect(await it.store.selectFrom("secrets").select("name").execute()).toEqual([]);
});

test("a redeploy that the audit trail cannot tell of does not happen", async () => {
  const { it, browser } = await openWithoutTrail();
  const id = newId();
  await it.store
    .insertInto("runs")
    .values({
      ...{ id, trigger: "push", owner_id: "owner-a", repository_id: "repository-a", branch: "main" },
      ...{ before_sha: null, commit_sha: "1".repeat(40), message: "", author: "a", person: "local" },
      ...{ generation: 1, state: "succeeded", reason_kind: null, reason: null, ignored_keys: "[]" },
      ...{ created_at: 0, started_at: 0, finished_at: 0, lease_holder: null, lease_until: null },
      ...{ attempts: 1, stop_reason: null },
    })
    .execute();
  expect((await browser.call("mutation", "runs.redeploy", { id })).status).toBe(500);
  expect(await it.store.selectFrom("runs").select("id").execute()).toEqual([{ id }]);
});
