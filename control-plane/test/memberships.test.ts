import { AccessTokenAnswer } from "@openfaas-cloud/shared/access-token.ts";
import { SESSION_COOKIE } from "@openfaas-cloud/shared/session.ts";
import { decodeJwt } from "jose";
import { describe, expect, it } from "vitest";
import { eventually } from "../../test/support/eventually.ts";
import type { OwnerView, Person } from "../src/api/views.ts";
import { sha256 } from "../src/ids.ts";
import { HostUnavailable } from "../src/ports/source-host/host-errors.ts";
import { type AccessServer, openAccessServer } from "./support/access-server.ts";
import type { Browser } from "./support/browser.ts";
import { addRun } from "./support/owners.ts";
import { NOT_ANSWERING } from "./support/sign-in-host.ts";

const ADA = "git.test:ada";

const personIn = (browser: Browser) => browser.ask<Person | null>("query", "session.current");
const cookieOf = (browser: Browser) => browser.cookiesOf("system.cloud.test").get(SESSION_COOKIE) ?? "";
const claimsOf = (browser: Browser) => decodeJwt<{ organizations: string[] }>(cookieOf(browser));
const ownersIn = async (browser: Browser) =>
  (await browser.ask<OwnerView[]>("query", "owners.list")).map(({ slug, role }) => `${slug}: ${role}`);
const asksAbout = (it: AccessServer, person: string) =>
  it.host.ledger.filter((entry) => entry.call === "access" && entry.person === person).length;

/** As the store has it, counted or not. */
const rolesOf = (it: AccessServer, person: string) =>
  it.store.selectFrom("memberships").select("owner_id").where("person", "=", person).execute();

/** Ada is an admin of `x` and a developer of `y`, in a browser. */
async function openWithAda(options: Parameters<typeof openAccessServer>[0] = {}) {
  const it = await openAccessServer(options);
  it.host.setRole("ada", "x", "admin");
  it.host.setRole("ada", "y", "developer");
  const browser = await it.signedIn("ada");
  return { it, browser };
}

/** People who signed in with the other host and are still about. */
async function addPeopleOfOther(it: AccessServer, count: number) {
  const { instance } = it.other;
  for (let i = 0; i < count; i++) {
    const person = { subject: `${instance}:p${i}`, name: `p${i}` };
    const grant = { accessToken: `grant.p${i}.1`, refreshToken: undefined, expiresAt: undefined };
    await it.store
      .insertInto("people")
      .values({ ...person, created_at: 0 })
      .execute();
    await it.memberships.keep(person.subject, instance, { grant, owners: [] }, { actor: person.subject });
    await it.store
      .updateTable("person_grants")
      .set({ checked_at: 0 })
      .where("instance", "=", instance)
      .execute();
    await it.sessions.begin(person, { address: "", userAgent: "" });
  }
}

async function makeToken(browser: Browser, scopes: readonly string[] = ["read", "invoke"]) {
  const input = { name: scopes.join(" "), scopes, expiresInDays: 1 };
  const { token } = await browser.ask<{ token: string }>("mutation", "tokens.create", input);
  return token;
}

async function toldToEdge(it: AccessServer, token: string) {
  const { status, body } = await it.askAsEdge(sha256(token));
  expect(status).toBe(200);
  const answer = AccessTokenAnswer.parse(body);
  if (answer.kind !== "known") throw new Error("the edge does not know the token");
  return answer;
}

describe("what a person may do", () => {
  it("is asked anew when a request finds it older than 45 s, once for requests that come together", async () => {
    const { it, browser } = await openWithAda();
    expect(asksAbout(it, "ada")).toBe(1);
    it.clock.advance({ seconds: 44 });
    await ownersIn(browser);
    expect(asksAbout(it, "ada")).toBe(1);
    it.clock.advance({ seconds: 2 });
    await Promise.all(Array.from({ length: 8 }, () => ownersIn(browser)));
    expect(asksAbout(it, "ada")).toBe(2);
  });

  it("counts for owners that are linked here alone, and for one that is linked later from then on", async () => {
    const { it, browser } = await openWithAda();
    it.host.setRole("ada", "later", "viewer");
    it.clock.advance({ minutes: 1 });
    expect(await ownersIn(browser)).toEqual(["x: admin", "y: developer"]);
    const later = { id: "owner-later", source_owner_id: "later", login: "later", slug: "later" };
    await it.store
      .insertInto("owners")
      .values({ ...later, source_host: "git.test", created_at: 0 })
      .execute();
    it.clock.advance({ minutes: 1 });
    expect(await ownersIn(browser)).toEqual(["later: viewer", "x: admin", "y: developer"]);
  });

  it("is not taken for what the same name may do at another host", async () => {
    const it = await openAccessServer();
    it.host.setRole("ada", "a", "admin");
    expect(await ownersIn(await it.signedIn("ada"))).toEqual([]);
  });

  it("counts at its higher role where the host names an owner twice", async () => {
    const { it } = await openWithAda();
    const owner = { sourceId: "x", login: "x", kind: "organization" } as const;
    await it.memberships.keep(
      ADA,
      "git.test",
      {
        grant: { accessToken: "grant.ada.1", refreshToken: undefined, expiresAt: undefined },
        owners: (["viewer", "admin", "developer"] as const).map((role) => ({ owner, role })),
      },
      { actor: ADA },
    );
    expect((await it.memberships.ownersOf(ADA)).map(({ slug, role }) => [slug, role])).toEqual([
      ["x", "admin"],
    ]);
  });
});

