import { createHmac } from "node:crypto";
import { SESSION_COOKIE } from "@openfaas-cloud/shared/session.ts";
import { expect, test } from "vitest";
import { FeedServer, route } from "./support/feed-server.ts";
import { testEdge, until, upstream } from "./support/servers.ts";
import { signer } from "./support/tokens.ts";

async function setup() {
  const issuer = await signer();
  const settings = { keys: [issuer.key], revoked: [] as string[], listOwners: false };
  const fn = await upstream();
  const feed = await new FeedServer(
    [
      route("alice/public", [fn.url]),
      route("alice/signed-in", [fn.url], { access: "signed-in" }),
      route("alice/members", [fn.url], { access: "members" }),
      route("bob/members", [fn.url], { access: "members" }),
      route("metricsco/metrics", [fn.url]),
    ],
    settings,
  ).listen();
  const edge = await testEdge(feed.origin);
  const status = async (host: string, path: string, token?: string): Promise<number> =>
    (
      await edge.call(
        host,
        path,
        token === undefined ? {} : { headers: { authorization: `Bearer ${token}` } },
      )
    ).status;
  return {
    issuer,
    settings,
    fn,
    feed,
    edge,
    status,
    async [Symbol.asyncDispose]() {
      for (const part of [edge, feed, fn]) await part[Symbol.asyncDispose]();
    },
  };
}

test("a public function answers anybody, with a broken token too", async () => {
  await using world = await setup();
  expect(await world.status("alice.fn.test", "/public")).toBe(200);
  expect(await world.status("alice.fn.test", "/public", "nonsense")).toBe(200);
});

test("O12: an owner or function whose name begins like another's policy is its own", async () => {
  await using world = await setup();
  expect(await world.status("metricsco.fn.test", "/metrics")).toBe(200);
  expect(await world.status("alice.fn.test", "/members-list")).toBe(404);
});

test("a protected function answers those it is for", async () => {
  await using world = await setup();
  const alice = await world.issuer.sign();
  expect(await world.status("alice.fn.test", "/signed-in")).toBe(401);
  expect(await world.status("alice.fn.test", "/members")).toBe(401);
  expect(await world.status("alice.fn.test", "/signed-in", alice)).toBe(200);
  expect(await world.status("alice.fn.test", "/members", alice)).toBe(200);
  expect(await world.status("bob.fn.test", "/members", alice)).toBe(403);
  expect(world.fn.requests).toHaveLength(2);
});

test("a member of `alice` is none of `alic` or `alice-2`", async () => {
  await using world = await setup();
  for (const organizations of [["alic"], ["alice-2"], ["alice,bob"], []]) {
    const token = await world.issuer.sign({ organizations });
    expect(await world.status("alice.fn.test", "/members", token)).toBe(403);
  }
});

test("however the path is spelled, it is the protected function's (O11)", async () => {
  await using world = await setup();
  for (const path of [
    "/members/",
    "/public/../members",
    "/public/%2e%2e/members",
    "/%6dembers",
    "/./members?x",
  ]) {
    expect(await world.status("alice.fn.test", path), path).toBe(401);
  }
  expect(await world.status("alice.fn.test", "/public%2f..%2fmembers")).toBe(400);
  expect(world.fn.requests).toEqual([]);
});

