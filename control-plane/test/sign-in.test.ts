import { SESSION_COOKIE, SESSION_MAX_AGE_S } from "@openfaas-cloud/shared/session.ts";
import { decodeJwt } from "jose";
import { describe, expect, it } from "vitest";
import { makeSignInCode } from "../src/access/credentials.ts";
import { returnPath } from "../src/access/return-path.ts";
import type { Person, SessionView } from "../src/api/views.ts";
import { SignInRefused } from "../src/ports/source-host/host-errors.ts";
import { Retryable } from "../src/rejected.ts";
import { type AccessServer, openAccessServer, URLS } from "./support/access-server.ts";
import type { Browser } from "./support/browser.ts";
import { addRemoteOwner } from "./support/owners.ts";
import { NOT_ANSWERING } from "./support/sign-in-host.ts";

const SYSTEM = "system.cloud.test";
const AUTH = "auth.system.cloud.test";
const BROWSER_COOKIE = "__Host-openfaas_cloud_sign_in";
const HOME = `${URLS.system}/dashboard/`;

/** Where the source host's page is, that this browser is sent to. */
async function begin(browser: Browser, { path = "/login/git.test", headers = {} } = {}): Promise<string> {
  const answer = await browser.get(URLS.system + path, headers);
  expect(answer.status).toBe(303);
  return answer.headers.location ?? "";
}

/** As the browser is sent back by the source host: first to the auth host, which sends it on. */
async function arrive(browser: Browser, sentBack: string) {
  const passed = await browser.get(sentBack);
  expect(passed.status).toBe(303);
  return browser.get(passed.headers.location ?? "");
}

const personIn = (browser: Browser) => browser.ask<Person | null>("query", "session.current");

function expectNobody(browser: Browser) {
  expect(browser.cookiesOf(SYSTEM).has(SESSION_COOKIE)).toBe(false);
  expect([...browser.cookiesOf(AUTH)]).toEqual([]);
}

