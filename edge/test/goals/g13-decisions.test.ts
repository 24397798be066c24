import type { AccessTokenAnswer } from "@openfaas-cloud/shared/access-token.ts";
import type { Route } from "@openfaas-cloud/shared/route.ts";
import { expect, test } from "vitest";
import type { AccessTokenFinding, AccessTokens } from "../../src/access-tokens.ts";
import { Authenticator } from "../../src/authenticate.ts";
import { readHead } from "../../src/request-fields.ts";
import { FeedServer, route } from "../support/feed-server.ts";
import { exchangeRaw, quiet, testEdge, until, upstream } from "../support/servers.ts";
import { signer } from "../support/tokens.ts";
import { AccessWorld, type Call, type Outcome } from "./support/access-world.ts";
import { Random } from "./support/random.ts";
import { SEED, size } from "./support/size.ts";

/** A control plane whose answers are made when it is asked, and arrive when the test says. */
class LateAnswers implements AccessTokens {
  readonly #answer: (digest: string) => AccessTokenAnswer | undefined;
  #waiting: (() => void)[] = [];
  questions = 0;

  constructor(answer: (digest: string) => AccessTokenAnswer | undefined) {
    this.#answer = answer;
  }

  find(digest: string): Promise<AccessTokenFinding> {
    this.questions += 1;
    const answer: AccessTokenFinding = this.#answer(digest) ?? { kind: "unavailable" };
    return new Promise((resolve) => this.#waiting.push(() => resolve(answer)));
  }

  deliver(): void {
    for (const arrive of this.#waiting) arrive();
    this.#waiting = [];
  }
}

test("G13: no decision differs from the model, whatever is revoked, rotated, changed or expires meanwhile", async () => {
  const decisions = size(100_000, 1_000_000);
  const random = new Random(SEED);
  let clockMs = Date.UTC(2026, 0, 1);
  const startMs = clockMs;
  const world = await new AccessWorld(random, () => clockMs).fill(250);
  const answers = new LateAnswers((digest) => world.answer(digest));
  const authenticator = new Authenticator({
    systemDomain: "console.test",
    accessTokens: answers,
    logger: quiet,
    counts: { known: 0, verified: 0 },
    wallMs: () => clockMs,
    steadyMs: () => clockMs - startMs,
  });
  authenticator.follow(world.settings);

  const change = async (): Promise<void> => {
    const what = random.fraction();
    if (what < 0.35) await world.add();
    else if (what < 0.6) world.revokeOne();
    else if (what < 0.72) world.changeMembership();
    else if (what < 0.9) world.changePolicy();
    else if (what < 0.94) world.setAvailable(!world.available);
    else if (what < 0.96) await world.rotate();
    else clockMs += random.between(1, 90_000);
    authenticator.follow(world.settings);
  };
  const routeOf = ({ route: { owner, function: name } }: Call): Route => {
    const found = world.routes.find((one) => one.owner === owner && one.function === name);
    if (found === undefined) throw new Error("no such route");
    return found;
  };
  const decide = async (call: Call): Promise<Outcome> => {
    const head = readHead(call.lines, "1.1");
    if ("status" in head) return "malformed";
    const request = { method: call.method, rawTarget: "/", httpVersion: "1.1", rawHeaders: call.lines };
    for (let round = 0; round < 20; round++) {
      const access = authenticator.authenticate(routeOf(call), head, request);
      if (!(access instanceof Promise)) return access.kind;
      if (random.chance(0.2)) await change();
      answers.deliver();
      await access;
    }
    throw new Error("decided never");
  };

  const seen = new Map<Outcome, number>();
  for (let i = 0; i < decisions; i++) {
    clockMs += random.between(0, 60);
    if (random.chance(0.02)) await change();
    // What is renewed beside requests is answered sooner or later.
    if (random.chance(0.1)) answers.deliver();
    const call = world.call();
    const outcome = await decide(call);
    const allowed = world.expected({ ...call, route: routeOf(call) });
    if (!allowed.has(outcome)) {
      const context = JSON.stringify({
        seed: SEED,
        i,
        outcome,
        allowed: [...allowed],
        access: routeOf(call).access,
        call,
      });
      expect.fail(`decision ${i} is ${outcome}: ${context}`);
    }
    seen.set(outcome, (seen.get(outcome) ?? 0) + 1);
  }
  // A run in which something never happened shows nothing about it.
  for (const outcome of [
    "granted",
    "signed-out",
    "forbidden",
    "cross-site",
    "unavailable",
    "malformed",
  ] as const) {
    expect(seen.get(outcome), outcome).toBeGreaterThan(decisions / 1_000);
  }
  expect(authenticator.verdicts).toBeLessThanOrEqual(100_000);
  process.stdout.write(
    `goal G13: ${decisions} decisions, 0 wrong (${[...seen].map(([what, n]) => `${what} ${n}`).join(", ")}), ` +
      `${answers.questions} questions, seed ${SEED}\n`,
  );
});

test("G13: at most 100,000 verdicts are kept, and a flood of made-up tokens drives out no good one", async () => {
  const issuer = await signer();
  const known = new Map<string, AccessTokenAnswer>();
  const accessTokens: AccessTokens = {
    find: async (digest) =>
      known.get(digest) ?? {
        kind: "known",
        id: digest,
        sub: "p",
        name: "P",
        organizations: ["alice"],
        expiresInMs: null,
      },
  };
  const authenticator = new Authenticator({
    systemDomain: "console.test",
    accessTokens,
    logger: quiet,
    counts: { known: 0, verified: 0 },
  });
  authenticator.follow({ keys: [issuer.key], revoked: [], listOwners: false });
  const members = route("alice/f", [], { access: "members" });
  const request = { method: "GET", rawTarget: "/", httpVersion: "1.1", rawHeaders: [] };
  const authenticate = (token: string) => {
    const head = readHead(["Host", "alice.fn.test", "Authorization", `Bearer ${token}`], "1.1");
    if ("status" in head) throw new Error(head.code);
    return authenticator.authenticate(members, head, request);
  };
  const sessions = await Promise.all(Array.from({ length: 50 }, () => issuer.sign()));
  for (const token of sessions) await authenticate(token);

  const flood = size(60_000, 400_000);
  const payload = Buffer.from('{"iss":"openfaas-cloud"}').toString("base64url");
  for (let i = 0; i < flood; i += 500) {
    const made = Array.from({ length: 500 }, (_, j) =>
      authenticate(`eyJhbGciOiJFUzI1NiIsImtpZCI6IngifQ.${payload}.${i + j}`),
    );
    await Promise.all(made);
  }
  expect(authenticator.verdicts).toBeLessThanOrEqual(10_050);
  for (const token of sessions) expect(authenticate(token)).toMatchObject({ kind: "granted" });

  for (let i = 0; i < 100_000; i += 1_000) {
    await Promise.all(
      Array.from({ length: 1_000 }, (_, j) => authenticate(`ofc_${String(i + j).padStart(40, "0")}`)),
    );
  }
  expect(authenticator.verdicts).toBeGreaterThan(90_000);
  expect(authenticator.verdicts).toBeLessThanOrEqual(100_000);
});

test("G13: the same over HTTP on two edges, and what is revoked is refused by both within 5 s", async () => {
  const calls = size(1_500, 20_000);
  const random = new Random(SEED + 1);
  const world = await new AccessWorld(random, () => Date.now()).fill(120);
  await using fn = await upstream((_request, response) => response.end("granted"));
  const served = () => world.routes.map((one) => ({ ...one, upstreams: [{ id: "u", url: fn.url }] }));
  await using feed = await new FeedServer(served(), world.settings).listen();
  feed.onQuestion = (digest, response) => {
    const answer = world.answer(digest);
    if (answer === undefined) response.writeHead(503).end();
    else response.end(JSON.stringify(answer));
  };
  await using one = await testEdge(feed.origin);
  await using two = await testEdge(feed.origin);
  const publish = async (): Promise<void> => {
    const version = feed.change({ settings: world.settings, upserts: served() });
    await until(() => feed.applied.filter((report) => report.version === version).length === 2, "both edges");
  };

  for (let i = 0; i < calls; i++) {
    if (i % 25 === 24) {
      const what = random.fraction();
      if (what < 0.3) await world.add();
      else if (what < 0.5) world.changePolicy();
      else if (what < 0.6) await world.rotate();
      else world.revokeOne();
      await publish();
    }
    const call = world.call();
    const edge = random.pick([one, two]);
    const before = world.expected(call);
    const outcome = await outcomeOf(edge.port, call);
    // A second's boundary may lie between the two.
    const allowed = new Set([...before, ...world.expected(call)]);
    if (!allowed.has(outcome)) {
      const context = JSON.stringify({
        seed: SEED,
        i,
        outcome,
        allowed: [...allowed],
        access: call.route.access,
        call,
      });
      expect.fail(`call ${i} is ${outcome}: ${context}`);
    }
  }

  let slowestMs = 0;
  const revocations = size(20, 200);
  const guarded = world.routes.find(({ access }) => access === "signed-in");
  if (guarded === undefined) throw new Error("no policy asks for a person");
  for (let i = 0; i < revocations; i++) {
    const token = i % 2 === 0 ? await world.addGood("session") : await world.addGood("access-token");
    const call = world.callWith(token, guarded);
    const statuses = () => Promise.all([one, two].map(({ port }) => outcomeOf(port, call)));
    expect(await statuses()).toEqual(["granted", "granted"]);
    world.revoke(token);
    const revokedMs = performance.now();
    feed.change({ settings: world.settings });
    await until(async () => (await statuses()).every((outcome) => outcome === "signed-out"), "both refusals");
    slowestMs = Math.max(slowestMs, performance.now() - revokedMs);
  }
  expect(slowestMs).toBeLessThan(5_000);
  const text = JSON.stringify(fn.requests);
  for (const { text: token, kind } of world.tokens)
    if (kind !== "nonsense") expect(text.includes(token)).toBe(false);
  process.stdout.write(
    `goal G13: ${calls} calls over HTTP on two edges, 0 wrong; ` +
      `${revocations} revocations, each refused by both within ${slowestMs.toFixed(1)} ms\n`,
  );
});

/** Byte for byte as the model means it: an HTTP client would join and drop lines. */
async function outcomeOf(port: number, { route: one, method, lines }: Call): Promise<Outcome> {
  let head = `${method} /${one.function} HTTP/1.1\r\nConnection: close\r\n`;
  for (let i = 0; i < lines.length; i += 2) head += `${lines[i]}: ${lines[i + 1]}\r\n`;
  const answer = await exchangeRaw(port, `${head}\r\n`);
  const status = answer.slice(9, 12);
  if (status === "200") return "granted";
  const { error } = JSON.parse(answer.slice(answer.indexOf("\r\n\r\n"))) as { error: { code: string } };
  switch (error.code) {
    case "signed-out":
    case "scope-missing":
    case "forbidden":
    case "cross-site":
      return error.code;
    case "token-not-checked":
      return "unavailable";
    case "authorization-invalid":
      return "malformed";
    default:
      throw new Error(`answered ${status} ${error.code}`);
  }
}
