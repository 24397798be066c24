import { createHmac, createPrivateKey, generateKeyPairSync, type KeyObject } from "node:crypto";
import { readFile } from "node:fs/promises";
import { must } from "@openfaas-cloud/shared/must.ts";
import { SESSION_COOKIE, VerificationKey } from "@openfaas-cloud/shared/session.ts";
import { type CryptoKey, decodeJwt, importJWK, SignJWT } from "jose";
import { expect, test } from "vitest";
import { forgedTokens, goodClaims } from "../../../edge/test/goals/support/forged-tokens.ts";
import { size } from "../../../edge/test/goals/support/size.ts";
import { route } from "../../../edge/test/support/feed-server.ts";
import { testEdge, upstream } from "../../../edge/test/support/servers.ts";
import { signerBy } from "../../../edge/test/support/tokens.ts";
import { eventually } from "../../../test/support/eventually.ts";
import type { OwnerView } from "../../src/api/views.ts";
import { enrolOwner } from "../../src/ports/store/owners.ts";
import { type AccessServer, openAccessServer, URLS } from "../support/access-server.ts";
import type { Browser } from "../support/browser.ts";
import { startGitHub } from "../support/fake-github/under-test.ts";
import { startGitLab } from "../support/fake-gitlab/host-under-test.ts";

const SYSTEM = new URL(URLS.system).hostname;
const cookieOf = (browser: Browser) => browser.cookiesOf(SYSTEM).get(SESSION_COOKIE) ?? "";

/**
 * One platform, a GitHub and a GitLab. At both there is an `alice` with the same id, and an organisation `acme`: at GitHub
 * hers, at GitLab one that she may only read. An edge follows the platform, and each `acme` has a function for its members.
 */
async function openTwoHosts() {
  await using opened = new AsyncDisposableStack();
  const github = opened.use(await startGitHub());
  const gitlab = opened.use(await startGitLab({ git: false }));
  const { alice } = github.gitHub;
  const { world } = gitlab.gitlab;
  gitlab.gitlab.visitor.username = "somebody-else";
  let twin = world.addUser("alice", "Alice");
  while (twin.id < alice.id) {
    twin.username = `user-${twin.id}`;
    twin = world.addUser("alice", "Alice");
  }
  gitlab.gitlab.visitor = twin;
  await github.fake.setRole("admin");
  await gitlab.gitlab.setMember(gitlab.acme, twin, 20);

  const it = await openAccessServer({ hosts: [github.host, gitlab.host] });
  const enrol = async (instance: string, sourceId: string) => {
    const facts = { sourceId, login: "acme", kind: "organization" } as const;
    return (await enrolOwner(it.store, { instance, facts })).owner.slug;
  };
  const slugs = {
    github: await enrol(github.host.instance, String(github.gitHub.acme.id)),
    gitlab: await enrol(gitlab.host.instance, `group:${gitlab.acme.id}`),
  };
  const fn = opened.use(await upstream());
  await it.routes.publish({
    upserts: Object.values(slugs).map((slug) => route(`${slug}/f`, [fn.url], { access: "members" })),
  });
  const edge = opened.use(
    await testEdge(it.origin, { domains: { functions: "fn.test", system: "cloud.test" } }),
  );

  /** Begins to sign in with the host. @returns where the host sends the browser back to */
  const agree = async (browser: Browser, { host, fake }: typeof github | typeof gitlab) => {
    const begun = await browser.get(`${URLS.system}/login/${encodeURIComponent(host.instance)}`);
    return fake.consent(new URL(must(begun.headers.location, "a redirect")));
  };
  const comeBack = (browser: Browser, { code, state }: { readonly code: string; readonly state: string }) =>
    browser.get(`${URLS.system}/oauth2/authorized?code=${code}&state=${encodeURIComponent(state)}`);
  const signIn = async (browser: Browser, by: typeof github | typeof gitlab) => {
    expect((await comeBack(browser, await agree(browser, by))).status).toBe(303);
    return { browser, token: cookieOf(browser) };
  };
  const owned = opened.move();
  return {
    ...{ it, edge, fn, github, gitlab, slugs, agree, comeBack, signIn },
    subjects: {
      github: `${github.host.instance}:${alice.id}`,
      gitlab: `${gitlab.host.instance}:${twin.id}`,
    },
    [Symbol.asyncDispose]: () => owned.disposeAsync(),
  };
}
type TwoHosts = Awaited<ReturnType<typeof openTwoHosts>>;