test("tokens that do not count are refused, again and again", async () => {
  await using world = await setup();
  const other = await signer();
  const sameKid = await signer(world.issuer.key.kid);
  const good = await world.issuer.sign();
  const [, payload = "", signature = ""] = good.split(".");
  const encode = (value: object): string => Buffer.from(JSON.stringify(value)).toString("base64url");
  const nowS = Math.floor(Date.now() / 1000);
  const hs256 = `${encode({ alg: "HS256", kid: world.issuer.key.kid })}.${payload}`;
  const tokens = {
    none: `${encode({ alg: "none" })}.${payload}.`,
    "none with its signature": `${encode({ alg: "none", kid: world.issuer.key.kid })}.${payload}.${signature}`,
    "HS256 by the public key": `${hs256}.${createHmac("sha256", world.issuer.key.x).update(hs256).digest("base64url")}`,
    "an unknown key": await other.sign(),
    "another key under a known id": await sameKid.sign(),
    "a key in the token": await other.sign({}, { jwk: other.key }),
    "a key at a URL": await other.sign({}, { jku: "http://127.0.0.1:1/keys", kid: "../../keys" }),
    "an extension that must be understood": await world.issuer
      .sign({}, { crit: ["exp"], exp: 1 })
      .catch(() => "x.y.z"),
    "another issuer": await world.issuer.sign({ iss: "openfaas" }),
    "another audience": await world.issuer.sign({ aud: "system.other.test" }),
    "no audience": await world.issuer.sign({ aud: undefined }),
    "no end": await world.issuer.sign({ exp: undefined }),
    "an end in letters": await world.issuer.sign({ exp: "tomorrow" }).catch(() => "x.y.z"),
    "an end long ago": await world.issuer.sign({ exp: nowS - 61 }),
    "a beginning far ahead": await world.issuer.sign({ nbf: nowS + 3600 }),
    "organisations in one string": await world.issuer.sign({ organizations: "alice" }),
    "trailing data": `${good}x`,
    "a changed payload": good.replace(payload, `${payload.slice(0, -2)}AA`),
    "12 KiB": await world.issuer.sign({ name: "x".repeat(9_000) }),
    "two dots": "..",
  };
  for (let round = 0; round < 2; round++) {
    for (const [what, token] of Object.entries(tokens)) {
      expect(await world.status("alice.fn.test", "/signed-in", token), what).toBe(401);
    }
  }
  expect(world.fn.requests).toEqual([]);
  expect(await world.status("alice.fn.test", "/signed-in", await world.issuer.sign({ exp: nowS - 50 }))).toBe(
    200,
  );
});

test("a revoked token is refused although it was accepted a moment ago", async () => {
  await using world = await setup();
  const token = await world.issuer.sign({ jti: "stolen" });
  expect(await world.status("alice.fn.test", "/signed-in", token)).toBe(200);
  world.feed.change({ settings: { ...world.settings, revoked: ["stolen"] } });
  await until(() => world.feed.applied.at(-1)?.version === 2, "the revocation");
  expect(await world.status("alice.fn.test", "/signed-in", token)).toBe(401);
});

test("keys rotate with overlap; a retired one counts no more", async () => {
  await using world = await setup();
  const next = await signer();
  const [old, fresh] = [await world.issuer.sign(), await next.sign()];
  expect(await world.status("alice.fn.test", "/signed-in", fresh)).toBe(401);
  world.feed.change({ settings: { ...world.settings, keys: [next.key, world.issuer.key] } });
  await until(() => world.feed.applied.at(-1)?.version === 2, "both keys");
  expect(await world.status("alice.fn.test", "/signed-in", fresh)).toBe(200);
  expect(await world.status("alice.fn.test", "/signed-in", old)).toBe(200);
  world.feed.change({ settings: { ...world.settings, keys: [next.key] } });
  await until(() => world.feed.applied.at(-1)?.version === 3, "the new key alone");
  expect(await world.status("alice.fn.test", "/signed-in", old)).toBe(401);
});

test("sessions keep working with the control plane dead", async () => {
  await using world = await setup();
  const token = await world.issuer.sign();
  await world.feed[Symbol.asyncDispose]();
  expect(await world.status("alice.fn.test", "/members", token)).toBe(200);
  expect(await world.status("alice.fn.test", "/members", "forged")).toBe(401);
});

test("a session cookie counts once; two of the name are signed out", async () => {
  await using world = await setup();
  const token = await world.issuer.sign();
  const withCookie = (cookie: string) =>
    world.edge.call("alice.fn.test", "/members", { headers: { cookie } });
  expect((await withCookie(`a=1; ${SESSION_COOKIE}=${token}`)).status).toBe(200);
  expect((await withCookie(`${SESSION_COOKIE}=${token}; ${SESSION_COOKIE}=${token}`)).status).toBe(401);
  expect((await withCookie(`x${SESSION_COOKIE}=${token}`)).status).toBe(401);
});

