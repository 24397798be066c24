import type { IncomingHttpHeaders } from "node:http";
import { SESSION_COOKIE } from "@openfaas-cloud/shared/session.ts";
import { pino } from "pino";
import { expect, test } from "vitest";
import { CREDENTIAL, FeedServer, route } from "../support/feed-server.ts";
import { call, testEdge, upstream } from "../support/servers.ts";
import { signer } from "../support/tokens.ts";
import { Browser, sessionsIn } from "./support/browser.ts";
import { Random } from "./support/random.ts";
import { SEED, size } from "./support/size.ts";

interface Mode {
  readonly functions: string;
  readonly system: string;
  /** Whether visitors of a function can reach the dashboard's cookies at all: one domain, and nobody told the browsers. */
  readonly shared: boolean;
}

/** github.io is in the Public Suffix List, and stands for any domain that its operator has had put there. */
const MODES: Record<string, Mode> = {
  "two domains": { functions: "ofc-functions.com", system: "ofc-console.com", shared: false },
  "two domains, one in the Public Suffix List": {
    functions: "github.io",
    system: "ofc-console.com",
    shared: false,
  },
  "one domain in the Public Suffix List": { functions: "github.io", system: "github.io", shared: false },
  "one domain": { functions: "ofc-cloud.com", system: "ofc-cloud.com", shared: true },
};

const ATTRIBUTES = "Path=/; Secure; HttpOnly; SameSite=Lax";

/** A platform with a visitor who is signed in, and mallory's functions, which answer what they are told to. */
async function setup(mode: Mode, options: { readonly knowsPrefixes: boolean }) {
  const issuer = await signer();
  const session = await issuer.sign({ aud: `system.${mode.system}` });
  let answerWith: readonly string[] = [];
  const fn = await upstream((request, response) => {
    request.resume();
    response.writeHead(200, [...answerWith]).end();
  });
  const feed = await new FeedServer(
    [
      route("mallory/f", [fn.url]),
      route("mallory/signed-in", [fn.url], { access: "signed-in" }),
      route("alice/f", [fn.url]),
    ],
    { keys: [issuer.key], revoked: [], listOwners: false },
  ).listen();
  const seen: string[] = [];
  feed.onSystemRequest = (request, response) => {
    seen.push(request.headers.cookie ?? "");
    if (request.url === "/sign-in")
      response.setHeader("Set-Cookie", `${SESSION_COOKIE}=${session}; ${ATTRIBUTES}`);
    response.end();
  };
  const edge = await testEdge(feed.origin, { domains: mode });
  const browser = new Browser(edge.port, options);
  const console = `system.${mode.system}`;
  await browser.get(console, "/sign-in");
  return {
    mallory: `mallory.${mode.functions}`,
    alice: `alice.${mode.functions}`,
    console,
    session,
    issuer,
    edge,
    fn,
    browser,
    /** Has the visitor open mallory's function, which answers with these lines. */
    async visit(...lines: readonly string[]): Promise<void> {
      answerWith = lines;
      await browser.get(this.mallory, "/f");
      answerWith = [];
    },
    /** The sessions that the dashboard is presented next. */
    async sessions(): Promise<readonly string[]> {
      await browser.get(console, "/dashboard/");
      return sessionsIn(seen.at(-1) ?? "");
    },
    /** All that functions were told so far. */
    told: () => JSON.stringify(fn.requests.map(({ url, rawHeaders }) => [url, rawHeaders])),
    async [Symbol.asyncDispose]() {
      for (const part of [edge, feed, fn]) await part[Symbol.asyncDispose]();
    },
  };
}

const FORGED = "forged";

