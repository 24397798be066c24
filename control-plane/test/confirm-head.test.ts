import { describe, expect, it } from "vitest";
import { openConfirmHead } from "../src/pipeline/confirm-head.ts";
import { executeRun } from "../src/pipeline/execute-run.ts";
import { HostUnavailable } from "../src/ports/source-host/host-errors.ts";
import { SourceHosts } from "../src/ports/source-host/source-hosts.ts";
import { openDeployHead } from "../src/webhooks/deploy-head.ts";
import { commitOf, ScriptedHost } from "./support/scripted-host.ts";
import { HOLDER, openTestPipeline } from "./support/test-pipeline.ts";

const SILENT = () => {
  throw new HostUnavailable("GitHub is not answering: it says 503.", { status: 503 });
};

/** The test pipeline with its repository at a scripted host, and a run of commit 2 that only a delivery vouches for. */
async function openUnconfirmed() {
  const pipeline = await openTestPipeline();
  const { ports } = pipeline;
  const { store, queue } = ports;
  const host = new ScriptedHost();
  host.add("1");
  const remote = { source_host: host.instance, source_id: "1", full_name: "a/repo" };
  await store.updateTable("repositories").set(remote).where("id", "=", "repository-a").execute();
  const run = await queue.enqueue({
    trigger: "push",
    owner_id: "owner-a",
    repository_id: "repository-a",
    branch: "main",
    before_sha: commitOf(1),
    commit_sha: commitOf(2),
    message: "as delivered",
    author: "a",
    person: "github.test:42",
    unconfirmed: 1,
  });
  const sourceHost = new SourceHosts(ports.sourceHost, [host]);
  const deployHead = openDeployHead(queue);
  return {
    host,
    run,
    find: pipeline.find,
    logOf: pipeline.logOf,
    runs: () => store.selectFrom("runs").selectAll().orderBy("generation").execute(),
    async execute() {
      const claimed = await queue.claim(HOLDER, []);
      if (!claimed) throw new Error("nothing to run");
      const confirmHead = openConfirmHead({ store, hosts: sourceHost, deployHead, askMs: 200 });
      const all = { ...ports, sourceHost, confirmHead, retryAfterMs: [1, 1, 1] };
      await executeRun(claimed, HOLDER, all, new AbortController().signal);
      return pipeline.find(claimed.id);
    },
    [Symbol.asyncDispose]: () => pipeline[Symbol.asyncDispose](),
  };
}

describe("a run of which only a delivery says that its commit is the head", () => {
  it("says that the host is not answering where it still is not, and never that the build failed", async () => {
    await using it = await openUnconfirmed();
    it.host.beforeAnswer = SILENT;
    expect(await it.execute()).toMatchObject({
      state: "failed",
      reason_kind: "platform-unavailable",
      reason: "GitHub is not answering: it says 503. What was live stays live.",
    });
    const { text } = await it.logOf(it.run.id);
    expect(text.split("\n").filter((line) => line.includes("Trying again"))).toHaveLength(3);
    expect(text.toLowerCase()).not.toContain("build");
  });

  it("does not wait for a host that asks to be left alone for long", async () => {
    await using it = await openUnconfirmed();
    it.host.beforeAnswer = () => {
      throw new HostUnavailable("GitHub takes no more requests for now.", { retryAfterMs: 3_600_000 });
    };
    expect(await it.execute()).toMatchObject({ state: "failed", reason_kind: "platform-unavailable" });
    expect((await it.logOf(it.run.id)).text).not.toContain("Trying again");
  });

  it("is not deployed on the delivery's word, though the host gives the commit to whoever asks for it", async () => {
    await using it = await openUnconfirmed();
    it.host.beforeAnswer = (what) => (what === "head" ? SILENT() : undefined);
    expect(await it.execute()).toMatchObject({ state: "failed", reason_kind: "platform-unavailable" });
  });

  it("is not deployed where the host takes too long to say", async () => {
    await using it = await openUnconfirmed();
    it.host.beforeAnswer = (what, signal) =>
      what === "head"
        ? new Promise((_, reject) => signal.addEventListener("abort", () => reject(signal.reason)))
        : undefined;
    expect(await it.execute()).toMatchObject({ state: "failed", reason_kind: "platform-unavailable" });
  });

  it("goes on where the host confirms it", async () => {
    await using it = await openUnconfirmed();
    it.host.push("1", commitOf(2));
    // The scripted host has no files to check out.
    expect(await it.execute()).toMatchObject({ state: "failed", reason_kind: "source-missing" });
    expect(await it.runs()).toHaveLength(1);
  });

  it("gives way to the head where the branch is elsewhere", async () => {
    await using it = await openUnconfirmed();
    it.host.push("1", commitOf(3));
    const run = await it.execute();
    expect(run).toMatchObject({ reason_kind: "superseded" });
    expect((await it.runs()).map(({ commit_sha, state }) => [commit_sha, state])).toEqual([
      [commitOf(2), run.state],
      [commitOf(3), "queued"],
    ]);
  });

  it("is not deployed where the branch is gone", async () => {
    await using it = await openUnconfirmed();
    expect(await it.execute()).toMatchObject({
      state: "failed",
      reason_kind: "superseded",
      reason: expect.stringContaining("GitHub says that main does not exist any more"),
    });
    expect(await it.runs()).toHaveLength(1);
  });
});