describe("an owner that a person loses", () => {
  it("is gone for the next request after a delivery says so; the session goes on, with another token", async () => {
    const { it, browser } = await openWithAda();
    const before = cookieOf(browser);
    it.host.setRole("ada", "x", undefined);
    await it.memberships.staleFor({ instance: "git.test", person: "ada" });
    expect((await browser.call("query", "secrets.list", { owner: "x" })).status).toBe(404);
    expect(await ownersIn(browser)).toEqual(["y: developer"]);
    expect(cookieOf(browser)).not.toBe(before);
    expect(claimsOf(browser).organizations).toEqual(["y"]);
    expect(it.routes.settings.revoked).toEqual([decodeJwt(before).jti]);
    expect(await rolesOf(it, ADA)).toEqual([{ owner_id: "owner-y" }]);
  });

  it("is a line of that owner's audit", async () => {
    const { it } = await openWithAda();
    it.host.setRole("ada", "x", undefined);
    await it.memberships.refresh(ADA);
    const event = (await it.auditEvents()).at(-1);
    expect(event).toMatchObject({
      actor: "git.test",
      action: "membership.change",
      object: "git.test:ada at x",
      result: "no member any more",
      owner_id: "owner-x",
    });
    expect(JSON.parse(event?.details ?? "")).toEqual({ before: "admin", after: null });
  });

  it("is gone for those who ask nothing here, within a minute and without a delivery", async () => {
    const { it, browser } = await openWithAda();
    const before = decodeJwt(cookieOf(browser)).jti;
    it.memberships.start();
    it.host.setRole("ada", "x", undefined);
    it.clock.advance({ seconds: 30 });
    expect(it.routes.settings.revoked).toEqual([]);
    it.clock.advance({ seconds: 10 });
    await eventually("edges are told", () => it.routes.settings.revoked.includes(before ?? ""));
  });

  it("is gone at once for those who ask nothing here, after a delivery about the person or the owner", async () => {
    const { it, browser } = await openWithAda();
    it.memberships.start();
    const before = decodeJwt(cookieOf(browser)).jti ?? "";
    it.host.setRole("ada", "x", undefined);
    await it.memberships.staleFor({ instance: "git.test", owner: "x" });
    await eventually("edges are told", () => it.routes.settings.revoked.includes(before));
    await personIn(browser);
    const next = decodeJwt(cookieOf(browser)).jti ?? "";
    it.host.setRole("ada", "y", undefined);
    await it.memberships.staleFor({ instance: "git.test", person: "ada" });
    await eventually("edges are told", () => it.routes.settings.revoked.includes(next));
  });

  it("ends what edges remember of the person's access tokens, and not the tokens", async () => {
    const { it, browser } = await openWithAda();
    const token = await makeToken(browser);
    const before = await toldToEdge(it, token);
    expect(before.organizations).toEqual(["x", "y"]);
    it.host.setRole("ada", "x", undefined);
    await it.memberships.staleFor({ instance: "git.test" });
    const after = await toldToEdge(it, token);
    expect(after.organizations).toEqual(["y"]);
    expect(it.routes.settings.revoked).toContain(before.id);
    expect(it.routes.settings.revoked).not.toContain(after.id);
  });

  it("cuts the streams that are open, and whoever asks again is judged anew", async () => {
    const { it, browser } = await openWithAda();
    await addRun(it.store, { id: "run-x", owner: "x" });
    const follow = () => {
      const input = encodeURIComponent(JSON.stringify({ id: "run-x" }));
      const headers = { cookie: `${SESSION_COOKIE}=${cookieOf(browser)}`, "sec-fetch-site": "same-origin" };
      return fetch(`${it.origin}/api/trpc/runs.follow?input=${input}`, { headers });
    };
    const stream = await follow();
    expect(stream.status).toBe(200);
    const reader = (stream.body ?? new ReadableStream()).getReader();
    await reader.read();
    it.host.setRole("ada", "x", undefined);
    await it.memberships.refresh(ADA);
    await expect(untilItsEnd(reader)).rejects.toThrow();
    await personIn(browser);
    // As streams say it, so that a browser hears of it.
    expect(await (await follow()).text()).toContain('"httpStatus":404');
  });

  it("is lost by nobody else", async () => {
    const { it, browser } = await openWithAda();
    it.host.setRole("bob", "x", "viewer");
    const bob = await it.signedIn("bob");
    it.host.setRole("ada", "x", undefined);
    await it.memberships.staleFor({ instance: "git.test", owner: "x" });
    expect(await ownersIn(bob)).toEqual(["x: viewer"]);
    expect(await ownersIn(browser)).toEqual(["y: developer"]);
    expect(it.routes.settings.revoked).toEqual([expect.any(String)]);
  });
});