describe("signing in with a source host", () => {
  it("goes by its page, back over the auth host, to the page that was wanted", async () => {
    const it = await openAccessServer();
    it.host.setRole("ada", "x", "developer");
    it.host.setRole("ada", "elsewhere", "admin");
    const browser = it.browser();
    const authorize = new URL(
      await begin(browser, { path: "/login/git.test?return=/dashboard/functions/x%3Ftab=log" }),
    );
    expect(authorize.searchParams.get("redirect_uri")).toBe(`http://${AUTH}:8080/oauth2/authorized`);
    expect(authorize.searchParams.get("code_challenge_method")).toBe("S256");

    const done = await browser.follow(it.host.agree(authorize.href, "ada"));
    expect(done.url).toBe(`${HOME}functions/x?tab=log`);
    expect(await personIn(browser)).toEqual({
      subject: "git.test:ada",
      name: "Dr. ada",
      owners: [{ slug: "x", role: "developer", host: "git.test" }],
      isOperator: false,
    });
    const claims = decodeJwt(browser.cookiesOf(SYSTEM).get(SESSION_COOKIE) ?? "");
    expect(claims).toMatchObject({ sub: "git.test:ada", organizations: ["x"] });
    expect(JSON.stringify(claims)).not.toContain("grant.");
    expect([...browser.cookiesOf(AUTH)]).toEqual([]);
  });

  it("keeps the host's grant sealed, and tells the audit who came in from where", async () => {
    const it = await openAccessServer();
    it.host.setRole("ada", "x", "viewer");
    await it.signedIn("ada");
    const [grant] = await it.store.selectFrom("person_grants").selectAll().execute();
    expect(grant).toMatchObject({ subject: "git.test:ada", instance: "git.test" });
    expect(grant?.sealed).not.toContain("grant.ada");
    expect(it.sealing.open(["person-grant", "git.test:ada"], grant?.sealed ?? "")).toContain("grant.ada");
    expect(() => it.sealing.open(["person-grant", "git.test:bob"], grant?.sealed ?? "")).toThrow();
    const events = await it.auditEvents();
    expect(events.map(({ actor, action, result }) => ({ actor, action, result }))).toEqual([
      { actor: "git.test:ada", action: "membership.change", result: "viewer" },
      { actor: "git.test:ada", action: "session.sign-in", result: "signed in with git.test" },
    ]);
    expect(events.every(({ address }) => address === "127.0.0.1")).toBe(true);
    expect(events[0]?.owner_id).toBe("owner-x");
  });

  it("shows the name that somebody gave themselves as text that acts on nobody", async () => {
    const it = await openAccessServer();
    it.host.setRole("e\x1b[31mv\u202ee\n", "x", "viewer");
    const browser = await it.signedIn("e\x1b[31mv\u202ee\n");
    expect((await personIn(browser))?.name).toBe("Dr. eve");
    expect(
      await it.store.selectFrom("people").select("login").where("subject", "!=", "local").execute(),
    ).toEqual([{ login: "eve" }]);
  });

  it("works with several hosts at once, and the same account id at two of them is two people", async () => {
    const it = await openAccessServer();
    it.host.setRole("ada", "x", "admin");
    it.other.setRole("ada", "x", "admin");
    const hosts = await it.browser().ask<{ instance: string; url: string }[]>("query", "session.hosts");
    expect(hosts.map(({ instance }) => instance)).toEqual(["git.test", "other.test:8443/git"]);
    const [first, second] = [it.browser(), it.browser()];
    for (const [browser, url, host] of [
      [first, hosts[0]?.url, it.host],
      [second, hosts[1]?.url, it.other],
    ] as const) {
      const { headers } = await browser.get(url ?? "");
      expect((await browser.follow(host.agree(headers.location ?? "", "ada"))).url).toBe(HOME);
    }
    expect((await personIn(first))?.owners).toEqual([{ slug: "x", role: "admin", host: "git.test" }]);
    expect((await personIn(second))?.owners).toEqual([]);
  });

  it("gives whoever belongs to very many owners a cookie that browsers keep", async () => {
    const it = await openAccessServer();
    for (let i = 0; i < 700; i++) {
      await addRemoteOwner(it.store, `organisation-${i}`);
      it.host.setRole("ada", `organisation-${i}`, "viewer");
    }
    const browser = await it.signedIn("ada");
    const cookie = `${SESSION_COOKIE}=${browser.cookiesOf(SYSTEM).get(SESSION_COOKIE)}`;
    expect(cookie.length).toBeLessThanOrEqual(4096);
    expect(cookie.length).toBeGreaterThan(3000);
    expect((await personIn(browser))?.owners).toHaveLength(700);
  });

  it("begins on the system host, also where somebody comes by the auth host's address", async () => {
    const it = await openAccessServer();
    const browser = it.browser();
    const there = await browser.get(`${URLS.auth}/login/git.test?return=/dashboard/x`);
    expect(there).toMatchObject({ status: 303 });
    expect(there.headers.location).toBe(`${URLS.system}/login/git.test?return=/dashboard/x`);
    expect([...browser.cookiesOf(AUTH)]).toEqual([]);
    expect((await browser.get(`${URLS.auth}/`)).headers.location).toBe(HOME);
    expect((await browser.get(`${URLS.auth}/dashboard/x`)).headers.location).toBe(HOME);
    const upstreams = await it.browser().get(`${URLS.system}/login/`);
    expect(upstreams.headers.location).toBe("/dashboard/sign-in");
    expect((await it.browser().get(`${URLS.system}/login/evil.test`)).status).toBe(404);
    // Two hosts are of this kind here, so that it names neither.
    expect((await it.browser().get(`${URLS.system}/login/gitlab`)).status).toBe(404);
  });

  it("is not done on the auth host by any other way", async () => {
    const it = await openAccessServer();
    const body = { code: await makeSignInCode(it.store, "local") };
    const answer = await it.browser().post(`${URLS.auth}/api/trpc/session.signIn`, body);
    expect(answer.status).toBe(404);
    expect(answer.headers["set-cookie"]).toBeUndefined();
  });

  it("sets cookies that no script reads, no other host gets and no other site's request brings", async () => {
    const it = await openAccessServer();
    const browser = it.browser();
    const begun = await browser.get(`${URLS.system}/login/git.test`);
    const attributes = ["Path=/", "Secure", "HttpOnly", "SameSite=Lax"];
    const [first = "", ...rest] = (begun.headers["set-cookie"]?.[0] ?? "").split("; ");
    expect(first).toMatch(/^__Host-openfaas_cloud_sign_in=[\w-]{43}$/);
    expect(rest).toEqual(["Max-Age=600", ...attributes]);
    const answer = await arrive(browser, it.host.agree(begun.headers.location ?? "", "ada"));
    const [token = "", ...others] = (answer.headers["set-cookie"]?.[0] ?? "").split("; ");
    expect(token).toMatch(/^__Host-openfaas_cloud_token=/);
    expect(others).toEqual(["Max-Age=3600", ...attributes]);
    expect(answer.headers["cache-control"]).toBe("no-store");
  });
});

