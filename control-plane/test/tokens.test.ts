import { AccessTokenAnswer } from "@openfaas-cloud/shared/access-token.ts";
import { OwnerSlug } from "@openfaas-cloud/shared/names.ts";
import { describe, expect, it } from "vitest";
import { createAccessToken, ensureAccessToken, makeSignInCode } from "../src/access/credentials.ts";
import type { GrantableScope } from "../src/access/scopes.ts";
import type { AccessTokenView, NewAccessTokenView, Person } from "../src/api/views.ts";
import { sha256 } from "../src/ids.ts";
import type { Role } from "../src/role.ts";
import { openPushGate } from "../src/webhooks/push-gate.ts";
import { type AccessServer, openAccessServer } from "./support/access-server.ts";
import type { Browser } from "./support/browser.ts";

const LOCAL = { subject: "local", name: "local" };
const START_TOKEN = "ofc_the-start-command-prints-this-one";

/** A server with the local person in a browser. */
async function openWithLocal() {
  const it = await openAccessServer();
  await ensureAccessToken(it.store, LOCAL, "start command", START_TOKEN);
  const browser = it.browser();
  await browser.ask("mutation", "session.signIn", { code: await makeSignInCode(it.store, "local") });
  return { it, browser };
}

const make = (browser: Browser, input: object) =>
  browser.ask<NewAccessTokenView>("mutation", "tokens.create", { expiresInDays: null, ...input });
const list = (browser: Browser) => browser.ask<AccessTokenView[]>("query", "tokens.list");
const withToken = (it: AccessServer, token: string, procedure = "owners.list") =>
  it.browser().call("query", procedure, undefined, { authorization: `Bearer ${token}` });
const toldToEdge = async (it: AccessServer, token: string) =>
  AccessTokenAnswer.parse((await it.askAsEdge(sha256(token))).body);