/** Every way in: to the API, and to a function of each `acme`. */
function entriesOf({ it, edge, slugs }: TwoHosts) {
  const headersOf: Readonly<Record<string, (token: string) => Record<string, string>>> = {
    cookie: (token) => ({ cookie: `${SESSION_COOKIE}=${token}` }),
    bearer: (token) => ({ authorization: `Bearer ${token}` }),
    basic: (token) => ({ authorization: `Basic ${Buffer.from(`x:${token}`).toString("base64")}` }),
  };
  const ways: Record<string, (token: string) => Promise<number>> = {};
  for (const [by, headers] of Object.entries(headersOf)) {
    ways[`the API by ${by}`] = async (token) =>
      (await it.http.get(`${it.origin}/api/trpc/owners.list`, { headers: headers(token) })).status;
    for (const [host, slug] of Object.entries(slugs))
      ways[`a function of ${host}'s acme by ${by}`] = async (token) =>
        (await edge.call(`${slug}.fn.test`, "/f", { headers: headers(token) })).status;
  }
  return ways;
}

/** What signs sessions here, which no forger has: by it alone can be shown that it is the claims that are refused. */
async function ownSigner({ keyFile }: AccessServer) {
  const kept = JSON.parse(await readFile(keyFile, "utf8")) as { private: object; public: unknown };
  const key = (await importJWK(kept.private, "ES256", { extractable: true })) as CryptoKey;
  return signerBy(VerificationKey.parse(kept.public), key);
}

/** What the hosts themselves gave out or may sign, as it is and as what it is not. */
async function tokensOfHosts(of: TwoHosts, kid: string, session: Readonly<Record<string, unknown>>) {
  const { it, github, gitlab } = of;
  const tokens = new Map<string, string>();
  for (const { subject, sealed } of await it.store.selectFrom("person_grants").selectAll().execute()) {
    const grant = JSON.parse(it.sealing.open(["person-grant", subject], sealed)) as Record<string, unknown>;
    for (const [what, token] of Object.entries(grant)) {
      if (typeof token !== "string") continue;
      tokens.set(`${what} of ${subject}`, token);
      tokens.set(`${what} of ${subject} as one of ours`, `ofc_${token}`);
    }
  }
  const app = createPrivateKey(github.gitHub.app.privateKeyPem);
  const elliptic = generateKeyPairSync("ec", { namedCurve: "P-256" }).privateKey;
  const hosts = [
    {
      url: github.gitHub.url,
      id: github.gitHub.app.clientId,
      secret: github.gitHub.app.clientSecret,
      sub: of.subjects.github,
    },
    {
      url: gitlab.gitlab.url,
      id: gitlab.gitlab.oauth.id,
      secret: gitlab.gitlab.oauth.secret,
      sub: of.subjects.gitlab,
    },
  ];
  const nowS = Math.floor(Date.now() / 1000);
  for (const { url, id, secret, sub } of hosts) {
    const times = { iat: nowS, exp: nowS + 3600 };
    const claims: Record<string, object> = {
      "an id token": { iss: url, aud: id, sub: sub.split(":").at(-1), preferred_username: "alice", ...times },
      "an id token for us": {
        iss: url,
        aud: SYSTEM,
        sub,
        name: "Alice",
        organizations: [],
        ...times,
        jti: "j",
      },
      "a session": session,
      "a session of hers there": { ...session, sub },
    };
    const headers: Record<string, object> = {
      "its own key": { kid: "the-host-key" },
      "ours by name": { kid },
      "a key set": { kid, jku: `${url}/oauth/discovery/keys` },
    };
    for (const [what, payload] of Object.entries(claims))
      for (const [by, header] of Object.entries(headers)) {
        const named = `${what} of ${url} by ${by}`;
        tokens.set(`${named}, RS256`, await signed(payload, { ...header, alg: "RS256" }, app));
        tokens.set(`${named}, ES256`, await signed(payload, { ...header, alg: "ES256" }, elliptic));
        tokens.set(`${named}, HS256 by the client's secret`, hmac(payload, header, secret));
      }
  }
  return tokens;
}

