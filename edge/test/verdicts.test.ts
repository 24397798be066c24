import type { AccessTokenAnswer } from "@openfaas-cloud/shared/access-token.ts";
import { expect, test } from "vitest";
import type { AccessTokenFinding, AccessTokens, Asker } from "../src/access-tokens.ts";
import { type Access, Authenticator } from "../src/authenticate.ts";
import { readHead } from "../src/request-fields.ts";
import { route } from "./support/feed-server.ts";
import { quiet } from "./support/servers.ts";
import { signer } from "./support/tokens.ts";

const TOKEN = "ofc_0123456789abcdefghijklmnopqrstuvwxyz";
const KNOWN: AccessTokenAnswer = {
  kind: "known",
  id: "id",
  sub: "p",
  name: "P",
  organizations: ["alice"],
  expiresInMs: null,
};

/** An authenticator with its clock and its control plane in the test's hand. */
async function setup() {
  const issuer = await signer();
  const settings = { keys: [issuer.key], revoked: [] as string[], listOwners: false };
  let nowMs = 1_000_000;
  const questions: Asker[] = [];
  let answer: AccessTokenFinding | undefined = KNOWN;
  let arrival: Promise<unknown> = Promise.resolve();
  const accessTokens: AccessTokens = {
    find: (_digest, asker) => {
      questions.push(asker);
      const finding = answer;
      return finding === undefined ? undefined : arrival.then(() => finding);
    },
  };
  const authenticator = new Authenticator({
    systemDomain: "console.test",
    accessTokens,
    logger: quiet,
    counts: { known: 0, verified: 0 },
    steadyMs: () => nowMs,
  });
  authenticator.follow(settings);
  const members = route("alice/f", [], { access: "members" });
  const request = { method: "GET", rawTarget: "/", httpVersion: "1.1", rawHeaders: [] };
  const authenticate = (token: string): Access | Promise<void> => {
    const head = readHead(["Host", "alice.fn.test", "Authorization", `Bearer ${token}`], "1.1");
    if ("status" in head) throw new Error(head.code);
    return authenticator.authenticate(members, head, request);
  };
  return {
    issuer,
    settings,
    authenticator,
    questions,
    authenticate,
    /** What is decided without a wait; `waits` where it would take one. */
    kindOf: (token: string): Access["kind"] | "waits" => {
      const access = authenticate(token);
      return access instanceof Promise ? "waits" : access.kind;
    },
    /** Decided to the end. */
    decide: async (token: string): Promise<Access["kind"]> => {
      await authenticate(token);
      const access = authenticate(token);
      if (access instanceof Promise) throw new Error("decided never");
      return access.kind;
    },
    pass: (ms: number) => {
      nowMs += ms;
    },
    /** Answers are under way until the result is called. */
    holdAnswers: () => {
      const held = Promise.withResolvers<void>();
      arrival = held.promise;
      return held.resolve;
    },
    answerWith: (next: AccessTokenFinding | undefined) => {
      answer = next;
    },
  };
}

test("settings that change cost no verdict but of those they name", async () => {
  const world = await setup();
  const other = await signer();
  const [mine, revoked] = [await world.issuer.sign(), await world.issuer.sign({ jti: "revoked" })];
  for (const token of [mine, revoked, TOKEN]) expect(await world.decide(token)).toBe("granted");
  world.authenticator.follow({
    ...world.settings,
    keys: [other.key, world.issuer.key],
    revoked: ["revoked"],
  });
  expect([mine, revoked, TOKEN].map(world.kindOf)).toEqual(["granted", "waits", "granted"]);
  expect(await world.decide(revoked)).toBe("signed-out");
  world.authenticator.follow({ ...world.settings, keys: [other.key] });
  expect([mine, TOKEN].map(world.kindOf)).toEqual(["waits", "granted"]);
  expect(await world.decide(mine)).toBe("signed-out");
  expect(world.questions).toHaveLength(1);
});

test("a key of the same name and another value is another key", async () => {
  const world = await setup();
  const token = await world.issuer.sign();
  expect(await world.decide(token)).toBe("granted");
  const impostor = await signer(world.issuer.key.kid);
  world.authenticator.follow({ ...world.settings, keys: [impostor.key] });
  expect(await world.decide(token)).toBe("signed-out");
});

test("an access token in use is renewed beside its requests: none waits, and it may go on for ever", async () => {
  const world = await setup();
  expect(await world.decide(TOKEN)).toBe("granted");
  for (let minute = 0; minute < 5; minute++) {
    world.pass(31_000);
    expect(world.kindOf(TOKEN)).toBe("granted");
    await new Promise(setImmediate);
  }
  expect(world.questions).toHaveLength(6);
  expect(world.questions.slice(1).every(({ wasGood }) => wasGood)).toBe(true);
});

test("what a renewal finds gone is refused from then on", async () => {
  const world = await setup();
  expect(await world.decide(TOKEN)).toBe("granted");
  world.answerWith({ kind: "unknown" });
  world.pass(31_000);
  expect(world.kindOf(TOKEN)).toBe("granted");
  await new Promise(setImmediate);
  expect(world.kindOf(TOKEN)).toBe("signed-out");
});

test("a renewal that gets no answer is tried again now and then, and the verdict ends at its age", async () => {
  const world = await setup();
  expect(await world.decide(TOKEN)).toBe("granted");
  world.answerWith({ kind: "unavailable" });
  for (let s = 1; s < 60; s++) {
    world.pass(1_000);
    expect(world.kindOf(TOKEN), `after ${s} s`).toBe("granted");
    await new Promise(setImmediate);
  }
  expect(world.questions.length).toBeGreaterThan(4);
  expect(world.questions.length).toBeLessThan(9);
  world.pass(2_000);
  expect(await world.decide(TOKEN)).toBe("unavailable");
  // Known once, it is asked about before strangers.
  expect(world.questions.at(-1)?.wasGood).toBe(true);
  world.answerWith(KNOWN);
  world.pass(1_001);
  expect(await world.decide(TOKEN)).toBe("granted");
});

test("a question that is not asked makes it unavailable, without a wait and without being remembered", async () => {
  const world = await setup();
  world.answerWith(undefined);
  expect(world.kindOf(TOKEN)).toBe("unavailable");
  world.answerWith(KNOWN);
  expect(await world.decide(TOKEN)).toBe("granted");
});

test("an answer is as old as its question: what it says of the token's end counts from there", async () => {
  const world = await setup();
  world.answerWith({ ...KNOWN, expiresInMs: 10_000 });
  const release = world.holdAnswers();
  const waiting = world.authenticate(TOKEN);
  world.pass(8_000);
  release();
  await waiting;
  expect(world.kindOf(TOKEN)).toBe("granted");
  world.pass(2_001);
  expect(world.kindOf(TOKEN)).toBe("waits");
});
