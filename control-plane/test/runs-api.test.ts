import { MAX_REPOSITORY_NAME } from "@openfaas-cloud/shared/names.ts";
import { expect, test } from "vitest";
import type { RunSummary } from "../src/api/views.ts";
import { openAccessServer } from "./support/access-server.ts";
import { addRun } from "./support/owners.ts";

test("runs of a repository deep within groups are found by its whole name, as long as it may be", async () => {
  const it = await openAccessServer();
  it.host.setRole("ada", "x", "viewer");
  const browser = await it.signedIn("ada");
  await addRun(it.store, { id: "run-x", owner: "x" });
  const repository = `${"g".repeat(99)}/${"h".repeat(99)}/`.padEnd(MAX_REPOSITORY_NAME, "r");
  await it.store
    .updateTable("repositories")
    .set({ name: repository })
    .where("owner_id", "=", "owner-x")
    .execute();
  const ofCommit = { owner: "x", repository, commit: "a".repeat(40) };
  expect(await browser.ask("query", "runs.ofCommit", ofCommit)).toEqual({ id: "run-x" });
  const { runs } = await browser.ask<{ runs: RunSummary[] }>("query", "runs.list", {
    owner: "x",
    repository,
  });
  expect(runs.map(({ id }) => id)).toEqual(["run-x"]);
  const longer = await browser.call("query", "runs.ofCommit", { ...ofCommit, repository: `${repository}r` });
  expect(longer.status).toBe(400);
});

test("a run that found nothing to deploy has not failed, as people see it", async () => {
  const it = await openAccessServer();
  it.host.setRole("ada", "x", "viewer");
  const browser = await it.signedIn("ada");
  await addRun(it.store, { id: "run-x", owner: "x" });
  const end = {
    state: "failed",
    reason_kind: "nothing-to-deploy",
    reason: "There is no stack.yml.",
  } as const;
  await it.store.updateTable("runs").set(end).where("id", "=", "run-x").execute();
  expect(await browser.ask("query", "runs.get", { id: "run-x" })).toMatchObject({
    state: "skipped",
    reason: "There is no stack.yml.",
  });
  expect(await browser.ask("query", "repositories.list", { owner: "x" })).toMatchObject([
    { newestRun: { state: "skipped" } },
  ]);
});