describe("somebody who comes back from a source host is nobody", () => {
  it("without a state (D30)", async () => {
    const it = await openAccessServer();
    const browser = it.browser();
    const sentBack = new URL(it.host.agree(await begin(browser), "ada"));
    sentBack.searchParams.delete("state");
    expect((await browser.get(sentBack.href)).status).toBe(400);
    expect(it.host.ledger).toEqual([]);
    expectNobody(browser);
  });

  it("with another browser's state, which is spent by that (D30, login CSRF)", async () => {
    const it = await openAccessServer();
    const [attacker, victim] = [it.browser(), it.browser()];
    const sentBack = it.host.agree(await begin(attacker), "mallory");
    // Without anything, and with a sign-in of its own under way.
    expect((await arrive(victim, sentBack)).status).toBe(400);
    expectNobody(victim);
    const again = it.host.agree(await begin(attacker), "mallory");
    await begin(victim);
    expect((await arrive(victim, again)).status).toBe(400);
    expectNobody(victim);
    expect((await arrive(attacker, again)).status).toBe(400);
    expectNobody(attacker);
    expect(it.host.ledger).toEqual([]);
  });

  it("with a state that was used (D30)", async () => {
    const it = await openAccessServer();
    const browser = it.browser();
    const sentBack = it.host.agree(await begin(browser), "ada");
    const [first, second] = await Promise.all([arrive(browser, sentBack), arrive(browser, sentBack)]);
    expect([first.status, second.status].toSorted()).toEqual([303, 400]);
    const other = it.browser();
    other.setCookie(SYSTEM, BROWSER_COOKIE, browser.cookiesOf(SYSTEM).get(BROWSER_COOKIE) ?? "");
    expect((await arrive(other, sentBack)).status).toBe(400);
    expect(other.cookiesOf(SYSTEM).has(SESSION_COOKIE)).toBe(false);
    expect(it.host.ledger.filter(({ call }) => call === "exchange")).toHaveLength(1);
  });

  it("after ten minutes", async () => {
    const it = await openAccessServer();
    const browser = it.browser();
    const sentBack = it.host.agree(await begin(browser), "ada");
    it.clock.advance({ minutes: 10 });
    expect((await arrive(browser, sentBack)).status).toBe(400);
    expectNobody(browser);
  });

  it("with two cookies of the browser's secret, one of which was tossed in", async () => {
    const it = await openAccessServer();
    const browser = it.browser();
    const sentBack = it.host.agree(await begin(browser), "ada");
    const held = browser.cookiesOf(SYSTEM).get(BROWSER_COOKIE) ?? "";
    const passed = await browser.get(sentBack);
    const answer = await browser.get(passed.headers.location ?? "", {
      cookie: `${BROWSER_COOKIE}=${held}; ${BROWSER_COOKIE}=${"x".repeat(43)}`,
    });
    expect(answer.status).toBe(400);
  });

  it.each([
    ["the other host's code, made for its state and challenge", "of the one begun", "git.test"],
    ["the other host's code, made for its state and challenge", "of the one begun", "other.test:8443/git"],
    ["the other host's code, of a sign-in under way there too", "of its own", "git.test"],
    ["the other host's code, of a sign-in under way there too", "of its own", "other.test:8443/git"],
  ] as const)("with %s (D30, challenge %s, begun at %s)", async (_what, challenge, begunAt) => {
    const it = await openAccessServer();
    const [asked, answering] = begunAt === "git.test" ? [it.host, it.other] : [it.other, it.host];
    // The same account id at both hosts, and an owner at one alone: neither speaks for the other.
    asked.setRole("ada", "x", "admin");
    const browser = it.browser();
    const mine = await begin(browser, { path: `/login/${encodeURIComponent(asked.instance)}` });
    const theirs = await begin(browser, { path: `/login/${encodeURIComponent(answering.instance)}` });
    const code = new URL(answering.agree(challenge === "of its own" ? theirs : mine, "ada"));
    code.searchParams.set("state", new URL(mine).searchParams.get("state") ?? "");
    const answer = await arrive(browser, code.href);
    expect(answer.status).toBe(403);
    expect(answer.body).toContain(`Git (${asked.instance}) did not confirm who you are`);
    expectNobody(browser);
    expect(answering.ledger).toEqual([]);
    expect(await it.store.selectFrom("sessions").selectAll().execute()).toEqual([]);
    expect(await it.store.selectFrom("person_grants").selectAll().execute()).toEqual([]);

    // What was begun is spent by that; what was begun at the other host goes on, and means the person there.
    expect((await arrive(browser, asked.agree(mine, "ada"))).status).toBe(400);
    expectNobody(browser);
    expect((await arrive(browser, answering.agree(theirs, "ada"))).status).toBe(303);
    expect(await personIn(browser)).toMatchObject({
      subject: `${answering.instance}:ada`,
      owners: [],
    });
  });

  it.each([
    ["said no", { deny: "access_denied" }, 403, "You did not let Git (git.test) tell who you are"],
    ["met an error there", { deny: "server_error" }, 403, "did not confirm who you are"],
    ["brings a code that is not taken", { failure: new SignInRefused("bad code") }, 403, "did not confirm"],
    ["comes while the host is down", { failure: NOT_ANSWERING }, 503, "is not answering"],
    ["meets a bug", { failure: new Error("undefined is not a function") }, 500, "An error of the platform."],
  ])("who %s", async (_who, how: { deny?: string; failure?: Error }, status, words) => {
    const it = await openAccessServer();
    const browser = it.browser();
    const authorize = await begin(browser);
    it.host.failure = how.failure;
    const sentBack =
      how.deny === undefined ? it.host.agree(authorize, "ada") : it.host.deny(authorize, how.deny);
    const answer = await arrive(browser, sentBack);
    expect(answer.status).toBe(status);
    expect(answer.body).toContain(words);
    expect(answer.body).not.toContain("undefined");
    expectNobody(browser);
    expect(await it.store.selectFrom("sessions").selectAll().execute()).toEqual([]);
    expect(await it.store.selectFrom("person_grants").selectAll().execute()).toEqual([]);
    if (status === 503) expect(answer.headers["retry-after"]).toBeDefined();
  });

  it("who belongs to no owner that is enrolled, unless they run the platform", async () => {
    const asked: unknown[] = [];
    const it = await openAccessServer({
      operators: ["git.test:root"],
      maySignIn: ({ instance, owners }) => {
        asked.push([instance, owners.map(({ owner }) => owner.sourceId)]);
        return owners.some(({ owner }) => owner.sourceId === "x");
      },
    });
    it.host.setRole("ada", "x", "viewer");
    it.host.setRole("eve", "y", "admin");
    await it.signedIn("ada");
    const eve = it.browser();
    const answer = await arrive(eve, it.host.agree(await begin(eve), "eve"));
    expect(answer.status).toBe(403);
    expect(answer.body).toContain("Ask the operator");
    expectNobody(eve);
    expect(asked).toEqual([
      ["git.test", ["x"]],
      ["git.test", ["y"]],
    ]);
    expect(await it.store.selectFrom("people").select("subject").orderBy("subject").execute()).toEqual([
      { subject: "git.test:ada" },
      { subject: "local" },
    ]);
    expect((await it.auditEvents()).at(-1)).toMatchObject({
      actor: "git.test:eve",
      action: "session.sign-in",
      result: expect.stringContaining("refused"),
    });
    const root = await it.signedIn("root");
    expect(await personIn(root)).toMatchObject({ owners: [], isOperator: true });
  });

  it("while it is not known who is enrolled, which is neither yes nor no", async () => {
    const it = await openAccessServer({
      maySignIn: () => Promise.reject(new Retryable("the list cannot be read")),
    });
    const browser = it.browser();
    const answer = await arrive(browser, it.host.agree(await begin(browser), "ada"));
    expect(answer.status).toBe(503);
    expect(answer.body).not.toContain("list");
    expectNobody(browser);
  });

  it("with parameters that are not text, or much too long", async () => {
    const it = await openAccessServer();
    const browser = it.browser();
    const callback = `${URLS.system}/oauth2/authorized`;
    for (const query of ["", "?state=a&state=b", `?state=${"x".repeat(201)}`, "?state=x&code=", "?code=x"])
      expect((await browser.get(callback + query)).status).toBe(400);
    const script = encodeURIComponent('"><script>alert(1)</script>');
    const reflected = await browser.get(`${callback}?state=${script}&error=${script}`);
    expect(reflected.status).toBe(400);
    expect(reflected.body).not.toContain("alert");
  });
});

