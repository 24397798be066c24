import { randomBytes } from "node:crypto";
import { readFile, stat } from "node:fs/promises";
import { join } from "node:path";
import { AccessTokenAnswer } from "@openfaas-cloud/shared/access-token.ts";
import { Secret } from "@openfaas-cloud/shared/env.ts";
import { fastify } from "fastify";
import { SignJWT } from "jose";
import { describe, expect, it } from "vitest";
import { temporaryFolder } from "../../test/support/temporary-folder.ts";
import {
  ensureAccessToken,
  findAccessToken,
  makeSignInCode,
  personOfSignInCode,
  revokedIds,
  revokeSession,
  spendSignInCode,
} from "../src/access/credentials.ts";
import { openSessionTokens } from "../src/access/session-token.ts";
import { sha256 } from "../src/ids.ts";
import { openEmbeddedSecretStore } from "../src/ports/secret-store/embedded.ts";
import { ensureMember, ownersOf } from "../src/ports/store/owners.ts";
import { openSqliteStore } from "../src/ports/store/sqlite.ts";
import type { Store } from "../src/ports/store/store.ts";
import { openEdgeUsage } from "../src/ports/usage-source/edge.ts";
import { RoutePublisher } from "../src/routes/route-publisher.ts";
import { serveEdges } from "../src/routes/serve.ts";
import { Sealing } from "../src/sealing.ts";
import { addOwners } from "./support/owners.ts";

const PERSON = { subject: "local:a", name: "a" };

async function personOfToken(store: Store, token: string) {
  const { subject, name } = (await findAccessToken(store, sha256(token))) ?? {};
  return subject && { subject, name };
}

async function open() {
  const stack = new AsyncDisposableStack();
  const dir = stack.use(await temporaryFolder());
  const store = stack.adopt(await openSqliteStore(join(dir.path, "store.sqlite")), (it) => it.destroy());
  await addOwners(store);
  await ensureMember(store, PERSON, "owner-a");
  return { store, dir: dir.path, [Symbol.asyncDispose]: () => stack.disposeAsync() };
}

describe("one-time sign-in", () => {
  it("signs in once", async () => {
    await using it = await open();
    const code = await makeSignInCode(it.store, PERSON.subject);
    expect(await personOfSignInCode(it.store, code)).toEqual(PERSON);
    expect(await spendSignInCode(it.store, code)).toBe(true);
    expect(await spendSignInCode(it.store, code)).toBe(false);
    expect(await personOfSignInCode(it.store, code)).toBeUndefined();
  });

  it("does not know a code that was never made", async () => {
    await using it = await open();
    expect(await personOfSignInCode(it.store, "guess")).toBeUndefined();
    expect(await spendSignInCode(it.store, "guess")).toBe(false);
  });

  it("refuses a code that is too old", async () => {
    await using it = await open();
    const code = await makeSignInCode(it.store, PERSON.subject);
    await it.store
      .updateTable("sign_in_links")
      .set({ expires_at: Date.now() - 1 })
      .execute();
    expect(await personOfSignInCode(it.store, code)).toBeUndefined();
    expect(await spendSignInCode(it.store, code)).toBe(false);
  });
});

describe("access tokens", () => {
  it("belong to a person and are kept as a hash only", async () => {
    await using it = await open();
    await ensureAccessToken(it.store, PERSON, "start", "ofc_secret-token");
    await ensureAccessToken(it.store, PERSON, "start", "ofc_secret-token");
    expect(await personOfToken(it.store, "ofc_secret-token")).toEqual(PERSON);
    expect(await personOfToken(it.store, "ofc_secret-toke")).toBeUndefined();
    const rows = await it.store.selectFrom("access_tokens").selectAll().execute();
    expect(rows).toHaveLength(1);
    expect(JSON.stringify(rows)).not.toContain("secret-token");
  });

  it("are told to edges as taken back when another takes their place", async () => {
    await using it = await open();
    await ensureAccessToken(it.store, PERSON, "start", "ofc_first-token");
    const [first] = await it.store.selectFrom("access_tokens").select("id").execute();
    await ensureAccessToken(it.store, PERSON, "start", "ofc_first-token");
    expect(await revokedIds(it.store)).toEqual([]);
    await ensureAccessToken(it.store, PERSON, "start", "ofc_second-token");
    expect(await revokedIds(it.store)).toEqual([first?.id]);
    expect(await personOfToken(it.store, "ofc_first-token")).toBeUndefined();
    expect(await personOfToken(it.store, "ofc_second-token")).toEqual(PERSON);
  });

  it("end when they expire", async () => {
    await using it = await open();
    await ensureAccessToken(it.store, PERSON, "ci", "ofc_secret-token");
    await it.store
      .updateTable("access_tokens")
      .set({ expires_at: Date.now() - 1 })
      .execute();
    expect(await personOfToken(it.store, "ofc_secret-token")).toBeUndefined();
  });
});