function signed(payload: object, header: { readonly alg: string }, key: KeyObject): Promise<string> {
  return new SignJWT({ ...payload }).setProtectedHeader(header).sign(key);
}

function hmac(payload: object, header: object, secret: string): string {
  const text = [{ ...header, alg: "HS256" }, payload]
    .map((part) => Buffer.from(JSON.stringify(part)).toString("base64url"))
    .join(".");
  return `${text}.${createHmac("sha256", secret).update(text).digest("base64url")}`;
}

/** Parts of her two sessions put together, and one with the other's claims. */
function spliced(ours: string, theirs: string): Map<string, string> {
  const [a = [], b = []] = [ours.split("."), theirs.split(".")];
  const tokens = new Map<string, string>();
  for (const mask of [1, 2, 3, 4, 5, 6])
    tokens.set(
      `parts ${mask} of the other's`,
      [0, 1, 2].map((i) => ((mask >> i) & 1 ? b[i] : a[i])).join("."),
    );
  for (const name of ["sub", "jti", "organizations"]) {
    const claims = { ...decodeJwt(ours), [name]: decodeJwt(theirs)[name] };
    const payload = Buffer.from(JSON.stringify(claims)).toString("base64url");
    tokens.set(`the other's ${name}`, `${a[0]}.${payload}.${a[2]}`);
  }
  // Their headers are the same, so that some of these are the sessions themselves.
  for (const [what, token] of tokens) if (token === ours || token === theirs) tokens.delete(what);
  return tokens;
}

test("G14: nothing of two source hosts opens anything but the session that each gave rise to", async () => {
  await using two = await openTwoHosts();
  const { it, github, gitlab, subjects, slugs, signIn } = two;
  const ofGitHub = await signIn(it.browser(), github);
  const ofGitLab = await signIn(it.browser(), gitlab);
  const own = await ownSigner(it);
  const session = { ...decodeJwt(ofGitHub.token) };
  const entries = entriesOf(two);

  // What opens everything that is hers, were it not for what is wrong with each: a test of the test.
  const good = own.signRaw(goodClaims(session));
  const opens = async (token: string) =>
    Object.fromEntries(
      await Promise.all(Object.entries(entries).map(async ([way, ask]) => [way, await ask(token)])),
    );
  const asCookie = { "the API by cookie": 200, "a function of github's acme by cookie": 200 };
  expect(await opens(good)).toMatchObject(asCookie);
  expect(await opens(ofGitHub.token)).toMatchObject(asCookie);

  const forged = new Map([
    ...(await forgedTokens(own, `${gitlab.gitlab.url}/oauth/discovery/keys`, session)),
    ...(await tokensOfHosts(two, own.key.kid, session)),
    ...spliced(ofGitHub.token, ofGitLab.token),
  ]);
  const asked = gitlab.gitlab.ledger.length;
  let attempts = 0;
  for (let round = 0; round < size(1, 5); round++)
    for (const [what, token] of forged)
      for (const [way, ask] of Object.entries(entries)) {
        expect([400, 401, 431], `${what} at ${way}`).toContain(await ask(token));
        attempts += 1;
      }
  expect(gitlab.gitlab.ledger.length).toBe(asked);
  expect(attempts).toBeGreaterThan(60 * 3);
  // Even by our own key: a session is of the person whom the store has for it.
  const mixed = own.signRaw({ ...session, sub: subjects.gitlab });
  expect(await entries["the API by cookie"]?.(mixed)).toBe(401);
  expect(slugs.github).not.toBe(slugs.gitlab);
  process.stdout.write(
    `goal G14, two hosts: ${forged.size} tokens, ${attempts} attempts, 0 accepted, 0 fetches\n`,
  );
}, 120_000);

