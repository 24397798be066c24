import { createServer as createHttpServer } from "node:http";
import { SESSION_COOKIE } from "@openfaas-cloud/shared/session.ts";
import { expect, test } from "vitest";
import { FeedServer, route } from "../support/feed-server.ts";
import { rawClient, testEdge, until, upstream } from "../support/servers.ts";
import { type Signer, signer } from "../support/tokens.ts";
import { forgedTokens, goodClaims, twinOf } from "./support/forged-tokens.ts";
import { size } from "./support/size.ts";

/** A server that hands out whatever key is asked for, and counts who came. */
async function keyTrap() {
  let connections = 0;
  const { key } = await signer("own");
  const server = createHttpServer((_request, response) => response.end(JSON.stringify({ keys: [key] })));
  server.on("connection", () => {
    connections += 1;
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const address = server.address();
  if (address === null || typeof address === "string") throw new Error("no port");
  return {
    url: `http://127.0.0.1:${address.port}/keys.json`,
    connections: () => connections,
    async [Symbol.asyncDispose]() {
      server.closeAllConnections();
      await new Promise<void>((resolve) => server.close(() => resolve()));
    },
  };
}

const UPGRADE =
  "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n";
const ENTRIES: Record<string, (token: string) => string> = {
  bearer: (token) => `Connection: close\r\nAuthorization: Bearer ${token}\r\n`,
  cookie: (token) => `Connection: close\r\nCookie: ${SESSION_COOKIE}=${token}\r\n`,
  "WebSocket upgrade": (token) => `${UPGRADE}Authorization: Bearer ${token}\r\n`,
  "WebSocket upgrade by cookie": (token) => `${UPGRADE}Cookie: ${SESSION_COOKIE}=${token}\r\n`,
};

async function statusOf(port: number, lines: string): Promise<string> {
  using client = rawClient(port, `GET /f HTTP/1.1\r\nHost: alice.fn.test\r\n${lines}\r\n`);
  await until(() => client.text().includes("\r\n\r\n"), "an answer");
  return client.text().slice(9, 12);
}

test("G14: no forged token opens anything, by any entry, and none makes the edge fetch a key", async () => {
  const issuer = await signer();
  await using trap = await keyTrap();
  await using fn = await upstream(undefined, (_request, socket) => {
    socket.end("HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n");
  });
  await using feed = await new FeedServer([route("alice/f", [fn.url], { access: "signed-in" })], {
    keys: [issuer.key],
    revoked: [],
    listOwners: false,
  }).listen();
  await using edge = await testEdge(feed.origin);
  const tokens = await forgedTokens(issuer, trap.url);
  expect(tokens.size).toBeGreaterThanOrEqual(60);

  let attempts = 0;
  for (let round = 0; round < size(2, 5); round++) {
    for (const [what, token] of tokens) {
      for (const [entry, linesOf] of Object.entries(ENTRIES)) {
        const status = await statusOf(edge.port, linesOf(token));
        expect(["400", "401", "431"], `${what} as ${entry} (${status})`).toContain(status);
        attempts += 1;
      }
    }
  }
  expect(fn.requests).toEqual([]);
  expect(trap.connections()).toBe(0);

  // What opened everything, were it not for what is wrong with each: a test of the test.
  for (const [entry, linesOf] of Object.entries(ENTRIES)) {
    expect(["200", "101"], entry).toContain(await statusOf(edge.port, linesOf(await issuer.sign())));
    expect(["200", "101"], entry).toContain(await statusOf(edge.port, linesOf(issuer.signRaw(goodClaims()))));
  }
  const two = `Connection: close\r\nCookie: ${SESSION_COOKIE}=${await issuer.sign()}; ${SESSION_COOKIE}=${await issuer.sign()}\r\n`;
  expect(await statusOf(edge.port, two)).toBe("401");
  process.stdout.write(
    `goal G14: ${tokens.size} forged tokens by ${Object.keys(ENTRIES).length} entries, ${attempts} attempts, 0 accepted, 0 fetches\n`,
  );
});

test("G14: a session's other signature is the same session: revoked with it", async () => {
  const issuer = await signer();
  await using fn = await upstream();
  const settings = { keys: [issuer.key], revoked: [] as string[], listOwners: false };
  await using feed = await new FeedServer(
    [route("alice/f", [fn.url], { access: "signed-in" })],
    settings,
  ).listen();
  await using edge = await testEdge(feed.origin);
  const token = await issuer.sign({ jti: "twins" });
  const bearer = ENTRIES["bearer"] ?? String;
  expect(await statusOf(edge.port, bearer(twinOf(token)))).toBe("200");
  feed.change({ settings: { ...settings, revoked: ["twins"] } });
  await until(() => feed.applied.at(-1)?.version === 2, "the revocation");
  expect(await statusOf(edge.port, bearer(token))).toBe("401");
  expect(await statusOf(edge.port, bearer(twinOf(token)))).toBe("401");
});

test("G14: twenty key rotations under load refuse no session, and what a retired key signed is refused", async () => {
  const rotations = size(20, 200);
  await using fn = await upstream();
  let signers: Signer[] = [await signer(), await signer()];
  const settingsOf = () => ({ keys: signers.map(({ key }) => key), revoked: [], listOwners: false });
  await using feed = await new FeedServer(
    [route("alice/f", [fn.url], { access: "members" })],
    settingsOf(),
  ).listen();
  await using one = await testEdge(feed.origin);
  await using two = await testEdge(feed.origin);
  const publish = async (): Promise<void> => {
    const version = feed.change({ settings: settingsOf() });
    await until(() => feed.applied.filter((report) => report.version === version).length === 2, "both edges");
  };

  // Sessions of each key, and how many calls by it are under way.
  const sessions = new Map<Signer, string[]>();
  const underWay = new Map<Signer, number>();
  for (const made of signers)
    sessions.set(made, await Promise.all(Array.from({ length: 5 }, () => made.sign())));
  let calls = 0;
  let refused = 0;
  let stop = false;
  const load = Array.from({ length: 8 }, async (_, i) => {
    for (let n = i; !stop; n++) {
      const by = [...sessions.keys()][n % sessions.size];
      const token = by === undefined ? undefined : sessions.get(by)?.[n % 5];
      if (by === undefined || token === undefined) continue;
      underWay.set(by, (underWay.get(by) ?? 0) + 1);
      const answer = await (n % 2 === 0 ? one : two).call("alice.fn.test", "/f", {
        headers: { authorization: `Bearer ${token}` },
      });
      underWay.set(by, (underWay.get(by) ?? 0) - 1);
      calls += 1;
      if (answer.status !== 200) refused += 1;
    }
  });

  let slowestMs = 0;
  for (let i = 0; i < rotations; i++) {
    const next = await signer();
    signers = [next, ...signers];
    await publish();
    // Signed by only when every edge knows it, as the control plane does.
    sessions.set(next, await Promise.all(Array.from({ length: 5 }, () => next.sign())));
    const before = calls;
    await until(() => calls > before + 40, "calls by the new key");
    const retired = signers.at(-1);
    if (retired === undefined) throw new Error("no key is left");
    const [leftOver = ""] = sessions.get(retired) ?? [];
    sessions.delete(retired);
    await until(() => (underWay.get(retired) ?? 0) === 0, "the last call by the old key");
    signers = signers.slice(0, -1);
    const retiredMs = performance.now();
    feed.change({ settings: settingsOf() });
    for (const edge of [one, two]) {
      const bearer = { headers: { authorization: `Bearer ${leftOver}` } };
      await until(
        async () => (await edge.call("alice.fn.test", "/f", bearer)).status === 401,
        "the refusal",
        60_000,
      );
    }
    slowestMs = Math.max(slowestMs, performance.now() - retiredMs);
  }
  stop = true;
  await Promise.all(load);
  expect(refused).toBe(0);
  expect(slowestMs).toBeLessThan(60_000);
  process.stdout.write(
    `goal G14: ${rotations} rotations under ${calls} calls, ${refused} false refusals; retired key refused within ${slowestMs.toFixed(1)} ms\n`,
  );
});