describe("what is begun and not finished", () => {
  it("is kept as hashes only", async () => {
    const it = await openAccessServer();
    const browser = it.browser();
    const authorize = new URL(await begin(browser));
    const rows = await it.store.selectFrom("sign_ins").selectAll().execute();
    expect(rows).toHaveLength(1);
    expect(JSON.stringify(rows)).not.toContain(authorize.searchParams.get("state"));
    expect(JSON.stringify(rows)).not.toContain(browser.cookiesOf(SYSTEM).get(BROWSER_COOKIE));
  });

  it("is neither begun nor spent by a HEAD", async () => {
    const it = await openAccessServer();
    const browser = it.browser();
    expect((await it.head("/login/git.test")).status).toBe(404);
    const sentBack = new URL(it.host.agree(await begin(browser), "ada"));
    expect((await it.head(`${sentBack.pathname}${sentBack.search}`)).status).toBe(404);
    expect((await arrive(browser, sentBack.href)).status).toBe(303);
  });

  it("is bounded for each address, and goes after its time", async () => {
    const it = await openAccessServer();
    const from = (address: string) =>
      it.browser().get(`${URLS.system}/login/git.test`, { "x-real-ip": address });
    for (let i = 0; i < 100; i++) expect((await from("192.0.2.1")).status).toBe(303);
    const count = async () => (await it.store.selectFrom("sign_ins").select("hash").execute()).length;
    // Somebody behind the same address as whoever begins them is not kept out by that.
    const late = it.browser();
    const begun = await begin(late, { headers: { "x-real-ip": "192.0.2.1" } });
    expect(await count()).toBe(100);
    expect((await arrive(late, it.host.agree(begun, "ada"))).status).toBe(303);
    expect((await from("192.0.2.2")).status).toBe(303);
    expect(await count()).toBe(100);
    it.clock.advance({ minutes: 10 });
    expect((await from("192.0.2.1")).status).toBe(303);
    expect(await it.store.selectFrom("sign_ins").selectAll().execute()).toHaveLength(1);
  });

  it("may be begun twice in one browser, and both come to their end", async () => {
    const it = await openAccessServer();
    const browser = it.browser();
    const [one, two] = [await begin(browser), await begin(browser)];
    expect((await arrive(browser, it.host.agree(one, "ada"))).status).toBe(303);
    expect((await arrive(browser, it.host.agree(two, "ada"))).status).toBe(303);
  });
});

