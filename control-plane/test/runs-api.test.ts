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