test.each<[string, string, Record<string, string>, number]>([
  [
    "its own page's request",
    "POST",
    { "sec-fetch-site": "same-origin", origin: "http://alice.fn.test" },
    200,
  ],
  ["what a person typed", "GET", { "sec-fetch-site": "none", "sec-fetch-mode": "navigate" }, 200],
  ["a link on another site", "GET", { "sec-fetch-site": "cross-site", "sec-fetch-mode": "navigate" }, 200],
  [
    "a frame on another site",
    "GET",
    { "sec-fetch-site": "cross-site", "sec-fetch-mode": "navigate", "sec-fetch-dest": "iframe" },
    403,
  ],
  ["a form on another site", "POST", { "sec-fetch-site": "cross-site", "sec-fetch-mode": "navigate" }, 403],
  ["a form on a sibling", "POST", { "sec-fetch-site": "same-site", "sec-fetch-mode": "navigate" }, 403],
  ["an image on a sibling", "GET", { "sec-fetch-site": "same-site", "sec-fetch-mode": "no-cors" }, 403],
  ["an older browser's form on a sibling", "POST", { origin: "http://mallory.fn.test" }, 403],
  ["an older browser's form in a sandbox", "POST", { origin: "null" }, 403],
  ["an older browser's own page, behind TLS", "POST", { origin: "https://alice.fn.test" }, 200],
  ["another port", "POST", { origin: "http://alice.fn.test:81" }, 403],
  ["no browser", "POST", {}, 200],
])("a session cookie and %s", async (_what, method, headers, status) => {
  await using world = await setup();
  const cookie = `${SESSION_COOKIE}=${await world.issuer.sign()}`;
  const answer = await world.edge.call("alice.fn.test", "/members", {
    method,
    headers: { ...headers, cookie },
  });
  expect(answer.status).toBe(status);
  expect(world.fn.requests).toHaveLength(status === 200 ? 1 : 0);
});

test("whoever sends a bearer means it, and a public function is none of this", async () => {
  await using world = await setup();
  const token = await world.issuer.sign();
  const fromElsewhere = { origin: "http://evil.test", "sec-fetch-site": "cross-site" };
  const post = (path: string, headers: Record<string, string>) =>
    world.edge.call("alice.fn.test", path, { method: "POST", headers: { ...fromElsewhere, ...headers } });
  expect((await post("/members", { authorization: `Bearer ${token}` })).status).toBe(200);
  expect((await post("/public", { cookie: `${SESSION_COOKIE}=${token}` })).status).toBe(200);
});

test("a page of another site opens no WebSocket by a visitor's cookie", async () => {
  await using world = await setup();
  const answer = await world.edge.call("alice.fn.test", "/members", {
    headers: {
      cookie: `${SESSION_COOKIE}=${await world.issuer.sign()}`,
      origin: "http://mallory.fn.test",
      connection: "Upgrade",
      upgrade: "websocket",
      "sec-websocket-version": "13",
      "sec-websocket-key": "dGhlIHNhbXBsZSBub25jZQ==",
    },
  });
  expect(answer.status).toBe(403);
});

test("a browser that is signed out gets a page that leads to the dashboard", async () => {
  await using world = await setup();
  const answer = await world.edge.call("alice.fn.test:8080", "/members", {
    headers: { accept: "text/html" },
  });
  expect(answer.status).toBe(401);
  expect(answer.body).toContain('href="//system.console.test:8080/dashboard/"');
  expect(answer.body).not.toContain("<script");
});