/** Ways to spell our cookie, and ways to widen, to hide or to delete it. */
function tosses({ functions, system }: Mode): string[] {
  const pairs = [
    `${SESSION_COOKIE}=${FORGED}`,
    ` ${SESSION_COOKIE} = ${FORGED}`,
    `\t${SESSION_COOKIE}=${FORGED}`,
    `${SESSION_COOKIE.toLowerCase()}=${FORGED}`,
    `${SESSION_COOKIE.toUpperCase()}=${FORGED}`,
    `"${SESSION_COOKIE}"=${FORGED}`,
    `=${SESSION_COOKIE}=${FORGED}`,
    `${SESSION_COOKIE}`,
    `${SESSION_COOKIE}=`,
    `__Host-openfaas_cloud_state=${FORGED}`,
    `x=1, ${SESSION_COOKIE}=${FORGED}`,
    `own=${FORGED}`,
  ];
  const domains = [
    "",
    `; Domain=${functions}`,
    `; Domain=.${functions}`,
    `; Domain=${system}`,
    `; domain=SYSTEM.${system.toUpperCase()}`,
    `; Domain=system.${system}.`,
    `; Domain="${system}"`,
    `; Domain = ${system}`,
    `; Domain=mallory.${functions}; Domain=${system}`,
    `; Domain=${system}; Domain=mallory.${functions}`,
    `; Domain=%${system.charCodeAt(0).toString(16)}${system.slice(1)}`,
    `; Domain=${system.split(".").slice(1).join(".")}`,
  ];
  const rest = [
    "; Path=/; Secure",
    "; Path=/dashboard; Secure; HttpOnly",
    "; Path=/dashboard/",
    "; Path=//; SameSite=None; Secure",
    "; Max-Age=0; Path=/; Secure",
    "; Expires=Thu, 01 Jan 1970 00:00:00 GMT; Path=/; Secure",
    "; Path=/; Secure; Partitioned; Priority=High",
  ];
  return pairs.flatMap((pair) => domains.flatMap((domain) => rest.map((more) => pair + domain + more)));
}