describe("a role that changes", () => {
  it("counts at once, and edges, which know owners alone, are told nothing", async () => {
    const { it, browser } = await openWithAda();
    const secret = { owner: "y", name: "key", value: "long enough" };
    expect((await browser.call("mutation", "secrets.set", secret)).status).toBe(200);
    it.host.setRole("ada", "y", "viewer");
    await it.memberships.staleFor({ instance: "git.test" });
    const refused = await browser.call("mutation", "secrets.set", secret);
    expect(refused.status).toBe(403);
    expect(refused.body).toContain("You are a viewer of y, and this is for a developer.");
    expect((await browser.call("query", "secrets.list", { owner: "y" })).status).toBe(200);
    expect(it.routes.settings.revoked).toEqual([]);
  });

  it("and an owner that is gained is in the session's next token, which comes at once", async () => {
    const it = await openAccessServer();
    const browser = await it.signedIn("ada");
    expect(claimsOf(browser).organizations).toEqual([]);
    it.host.setRole("ada", "x", "viewer");
    await it.memberships.staleFor({ instance: "git.test", person: "ada" });
    expect(await ownersIn(browser)).toEqual(["x: viewer"]);
    expect(claimsOf(browser).organizations).toEqual(["x"]);
    expect(it.routes.settings.revoked).toEqual([]);
  });
});

describe("a grant that is taken back", () => {
  it("signs its person out everywhere, and leaves nothing that their tokens open", async () => {
    const { it, browser } = await openWithAda();
    const another = await it.signedIn("ada");
    const bob = await it.signedIn("bob");
    const token = await makeToken(browser);
    const { id } = await toldToEdge(it, token);
    it.host.revokeGrantsOf("ada");
    it.clock.advance({ minutes: 1 });
    expect(await personIn(browser)).toBeNull();
    expect(await personIn(another)).toBeNull();
    expect(await personIn(bob)).not.toBeNull();
    expect(it.routes.settings.revoked).toContain(id);
    expect((await it.askAsEdge(sha256(token))).body).toEqual({ kind: "unknown" });
    expect(await it.store.selectFrom("person_grants").select("subject").execute()).toEqual([
      { subject: "git.test:bob" },
    ]);
    expect(await rolesOf(it, ADA)).toEqual([]);
  });

  it("leaves nothing of an operator's powers to their tokens, within a minute", async () => {
    const { it, browser } = await openWithAda({ operators: [ADA] });
    const token = await makeToken(browser, ["read"]);
    const ask = () =>
      it.browser().call("query", "hosts.status", undefined, { authorization: `Bearer ${token}` });
    expect((await ask()).status).toBe(200);
    it.host.revokeGrantsOf("ada");
    it.clock.advance({ minutes: 1 });
    expect((await ask()).status).toBe(401);
    await it.signedIn("ada");
    expect((await ask()).status).toBe(200);
  });

  it("closes functions for everybody who is signed in to tokens of a person without owners, at once", async () => {
    const it = await openAccessServer();
    const token = await makeToken(await it.signedIn("ada"));
    const { id } = await toldToEdge(it, token);
    it.host.revokeGrantsOf("ada");
    await it.memberships.refresh(ADA);
    expect(it.routes.settings.revoked).toContain(id);
    expect((await it.askAsEdge(sha256(token))).body).toEqual({ kind: "unknown" });
  });

  it("is forgotten when its person signs in anew", async () => {
    const { it } = await openWithAda();
    it.host.revokeGrantsOf("ada");
    await it.memberships.refresh(ADA);
    expect(await ownersIn(await it.signedIn("ada"))).toEqual(["x: admin", "y: developer"]);
  });

  it("is not taken for the newer one that came while it was asked about", async () => {
    const { it } = await openWithAda();
    const gate = Promise.withResolvers<void>();
    it.host.gate = gate.promise;
    const asking = it.memberships.refresh(ADA);
    await eventually("the host is asked", () => asksAbout(it, "ada") === 2);
    it.host.gate = Promise.resolve();
    const browser = await it.signedIn("ada");
    it.host.revokeGrantsOf("ada");
    gate.resolve();
    await asking;
    expect(await personIn(browser)).not.toBeNull();
  });
});

