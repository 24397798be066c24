import { hash } from "node:crypto";
import { expect, test } from "vitest";
import { FeedServer, route } from "./support/feed-server.ts";
import { rawClient, testEdge, until, upstream } from "./support/servers.ts";
import { signer } from "./support/tokens.ts";

const TOKEN = "ofc_0123456789abcdefghijklmnopqrstuvwxyz";
const bearer = (token: string) => ({ headers: { authorization: `Bearer ${token}` } });
const basic = (pair: string) => `Basic ${Buffer.from(pair).toString("base64")}`;

async function setup(config: Parameters<typeof testEdge>[1] = {}) {
  const issuer = await signer();
  const settings = { keys: [issuer.key], revoked: [] as string[], listOwners: false };
  const fn = await upstream();
  const feed = await new FeedServer(
    [
      route("alice/public", [fn.url]),
      route("alice/signed-in", [fn.url], { access: "signed-in" }),
      route("alice/members", [fn.url], { access: "members" }),
      route("alice/token", [fn.url], { access: "token" }),
      route("bob/members", [fn.url], { access: "members" }),
      route("bob/token", [fn.url], { access: "token" }),
    ],
    settings,
  ).listen();
  const edge = await testEdge(feed.origin, config);
  feed.knowToken(TOKEN);
  const status = async (host: string, path: string, token?: string): Promise<number> =>
    (await edge.call(host, path, token === undefined ? {} : bearer(token))).status;
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

test("an access token opens what its person may call, and is asked about once", async () => {
  await using world = await setup();
  for (let round = 0; round < 3; round++) {
    expect(await world.status("alice.fn.test", "/signed-in", TOKEN)).toBe(200);
    expect(await world.status("alice.fn.test", "/members", TOKEN)).toBe(200);
    expect(await world.status("alice.fn.test", "/token", TOKEN)).toBe(200);
    expect(await world.status("bob.fn.test", "/members", TOKEN)).toBe(403);
    expect(await world.status("bob.fn.test", "/token", TOKEN)).toBe(403);
  }
  expect(world.feed.questions).toHaveLength(1);
  expect(await world.edge.metric("ofc_edge_token_cache_entries")).toBe(1);
  expect(JSON.stringify(world.fn.requests)).not.toContain(TOKEN);
});

test("only the digest of a token leaves the edge", async () => {
  await using world = await setup();
  await world.status("alice.fn.test", "/members", TOKEN);
  expect(world.feed.questions[0]).toMatch(/^[0-9a-f]{64}$/);
  expect(world.feed.paths.join()).not.toContain(TOKEN);
});

test("it counts as the password or the user name of a basic pair, and such a pair of the function's own does not", async () => {
  await using world = await setup();
  const call = async (authorization: string) =>
    (await world.edge.call("alice.fn.test", "/members", { headers: { authorization } })).status;
  expect(await call(basic(`alice:${TOKEN}`))).toBe(200);
  expect(await call(basic(`${TOKEN}:`))).toBe(200);
  expect(await call(basic("alice:secret"))).toBe(401);
  expect(JSON.stringify(world.fn.requests)).not.toMatch(/authorization/i);
});

test("one that may not be used to call says so to its holder, the same at every function that asks", async () => {
  await using world = await setup();
  world.feed.accessTokens.set(hash("sha256", TOKEN), { kind: "unknown", lacks: "invoke" });
  const asked = ["alice/signed-in", "alice/members", "alice/token", "bob/members", "bob/token"];
  const answers = await Promise.all(
    asked.map((one) => {
      const [owner, name] = one.split("/");
      return world.edge.call(`${owner}.fn.test`, `/${name}`, bearer(TOKEN));
    }),
  );
  for (const { status, body } of answers) {
    expect(status).toBe(403);
    expect(body).toContain("lacks the scope invoke");
  }
  expect(world.fn.requests).toEqual([]);
  expect(await world.status("alice.fn.test", "/members", `${TOKEN}-unknown`)).toBe(401);
});

test("a `token` function takes no session, neither as a cookie nor as a bearer", async () => {
  await using world = await setup();
  const session = await world.issuer.sign();
  expect(await world.status("alice.fn.test", "/members", session)).toBe(200);
  expect(await world.status("alice.fn.test", "/token", session)).toBe(401);
  expect(await world.status("alice.fn.test", "/token")).toBe(401);
  const cookie = `__Host-openfaas_cloud_token=${session}`;
  expect((await world.edge.call("alice.fn.test", "/token", { headers: { cookie } })).status).toBe(401);
  expect((await world.edge.call("alice.fn.test", "/members", { headers: { cookie } })).status).toBe(200);
});

test.each([true, false])(
  "who leaves while it is asked about is not served any more (plain lane: %s)",
  async (plainLane) => {
    await using world = await setup({ plainLane });
    const question = Promise.withResolvers<() => void>();
    world.feed.onQuestion = (digest, response) =>
      question.resolve(() => response.end(JSON.stringify(world.feed.accessTokens.get(digest))));
    {
      using client = rawClient(
        world.edge.port,
        `GET /members HTTP/1.1\r\nHost: alice.fn.test\r\nAuthorization: Bearer ${TOKEN}\r\n\r\n`,
      );
      void client;
      await question.promise;
    }
    await until(async () => (await world.edge.metric("ofc_edge_requests_in_flight")) === 0, "the end");
    (await question.promise)();
    world.feed.onQuestion = undefined;
    // Renewed or remembered, this one has its verdict after the answer above.
    expect(await world.status("alice.fn.test", "/members", TOKEN)).toBe(200);
    expect(world.fn.requests.length).toBe(1);
    const inFlight = 'gateway_function_invocation_inflight{function_name="members.alice"}';
    await until(async () => (await world.edge.metric(inFlight)) === 0, "nothing under way");
  },
);

test("it counts for nothing in a cookie, which a browser sends of itself", async () => {
  await using world = await setup();
  const cookie = `__Host-openfaas_cloud_token=${TOKEN}`;
  for (const path of ["/token", "/members", "/signed-in"]) {
    expect((await world.edge.call("alice.fn.test", path, { headers: { cookie } })).status, path).toBe(401);
  }
  expect(world.feed.questions).toEqual([]);
});

test("what does not look like an access token is refused without a question, a public function asks none", async () => {
  await using world = await setup();
  for (const token of [
    "ofc_",
    "ofc_short",
    `ofc_${"x".repeat(300)}`,
    "ofc_0123456789abcdef.xyz",
    "nonsense",
  ]) {
    expect(await world.status("alice.fn.test", "/members", token), token).toBe(401);
  }
  world.feed.onQuestion = () => undefined;
  expect(await world.status("alice.fn.test", "/public", TOKEN)).toBe(200);
  expect(world.feed.questions).toEqual([]);
});

test("a hundred requests with one new token ask one question", async () => {
  await using world = await setup();
  const answers: (() => void)[] = [];
  world.feed.onQuestion = (digest, response) =>
    answers.push(() => response.end(JSON.stringify(world.feed.accessTokens.get(digest))));
  const calls = Array.from({ length: 100 }, () => world.status("alice.fn.test", "/members", TOKEN));
  await until(() => answers.length > 0, "the question");
  // Whatever is asked until all of them wait is asked by now.
  await until(async () => (await world.edge.metric("ofc_edge_requests_in_flight")) === 100, "all requests");
  for (const answer of answers) answer();
  expect(new Set(await Promise.all(calls))).toEqual(new Set([200]));
  expect(answers).toHaveLength(1);
});

test("a control plane that is away makes it 503 with Retry-After, never 401, and is asked again a moment later", async () => {
  await using world = await setup();
  world.feed.onQuestion = (_digest, response) => response.writeHead(500).end();
  const answer = await world.edge.call("alice.fn.test", "/members", bearer(TOKEN));
  expect([answer.status, answer.headers["retry-after"]]).toEqual([503, "1"]);
  // Within the moment nobody is asked.
  expect(await world.status("alice.fn.test", "/members", TOKEN)).toBe(503);
  expect(world.feed.questions).toHaveLength(1);
  world.feed.onQuestion = undefined;
  await until(
    async () => (await world.status("alice.fn.test", "/members", TOKEN)) === 200,
    "another question",
  );
});

test.each<[string, (world: { feed: FeedServer }) => void]>([
  [
    "answers with another schema",
    ({ feed }) => {
      feed.onQuestion = (_digest, response) => response.end('{"kind":"known"}');
    },
  ],
  [
    "answers with a megabyte",
    ({ feed }) => {
      feed.onQuestion = (_digest, response) => response.end(`{"kind":"unknown"}${" ".repeat(1024 * 1024)}`);
    },
  ],
  [
    "does not know the question",
    ({ feed }) => {
      feed.onQuestion = (_digest, response) => response.writeHead(404).end();
    },
  ],
  [
    "cuts the connection",
    ({ feed }) => {
      feed.onQuestion = (_digest, response) => response.destroy();
    },
  ],
  [
    "does not answer",
    ({ feed }) => {
      feed.onQuestion = () => undefined;
    },
  ],
])("a control plane that %s says nothing about the token", async (_what, spoil) => {
  await using world = await setup();
  spoil(world);
  const startedMs = performance.now();
  expect(await world.status("alice.fn.test", "/members", TOKEN)).toBe(503);
  expect(performance.now() - startedMs).toBeLessThan(4_000);
});

test("a token that was found good goes on counting while the control plane is dead; public functions do in any case", async () => {
  await using world = await setup();
  expect(await world.status("alice.fn.test", "/members", TOKEN)).toBe(200);
  await world.feed[Symbol.asyncDispose]();
  expect(await world.status("alice.fn.test", "/members", TOKEN)).toBe(200);
  expect(await world.status("alice.fn.test", "/members", `${TOKEN}x`)).toBe(503);
  expect(await world.status("alice.fn.test", "/public", `${TOKEN}x`)).toBe(200);
});

test("a token that was taken back is refused with the next settings, on every edge", async () => {
  await using world = await setup();
  await using second = await testEdge(world.feed.origin);
  const statuses = async () => [
    await world.status("alice.fn.test", "/members", TOKEN),
    (await second.call("alice.fn.test", "/members", bearer(TOKEN))).status,
  ];
  expect(await statuses()).toEqual([200, 200]);
  world.feed.forgetToken(TOKEN);
  world.feed.change({ settings: { ...world.settings, revoked: [`id-of-${TOKEN}`] } });
  await until(() => world.feed.applied.filter(({ version }) => version === 2).length === 2, "both edges");
  expect(await statuses()).toEqual([401, 401]);
});

test("a token that was revoked while it was asked about is not good", async () => {
  await using world = await setup();
  let answer: (() => void) | undefined;
  world.feed.onQuestion = (digest, response) => {
    answer = () => response.end(JSON.stringify(world.feed.accessTokens.get(digest)));
  };
  const call = world.status("alice.fn.test", "/members", TOKEN);
  await until(() => answer !== undefined, "the question");
  world.feed.change({ settings: { ...world.settings, revoked: [`id-of-${TOKEN}`] } });
  await until(() => world.feed.applied.at(-1)?.version === 2, "the revocation");
  answer?.();
  expect(await call).toBe(401);
});

test("a token's own end is its end", async () => {
  await using world = await setup();
  world.feed.knowToken(TOKEN, { expiresInMs: 400 });
  expect(await world.status("alice.fn.test", "/members", TOKEN)).toBe(200);
  world.feed.forgetToken(TOKEN);
  await until(async () => (await world.status("alice.fn.test", "/members", TOKEN)) === 401, "the end");
});

test("made-up tokens are asked about at a bounded rate, one owner's leave room for all others', good ones stay good", async () => {
  await using world = await setup();
  expect(await world.status("bob.fn.test", "/members", TOKEN)).toBe(403);
  const flood = await Promise.all(
    Array.from({ length: 600 }, (_, i) =>
      world.status("alice.fn.test", "/members", `ofc_made-up-${String(i).padStart(20, "0")}`),
    ),
  );
  const asked = world.feed.questions.length - 1;
  expect(asked).toBeGreaterThanOrEqual(100);
  expect(asked).toBeLessThan(300);
  expect(flood.filter((status) => status === 401)).toHaveLength(asked);
  expect(flood.filter((status) => status === 503)).toHaveLength(600 - asked);
  const other = `${TOKEN}-of-bob`;
  world.feed.knowToken(other, { organizations: ["bob"] });
  expect(await world.status("bob.fn.test", "/members", other)).toBe(200);
  expect(await world.status("alice.fn.test", "/members", TOKEN)).toBe(200);
});

test("a tunnel that an access token opened ends when the token is taken back", async () => {
  await using world = await setup();
  await using fn = await upstream(undefined, (_request, socket) => {
    socket.write("HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n");
    socket.on("error", () => socket.destroy());
  });
  world.feed.change({ upserts: [route("alice/socket", [fn.url], { access: "token" })] });
  await until(() => world.feed.applied.at(-1)?.version === 2, "the route");
  using client = rawClient(
    world.edge.port,
    `GET /socket HTTP/1.1\r\nHost: alice.fn.test\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n` +
      `Authorization: Bearer ${TOKEN}\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n`,
  );
  await until(() => client.text().includes(" 101 "), "the tunnel");
  world.feed.change({ settings: { ...world.settings, revoked: [`id-of-${TOKEN}`] } });
  await client.closed;
});