describe("what edges ask about access tokens", () => {
  const CREDENTIAL = "feed-credential-for-tests";
  const digest = sha256("ofc_secret-token");

  async function serve() {
    const it = await open();
    const server = fastify();
    const routes = await RoutePublisher.open(
      { epoch: "e", next: 1, reserve: async () => undefined },
      { keys: [], revoked: [], listOwners: true },
      [],
    );
    const { store } = it;
    serveEdges(server, {
      routes,
      usage: openEdgeUsage(store),
      store,
      memberships: { ensure: async () => "current", ownersOf: (subject) => ownersOf(store, subject) },
      credential: new Secret(CREDENTIAL),
    });
    const ask = async (payload: object, credential = CREDENTIAL) => {
      const answer = await server.inject({
        method: "POST",
        url: "/internal/access-tokens",
        headers: { authorization: `Bearer ${credential}` },
        payload,
      });
      return { status: answer.statusCode, body: answer.json() as unknown };
    };
    return {
      store,
      ask,
      async [Symbol.asyncDispose]() {
        await server.close();
        await it[Symbol.asyncDispose]();
      },
    };
  }

  it("is whose it is, by its digest", async () => {
    await using it = await serve();
    await ensureAccessToken(it.store, PERSON, "start", "ofc_secret-token");
    const { status, body } = await it.ask({ digest });
    expect(status).toBe(200);
    expect(AccessTokenAnswer.parse(body)).toEqual({
      kind: "known",
      id: expect.any(String),
      sub: PERSON.subject,
      name: PERSON.name,
      organizations: ["a"],
      expiresInMs: null,
    });
    const [row] = await it.store.selectFrom("access_tokens").select(["last_used_at"]).execute();
    expect(row?.last_used_at).toBeGreaterThan(0);
  });

  it("says how much longer it counts, and does not know one that has expired", async () => {
    await using it = await serve();
    await ensureAccessToken(it.store, PERSON, "start", "ofc_secret-token");
    const expire = (at: number) => it.store.updateTable("access_tokens").set({ expires_at: at }).execute();
    await expire(Date.now() + 60_000);
    const known = AccessTokenAnswer.parse((await it.ask({ digest })).body);
    if (known.kind !== "known") throw new Error("not known");
    expect(known.expiresInMs).toBeGreaterThan(50_000);
    expect(known.expiresInMs).toBeLessThanOrEqual(60_000);
    await expire(Date.now() - 1);
    expect((await it.ask({ digest })).body).toEqual({ kind: "unknown" });
    expect((await it.ask({ digest: sha256("ofc_another") })).body).toEqual({ kind: "unknown" });
  });

  it("is told to nobody without the feed's credential, and to no question that is none", async () => {
    await using it = await serve();
    expect((await it.ask({ digest }, "guess")).status).toBe(401);
    const questions = [{}, { digest: "x" }, { token: "ofc_secret-token" }, { digest: "0".repeat(2000) }];
    for (const question of questions) expect((await it.ask(question)).status).toBeGreaterThanOrEqual(400);
  });
});