describe("an operator by configuration", () => {
  it("is one for as long as it says so, whatever token was made meanwhile", async () => {
    const { it, browser } = await openWithAda({ operators: [ADA] });
    const token = await makeToken(browser, ["read"]);
    const operators = it.api.operators as Set<string>;
    const ask = async () =>
      (await it.browser().call("query", "hosts.status", undefined, { authorization: `Bearer ${token}` }))
        .status;
    expect(await ask()).toBe(200);
    operators.delete(ADA);
    expect(await ask()).toBe(403);
    expect((await personIn(browser))?.isOperator).toBe(false);
  });

  it("stays one while their host gives no answer: it was not the host's to say", async () => {
    const { it, browser } = await openWithAda({ operators: [ADA] });
    it.host.failure = NOT_ANSWERING;
    it.clock.advance({ minutes: 16 });
    expect((await browser.call("query", "hosts.status")).status).toBe(200);
    expect(await ownersIn(browser)).toEqual([]);
  });
});

describe("a host that gives no answer", () => {
  it("leaves what it said last for a quarter of an hour, and then nothing of it, until it answers again", async () => {
    const { it, browser } = await openWithAda();
    const token = await makeToken(browser);
    const { id } = await toldToEdge(it, token);
    it.host.failure = NOT_ANSWERING;
    for (let minutes = 0; minutes < 14; minutes += 1) {
      it.clock.advance({ minutes: 1 });
      expect(await ownersIn(browser)).toEqual(["x: admin", "y: developer"]);
    }
    expect(it.routes.settings.revoked).toEqual([]);
    it.clock.advance({ minutes: 2 });
    expect(await ownersIn(browser)).toEqual([]);
    expect(claimsOf(browser).organizations).toEqual([]);
    expect(it.routes.settings.revoked).toContain(id);
    expect((await toldToEdge(it, token)).organizations).toEqual([]);
    expect(await rolesOf(it, ADA)).toHaveLength(2);

    it.host.failure = undefined;
    it.clock.advance({ minutes: 1 });
    expect(await ownersIn(browser)).toEqual(["x: admin", "y: developer"]);
    expect(claimsOf(browser).organizations).toEqual(["x", "y"]);
    expect((await toldToEdge(it, token)).organizations).toEqual(["x", "y"]);
  });

  it("is not asked again by every request", async () => {
    const { it, browser } = await openWithAda();
    it.host.failure = NOT_ANSWERING;
    it.clock.advance({ minutes: 1 });
    for (let i = 0; i < 5; i++) await ownersIn(browser);
    expect(asksAbout(it, "ada")).toBe(2);
    it.clock.advance({ seconds: 11 });
    await ownersIn(browser);
    expect(asksAbout(it, "ada")).toBe(3);
  });

  it("holds up a request for a moment only; where nothing is known it is told to come again", async () => {
    const { it, browser } = await openWithAda({ waitMs: 50 });
    const token = await makeToken(browser);
    const gate = Promise.withResolvers<void>();
    it.host.gate = gate.promise;
    it.clock.advance({ minutes: 1 });
    expect(await ownersIn(browser)).toEqual(["x: admin", "y: developer"]);
    it.clock.advance({ minutes: 15 });
    const refused = await browser.call("query", "owners.list");
    expect(refused.status).toBe(503);
    expect(refused.body).toContain("Try again in a moment");
    // Whoever is told that nobody is signed in goes to the sign-in page.
    expect((await browser.call("query", "session.current")).status).toBe(503);
    expect((await it.askAsEdge(sha256(token))).status).toBe(503);
    gate.resolve();
    expect(await ownersIn(browser)).toEqual(["x: admin", "y: developer"]);
  });

  it("holds up nobody of another host who asks nothing here", async () => {
    const { it, browser } = await openWithAda();
    await addPeopleOfOther(it, 8);
    const gate = Promise.withResolvers<void>();
    it.other.gate = gate.promise;
    it.clock.advance({ seconds: 40 });
    it.host.setRole("ada", "x", undefined);
    it.memberships.start();
    await eventually("edges are told", () =>
      it.routes.settings.revoked.includes(decodeJwt(cookieOf(browser)).jti ?? ""),
    );
    expect(it.other.ledger).toHaveLength(8);
    gate.resolve();
  });

  it("puts nothing off by the pause that it asks for", async () => {
    const { it, browser } = await openWithAda();
    const token = await makeToken(browser);
    const { id } = await toldToEdge(it, token);
    it.host.failure = new HostUnavailable("Too many requests.", { retryAfterMs: 60 * 60_000 });
    it.memberships.start();
    it.clock.advance({ seconds: 40 });
    await eventually("the host is asked", () => asksAbout(it, "ada") === 2);
    it.clock.advance({ minutes: 15 });
    await eventually("edges are told", () => it.routes.settings.revoked.includes(id));
    expect(it.routes.settings.revoked).toContain(decodeJwt(cookieOf(browser)).jti);
    expect(asksAbout(it, "ada")).toBe(2);
  });

  it("takes nothing from somebody who signed in anew meanwhile", async () => {
    const { it } = await openWithAda();
    const gate = Promise.withResolvers<void>();
    it.host.gate = gate.promise;
    it.clock.advance({ minutes: 20 });
    const asked = it.memberships.refresh(ADA);
    await eventually("the host is asked", () => asksAbout(it, "ada") === 2);
    it.host.gate = Promise.resolve();
    const browser = await it.signedIn("ada");
    it.host.failure = NOT_ANSWERING;
    gate.resolve();
    await asked;
    expect(it.routes.settings.revoked).not.toContain(decodeJwt(cookieOf(browser)).jti);
    it.host.failure = undefined;
    expect(claimsOf(browser).organizations).toEqual(["x", "y"]);
  });

  it("does not hold up people of no host", async () => {
    const { it } = await openWithAda({ waitMs: 60_000 });
    it.host.gate = new Promise(() => undefined);
    it.clock.advance({ minutes: 20 });
    expect(await it.memberships.ensure("local")).toBe("current");
  });
});

