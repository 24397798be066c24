import { execFile } from "node:child_process";
import { appendFile, mkdir, readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { Secret } from "@openfaas-cloud/shared/env.ts";
import { CompactSign, importJWK, type JWK } from "jose";
import { sql } from "kysely";
import { describe, expect, it } from "vitest";
import { eventually } from "../../test/support/eventually.ts";
import { temporaryFolder } from "../../test/support/temporary-folder.ts";
import type { AuditEvent } from "../src/ports/audit-sink/audit-sink.ts";
import { chainHash, GENESIS } from "../src/ports/audit-sink/chain.ts";
import { openHeadExport } from "../src/ports/audit-sink/export-head.ts";
import { makeHeadKey, openHeadSigner, readHeadKey, readHeads } from "../src/ports/audit-sink/head.ts";
import { openStoreAuditSink } from "../src/ports/audit-sink/store.ts";
import { verifyChain } from "../src/ports/audit-sink/verify-chain.ts";
import { type AuditFilter, listAuditEvents } from "../src/ports/store/audit-events.ts";
import { openSqliteStore } from "../src/ports/store/sqlite.ts";
import type { Store } from "../src/ports/store/store.ts";
import { dropTriggers, TAMPERINGS, tampered } from "./support/tampering.ts";

const EVENT: AuditEvent = {
  actor: "github.com:583231",
  action: "secret.set",
  object: "alice/db-password",
  result: "set",
  ownerId: "owner-a",
};

async function open() {
  const stack = new AsyncDisposableStack();
  const dir = stack.use(await temporaryFolder());
  const store = stack.adopt(await openSqliteStore(join(dir.path, "control-plane.sqlite")), (it) =>
    it.destroy(),
  );
  return {
    store,
    dir: dir.path,
    audit: openStoreAuditSink(store),
    [Symbol.asyncDispose]: () => stack.disposeAsync(),
  };
}

const rowsOf = (store: Store) => store.selectFrom("audit_events").selectAll().orderBy("id").execute();

describe("the audit trail", () => {
  it("takes events and never lets go of them", async () => {
    await using it = await open();
    await it.audit.append(EVENT);
    await it.audit.append({
      ...EVENT,
      ownerId: undefined,
      address: "192.0.2.7",
      details: { from: 1, to: 2 },
    });
    expect(await rowsOf(it.store)).toMatchObject([
      { id: 1, actor: "github.com:583231", owner_id: "owner-a", address: "", details: "{}" },
      { id: 2, owner_id: null, address: "192.0.2.7", details: '{"from":1,"to":2}' },
    ]);
    expect(await verifyChain(it.store)).toMatchObject({ kind: "intact", events: 2, unhashed: 0, vouched: 0 });
  });

  it.each([
    ["changed", "update audit_events set result = 'denied' where id = 1", /never changed/],
    ["deleted", "delete from audit_events where id = 1", /never deleted/],
    [
      "replaced",
      "insert or replace into audit_events select 1, at, actor, action, object, 'x', owner_id, address, details, hash from audit_events limit 1",
      /appended/,
    ],
    [
      "put in without a hash",
      "insert into audit_events (at, actor, action, object, result) values (1, 'a', 'b', 'c', 'd')",
      /appended/,
    ],
  ])("refuses that an event is %s", async (_how, statement, refusal) => {
    await using it = await open();
    await it.audit.append(EVENT);
    const before = await rowsOf(it.store);
    await expect(sql.raw(statement).execute(it.store)).rejects.toThrow(refusal);
    expect(await rowsOf(it.store)).toEqual(before);
  });

  it("does not fork where many append at once, alone and within transactions", async () => {
    await using it = await open();
    const withinOne = it.store.transaction().execute(async (transaction) => {
      await Promise.all(Array.from({ length: 20 }, () => it.audit.append(EVENT, transaction)));
    });
    await Promise.all([withinOne, ...Array.from({ length: 20 }, () => it.audit.append(EVENT))]);
    expect(await verifyChain(it.store)).toMatchObject({ kind: "intact", events: 40 });
  });

  it("keeps an event exactly where the act is kept", async () => {
    await using it = await open();
    const act = it.store.transaction().execute(async (transaction) => {
      await it.audit.append(EVENT, transaction);
      throw new Error("the act failed");
    });
    await expect(act).rejects.toThrow("the act failed");
    await it.audit.append({ ...EVENT, result: "set again" });
    expect(await rowsOf(it.store)).toMatchObject([{ id: 1, result: "set again" }]);
    expect(await verifyChain(it.store)).toMatchObject({ kind: "intact", events: 1 });
  });

  it.each([
    ["a line break", "set\n[admin] all: 'granted'", "set\\n[admin] all: 'granted'"],
    ["a carriage return and an escape sequence", "a\r\u001b[2Kb", "a\\u{d}\\u{1b}[2Kb"],
    ["a change of direction", "a\u202eb", "a\\u{202e}b"],
    ["a line separator", "a\u2028b", "a\\u{2028}b"],
    ["what looks like an escape", "a\\nb", "a\\\\nb"],
    ["half of a character", "a\ud83d", "a\ufffd"],
    ["markup", "<b>&'\"", "<b>&'\""],
  ])("keeps %s as one harmless line", async (_what, given, kept) => {
    await using it = await open();
    await it.audit.append({ ...EVENT, result: given });
    expect(await rowsOf(it.store)).toMatchObject([{ result: kept }]);
    expect(await verifyChain(it.store)).toMatchObject({ kind: "intact" });
  });

  it("keeps 4 KiB of a field at most, and details that are JSON still", async () => {
    await using it = await open();
    await it.audit.append({
      ...EVENT,
      result: "ü".repeat(10_000),
      details: { a: "ü\n".repeat(9_000), b: 1 },
    });
    await it.audit.append({ ...EVENT, details: { list: Array.from({ length: 9_000 }, () => 1) } });
    const rows = await rowsOf(it.store);
    for (const { result, details } of rows) {
      expect(Buffer.byteLength(result)).toBeLessThanOrEqual(4096);
      expect(Buffer.byteLength(details)).toBeLessThanOrEqual(4096);
    }
    expect(rows[0]?.result).toMatch(/^ü+…$/);
    expect(JSON.parse(rows[0]?.details ?? "")).toMatchObject({ a: expect.stringMatching(/…$/), b: 1 });
    expect(JSON.parse(rows[1]?.details ?? "")).toMatchObject({ omitted: expect.any(String) });
  });

  it("shows no secret that got into the details", async () => {
    await using it = await open();
    await it.audit.append({ ...EVENT, details: { token: new Secret("hunter2-hunter2-hunter2") } });
    expect(JSON.stringify(await rowsOf(it.store))).not.toContain("hunter2");
  });

  it("takes no two different events for the same, however their text is divided", () => {
    const row = { id: "1", at: "1", actor: "a", result: "r", owner_id: null, address: "", details: "{}" };
    const divided = [
      ["a", 'b","c'],
      ['a","b', "c"],
      ["a,b", "c"],
      ["a", "b,c"],
    ] as const;
    const hashes = divided.map(([action, object]) => chainHash(GENESIS, { ...row, action, object }));
    expect(new Set(hashes).size).toBe(divided.length);
    expect(chainHash(GENESIS, { ...row, action: "a", object: "b", owner_id: "null" })).not.toBe(
      chainHash(GENESIS, { ...row, action: "a", object: "b" }),
    );
  });

  it("keeps details as one harmless line of JSON", async () => {
    await using it = await open();
    const details = { "a\nb": ["a\nb", "a\u202eb", "a\u2028b", "a\u009bb", "\u{e0041}"] };
    await it.audit.append({ ...EVENT, details });
    const [row] = await rowsOf(it.store);
    expect(row?.details).not.toMatch(/[\p{Cc}\p{Cf}\p{Zl}\p{Zp}]/u);
    expect(JSON.parse(row?.details ?? "")).toEqual(details);
  });
});

describe("events from before there were hashes", () => {
  async function openOld() {
    const it = await open();
    await dropTriggers(it.store);
    for (const result of ["first", "second"]) {
      await sql`insert into audit_events (at, actor, action, object, result) values (1, 'a', 'b', 'c', ${result})`.execute(
        it.store,
      );
    }
    await it.audit.append(EVENT);
    return it;
  }

  it("are tolerated before the first that has one, which covers them", async () => {
    await using it = await openOld();
    await it.audit.append(EVENT);
    expect(await verifyChain(it.store)).toMatchObject({ kind: "intact", events: 4, unhashed: 2 });
    await sql`update audit_events set result = 'other' where id = 1`.execute(it.store);
    expect(await verifyChain(it.store)).toMatchObject({ kind: "broken", event: 3 });
  });

  it("are not tolerated after it", async () => {
    await using it = await openOld();
    await sql`insert into audit_events (at, actor, action, object, result) values (1, 'a', 'b', 'c', 'd')`.execute(
      it.store,
    );
    expect(await verifyChain(it.store)).toMatchObject({
      kind: "broken",
      event: 4,
      reason: expect.stringMatching(/no hash/),
    });
  });

  it("are not tolerated under a number that nothing was ever appended under", async () => {
    await using it = await openOld();
    await sql`insert into audit_events (id, at, actor, action, object, result) values (0, 1, 'a', 'b', 'c', 'd')`.execute(
      it.store,
    );
    expect(await verifyChain(it.store)).toMatchObject({ kind: "broken", event: 1 });
  });
});

describe("a page of events", () => {
  async function openWith(events: readonly Partial<AuditEvent>[]) {
    const it = await open();
    await it.store.transaction().execute(async (transaction) => {
      for (const event of events) await it.audit.append({ ...EVENT, ...event }, transaction);
    });
    const idsOf = async (filter: Partial<AuditFilter>) => {
      const page = await listAuditEvents(it.store, { limit: 3, ...filter });
      return { ids: page.events.map(({ id }) => id), next: page.next };
    };
    return { ...it, idsOf };
  }

  it("has the newest first, and says where older ones are", async () => {
    await using it = await openWith([{}, {}, {}, {}, {}]);
    expect(await it.idsOf({})).toEqual({ ids: [5, 4, 3], next: 3 });
    expect(await it.idsOf({ before: 3 })).toEqual({ ids: [2, 1], next: undefined });
    expect(await it.idsOf({ before: 1 })).toEqual({ ids: [], next: undefined });
  });

  it("has none of another owner, nor of the platform, where it is of one owner", async () => {
    await using it = await openWith([{ ownerId: "owner-b" }, {}, { ownerId: undefined }]);
    expect(await it.idsOf({ ownerId: "owner-a" })).toMatchObject({ ids: [2] });
    expect(await it.idsOf({})).toMatchObject({ ids: [3, 2, 1] });
  });

  it("is filtered by who, what and when", async () => {
    await using it = await openWith([{ actor: "local" }, { action: "run.end" }, {}]);
    expect(await it.idsOf({ actor: "local" })).toMatchObject({ ids: [1] });
    expect(await it.idsOf({ action: "run.end" })).toMatchObject({ ids: [2] });
    const [first] = await rowsOf(it.store);
    const at = first?.at ?? 0;
    expect(await it.idsOf({ from: at })).toMatchObject({ ids: [3, 2, 1] });
    expect(await it.idsOf({ until: at })).toMatchObject({ ids: [] });
    expect(await it.idsOf({ from: at + 60_000 })).toMatchObject({ ids: [] });
  });

  it("names the person where that is a known one", async () => {
    await using it = await openWith([{}, { actor: "github.com" }]);
    await it.store
      .insertInto("people")
      .values({ subject: EVENT.actor, name: "Alice", created_at: 0 })
      .execute();
    const { events } = await listAuditEvents(it.store, { limit: 3 });
    expect(events.map(({ actor_name }) => actor_name)).toEqual([null, "Alice"]);
  });

  it("looks at so many events at a time, however few pass the filter", async () => {
    const others = Array.from({ length: 10_050 }, () => ({}));
    await using it = await openWith([{ actor: "local" }, ...others]);
    const first = await it.idsOf({ actor: "local" });
    expect(first).toEqual({ ids: [], next: 52 });
    expect(await it.idsOf({ actor: "local", before: 52 })).toEqual({ ids: [1], next: undefined });
  });
});

describe("tampering", () => {
  it.each(Object.keys(TAMPERINGS))("shows: %s", async (kind) => {
    await using it = await open();
    const events = 30;
    for (let i = 0; i < events; i++) await it.audit.append({ ...EVENT, object: `alice/${i}` });
    await dropTriggers(it.store);
    const head = { event: events, hash: (await rowsOf(it.store)).at(-1)?.hash ?? "", at: Date.now() };
    for (let seed = 0; seed < 30; seed++) {
      const verdict = await tampered(it.store, { kind, seed, events }, (store) =>
        verifyChain(store, [head], 7),
      );
      expect(verdict, `seed ${seed}`).toMatchObject({ kind: "broken" });
    }
    expect(await verifyChain(it.store, [head], 7)).toMatchObject({ kind: "intact", events, vouched: events });
  });
});

describe("exported heads", () => {
  async function openExport() {
    const it = await open();
    const file = join(it.dir, "elsewhere", "heads");
    const key = await makeHeadKey();
    const signer = await openHeadSigner(key);
    const errors: unknown[] = [];
    const told: string[] = [];
    const options = {
      store: it.store,
      file,
      signer,
      everyMs: 3_600_000,
      onError: (error: unknown) => errors.push(error),
      tell: async (head: string, signal: AbortSignal) => {
        signal.throwIfAborted();
        told.push(head);
      },
    };
    return {
      ...it,
      file,
      signer,
      privateKey: JSON.parse(key.toString()).private as JWK,
      errors,
      told,
      exportHeads: () => openHeadExport(options),
      heads: async () => readHeads(file, await readHeadKey(`${file}.jwk`)),
    };
  }

  it("are exported at stop, and once for as long as nothing is appended", async () => {
    await using it = await openExport();
    {
      await using exporting = await it.exportHeads();
      await it.audit.append(EVENT);
      await exporting.export();
      await exporting.export();
      await it.audit.append(EVENT);
    }
    const rows = await rowsOf(it.store);
    expect(await it.heads()).toMatchObject([
      { event: 1, hash: rows[0]?.hash },
      { event: 2, hash: rows[1]?.hash },
    ]);
    expect(it.told).toHaveLength(2);
    expect(it.errors).toEqual([]);
  });

  it("are exported every so often", async () => {
    await using it = await openExport();
    await it.audit.append(EVENT);
    const { store, file, signer } = it;
    await using _ = await openHeadExport({ store, file, signer, everyMs: 5, onError: () => undefined });
    await eventually("a head is exported", async () => (await it.heads()).length > 0);
  });

  it("are in files that only the platform's user reads", async () => {
    await using it = await openExport();
    await using _ = await it.exportHeads();
    const { stdout } = await promisify(execFile)("stat", ["-c", "%a", it.file]);
    expect(stdout.trim()).toBe("600");
  });

  it("tell of an end that was cut off, and of a history that was written anew", async () => {
    await using it = await openExport();
    await using exporting = await it.exportHeads();
    for (let i = 0; i < 5; i++) await it.audit.append(EVENT);
    await exporting.export();
    await dropTriggers(it.store);
    await it.store.deleteFrom("audit_events").where("id", ">", 3).execute();
    expect(await verifyChain(it.store)).toMatchObject({ kind: "intact", events: 3 });
    expect(await verifyChain(it.store, await it.heads())).toMatchObject({
      kind: "broken",
      event: 4,
      reason: expect.stringMatching(/cut off.*event 5/),
    });
    await it.audit.append(EVENT);
    await it.audit.append({ ...EVENT, result: "other" });
    expect(await verifyChain(it.store)).toMatchObject({ kind: "intact", events: 5 });
    expect(await verifyChain(it.store, await it.heads())).toMatchObject({ kind: "broken", event: 5 });
    await expect(exporting.export()).rejects.toThrow("audit event 5");
  });

  it("are believed only where they were signed by the key, as heads", async () => {
    await using it = await openExport();
    const privateKey = await importJWK(it.privateKey, "ES256");
    await it.audit.append(EVENT);
    await using exporting = await it.exportHeads();
    await exporting.export();
    const [line = ""] = (await readFile(it.file, "utf8")).split("\n");
    const [header, , signature] = line.split(".");
    const forged = Buffer.from(JSON.stringify({ event: 9, hash: "0".repeat(64), at: 1 })).toString(
      "base64url",
    );
    const stranger = await (await openHeadSigner(await makeHeadKey())).sign({
      event: 1,
      hash: "0".repeat(64),
      at: 1,
    });
    const otherwise = await new CompactSign(
      Buffer.from(JSON.stringify({ event: 1, hash: "0".repeat(64), at: 1 })),
    )
      .setProtectedHeader({ alg: "ES256", typ: "JWT" })
      .sign(privateKey);
    for (const bad of [otherwise, `${header}.${forged}.${signature}`, stranger, "x", `${line}.`]) {
      await writeFile(it.file, `${line}\n${bad}\n`);
      await expect(it.heads()).rejects.toThrow("Line 2");
    }
  });

  it("go on after a power failure in the middle of a line", async () => {
    await using it = await openExport();
    await it.audit.append(EVENT);
    {
      await using exporting = await it.exportHeads();
      await exporting.export();
    }
    await appendFile(it.file, "eyJhbGciOi");
    await it.audit.append(EVENT);
    await (await it.exportHeads())[Symbol.asyncDispose]();
    expect(await it.heads()).toMatchObject([{ event: 1 }, { event: 2 }]);
  });

  it("keep the first key beside them, whatever key signs later", async () => {
    await using it = await openExport();
    await it.audit.append(EVENT);
    await (await it.exportHeads())[Symbol.asyncDispose]();
    await it.audit.append(EVENT);
    const { store, file } = it;
    const signer = await openHeadSigner(await makeHeadKey());
    await (await openHeadExport({ store, file, signer, onError: () => undefined }))[Symbol.asyncDispose]();
    await expect(it.heads()).rejects.toThrow("Line 2");
  });
});

describe("the operator's command", () => {
  const SCRIPT = fileURLToPath(new URL("../src/verify-audit.ts", import.meta.url));
  const run = (...args: string[]) =>
    promisify(execFile)(process.execPath, [SCRIPT, ...args]).then(
      ({ stdout }) => ({ code: 0, output: stdout }),
      (error: { code: number; stdout: string; stderr: string }) => ({
        code: error.code,
        output: error.stdout + error.stderr,
      }),
    );

  it("says what the trail is worth, while the platform runs and after", async () => {
    await using it = await open();
    const file = join(it.dir, "audit", "heads");
    await it.audit.append(EVENT);
    expect(await run(it.dir)).toMatchObject({
      code: 0,
      output: expect.stringMatching(/Intact: 1 events.*No exported head/),
    });
    const signer = await openHeadSigner(await makeHeadKey());
    await (await openHeadExport({ store: it.store, file, signer, onError: () => undefined }))[
      Symbol.asyncDispose
    ]();
    await it.audit.append(EVENT);
    expect(await run(it.dir)).toMatchObject({
      code: 0,
      output: expect.stringMatching(/2 events.*up to event 1\./),
    });
    await dropTriggers(it.store);
    await it.store.updateTable("audit_events").set({ result: "x" }).where("id", "=", 2).execute();
    await it.store.destroy();
    expect(await run(it.dir)).toMatchObject({ code: 1, output: expect.stringMatching(/BROKEN at event 2/) });
  });

  it("says so where it cannot be found out", async () => {
    await using it = await open();
    expect(await run()).toMatchObject({ code: 2, output: expect.stringMatching(/Usage/) });
    const nowhere = join(it.dir, "nowhere");
    expect(await run(nowhere)).toMatchObject({
      code: 2,
      output: expect.stringContaining(
        `There is no ${join(nowhere, "control-plane.sqlite")}, so this is not the control plane's data folder`,
      ),
    });
    await mkdir(join(nowhere, "control-plane"), { recursive: true });
    await writeFile(join(nowhere, "control-plane", "control-plane.sqlite"), "no database");
    expect(await run(nowhere)).toMatchObject({
      code: 2,
      output: expect.stringContaining(`within the one that you gave: give ${join(nowhere, "control-plane")}`),
    });
    expect(await run(join(nowhere, "control-plane"))).toMatchObject({
      code: 2,
      output: expect.stringContaining(join(nowhere, "control-plane", "control-plane.sqlite")),
    });
    expect(await run(it.dir, "--heads", join(it.dir, "nowhere"))).toMatchObject({ code: 2 });
  });
});