test("O9-O10: no platform cookie and no token that opened a function is ever shown to it", async () => {
  await using world = await setup();
  const token = await world.issuer.sign();
  const cookies = [
    `${SESSION_COOKIE}=${token}`,
    `a=1; ${SESSION_COOKIE}=${token}; b=2`,
    `${SESSION_COOKIE.toUpperCase()}=${token}`,
    `__Host-openfaas_cloud_state=${token};`,
  ];
  for (const cookie of cookies) await world.edge.call("alice.fn.test", "/public", { headers: { cookie } });
  await world.edge.call("alice.fn.test", "/members", { headers: { cookie: cookies[0] ?? "" } });
  await world.edge.call("alice.fn.test", "/members", { headers: { authorization: `Bearer ${token}` } });
  expect(world.fn.requests).toHaveLength(6);
  expect(JSON.stringify(world.fn.requests)).not.toContain(token);
  expect(JSON.stringify(world.fn.requests).toLowerCase()).not.toContain("__host-openfaas_cloud");

  await world.edge.call("alice.fn.test", "/public", { headers: { authorization: "Basic eDp5" } });
  expect(world.fn.requests.at(-1)?.headers.authorization).toBe("Basic eDp5");
});

test("I2: a public function sees no credential of the platform either, and every other one", async () => {
  await using world = await setup();
  const token = await world.issuer.sign();
  const expired = await world.issuer.sign({ exp: 1 });
  const pair = Buffer.from("alice:ofc_0123456789").toString("base64");
  for (const authorization of [
    `Bearer ${token}`,
    `bearer  ${expired}`,
    "Bearer ofc_0123456789",
    `Basic ${pair}`,
  ])
    await world.edge.call("alice.fn.test", "/public", { headers: { authorization } });
  expect(world.fn.requests.map(({ headers }) => headers.authorization)).toEqual(Array(4).fill(undefined));
  for (const authorization of ["Bearer own-token", "Basic eDp5", "Digest x=y"]) {
    await world.edge.call("alice.fn.test", "/public", { headers: { authorization } });
    expect(world.fn.requests.at(-1)?.headers.authorization).toBe(authorization);
  }
});

test("O10: a function sets no cookie of ours, and none that another host receives", async () => {
  await using fn = await upstream((_request, response) => {
    const cookies = [
      "own=1; Path=/",
      `${SESSION_COOKIE}=forged; Path=/`,
      "wide=1; Domain=fn.test",
      "wider=1; Domain=.console.test",
    ];
    response.setHeader("Set-Cookie", cookies).end();
  });
  await using feed = await new FeedServer([route("mallory/f", [fn.url])]).listen();
  await using edge = await testEdge(feed.origin);
  expect((await edge.call("mallory.fn.test", "/f")).headers["set-cookie"]).toEqual(["own=1; Path=/"]);
});

test("O11: hop-by-hop headers stay behind both ways, and no client says where it comes from", async () => {
  await using fn = await upstream((_request, response) => {
    response
      .writeHead(200, { Connection: "keep-alive, X-Inner", "X-Inner": "1", "Proxy-Authenticate": "x" })
      .end();
  });
  await using feed = await new FeedServer([route("alice/f", [fn.url])]).listen();
  await using edge = await testEdge(feed.origin);
  const answer = await edge.call("alice.fn.test", "/f", {
    headers: {
      connection: "close, X-Forwarded-For, X-Mine",
      "x-mine": "1",
      "x-forwarded-for": "203.0.113.9",
      "x-real-ip": "203.0.113.9",
      forwarded: "for=203.0.113.9",
      "proxy-authorization": "x",
    },
  });
  expect(answer.headers["x-inner"]).toBeUndefined();
  expect(answer.headers["proxy-authenticate"]).toBeUndefined();
  const seen = fn.requests[0]?.headers;
  expect(seen).toMatchObject({
    "x-forwarded-for": "127.0.0.1",
    "x-real-ip": "127.0.0.1",
    "x-forwarded-host": "alice.fn.test",
  });
  expect(JSON.stringify(seen)).not.toContain("203.0.113.9");
  expect(seen).not.toHaveProperty("x-mine");
  expect(seen).not.toHaveProperty("proxy-authorization");
});
