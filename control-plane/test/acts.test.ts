import { sql } from "kysely";
import { expect, test } from "vitest";
import { makeSignInCode } from "../src/access/credentials.ts";
import { newId } from "../src/ids.ts";
import { type AccessServer, openAccessServer } from "./support/access-server.ts";
import type { Browser } from "./support/browser.ts";

const fillTrail = ({ store }: AccessServer) =>
  sql`create trigger full before insert on audit_events begin select raise(abort, 'full'); end`.execute(
    store,
  );
const emptyTrail = ({ store }: AccessServer) => sql`drop trigger full`.execute(store);

/** A trail on a disk that is full, and the local person in a browser. */
async function openWithoutTrail(before: (browser: Browser) => Promise<void> = async () => undefined) {
  const it = await openAccessServer();
  const browser = it.browser();
  await browser.ask("mutation", "session.signIn", { code: await makeSignInCode(it.store, "local") });
  await before(browser);
  await fillTrail(it);
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

const sessionsOf = (it: AccessServer) => it.store.selectFrom("sessions").select("jti").execute();
const tokensOf = (it: AccessServer) => it.store.selectFrom("access_tokens").select("name").execute();
const TOKEN = { name: "ci", scopes: ["read"], expiresInDays: null };

test("an access token that the audit trail cannot tell of is not made", async () => {
  const { it, browser } = await openWithoutTrail();
  expect((await browser.call("mutation", "tokens.create", TOKEN)).status).toBe(500);
  expect(await tokensOf(it)).toEqual([]);
});

test("an access token goes on counting where the audit trail cannot tell that it was revoked", async () => {
  const { it, browser } = await openWithoutTrail((it) => it.ask("mutation", "tokens.create", TOKEN));
  const [token] = await it.store.selectFrom("access_tokens").select("id").execute();
  expect((await browser.call("mutation", "tokens.revoke", { id: token?.id })).status).toBe(500);
  expect(await tokensOf(it)).toEqual([{ name: "ci" }]);
  expect(it.routes.settings.revoked).toEqual([]);
});

test("nobody is signed in whom the audit trail cannot tell of, and the link is still good", async () => {
  const { it } = await openWithoutTrail();
  const code = await makeSignInCode(it.store, "local");
  const refused = await it.browser().call("mutation", "session.signIn", { code });
  expect(refused.status).toBe(500);
  expect(refused.headers["set-cookie"]).toBeUndefined();
  expect(await sessionsOf(it)).toHaveLength(1);
  await emptyTrail(it);
  await it.browser().ask("mutation", "session.signIn", { code });
  expect(await sessionsOf(it)).toHaveLength(2);
});

test("nobody is signed in with a source host whom the audit trail cannot tell of", async () => {
  const { it } = await openWithoutTrail();
  await expect(it.signedIn("ada")).rejects.toThrow("500");
  expect(await sessionsOf(it)).toHaveLength(1);
});

test.each(["session.signOut", "session.signOutEverywhere"])(
  "a session goes on where the audit trail cannot tell of %s",
  async (procedure) => {
    const { it, browser } = await openWithoutTrail();
    expect((await browser.call("mutation", procedure)).status).toBe(500);
    expect(await sessionsOf(it)).toHaveLength(1);
    expect(await browser.ask("query", "session.current")).not.toBeNull();
  },
);

test("another session goes on where the audit trail cannot tell that it was ended", async () => {
  const { it, browser } = await openWithoutTrail();
  await emptyTrail(it);
  await it.browser().ask("mutation", "session.signIn", { code: await makeSignInCode(it.store, "local") });
  await fillTrail(it);
  const listed = await browser.ask<{ id: string; isThis: boolean }[]>("query", "session.list");
  const other = listed.find(({ isThis }) => !isThis);
  expect((await browser.call("mutation", "session.end", { id: other?.id })).status).toBe(500);
  expect(await sessionsOf(it)).toHaveLength(2);
});

test("a person whose grant was taken back loses it, their owners and their sessions in one step", async () => {
  const it = await openAccessServer();
  it.host.setRole("ada", "x", "admin");
  await it.signedIn("ada");
  const ada = "git.test:ada";
  const left = async () => ({
    sessions: (await sessionsOf(it)).length,
    grants: (await it.store.selectFrom("person_grants").select("subject").execute()).length,
    owners: (await it.memberships.ownersOf(ada)).length,
  });
  const stuck = sql`create trigger stuck before delete on sessions begin select raise(abort, 'stuck'); end`;
  await stuck.execute(it.store);
  it.host.revokeGrantsOf("ada");
  await it.memberships.refresh(ada);
  expect(await left()).toEqual({ sessions: 1, grants: 1, owners: 1 });
  await sql`drop trigger stuck`.execute(it.store);
  await it.memberships.refresh(ada);
  expect(await left()).toEqual({ sessions: 0, grants: 0, owners: 0 });
});
