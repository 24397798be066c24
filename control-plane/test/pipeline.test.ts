import { existsSync } from "node:fs";
import { readdir } from "node:fs/promises";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { eventually } from "../../test/support/eventually.ts";
import { collect } from "../src/pipeline/collect.ts";
import { RunStopped } from "../src/pipeline/execute-run.ts";
import { restore } from "../src/pipeline/restore.ts";
import { listDeployed } from "../src/ports/store/functions.ts";
import { helloSaying, openTestPipeline } from "./support/test-pipeline.ts";

type Pipeline = Awaited<ReturnType<typeof openTestPipeline>>;

const SUPERSEDED = new RunStopped({ state: "superseded", kind: "superseded", reason: "A newer push." });

const live = async (it: Pipeline) => (await listDeployed(it.ports.store))[0];
const running = (it: Pipeline) => it.ports.runtime.list().map(({ revisionId }) => revisionId);

async function answer(it: Pipeline): Promise<string> {
  const url = it.ports.routes.routes[0]?.upstreams[0]?.url;
  return url === undefined ? "no upstream" : (await fetch(url)).text();
}

describe("a run", () => {
  it("makes its functions live, and retires what was", async () => {
    await using it = await openTestPipeline();
    await it.trigger(helloSaying("first"));
    expect(await it.runNext()).toMatchObject({ state: "succeeded" });
    const first = await live(it);
    expect(await answer(it)).toBe("first");
    await it.trigger(helloSaying("second"));
    expect(await it.runNext()).toMatchObject({ state: "succeeded", generation: 2 });
    expect(await answer(it)).toBe("second");
    await eventually("the first revision is ended", () => !running(it).includes(first?.revision.id ?? ""));
    expect(running(it)).toEqual([(await live(it))?.revision.id]);
  });

  it("keeps what is live running where nothing of it changed", async () => {
    await using it = await openTestPipeline();
    await it.trigger(helloSaying("same"));
    await it.runNext();
    const before = await live(it);
    const second = await it.trigger({ ...helloSaying("same"), README: "new\n" });
    await it.runNext();
    expect(await live(it)).toMatchObject({ active_revision_id: before?.revision.id, run_id: second.id });
    expect(running(it)).toEqual([before?.revision.id]);
  });

  it("of a repository that is not linked any more does nothing, and says so", async () => {
    await using it = await openTestPipeline();
    await it.trigger(helloSaying("never"));
    await it.ports.store
      .updateTable("repositories")
      .set({ unlinked_at: 1, unlinked_reason: "It was deleted." })
      .where("id", "=", it.repository.repositoryId)
      .execute();
    expect(await it.runNext()).toMatchObject({
      state: "failed",
      reason_kind: "unlinked",
      reason: "The repository is not linked any more: It was deleted. Link it again to deploy.",
    });
    expect(await it.ports.store.selectFrom("stages").selectAll().execute()).toEqual([]);
  });

  it("that is stopped before it published leaves nothing behind", async () => {
    await using it = await openTestPipeline();
    await it.trigger(helloSaying("never"));
    const stop = new AbortController();
    // The revision's replica is there, and not yet published.
    using _ = it.ports.runtime.onChange(() => stop.abort(SUPERSEDED));
    expect(await it.runNext(stop.signal)).toMatchObject({ state: "superseded", reason: "A newer push." });
    expect(running(it)).toEqual([]);
    expect(it.ports.routes.routes).toEqual([]);
    expect(await readdir(it.ports.workDir)).toEqual([]);
  });

  it("that is stopped after it published goes to its end", async () => {
    await using it = await openTestPipeline({ edgeConfirms: false });
    const run = await it.trigger(helloSaying("live"));
    const stop = new AbortController();
    const ended = it.runNext(stop.signal);
    await eventually("it is published", () => it.ports.routes.routes.length > 0);
    stop.abort(SUPERSEDED);
    expect(await ended).toMatchObject({ id: run.id, state: "succeeded" });
    expect(running(it)).toEqual([(await live(it))?.revision.id]);
    expect(await answer(it)).toBe("live");
  });

  it("that fails changes nothing, and says why at its end", async () => {
    await using it = await openTestPipeline();
    await it.trigger(helloSaying("good"));
    await it.runNext();
    const run = await it.trigger({ "hello/handler.js": "throw new Error('at once')\n" });
    expect(await it.runNext()).toMatchObject({ state: "failed", reason_kind: "function-unhealthy" });
    expect(await answer(it)).toBe("good");
    const log = await it.logOf(run.id);
    expect(log.ended).toBe(true);
    expect(log.text).toContain("FAILED: function hello did not become healthy");
  });

  it("that the queue ended has a log that ends, with its reason", async () => {
    await using it = await openTestPipeline();
    const older = await it.trigger(helloSaying("older"));
    await it.trigger(helloSaying("newer"));
    await it.closeEnded(older.id);
    const log = await it.logOf(older.id);
    expect(log.ended).toBe(true);
    expect(log.text).toContain("A newer push to main replaced it");
  });
});

describe("collection", () => {
  it("keeps the artifacts of what is live and of what was live last, and removes older ones", async () => {
    await using it = await openTestPipeline();
    const artifacts: string[] = [];
    for (const text of ["1", "2", "3", "4", "5"]) {
      await it.trigger(helloSaying(text));
      await it.runNext();
      artifacts.push((await live(it))?.revision.artifact_reference ?? "");
    }
    await collect(it.repository, it.ports, new AbortController().signal);
    const there = artifacts.map((name) => existsSync(join(it.dataDir, "artifacts", name)));
    expect(there).toEqual([false, false, true, true, true]);
  });
});

describe("after a restart", () => {
  it("what is not routed any more is ended, and not started again", async () => {
    await using it = await openTestPipeline();
    await it.trigger(helloSaying("removed"));
    await it.runNext();
    expect(running(it)).toHaveLength(1);
    await it.ports.store.updateTable("functions").set({ unrouted_at: 1 }).execute();
    await restore(it.ports, new AbortController().signal);
    expect(running(it)).toEqual([]);
    await it.ports.liveRoutes.refresh();
    expect(it.ports.routes.routes).toEqual([]);
  });

  it("what is live runs again, and what is not is ended", async () => {
    await using it = await openTestPipeline();
    await it.trigger(helloSaying("live"));
    await it.runNext();
    const { runtime } = it.ports;
    const wanted = await live(it);
    await runtime.stopAll({ graceMs: 100 });
    const left = {
      ...wanted,
      revisionId: "left-over",
      functionId: "f",
      ownerId: "owner-a",
    };
    await runtime.start(
      {
        revisionId: left.revisionId,
        functionId: left.functionId,
        ownerId: left.ownerId,
        owner: it.repository.owner,
        function: (wanted?.revision.parsed.name ?? "") as never,
        artifact: {
          digest: wanted?.revision.artifact_digest ?? "",
          reference: wanted?.revision.artifact_reference ?? "",
        },
        environment: {},
        secrets: {},
        memoryLimitBytes: 128 * 2 ** 20,
        replicas: 1,
        healthPath: wanted?.revision.parsed.healthPath ?? "/",
        healthInitialDelayMs: 0,
      },
      { log: { write: () => undefined }, signal: new AbortController().signal },
    );
    expect(running(it)).toEqual(["left-over"]);
    await restore(it.ports, new AbortController().signal);
    expect(running(it)).toEqual([wanted?.revision.id]);
    await it.ports.liveRoutes.refresh();
    expect(await answer(it)).toBe("live");
  });
});