test("G14: the same login and the same id at two hosts are two people", async () => {
  await using two = await openTwoHosts();
  const { it, edge, github, gitlab, subjects, slugs, signIn } = two;
  const ofGitHub = await signIn(it.browser(), github);
  const ofGitLab = await signIn(it.browser(), gitlab);
  expect(subjects.github.split(":").at(-1)).toBe(subjects.gitlab.split(":").at(-1));
  expect(decodeJwt(ofGitHub.token)).toMatchObject({ sub: subjects.github, organizations: [slugs.github] });
  expect(decodeJwt(ofGitLab.token)).toMatchObject({ sub: subjects.gitlab, organizations: [slugs.gitlab] });
  const owners = async ({ browser }: { readonly browser: Browser }) =>
    (await browser.ask<OwnerView[]>("query", "owners.list")).map(({ slug, role }) => `${slug}: ${role}`);
  expect(await owners(ofGitHub)).toEqual([`${slugs.github}: admin`]);
  expect(await owners(ofGitLab)).toEqual([`${slugs.gitlab}: viewer`]);
  const call = async (slug: string, token: string) =>
    (await edge.call(`${slug}.fn.test`, "/f", { headers: { cookie: `${SESSION_COOKIE}=${token}` } })).status;
  expect(await call(slugs.github, ofGitHub.token)).toBe(200);
  expect(await call(slugs.gitlab, ofGitHub.token)).toBe(403);
  expect(await call(slugs.gitlab, ofGitLab.token)).toBe(200);
  expect(await call(slugs.github, ofGitLab.token)).toBe(403);
  const foreign = await ofGitLab.browser.call("query", "audit.list", { owner: slugs.github });
  expect(foreign.status).toBe(404);

  // Signed in with the one in the browser of the other, she is the one alone.
  const before = ofGitLab.token;
  const now = await signIn(ofGitLab.browser, github);
  expect(await owners(now)).toEqual([`${slugs.github}: admin`]);
  expect(cookieOf(ofGitLab.browser)).not.toBe(before);

  // What the one host takes back takes nothing from the other's.
  await github.fake.revokeGrant();
  await it.memberships.refresh(subjects.github);
  expect((await ofGitHub.browser.call("query", "owners.list")).status).toBe(401);
  await eventually("the edge knows", async () => (await call(slugs.github, ofGitHub.token)) === 401);
  expect(await call(slugs.gitlab, before)).toBe(200);
});

test("G14: what one host answers signs nobody in with the other, whoever brings it", async () => {
  await using two = await openTwoHosts();
  const { it, github, gitlab, agree, comeBack } = two;
  const browser = it.browser();
  const refusals: number[] = [];
  for (let round = 0; round < size(10, 100); round++) {
    for (const [begun, answering] of [
      [github, gitlab],
      [gitlab, github],
    ] as const) {
      const one = await agree(browser, begun);
      const other = await agree(browser, answering);
      // A code of the other host under the state of this one, both of this very browser.
      refusals.push((await comeBack(browser, { code: other.code, state: one.state })).status);
      // The state was spent by that, for the right code too.
      refusals.push((await comeBack(browser, one)).status);
      // The right answer in another browser that signs in too, and then in this one, for which it is spent.
      const third = await agree(browser, begun);
      const stranger = it.browser();
      await agree(stranger, begun);
      refusals.push((await comeBack(stranger, third)).status);
      refusals.push((await comeBack(browser, third)).status);
      // A made-up state, and none of the browser's own.
      refusals.push((await comeBack(browser, { code: other.code, state: "x".repeat(43) })).status);
    }
  }
  expect([...new Set(refusals)].toSorted()).toEqual([400, 403]);
  expect(cookieOf(browser)).toBe("");
  expect(await it.store.selectFrom("sessions").select("jti").execute()).toEqual([]);
  process.stdout.write(
    `goal G14, two hosts: ${refusals.length} answers of the wrong host or browser, 0 signed in\n`,
  );
});
