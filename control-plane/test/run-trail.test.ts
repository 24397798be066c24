import { sql } from "kysely";
import { expect, test } from "vitest";
import { eventually } from "../../test/support/eventually.ts";
import { collect } from "../src/pipeline/collect.ts";
import type { Builder } from "../src/ports/builder/builder.ts";
import type { SourceHost } from "../src/ports/source-host/source-host.ts";
import { getRepository, refOf } from "../src/ports/store/repositories.ts";
import { openReporting } from "./support/reporting.ts";

type Reporting = Awaited<ReturnType<typeof openReporting>>;

const ends = async ({ store }: Reporting) =>
  (await store.selectFrom("audit_events").select("result").where("action", "=", "run.end").execute()).map(
    ({ result }) => result,
  );

const FAILED = { state: "failed", kind: "build-failed", reason: "It printed hunter2-hunter2." } as const;

test("the end of a run that the platform died after is in the trail from its next start on, once", async () => {
  await using it = await openReporting();
  await it.push();
  await it.end(await it.claim(), FAILED, { told: false });
  expect(await ends(it)).toEqual([]);
  await it.restart();
  await eventually("the trail tells of it", async () => (await ends(it)).length > 0);
  await it.restart();
  await it.stop();
  expect(await ends(it)).toEqual(["failed: It printed hunter2-hunter2."]);
});

test("the end of a run that the queue ended itself is too", async () => {
  await using it = await openReporting();
  await it.push();
  await it.push();
  await it.restart();
  await eventually("the trail tells of it", async () => (await ends(it)).length > 0);
  expect(await ends(it)).toEqual([expect.stringContaining("superseded: A newer push")]);
});

test("what a trail could not take is there once it can, and secrets are not", async () => {
  await using it = await openReporting({ sweepMs: 20 });
  await it.secrets.set("owner-a", "password", "hunter2-hunter2");
  await sql`create trigger full before insert on audit_events begin select raise(abort, 'full'); end`.execute(
    it.store,
  );
  await it.push();
  const run = await it.claim();
  await expect(it.end(run, FAILED)).rejects.toThrow("full");
  await sql`drop trigger full`.execute(it.store);
  await eventually("the trail tells of it", async () => (await ends(it)).length > 0);
  expect(await ends(it)).toEqual(["failed: It printed [secret]."]);
});

test("one that cannot be told of keeps no other back", async () => {
  await using it = await openReporting();
  await it.secrets.set("owner-a", "password", "hunter2-hunter2");
  await it.store.updateTable("secrets").set({ sealed: "broken" }).execute();
  await it.push();
  await it.end(await it.claim(), FAILED, { told: false });
  await it.push({ owner_id: "owner-b", repository_id: "repository-b" });
  await it.end(await it.claim(), { ...FAILED, reason: "Of b." }, { told: false });
  await it.restart();
  await eventually("the trail tells of the other", async () => (await ends(it)).length > 0);
  expect(await ends(it)).toEqual(["failed: Of b."]);
});

test("no run is forgotten before the trail tells of its end", async () => {
  await using it = await openReporting();
  await it.stop();
  // Each replaces the one before; so many are kept, and the last one waits.
  for (let pushes = 0; pushes < 202; pushes++) await it.push();
  const builder = { collect: async () => undefined } as unknown as Builder;
  const sourceHost = { tidy: async () => undefined } as unknown as SourceHost;
  const repository = refOf(await getRepository(it.store, "repository-a"));
  const forget = () => collect(repository, { ...it, builder, sourceHost }, new AbortController().signal);
  await forget();
  await it.restart();
  await eventually("the trail tells of all", async () => (await ends(it)).length === 201);
  await forget();
  expect(await it.store.selectFrom("runs").select("id").execute()).toHaveLength(201);
});

test("a run that has not ended is not told of", async () => {
  await using it = await openReporting({ sweepMs: 20 });
  await it.push();
  await it.claim();
  await it.restart();
  await it.stop();
  expect(await ends(it)).toEqual([]);
});