describe("the page that somebody is brought back to", () => {
  it.each([
    // D31
    "//evil.test",
    "https:evil.test",
    "/\\evil.test",
    "javascript:alert(1)",
    '"><script>alert(1)</script>',
    "https://evil.test/dashboard/",
    "/dashboard//evil.test",
    "/dashboard/../..//evil.test",
    "/dashboard/../api/trpc/session.signOut",
    "/dashboard/%2e%2e/login/git.test",
    "/dashboard",
    "/dashboard/\n/evil",
    "/dashboard/sign-in?problem=stale",
    "/dashboard/x#code=1",
    "",
  ])("is home for %j (D31)", (wanted) => {
    expect(returnPath(wanted)).toBe("/dashboard/");
  });

  it.each([["/dashboard/"], ["/dashboard/functions/alice?owner=a&b=%20c"], ["/dashboard/runs/01abc"]])(
    "is %s where that is wanted",
    (wanted) => {
      expect(returnPath(wanted)).toBe(wanted);
    },
  );

  it("is home for what is too long", () => {
    expect(returnPath(`/dashboard/${"x".repeat(1013)}`)).toHaveLength(1024);
    expect(returnPath(`/dashboard/${"x".repeat(1014)}`)).toBe("/dashboard/");
  });

  it("is home over HTTP as well, and nothing is reflected (D31)", async () => {
    const it = await openAccessServer();
    for (const wanted of ["//evil.test", '"><script>alert(1)</script>']) {
      const browser = it.browser();
      const begun = await browser.get(`${URLS.system}/login/git.test?return=${encodeURIComponent(wanted)}`);
      expect(begun.body + begun.headers.location).not.toMatch(/evil|alert/);
      const done = await browser.follow(it.host.agree(begun.headers.location ?? "", "ada"));
      expect(done.url).toBe(HOME);
    }
  });
});