describe("asking a host", () => {
  it("is done again where a delivery came while its answer was under way", async () => {
    const { it, browser } = await openWithAda();
    const gate = Promise.withResolvers<void>();
    it.host.gate = gate.promise;
    it.clock.advance({ minutes: 1 });
    const asking = it.memberships.refresh(ADA);
    await eventually("the host is asked", () => asksAbout(it, "ada") === 2);
    it.host.setRole("ada", "x", undefined);
    await it.memberships.staleFor({ instance: "git.test", person: "ada" });
    const owners = ownersIn(browser);
    gate.resolve();
    await asking;
    expect(await owners).toEqual(["y: developer"]);
    expect(asksAbout(it, "ada")).toBe(3);
  });

  it("that was asked before its person signed in anew takes no part in what they may do", async () => {
    const { it } = await openWithAda();
    const gate = Promise.withResolvers<void>();
    it.host.gate = gate.promise;
    const asking = it.memberships.refresh(ADA);
    await eventually("the host is asked", () => asksAbout(it, "ada") === 2);
    it.host.gate = Promise.resolve();
    it.host.setRole("ada", "x", undefined);
    const browser = await it.signedIn("ada");
    gate.resolve();
    await asking;
    expect(await ownersIn(browser)).toEqual(["y: developer"]);
  });

  it("is done about few people at once, and about those alone who are about", async () => {
    const it = await openAccessServer();
    const people = Array.from({ length: 20 }, (_, i) => `person-${i}`);
    for (const person of people) await it.signedIn(person);
    const gone = await it.signedIn("gone");
    await gone.ask("mutation", "session.signOut");
    const gate = Promise.withResolvers<void>();
    it.host.gate = gate.promise;
    const before = it.host.ledger.length;
    it.clock.advance({ seconds: 40 });
    it.memberships.start();
    await eventually("the host is asked", () => it.host.ledger.length === before + 8);
    gate.resolve();
    await eventually("all are asked about", () => it.host.ledger.length >= before + 20);
    expect(asksAbout(it, "gone")).toBe(1);
    expect(new Set(it.host.ledger.slice(before).map(({ person }) => person))).toEqual(new Set(people));
  });
});

async function untilItsEnd(reader: ReadableStreamDefaultReader): Promise<void> {
  while (!(await reader.read()).done);
}