test("G15: nothing a function answers changes the session of the dashboard, in any browser and any layout", async () => {
  const random = new Random(SEED);
  const perMode = size(75, 924);
  let cases = 0;
  for (const [what, mode] of Object.entries(MODES)) {
    for (const knowsPrefixes of [true, false]) {
      await using world = await setup(mode, { knowsPrefixes });
      expect(await world.sessions(), what).toEqual([world.session]);
      for (const line of random.shuffled(tosses(mode)).slice(0, perMode)) {
        await world.visit("Set-Cookie", line, "SET-COOKIE", `harmless=1; Path=/`);
        expect(await world.sessions(), `${what}: ${line} (seed ${SEED})`).toEqual([world.session]);
        cases += 1;
      }
      for (const value of ['"cookies"', '"*"', '"cache", "cookies", "storage"', "cookies"]) {
        await world.visit("Clear-Site-Data", value);
        expect(await world.sessions(), `${what}: Clear-Site-Data: ${value}`).toEqual([world.session]);
        cases += 1;
      }
      expect(world.told()).not.toContain(world.session);
      // Nothing of it got anywhere at all but, under names of its own, to mallory's own host.
      const own = await world.browser.cookiesFor(`https://${world.mallory}/`);
      expect(own).toContain("harmless=1");
      expect(own.toLowerCase(), what).not.toMatch(/(^|[=;," ])__host-openfaas_cloud/);
      for (const host of [world.alice, world.console, mode.functions, mode.system]) {
        expect(
          await world.browser.cookiesFor(`https://${host}/dashboard/`),
          `${what}: ${host}`,
        ).not.toContain(FORGED);
      }
    }
  }
  expect(cases).toBeGreaterThanOrEqual(500);
  process.stdout.write(
    `goal G15: ${cases} cookies tossed by answers in ${Object.keys(MODES).length} layouts, 0 changes of the session\n`,
  );
});

test("G15: nothing a function's page does by script gets or changes the session", async () => {
  for (const [what, mode] of Object.entries(MODES)) {
    await using world = await setup(mode, { knowsPrefixes: true });
    for (const line of tosses(mode)) await world.browser.script(world.mallory, line);
    // Where the dashboard is the same site, a script may throw in cookies of other names, which mean nothing there.
    await world.browser.script(world.mallory, `theme=dark; Domain=${mode.system}`);
    expect(await world.sessions(), what).toEqual([world.session]);
    expect(await world.browser.cookiesFor(`https://${world.mallory}/`), what).not.toContain(world.session);
  }
});

test("G15: too many cookies of functions push out no session but where the dashboard shares their domain, and never for another one", async () => {
  for (const [what, mode] of Object.entries(MODES)) {
    await using world = await setup(mode, { knowsPrefixes: true });
    const many = Array.from({ length: 250 }, (_, i) => `flood-${i}=${"x".repeat(20)}; Path=/f-${i}`);
    await world.visit(...many.flatMap((line) => ["Set-Cookie", line]));
    for (const line of many) await world.browser.script(world.mallory, `${line}-s`);
    for (const line of many)
      await world.browser.script(world.mallory, `wide-${line}; Domain=${mode.functions}`);
    const sessions = await world.sessions();
    if (mode.shared) expect([[], [world.session]], what).toContainEqual(sessions);
    else expect(sessions, what).toEqual([world.session]);
  }
});

test("G15: an oversized Cookie header of a flooded browser is refused, with nothing forwarded", async () => {
  await using world = await setup(MODES["two domains"] ?? expect.fail(), { knowsPrefixes: true });
  for (let i = 0; i < 10; i++)
    await world.browser.script(world.mallory, `big-${i}=${"x".repeat(3_000)}; Path=/`);
  const before = world.fn.requests.length;
  expect((await world.browser.get(world.mallory, "/f")).status).toBe(431);
  expect(world.fn.requests).toHaveLength(before);
  // A sibling's visitors have nothing to do with it, nor has the dashboard.
  expect((await world.browser.get(world.alice, "/f")).status).toBe(200);
  expect(await world.sessions()).toEqual([world.session]);
});

test("G15, D32: of 10,000 calls with platform credentials, however they are spelled, no function sees one", async () => {
  const calls = size(10_000, 50_000);
  const random = new Random(SEED + 2);
  await using world = await setup(MODES["one domain"] ?? expect.fail(), { knowsPrefixes: true });
  const sessions = await Promise.all(
    Array.from({ length: 20 }, (_, i) =>
      world.issuer.sign({ aud: world.console, ...(i % 4 === 0 ? { exp: 1 } : {}) }),
    ),
  );
  const tokens = Array.from({ length: 20 }, () => `ofc_${random.word(43)}`);
  let reached = 0;
  const one = async (): Promise<void> => {
    const session = random.pick(sessions);
    const headers = {
      ...cookieHeaders(random, session),
      ...authorizationHeaders(random, session, random.pick(tokens)),
    };
    const path = random.pick(["/f", "/f/x?y=z", "/signed-in", "/./f", "/%66"]);
    const { status } = await call(world.edge.port, world.mallory, path, { headers });
    if (status === 200) reached += 1;
  };
  for (let i = 0; i < calls; i += 50) await Promise.all(Array.from({ length: 50 }, one));
  expect(world.fn.requests).toHaveLength(reached);
  expect(reached).toBeGreaterThan(calls / 2);
  for (const { rawHeaders } of world.fn.requests) {
    const text = rawHeaders.join("\n");
    const decoded = text.replaceAll(/[A-Za-z0-9+/_-]{16,}={0,2}/g, (word) =>
      Buffer.from(word, "base64").toString("latin1"),
    );
    const leaked = [...sessions, ...tokens].find(
      (secret) => text.includes(secret) || decoded.includes(secret),
    );
    if (leaked !== undefined) expect.fail(`a function saw ${leaked} in ${text} (seed ${SEED})`);
    if (/__host-openfaas_cloud_[a-z]*=/i.test(text))
      expect.fail(`a function saw a platform cookie in ${text}`);
  }
  process.stdout.write(
    `goal G15: ${calls} calls with platform credentials, ${reached} of them reached a function, 0 seen by it\n`,
  );
});

/** Our cookie among others, in a spelling that some parser takes for it. */
function cookieHeaders(random: Random, session: string): Record<string, string | string[]> {
  if (random.chance(0.2)) return {};
  const name = random.pick([
    SESSION_COOKIE,
    SESSION_COOKIE,
    SESSION_COOKIE.toLowerCase(),
    SESSION_COOKIE.toUpperCase(),
    "__Host-openfaas_cloud_state",
  ]);
  const pair = random.pick([
    `${name}=${session}`,
    `${name}="${session}"`,
    `"${name}"=${session}`,
    `${name} = ${session}`,
    `=${name}=${session}`,
    `a=1, ${name}=${session}`,
    `a="1 ${name}=${session}`,
    `\t${name}=${session}`,
  ]);
  const pairs = random.shuffled(
    [pair, "own=1", "theme=dark", `x=${random.word(5)}`].slice(0, random.between(1, 5)),
  );
  const separator = random.pick(["; ", ";", ";\t", " ; "]);
  if (random.chance(0.2)) return { Cookie: pairs };
  return { [random.pick(["Cookie", "cookie", "COOKIE"])]: pairs.join(separator) };
}

function authorizationHeaders(random: Random, session: string, token: string): Record<string, string> {
  if (random.chance(0.2)) return {};
  const secret = random.pick([session, token]);
  const basic = (pair: string): string => Buffer.from(pair).toString(random.pick(["base64", "base64url"]));
  const value = random.pick([
    `Bearer ${secret}`,
    `bearer  ${secret}`,
    `BEARER\t${secret}`,
    `Bearer "${secret}"`,
    `Bearer token=${secret}`,
    `Token ${secret}`,
    `JWT ${secret}`,
    secret,
    `Basic ${basic(`alice:${secret}`)}`,
    `basic  ${basic(`${secret}:`)}`,
    `Basic ${basic(`${secret}:x-oauth-basic`)}`,
  ]);
  return { [random.pick(["Authorization", "authorization"])]: value };
}

test("O9: what the access log keeps of a request holds no query, no cookie and no token", async () => {
  const lines: string[] = [];
  const logger = pino({ level: "debug" }, { write: (line) => lines.push(line) });
  const output = { offer: (line: string) => void lines.push(line), droppedLines: 0 };
  await using fn = await upstream();
  const issuer = await signer();
  const settings = { keys: [issuer.key], revoked: [], listOwners: false };
  await using feed = await new FeedServer(
    [route("alice/f", [fn.url], { access: "members" })],
    settings,
  ).listen();
  await using edge = await testEdge(feed.origin, { logger, output });
  const [good, bad] = [await issuer.sign(), await issuer.sign({ exp: 1 })];
  const token = "ofc_0123456789abcdefghijklmnop";
  for (const secret of [good, bad, token]) {
    await edge.call("alice.fn.test", `/f?code=secret-code&token=${secret}`, {
      headers: { authorization: `Bearer ${secret}`, cookie: `${SESSION_COOKIE}=${secret}` },
    });
    await edge.call("system.console.test", `/api/sign-in?state=secret-state&code=secret-code`);
  }
  const log = lines.join("");
  expect(log).toContain('"path":"/f"');
  for (const secret of [good, bad, token, "secret-code", "secret-state", CREDENTIAL])
    expect(log).not.toContain(secret);
});

test("D33: what a browser says of where a form comes from reaches the control plane as it was said", async () => {
  const seen: IncomingHttpHeaders[] = [];
  await using feed = await new FeedServer().listen();
  feed.onSystemRequest = (request, response) => {
    seen.push(request.headers);
    request.resume();
    response.writeHead(403).end();
  };
  await using edge = await testEdge(feed.origin);
  for (const [origin, site] of [
    ["http://evil.test", "cross-site"],
    ["http://mallory.fn.test", "same-site"],
  ] as const) {
    for (const type of [
      "application/x-www-form-urlencoded",
      "text/plain",
      "multipart/form-data; boundary=x",
    ]) {
      const headers = { origin, "sec-fetch-site": site, "content-type": type };
      const answer = await edge.call("system.console.test", "/api/trpc/functions.remove", {
        method: "POST",
        headers,
        body: "a=b",
      });
      expect(answer.status).toBe(403);
      expect(seen.at(-1)).toMatchObject(headers);
    }
  }
});