describe("session tokens", () => {
  it("verify over a restart, by the key that is kept", async () => {
    await using dir = await temporaryFolder();
    const file = join(dir.path, "keys", "session.json");
    const token = await (await openSessionTokens(file, "system.test")).issue({ ...PERSON, owners: ["a"] });
    const again = await openSessionTokens(file, "system.test");
    expect(await again.verify(token)).toMatchObject({ sub: PERSON.subject, organizations: ["a"] });
    expect((await stat(file)).mode & 0o077).toBe(0);
  });

  it("refuses another audience, another key, no signature, and HS256 with the public key", async () => {
    await using dir = await temporaryFolder();
    const ours = await openSessionTokens(join(dir.path, "a.json"), "system.test");
    const others = await openSessionTokens(join(dir.path, "b.json"), "system.test");
    const elsewhere = await openSessionTokens(join(dir.path, "a.json"), "system.elsewhere");
    const token = await ours.issue({ ...PERSON, owners: ["a"] });
    const [, payload] = token.split(".");
    const none = `${Buffer.from('{"alg":"none"}').toString("base64url")}.${payload}.`;
    const hs256 = await new SignJWT({ name: "a", organizations: ["a"] })
      .setProtectedHeader({ alg: "HS256", kid: ours.keys[0]?.kid ?? "" })
      .setSubject(PERSON.subject)
      .setIssuer("openfaas-cloud")
      .setAudience("system.test")
      .setJti("x")
      .setIssuedAt()
      .setExpirationTime("1h")
      .sign(Buffer.from(JSON.stringify(ours.keys[0])));
    expect(await ours.verify(token)).toBeDefined();
    expect(await others.verify(token)).toBeUndefined();
    expect(await elsewhere.verify(token)).toBeUndefined();
    for (const forged of [none, hs256, `${token}x`, "", "a.b.c"])
      expect(await ours.verify(forged)).toBeUndefined();
  });

  it("publish only the public half of the key", async () => {
    await using dir = await temporaryFolder();
    const file = join(dir.path, "session.json");
    const { keys } = await openSessionTokens(file, "system.test");
    const kept = JSON.parse(await readFile(file, "utf8")) as { private: { d: string } };
    expect(JSON.stringify(keys)).not.toContain(kept.private.d);
    expect(keys[0]).not.toHaveProperty("d");
  });

  it("are told to edges when they were ended before their time", async () => {
    await using it = await open();
    await revokeSession(it.store, { jti: "gone", exp: Date.now() / 1000 + 60 });
    await revokeSession(it.store, { jti: "long-over", exp: Date.now() / 1000 - 60 });
    expect(await revokedIds(it.store)).toEqual(["gone"]);
  });
});

describe("secrets", () => {
  it("belong to one owner and are sealed in the store", async () => {
    await using it = await open();
    const secrets = openEmbeddedSecretStore(it.store, new Sealing(randomBytes(32)));
    await secrets.set("owner-a", "api-key", "very secret");
    expect(await secrets.reveal("owner-a", ["api-key", "absent"])).toEqual({ "api-key": "very secret" });
    expect(await secrets.reveal("owner-b", ["api-key"])).toEqual({});
    const rows = await it.store.selectFrom("secrets").selectAll().execute();
    expect(JSON.stringify(rows)).not.toContain("very secret");
    expect((await secrets.list("owner-a")).map(({ name }) => name)).toEqual(["api-key"]);
  });

  it("do not open in another owner's row, nor under another key", async () => {
    await using it = await open();
    const secrets = openEmbeddedSecretStore(it.store, new Sealing(randomBytes(32)));
    await secrets.set("owner-a", "key", "very secret");
    await expect(
      openEmbeddedSecretStore(it.store, new Sealing(randomBytes(32))).reveal("owner-a", ["key"]),
    ).rejects.toThrow();
    await it.store.updateTable("secrets").set({ owner_id: "owner-b" }).execute();
    await expect(secrets.reveal("owner-b", ["key"])).rejects.toThrow();
  });

  it.each([
    ["../up", "long enough"],
    ["Upper", "long enough"],
    ["", "long enough"],
    ["short", "short"],
    ["long", "x".repeat(256 * 1024 + 1)],
  ])("refuses %s", async (name, value) => {
    await using it = await open();
    const secrets = openEmbeddedSecretStore(it.store, new Sealing(randomBytes(32)));
    await expect(secrets.set("owner-a", name, value)).rejects.toMatchObject({ kind: "secret-invalid" });
  });
});