describe("a session", () => {
  const cookieOf = (browser: Browser) => browser.cookiesOf(SYSTEM).get(SESSION_COOKIE);

  it("ends after an hour in which nothing was asked", async () => {
    const it = await openAccessServer();
    const browser = await it.signedIn("ada");
    it.clock.advance({ minutes: 59 });
    expect(await personIn(browser)).not.toBeNull();
    it.clock.advance({ minutes: 61 });
    expect(await personIn(browser)).toBeNull();
  });

  it("ends after eight hours, whatever is asked", async () => {
    const it = await openAccessServer();
    const browser = await it.signedIn("ada");
    for (let minutes = 0; minutes < SESSION_MAX_AGE_S / 60 - 30; minutes += 30) {
      expect(await personIn(browser)).not.toBeNull();
      it.clock.advance({ minutes: 30 });
    }
    expect(await personIn(browser)).not.toBeNull();
    const { exp = 0 } = decodeJwt(cookieOf(browser) ?? "");
    expect(exp * 1000).toBeLessThanOrEqual(it.clock.now() + 30 * 60_000);
    it.clock.advance({ minutes: 30 });
    expect(await personIn(browser)).toBeNull();
  });

  it("gets another token every quarter of an hour, once for requests that come together", async () => {
    const it = await openAccessServer();
    const browser = await it.signedIn("ada");
    const first = cookieOf(browser) ?? "";
    it.clock.advance({ minutes: 14 });
    await personIn(browser);
    expect(cookieOf(browser)).toBe(first);
    it.clock.advance({ minutes: 2 });
    const answers = await Promise.all(
      Array.from({ length: 10 }, () =>
        browser.call("query", "session.list", undefined, { cookie: `${SESSION_COOKIE}=${first}` }),
      ),
    );
    expect(answers.map(({ status }) => status)).toEqual(Array(10).fill(200));
    expect(answers.flatMap(({ headers }) => headers["set-cookie"] ?? [])).toHaveLength(1);
    expect(cookieOf(browser)).not.toBe(first);
    expect(await browser.ask<SessionView[]>("query", "session.list")).toHaveLength(1);
  });

  it("is not lost with the answer that had its next token", async () => {
    const it = await openAccessServer();
    const browser = await it.signedIn("ada");
    const first = cookieOf(browser) ?? "";
    it.clock.advance({ minutes: 16 });
    await personIn(browser);
    browser.setCookie(SYSTEM, SESSION_COOKIE, first);
    it.clock.advance({ minutes: 5 });
    await it.sessions.sweep();
    expect(await personIn(browser)).not.toBeNull();
    expect(cookieOf(browser)).not.toBe(first);
  });

  it("refuses the token before, a minute after the next one was brought, and edges are told", async () => {
    const it = await openAccessServer();
    const browser = await it.signedIn("ada");
    const first = cookieOf(browser) ?? "";
    it.clock.advance({ minutes: 16 });
    await personIn(browser);
    await personIn(browser);
    const thief = it.browser();
    thief.setCookie(SYSTEM, SESSION_COOKIE, first);
    it.clock.advance({ seconds: 50 });
    expect(await personIn(thief)).not.toBeNull();
    it.clock.advance({ seconds: 20 });
    expect(await personIn(thief)).toBeNull();
    expect(await personIn(browser)).not.toBeNull();
    expect(it.routes.settings.revoked).toEqual([]);
    await it.sessions.sweep();
    expect(it.routes.settings.revoked).toEqual([decodeJwt(first).jti]);
  });

  it("is listed with where it is from, and ended from another one", async () => {
    const it = await openAccessServer();
    const [here, there] = [await it.signedIn("ada"), await it.signedIn("ada")];
    const stranger = await it.signedIn("eve");
    const listed = await here.ask<SessionView[]>("query", "session.list");
    expect(listed).toHaveLength(2);
    expect(listed.filter(({ isThis }) => isThis)).toHaveLength(1);
    expect(listed[0]).toMatchObject({ address: "127.0.0.1", userAgent: "" });
    const other = listed.find(({ isThis }) => !isThis)?.id ?? "";
    expect((await stranger.call("mutation", "session.end", { id: other })).status).toBe(404);
    expect(await personIn(there)).not.toBeNull();
    await here.ask("mutation", "session.end", { id: other });
    expect(await personIn(there)).toBeNull();
    expect(await personIn(here)).not.toBeNull();
    expect(it.routes.settings.revoked).toHaveLength(1);
  });

  it("ends where it is signed out, and everywhere where that is wanted", async () => {
    const it = await openAccessServer();
    const [one, two, three] = [await it.signedIn("ada"), await it.signedIn("ada"), await it.signedIn("ada")];
    const stranger = await it.signedIn("eve");
    const copied = cookieOf(one) ?? "";
    await one.ask("mutation", "session.signOut");
    expect(cookieOf(one)).toBeUndefined();
    one.setCookie(SYSTEM, SESSION_COOKIE, copied);
    expect(await personIn(one)).toBeNull();
    expect(await personIn(two)).not.toBeNull();
    await two.ask("mutation", "session.signOutEverywhere");
    for (const browser of [one, two, three]) expect(await personIn(browser)).toBeNull();
    expect(await personIn(stranger)).not.toBeNull();
    expect(it.routes.settings.revoked).toHaveLength(3);
    expect(await it.store.selectFrom("sessions").select("subject").execute()).toEqual([
      { subject: "git.test:eve" },
    ]);
  });

  it("that was signed out while its next token was made does not come back", async () => {
    const it = await openAccessServer();
    const browser = await it.signedIn("ada");
    it.clock.advance({ minutes: 16 });
    await Promise.all([
      ...Array.from({ length: 5 }, () => browser.call("query", "session.current")),
      it.sessions.endAll("git.test:ada"),
    ]);
    const now = await personIn(browser);
    const rows = await it.store.selectFrom("sessions").selectAll().execute();
    expect({ now, rows }).toEqual({ now: null, rows: [] });
  });

  it("counts for no request that brings two of its cookies", async () => {
    const it = await openAccessServer();
    const browser = await it.signedIn("ada");
    const twice = `${SESSION_COOKIE}=${cookieOf(browser)}; ${SESSION_COOKIE}=x.y.z`;
    const answer = await browser.call("query", "session.current", undefined, { cookie: twice });
    expect(answer.body).toContain('"data":null');
  });
});