describe("an access token", () => {
  it("is shown once, kept as a hash, and listed with what it may and when it was used", async () => {
    const { it, browser } = await openWithLocal();
    const { id, token } = await make(browser, { name: "ci", scopes: ["invoke", "read"], expiresInDays: 30 });
    expect(token).toMatch(/^ofc_[\w-]{43}$/);
    const before = await list(browser);
    expect(JSON.stringify(before)).not.toContain(token);
    expect(before).toEqual([
      {
        id,
        name: "ci",
        scopes: ["read", "invoke"],
        createdAt: expect.any(Number),
        expiresAt: expect.any(Number),
      },
      {
        id: expect.any(String),
        name: "start command",
        scopes: expect.any(Array),
        createdAt: expect.any(Number),
      },
    ]);
    expect((before[0]?.expiresAt ?? 0) - (before[0]?.createdAt ?? 0)).toBeCloseTo(30 * 86_400_000, -4);
    expect(JSON.stringify(await it.store.selectFrom("access_tokens").selectAll().execute())).not.toContain(
      token,
    );
    expect((await withToken(it, token)).status).toBe(200);
    expect((await list(browser))[0]?.lastUsedAt).toBeGreaterThan(0);
    const events = await it.auditEvents();
    expect(events.at(-1)).toMatchObject({ actor: "local", action: "token.create", object: "local: ci" });
    expect(JSON.stringify(events)).not.toContain(token);
  });

  it("ends when it is revoked, here and at edges", async () => {
    const { it, browser } = await openWithLocal();
    const { id, token } = await make(browser, { name: "ci", scopes: ["read", "invoke"] });
    const known = await toldToEdge(it, token);
    await browser.ask("mutation", "tokens.revoke", { id });
    expect((await withToken(it, token)).status).toBe(401);
    expect(await toldToEdge(it, token)).toEqual({ kind: "unknown" });
    expect(known).toMatchObject({ kind: "known", id });
    expect(it.routes.settings.revoked).toEqual([id]);
    expect((await browser.call("mutation", "tokens.revoke", { id })).status).toBe(404);
  });

  it("ends when its time is over", async () => {
    const { it, browser } = await openWithLocal();
    const { id, token } = await make(browser, { name: "ci", scopes: ["read", "invoke"], expiresInDays: 1 });
    await it.store
      .updateTable("access_tokens")
      .set({ expires_at: Date.now() - 1 })
      .where("id", "=", id)
      .execute();
    expect((await withToken(it, token)).status).toBe(401);
    expect(await toldToEdge(it, token)).toEqual({ kind: "unknown" });
  });

  it("opens functions only where it may invoke", async () => {
    const { it, browser } = await openWithLocal();
    const { token } = await make(browser, { name: "ci", scopes: ["read", "write", "push"] });
    expect(await toldToEdge(it, token)).toEqual({ kind: "unknown", lacks: "invoke" });
    expect(await toldToEdge(it, START_TOKEN)).toMatchObject({ kind: "known", organizations: ["a"] });
  });

  it("signs nobody in, since a session may do more than it", async () => {
    const { it, browser } = await openWithLocal();
    const { token } = await make(browser, { name: "all", scopes: ["read", "write", "push", "invoke"] });
    const stranger = it.browser();
    const refused = await stranger.call("mutation", "session.signIn", { token });
    expect(refused.status).toBe(401);
    expect(refused.body).toContain("for programs");
    expect(refused.headers["set-cookie"]).toBeUndefined();
    expect(await stranger.ask<Person>("mutation", "session.signIn", { token: START_TOKEN })).toEqual({
      subject: "local",
      name: "local",
      owners: [{ slug: "a", role: "admin" }],
      isOperator: true,
    });
  });

  it.each([
    ["with the scope to sign in", { scopes: ["sign-in"] }],
    ["with a scope that there is not", { scopes: ["read", "everything"] }],
    ["with no scope", { scopes: [] }],
    ["for longer than a year", { expiresInDays: 366 }],
    ["for no time", { expiresInDays: 0 }],
    ["without a name", { name: " " }],
    ["with a name that is not printable", { name: "a\u0000b" }],
    ["with the start command's name, which would be replaced", { name: "start command" }],
  ])("is not made %s", async (_how, wrong) => {
    const { it, browser } = await openWithLocal();
    const input = { name: "ci", scopes: ["read"], expiresInDays: null, ...wrong };
    const refused = await browser.call("mutation", "tokens.create", input);
    expect(refused.status).toBe(400);
    // For people, and no JSON of the schema's.
    const { message } = JSON.parse(refused.body).error;
    expect(message).toMatch(/^[a-z][^{[]*\.$/i);
    expect(await it.store.selectFrom("access_tokens").select("name").execute()).toHaveLength(1);
  });

  it("of the start command stays revoked when the next start brings it again", async () => {
    const { it, browser } = await openWithLocal();
    const [start] = await list(browser);
    await browser.ask("mutation", "tokens.revoke", { id: start?.id });
    expect((await withToken(it, START_TOKEN)).status).toBe(401);
    expect(await ensureAccessToken(it.store, LOCAL, "start command", START_TOKEN)).toBe(false);
    expect((await withToken(it, START_TOKEN)).status).toBe(401);
    expect(await toldToEdge(it, START_TOKEN)).toEqual({ kind: "unknown" });
    const next = `${START_TOKEN}-next`;
    expect(await ensureAccessToken(it.store, LOCAL, "start command", next)).toBe(true);
    expect((await withToken(it, next)).status).toBe(200);
    expect(await list(browser)).toHaveLength(1);
  });

  it("is one of a hundred at most", async () => {
    const { it } = await openWithLocal();
    const wanted = (name: string) => ({ name, scopes: ["read"] as const, expiresAt: null });
    for (let i = 1; i < 100; i++) await createAccessToken(it.store, "local", wanted(`token ${i}`));
    await expect(createAccessToken(it.store, "local", wanted("one more"))).rejects.toMatchObject({
      kind: "token-refused",
    });
  });
});

describe("what brings an access token to the API", () => {
  const basic = (pair: string) => `Basic ${Buffer.from(pair).toString("base64")}`;

  async function openWithToken(scopes: readonly GrantableScope[] = ["read", "write"]) {
    const { it, browser } = await openWithLocal();
    const { token } = await make(browser, { name: "ci", scopes });
    /** As a program does, which says nothing of pages; `from` is what a browser adds. */
    const call = (kind: "query" | "mutation", authorization: string, from: Record<string, string> = {}) => {
      const set = { owner: "a", name: "key", value: "long enough" };
      return fetch(`${it.origin}/api/trpc/${kind === "query" ? "owners.list" : "secrets.set"}`, {
        method: kind === "query" ? "GET" : "POST",
        headers: { authorization, "content-type": "application/json", ...from },
        ...(kind === "query" ? {} : { body: JSON.stringify(set) }),
      });
    };
    return { it, browser, token, call };
  }

  it.each([
    ["a bearer", (token: string) => `Bearer ${token}`],
    ["a bearer in another spelling", (token: string) => `bearer ${token}`],
    ["the password of a Basic pair", (token: string) => basic(`x:${token}`)],
    ["the user name of one, as URLs have it", (token: string) => basic(`${token}:`)],
  ])("is %s", async (_what, write) => {
    const { token, call } = await openWithToken();
    expect((await call("query", write(token))).status).toBe(200);
    expect((await call("mutation", write(token))).status).toBe(200);
  });

  it("is no pair that a page of another site had a browser send", async () => {
    const { it, token, call } = await openWithToken();
    for (const from of [
      { "sec-fetch-site": "same-site" },
      { "sec-fetch-site": "cross-site" },
      { origin: "http://mallory.cloud.test:8080" },
      { origin: "null" },
    ]) {
      expect((await call("mutation", basic(`x:${token}`), from)).status).toBe(403);
      expect((await call("query", basic(`x:${token}`), from)).status).toBe(403);
    }
    // The two things that a form can send without asking first.
    for (const type of ["text/plain", "application/x-www-form-urlencoded"])
      expect((await call("mutation", basic(`x:${token}`), { "content-type": type })).status).toBe(415);
    expect(await it.store.selectFrom("secrets").select("name").execute()).toEqual([]);
  });

  it("is asked of no browser, which would remember it and send it of itself", async () => {
    const { it } = await openWithToken();
    const refused = await fetch(`${it.origin}/api/trpc/owners.list`);
    expect(refused.status).toBe(401);
    expect(refused.headers.get("www-authenticate")).toBeNull();
    expect(await refused.text()).toContain("as a bearer or as the password of HTTP Basic");
  });

  it("is told from one that does not count, and no cookie stands in for that", async () => {
    const { it, browser, call } = await openWithToken();
    for (const wrong of [basic("x:ofc_not-one-that-was-ever-made"), "Bearer guess"]) {
      const refused = await call("query", wrong);
      expect(refused.status).toBe(401);
      expect(await refused.text()).toContain(
        "This access token is not known, or it was revoked or has expired",
      );
      expect((await browser.call("query", "owners.list", undefined, { authorization: wrong })).status).toBe(
        401,
      );
    }
    expect((await withToken(it, "ofc_not-one-that-was-ever-made")).status).toBe(401);
  });

  it.each([
    ["Basic", basic("ada:password")],
    ["Negotiate", "Negotiate YII="],
  ])("is not what a browser says to a proxy in front (%s): the cookie counts then", async (_scheme, said) => {
    const { browser, call } = await openWithToken();
    const answer = await browser.call("query", "owners.list", undefined, { authorization: said });
    expect(answer.status).toBe(200);
    const refused = await call("query", said);
    expect(await refused.text()).toContain("You are not signed in");
  });

  it.each([
    ["write", ["read"], "mutation"],
    ["read", ["write"], "query"],
  ] as const)("says that it lacks the scope %s", async (lacking, scopes, kind) => {
    const { token, call } = await openWithToken(scopes);
    const refused = await call(kind, basic(`x:${token}`));
    expect(refused.status).toBe(403);
    expect(await refused.text()).toContain(`This access token lacks the scope ${lacking}`);
  });
});

describe("git, by an access token", () => {
  const all: readonly GrantableScope[] = ["read", "write", "push", "invoke"];

  it.each([
    ["admin", all, { read: true, write: true }],
    ["developer", ["push"], { read: true, write: true }],
    ["developer", ["read"], { read: true, write: false }],
    ["developer", ["write", "invoke"], { read: false, write: false }],
    ["viewer", all, { read: true, write: false }],
    [undefined, all, { read: false, write: false }],
  ] as const)("of a person who is %s, for %s, may %j", async (role: Role | undefined, scopes, may) => {
    const it = await openAccessServer();
    const { store, api } = it;
    await store.insertInto("people").values({ subject: "ada", name: "ada", created_at: 0 }).execute();
    if (role !== undefined)
      await store.insertInto("memberships").values({ person: "ada", owner_id: "owner-b", role }).execute();
    const { token } = await createAccessToken(store, "ada", { name: "ci", scopes, expiresAt: null });
    const gate = openPushGate(api);
    const person = await gate.authenticate(token);
    if (person === undefined) throw new Error("the token is not known");
    const owner = OwnerSlug.parse("b");
    expect({
      read: await gate.mayAccess(person, owner, "read"),
      write: await gate.mayAccess(person, owner, "write"),
    }).toEqual(may);
    expect(await gate.mayAccess(person, OwnerSlug.parse("a"), "read")).toBe(false);
  });

  it("does not reach owners of other hosts, and tells their members alone where their repositories are", async () => {
    const it = await openAccessServer();
    it.host.setRole("ada", "x", "admin");
    await it.signedIn("ada");
    const wanted = { name: "ci", scopes: all, expiresAt: null };
    const { token } = await createAccessToken(it.store, "git.test:ada", wanted);
    const gate = openPushGate(it.api);
    const person = await gate.authenticate(token);
    if (person === undefined) throw new Error("the token is not known");
    const [x, y] = [OwnerSlug.parse("x"), OwnerSlug.parse("y")];
    expect(await gate.mayAccess(person, x, "read")).toBe(false);
    expect(await gate.whyNot(person, x)).toContain("The repositories of x live at git.test: push there.");
    expect(await gate.whyNot(person, y)).toBeUndefined();
    expect(await gate.whyNot(person, OwnerSlug.parse("a"))).toBeUndefined();
    it.host.setRole("ada", "x", undefined);
    await it.memberships.staleFor({ instance: "git.test", person: "ada" });
    expect(await gate.whyNot(person, x)).toBeUndefined();
  });
});