describe("the key that signs sessions", () => {
  it("is replaced each week; what it signed goes on counting, and edges know the next one before it signs", async () => {
    const it = await openAccessServer();
    const [first] = it.tokens.keys;
    const old = await it.tokens.issue({ subject: "git.test:ada", name: "a", owners: [], lifetimeS: 3600 });
    it.clock.advance({ minutes: 7 * 24 * 60 - 1 });
    await it.sessions.sweep();
    expect(it.tokens.keys).toEqual([first]);

    const late = await it.tokens.issue({ subject: "git.test:ada", name: "a", owners: [] });
    it.clock.advance({ minutes: 1 });
    const edgesKnew: string[] = [];
    let signedBy: unknown;
    const edge = it.routes.connect("edge-1", (message) => {
      if (message.kind !== "change" || !message.settings) return;
      edgesKnew.push(...message.settings.keys.map(({ kid }) => kid));
      void it.tokens.issue({ subject: "s", name: "a", owners: [] }).then((token) => {
        signedBy = headerOf(token).kid;
        it.routes.applied({
          edge: "edge-1",
          epoch: "e",
          version: message.version,
          checksum: message.checksum,
        });
      });
    });
    await it.sessions.sweep();
    const [second] = it.tokens.keys;
    expect(second?.kid).not.toBe(first?.kid);
    expect(edgesKnew).toEqual([second?.kid, first?.kid]);
    expect(signedBy).toBe(first?.kid);
    const fresh = await it.tokens.issue({ subject: "git.test:ada", name: "a", owners: [] });
    expect(headerOf(fresh).kid).toBe(second?.kid);
    expect(await it.tokens.verify(late)).toBeDefined();
    expect(await it.tokens.verify(old)).toBeUndefined();

    it.clock.advance({ minutes: 8 * 60 + 10 });
    await it.sessions.sweep();
    expect(it.routes.settings.keys.map(({ kid }) => kid)).toEqual([second?.kid]);
    edge[Symbol.dispose]();
    expect(await it.tokens.verify(late)).toBeUndefined();
  });
});

describe("the API, asked by a page that is not the dashboard's (D33)", () => {
  const pages = [
    ["evil.test", { "sec-fetch-site": "cross-site", origin: "http://evil.test" }],
    ["mallory's function", { "sec-fetch-site": "same-site", origin: "http://mallory.cloud.test:8080" }],
    ["evil.test in an old browser", { origin: "http://evil.test" }],
    ["a sandboxed frame in an old browser", { origin: "null" }],
    ["what says nothing of where it is", {}],
  ] as const;
  const types = ["application/x-www-form-urlencoded", "text/plain", "multipart/form-data; boundary=b"];

  it.each(pages)("%s, with a form of any type, does nothing", async (_who, headers) => {
    const it = await openAccessServer();
    it.host.setRole("ada", "x", "admin");
    const browser = await it.signedIn("ada");
    for (const type of [...types, "application/json"]) {
      const body = JSON.stringify({ owner: "x", name: "stolen", value: "long enough" });
      expect(await postForm(it, browser, { type, body, headers })).toBe(403);
    }
    expect(await it.store.selectFrom("secrets").selectAll().execute()).toEqual([]);
  });

  it("is no API to a form of the dashboard's own page either", async () => {
    const it = await openAccessServer();
    it.host.setRole("ada", "x", "admin");
    const browser = await it.signedIn("ada");
    for (const type of types) {
      const body = JSON.stringify({ owner: "x", name: "stolen", value: "long enough" });
      const status = await postForm(it, browser, {
        type,
        body,
        headers: { "sec-fetch-site": "same-origin" },
      });
      expect(status).toBe(415);
    }
    expect(await it.store.selectFrom("secrets").selectAll().execute()).toEqual([]);
  });
});

async function postForm(
  it: AccessServer,
  browser: Browser,
  form: { readonly type: string; readonly body: string; readonly headers: Readonly<Record<string, string>> },
): Promise<number> {
  const token = browser.cookiesOf(SYSTEM).get(SESSION_COOKIE);
  const answer = await fetch(`${it.origin}/api/trpc/secrets.set`, {
    method: "POST",
    body: form.body,
    headers: { "content-type": form.type, cookie: `${SESSION_COOKIE}=${token}`, ...form.headers },
  });
  return answer.status;
}

function headerOf(token: string): { readonly kid?: string } {
  return JSON.parse(Buffer.from(token.split(".")[0] ?? "", "base64url").toString());
}
