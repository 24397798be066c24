import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { eventually } from "../../test/support/eventually.ts";
import { openReporter } from "../src/pipeline/reporter.ts";
import { openStoreAuditSink } from "../src/ports/audit-sink/store.ts";
import type { RunEnd } from "../src/ports/queue/queue.ts";
import { HostUnavailable } from "../src/ports/source-host/host-errors.ts";
import { Rejected } from "../src/rejected.ts";
import { runGit } from "./support/git-client.ts";
import { RecordingHost } from "./support/recording-host.ts";
import { openReporting, QUICK } from "./support/reporting.ts";
import { helloSaying, openTestPipeline } from "./support/test-pipeline.ts";

type Reporting = Awaited<ReturnType<typeof openReporting>>;

const SUCCEEDED: RunEnd = { state: "succeeded" };
const AWAY: RunEnd = {
  state: "failed",
  kind: "platform-unavailable",
  reason: "GitHub is not answering: it says 503. What was live stays live.",
};
const CANCELLED = { state: "cancelled", kind: "cancelled", reason: "Cancelled by A." } as const;

/** A run that has ended as it was told, with `hello` built and healthy. */
async function ranHello(it: Reporting, end: RunEnd, options?: { readonly told?: boolean }) {
  await it.push();
  const run = await it.claim();
  await playHello(it, run);
  await it.end(run, end, options);
  return run;
}

async function playHello(it: Reporting, run: Awaited<ReturnType<Reporting["claim"]>>): Promise<void> {
  await using frame = it.frameOf(run);
  await frame.begin("checkout").succeed();
  await frame.begin("plan").succeed();
  await frame.begin("build", "hello").succeed();
  await frame.begin("deploy", "hello").succeed();
}

describe("a run that waits", () => {
  it("is told with its place in the queue", async () => {
    await using it = await openReporting();
    await it.push({ branch: "other" });
    await it.push({ branch: "third" });
    const run = await it.push();
    const mine = () => it.host.of("stack-deploy").filter(({ runId }) => runId === run.id);
    await eventually("it is told", () => mine().length > 0);
    expect(mine()[0]).toMatchObject({
      state: "pending",
      description: "Waiting: the push is stored, and 2 runs are ahead of its run.",
      targetUrl: `http://system.localhost:1/dashboard/runs/${run.id}`,
      runId: run.id,
    });
    await it.claim();
    await eventually("its place is told", () => mine().at(-1)?.description.includes("1 run is ahead"));
  });

  it("and is replaced by a newer push is neutral, with the reason", async () => {
    await using it = await openReporting();
    const older = await it.push();
    await eventually("it waits", () => it.host.of("stack-deploy").length === 1);
    await it.push({ commit_sha: "b".repeat(40) });
    await it.close(older, { state: "superseded", kind: "superseded", reason: "" });
    await eventually("it is told", () => it.isReported(older));
    expect(
      it.host
        .of("stack-deploy")
        .filter(({ runId }) => runId === older.id)
        .at(-1),
    ).toMatchObject({
      state: "neutral",
      description: "A newer push to main replaced it: commit bbbbbbb.",
    });
  });

  it("and is cancelled is neutral, with who did it", async () => {
    await using it = await openReporting();
    const run = await it.push();
    await it.queue.stop(run.id, CANCELLED);
    await it.close(run, CANCELLED);
    await eventually("it is told", () => it.isReported(run));
    expect(it.host.of("stack-deploy").at(-1)).toMatchObject({
      state: "neutral",
      description: "Cancelled by A.",
    });
  });
});

describe("a run that goes on", () => {
  it("is told by its stage, and each function by its own", async () => {
    await using it = await openReporting();
    await it.push();
    const run = await it.claim();
    const says = (context: string, description: string) =>
      eventually(`${context}: ${description}`, () =>
        it.host
          .of(context)
          .some((status) => status.state === "pending" && status.description === description),
      );
    await using frame = it.frameOf(run);
    const checkout = frame.begin("checkout");
    await says("stack-deploy", "Fetching the commit.");
    await checkout.succeed();
    const plan = frame.begin("plan");
    await says("stack-deploy", "Reading the stack file.");
    await plan.succeed();
    const [a, b] = [frame.begin("build", "a"), frame.begin("build", "b")];
    await says("stack-deploy", "Building a, b.");
    await says("a", "Building.");
    await a.succeed();
    const starting = frame.begin("deploy", "a");
    await says("a", "Starting; it goes live once it is healthy.");
    await says("stack-deploy", "Building b; starting a.");
    expect(it.host.deployments).toMatchObject([{ state: "in_progress", runId: run.id }]);
    await starting.succeed();
    await says("a", "Healthy; it goes live together with the others.");
    await b.fail(new Rejected("build-failed", "function b: `npm test` failed"));
    await says("b", "Did not come up: function b: `npm test` failed");
    expect(it.host.story.filter((one) => !/pending|in_progress/.test(one))).toEqual([]);
  });

  it("has its log renewed by a host that shows it, as it grows and not while it does not", async () => {
    await using it = await openReporting({ ...QUICK, logMs: 30 });
    it.host.isLogShown = true;
    await it.push();
    const run = await it.claim();
    await using frame = it.frameOf(run);
    frame.begin("build", "hello");
    const tails = () => it.host.of("stack-deploy").map(({ detail }) => detail?.logTail ?? "");
    for (const text of ["npm install", "added 1,000 packages"]) {
      frame.log.write("build hello", `${text}\n`);
      await eventually(`it shows ${text}`, () => tails().at(-1)?.endsWith(text));
    }
    const told = tails().length;
    let looks = 0;
    const read = it.logs.read.bind(it.logs);
    it.logs.read = (...asked) => {
      looks++;
      return read(...asked);
    };
    await eventually("its log was looked at again", () => looks > 3);
    expect(tails()).toHaveLength(told);
    expect(it.host.of("hello")).toHaveLength(1);
  });

  it("costs a slow host one call at a time, for what is so by then", async () => {
    await using it = await openReporting();
    const held = Promise.withResolvers<void>();
    it.host.before = () => held.promise;
    await it.push();
    const run = await it.claim();
    await eventually("the first is under way", () => it.host.calls === 1);
    {
      await using frame = it.frameOf(run);
      for (const stage of ["checkout", "plan"] as const) await frame.begin(stage).succeed();
      for (const name of ["a", "b", "c"]) await frame.begin("build", name).succeed();
    }
    await using frame = it.frameOf(run);
    frame.begin("publish");
    await eventually("it publishes", async () => {
      const stage = await it.store.selectFrom("stages").selectAll().where("name", "=", "publish").execute();
      return stage.length === 1;
    });
    expect(it.host.calls).toBe(1);
    held.resolve();
    await eventually("it is told", () => it.host.of("stack-deploy").at(-1)?.description === "Going live.");
    expect(it.host.of("stack-deploy")).toHaveLength(2);
    expect(it.host.mostAtOnce).toBe(1);
  });

  it("is told no more often than the interval, and its end at once", async () => {
    await using it = await openReporting({ ...QUICK, intervalMs: 3_600_000 });
    await it.push();
    const run = await it.claim();
    await eventually("it is told", () => it.host.taken.length === 1);
    await playHello(it, run);
    await it.end(run, SUCCEEDED);
    await eventually("its end is told", () => it.isReported(run));
    expect(it.host.story).toEqual([
      "stack-deploy: pending",
      "hello: success",
      "stack-deploy: success",
      "deployment: success",
    ]);
  });
});

it("what is outdated before its turn is not sent", async () => {
  await using it = await openReporting();
  await it.stop();
  await it.push();
  const run = await it.claim();
  await using frame = it.frameOf(run);
  const [, b] = [frame.begin("build", "a"), frame.begin("build", "b")];
  const held = Promise.withResolvers<void>();
  it.host.before = () => held.promise;
  const isStored = (state: string) => async () => {
    const stages = await it.store.selectFrom("stages").selectAll().where("function", "=", "b").execute();
    return stages.some((stage) => stage.state === state);
  };
  await eventually("both are built", isStored("running"));
  await it.restart();
  await eventually("the first is told", () => it.host.calls === 1);
  await b.fail(new Rejected("build-failed", "exit 7"));
  await eventually("one failed", isStored("failed"));
  held.resolve();
  await eventually("both are told", () => it.host.of("b").length > 0);
  expect(it.host.of("b").map(({ description }) => description)).toEqual(["Did not come up: exit 7"]);
});

it("what changes again within an interval is told after it, though nothing else happens", async () => {
  await using it = await openReporting();
  await it.stop();
  await it.push();
  const run = await it.claim();
  await using frame = it.frameOf(run);
  const [a] = [frame.begin("build", "a"), frame.begin("build", "b")];
  const states = async () => {
    const stages = await it.store.selectFrom("stages").select("state").orderBy("function").execute();
    return stages.map(({ state }) => state).join();
  };
  await eventually("both are built", async () => (await states()) === "running,running");
  const held = Promise.withResolvers<void>();
  it.host.before = () => (it.host.calls === 2 ? held.promise : undefined);
  await it.restart();
  await eventually("the first is told", () => it.host.calls === 2);
  await a.succeed();
  await eventually("it is built", async () => (await states()) === "succeeded,running");
  held.resolve();
  await eventually("that is told", () => it.host.of("a").at(-1)?.description === "Built.");
});

it("a busy run is told once of each context in an interval, and none is left out for another", async () => {
  await using it = await openReporting({ ...QUICK, intervalMs: 3_600_000 });
  await it.stop();
  await it.push();
  const run = await it.claim();
  {
    await using frame = it.frameOf(run);
    for (const name of ["a", "b", "c"]) await frame.begin("build", name).succeed();
  }
  it.host.before = async () => {
    const state = it.host.calls % 2 === 0 ? "running" : "failed";
    await it.store.updateTable("stages").set({ state }).execute();
    it.feed.changed(run.id);
  };
  await it.restart();
  await eventually("the push is told", () => it.host.of("stack-deploy").length > 0);
  expect(it.host.story).toEqual(["a: pending", "b: pending", "c: pending", "stack-deploy: pending"]);
});

describe("the end of a run", () => {
  it("is success where it is live, at the function's address", async () => {
    await using it = await openReporting();
    const run = await ranHello(it, SUCCEEDED);
    await eventually("it is told", () => it.isReported(run));
    expect(it.host.of("hello").at(-1)).toMatchObject({
      state: "success",
      description: "Live at http://a.localhost:1/hello",
      targetUrl: "http://a.localhost:1/hello",
    });
    expect(it.host.of("stack-deploy").at(-1)).toMatchObject({
      state: "success",
      description: "Live: hello.",
      targetUrl: `http://system.localhost:1/dashboard/runs/${run.id}`,
    });
    expect(it.host.deployments.at(-1)).toEqual({
      runId: run.id,
      state: "success",
      environmentUrl: "http://a.localhost:1/hello",
      logUrl: `http://system.localhost:1/dashboard/runs/${run.id}`,
    });
  });

  it("is each function's own where one fails, and the others are neutral", async () => {
    await using it = await openReporting();
    await it.push();
    const run = await it.claim();
    {
      await using frame = it.frameOf(run);
      for (const name of ["good", "late"]) await frame.begin("build", name).succeed();
      await frame.begin("deploy", "good").succeed();
      await frame.begin("deploy", "late").fail(new Rejected("function-unhealthy", "function late: port\nx"));
      await frame.begin("build", "bad").fail(new Rejected("build-failed", "function bad: \x1b[31mexit 7"));
    }
    const reason = "2 of 3 functions failed:\nfunction bad: exit 7\nfunction late: port\nx";
    await it.end(run, { state: "failed", kind: "build-failed", reason });
    await eventually("it is told", () => it.isReported(run));
    expect(it.host.of("bad").at(-1)).toMatchObject({ state: "failure", description: "function bad: exit 7" });
    expect(it.host.of("late").at(-1)).toMatchObject({
      state: "failure",
      description: "function late: port (and 1 more)",
      targetUrl: `http://system.localhost:1/dashboard/runs/${run.id}`,
    });
    expect(it.host.of("good").at(-1)).toMatchObject({
      state: "neutral",
      description: expect.stringMatching(/^Nothing is wrong with it/),
    });
    expect(it.host.of("stack-deploy").at(-1)).toMatchObject({
      state: "failure",
      description: "2 of 3 functions failed: function bad: exit 7 (and 2 more)",
    });
    expect(it.host.of("stack-deploy").at(-1)).not.toHaveProperty("fault");
    expect(it.host.deployments.at(-1)).toMatchObject({
      state: "failure",
      environmentUrl: "http://system.localhost:1/dashboard/a",
    });
  });

  it.each<[string, RunEnd]>([
    ["what it depends on is away", AWAY],
    ["it met an error of its own", { state: "failed", kind: "internal", reason: "An error." }],
    ["it took too long", { state: "failed", kind: "run-timeout", reason: "Too long." }],
  ])("is not told as the commit's where the platform failed: %s", async (_what, end) => {
    await using it = await openReporting();
    await it.push();
    const run = await it.claim();
    {
      await using frame = it.frameOf(run);
      await frame.begin("build", "hello").fail(new Error("ENOSPC"));
    }
    await it.end(run, end);
    await eventually("it is told", () => it.isReported(run));
    expect(it.host.of("stack-deploy").at(-1)).toMatchObject({
      state: "failure",
      fault: "platform",
      description: `Not your commit: ${end.state === "failed" ? end.reason : ""}`,
    });
    expect(it.host.of("hello").at(-1)).toMatchObject({
      state: "neutral",
      description: expect.stringMatching(/^Not your commit: /),
    });
  });

  it("is neutral where somebody cancelled it, whatever had failed by then", async () => {
    await using it = await openReporting();
    await it.push();
    const run = await it.claim();
    {
      await using frame = it.frameOf(run);
      await frame.begin("build", "a").fail(new Rejected("build-failed", "function a: exit 7"));
      await frame.begin("deploy", "b").succeed();
    }
    await it.end(run, CANCELLED);
    await eventually("it is told", () => it.isReported(run));
    for (const context of ["a", "b", "stack-deploy"]) {
      expect(it.host.of(context).at(-1)).toMatchObject({ state: "neutral", description: "Cancelled by A." });
    }
    expect(it.host.deployments.at(-1)?.state).toBe("failure");
  });

  it("is told once for each context, also where an earlier report is slow", async () => {
    await using it = await openReporting();
    const held = Promise.withResolvers<void>();
    await it.push();
    const run = await it.claim();
    await playHello(it, run);
    await eventually("it goes on", () => it.host.of("hello").length > 0);
    it.host.before = () => held.promise;
    const before = it.host.calls;
    await using frame = it.frameOf(run);
    frame.begin("publish");
    await eventually("a pending one is under way", () => it.host.calls > before);
    await it.end(run, SUCCEEDED);
    held.resolve();
    await eventually("its end is told", () => it.isReported(run));
    const finals = it.host.story.filter((one) => !/pending|in_progress/.test(one));
    expect(finals).toEqual(["hello: success", "stack-deploy: success", "deployment: success"]);
    expect(it.host.story.slice(-3)).toEqual(finals);
    expect(it.host.mostAtOnce).toBe(1);
  });

  it("waits for that of its log", async () => {
    await using it = await openReporting();
    await it.push();
    const run = await it.claim();
    await playHello(it, run);
    await it.end(run, SUCCEEDED, { told: false });
    // Others are told from their first report to their last meanwhile.
    for (let others = 0; others < 3; others++) {
      await it.push({ owner_id: "owner-b", repository_id: "repository-b" });
      const other = await it.claim();
      await it.end(other, CANCELLED);
      await eventually("another is told", () => it.isReported(other));
    }
    expect(it.host.story.filter((one) => one.endsWith("success"))).toEqual([]);
    it.frameOf(run).log.write("platform", "the last line\n");
    await it.close(run, SUCCEEDED);
    await eventually("it is told", () => it.isReported(run));
    const ofPush = it.host.of("stack-deploy").filter(({ runId }) => runId === run.id);
    expect(ofPush.at(-1)).toMatchObject({
      state: "success",
      detail: { logTail: expect.stringMatching(/\nthe last line$/) },
    });
  });

  it("says how much of the stack file had no effect", async () => {
    await using it = await openReporting();
    await it.push();
    const run = await it.claim();
    await playHello(it, run);
    const notice = { path: "stack.yml", line: 8, level: "notice", message: "image: no." };
    await it.store
      .updateTable("runs")
      .set({ ignored_keys: '[{"key":"image","reason":"no"}]', annotations: JSON.stringify([notice]) })
      .execute();
    await it.end(run, SUCCEEDED);
    await eventually("it is told", () => it.isReported(run));
    expect(it.host.of("stack-deploy").at(-1)).toMatchObject({
      description: "Live: hello. 1 key of the stack file had no effect.",
      detail: { annotations: [notice] },
    });
  });

  it("of a run that was taken up anew counts nothing that failed before", async () => {
    await using it = await openReporting();
    await it.push();
    const run = await it.claim();
    {
      await using frame = it.frameOf(run);
      await frame.begin("checkout").succeed();
      await frame.begin("build", "hello").fail(new Error("the disk was full"));
    }
    await eventually("it is told", () => it.host.of("hello").length > 0);
    {
      await using frame = it.frameOf(run);
      await it.store.updateTable("stages").set({ started_at: 1 }).execute();
      await frame.begin("checkout").succeed();
      await frame.begin("plan").fail(new Rejected("secret-missing", "function hello: there is no secret x."));
    }
    await it.end(run, { state: "failed", kind: "secret-missing", reason: "there is no secret x." });
    await eventually("its end is told", () => it.isReported(run));
    expect(it.host.of("hello").at(-1)?.state).toBe("neutral");
  });
});

describe("a source host", () => {
  it("that is away is told later, and nothing waits for it", async () => {
    await using it = await openReporting();
    let tries = 0;
    it.host.before = () => {
      tries += 1;
      if (tries < 6) throw new HostUnavailable("GitHub is not answering: it says 502.", { status: 502 });
    };
    const run = await ranHello(it, SUCCEEDED);
    await eventually("it is told", () => it.isReported(run));
    expect(it.host.of("stack-deploy").at(-1)?.state).toBe("success");
    expect(tries).toBeGreaterThanOrEqual(6 + 2);
  });

  it("that never answers keeps no run from its end", async () => {
    await using it = await openReporting();
    const held = Promise.withResolvers<void>();
    it.host.before = () => held.promise;
    const run = await ranHello(it, SUCCEEDED);
    const row = await it.store
      .selectFrom("runs")
      .selectAll()
      .where("id", "=", run.id)
      .executeTakeFirstOrThrow();
    expect(row).toMatchObject({ state: "succeeded", reported_at: null });
    held.resolve();
  });

  it("is asked again no sooner than it said", async () => {
    await using it = await openReporting();
    const run = await ranHello(it, SUCCEEDED, { told: false });
    await it.stop();
    const at: number[] = [];
    it.host.before = () => {
      at.push(Date.now());
      if (at.length === 1) throw new HostUnavailable("Too many.", { status: 429, retryAfterMs: 400 });
    };
    await it.restart();
    await eventually("it is told", () => it.isReported(run));
    expect((at[1] ?? 0) - (at[0] ?? 0)).toBeGreaterThanOrEqual(390);
  });

  it("that refuses a report is asked a few times, and told the rest", async () => {
    await using it = await openReporting();
    const run = await ranHello(it, SUCCEEDED, { told: false });
    await it.stop();
    let refused = 0;
    it.host.before = (report) => {
      if (report.kind !== "status" || report.status.context !== "hello") return;
      refused += 1;
      throw new Error("422");
    };
    await it.restart();
    await eventually("it is told", () => it.isReported(run));
    expect(refused).toBe(5);
    expect(it.host.story.filter((one) => one.endsWith("success"))).toEqual([
      "stack-deploy: success",
      "deployment: success",
    ]);
  });

  it("that refuses one owner's credential goes on for the others", async () => {
    await using it = await openReporting({ ...QUICK, firstPauseMs: 30_000 });
    it.host.before = ({ repository }) => {
      if (repository.owner === "a") throw new HostUnavailable("GitHub refuses.", { status: 401 });
    };
    await it.push({ commit_sha: "a".repeat(40) });
    await eventually("the first is refused", () => it.host.calls === 1);
    await it.push({ owner_id: "owner-b", repository_id: "repository-b" });
    await eventually("the second is told", () => it.host.story.includes("stack-deploy: pending"));
  });

  it("is left alone for a while by everybody where it does not answer", async () => {
    await using it = await openReporting({ ...QUICK, firstPauseMs: 400 });
    it.host.before = () => {
      throw new HostUnavailable("GitHub is not answering (ECONNREFUSED).");
    };
    await it.push({ commit_sha: "a".repeat(40) });
    await eventually("the first failed", () => it.host.calls === 1);
    const since = Date.now();
    await it.push({ owner_id: "owner-b", repository_id: "repository-b" });
    await eventually("the second is tried", () => it.host.calls >= 2);
    expect(Date.now() - since).toBeGreaterThan(250);
  });
});

describe("after a restart", () => {
  it("what the host has not taken is sent, and nothing else", async () => {
    await using it = await openReporting();
    const run = await ranHello(it, SUCCEEDED, { told: false });
    it.host.before = (report) => {
      if (report.kind === "deployment" || report.status.context === "stack-deploy") {
        throw new HostUnavailable("GitHub is not answering: it says 503.", { status: 503 });
      }
    };
    await it.restart();
    await eventually("the function's is taken", () => it.host.of("hello").at(-1)?.state === "success");
    await it.stop();
    const before = it.host.taken.length;
    it.host.before = () => undefined;
    await it.restart();
    await eventually("the rest is told", () => it.isReported(run));
    expect(it.host.story.slice(before)).toEqual(["stack-deploy: success", "deployment: success"]);
    const after = it.host.calls;
    await it.restart();
    const next = await it.push();
    await eventually("the next is told", () =>
      it.host.taken.some(({ commit }) => commit === next.commit_sha),
    );
    expect(it.host.calls).toBe(after + 1);
  });

  it("the end of a run is told that the platform did not live to report", async () => {
    await using it = await openReporting();
    await it.push();
    const run = await it.claim();
    await it.stop();
    await it.end(run, AWAY, { told: false });
    await it.restart();
    await eventually("it is told", () => it.isReported(run));
    expect(it.host.of("stack-deploy").at(-1)).toMatchObject({ state: "failure", fault: "platform" });
  });

  it("what ended too long ago is left", async () => {
    await using it = await openReporting({ ...QUICK, giveUpMs: 60_000 });
    const run = await ranHello(it, SUCCEEDED, { told: false });
    await it.stop();
    await it.store
      .updateTable("runs")
      .set({ finished_at: Date.now() - 61_000 })
      .execute();
    const before = it.host.calls;
    await it.restart();
    await it.push({ owner_id: "owner-b", repository_id: "repository-b" });
    await eventually("the other is told", () => it.host.calls > before);
    expect(await it.isReported(run)).toBe(false);
    expect(it.host.calls).toBe(before + 1);
  });
});

it("an end that nobody reported is found while the platform goes on", async () => {
  await using it = await openReporting({ ...QUICK, sweepMs: 20, closeMs: 0 });
  const run = await ranHello(it, SUCCEEDED, { told: false });
  await eventually("it is told", () => it.isReported(run));
});

it("runs of one commit are told in their order, so that the newest has the last word", async () => {
  await using it = await openReporting();
  const commit_sha = "c".repeat(40);
  it.host.before = () => {
    throw new HostUnavailable("GitHub is not answering: it says 503.", { status: 503 });
  };
  await it.push({ commit_sha });
  const first = await it.claim();
  await it.end(first, { state: "failed", kind: "build-failed", reason: "exit 7" });
  await it.push({ commit_sha, trigger: "redeploy" });
  const second = await it.claim();
  await it.end(second, SUCCEEDED);
  it.host.before = () => undefined;
  await eventually("both are told", () => it.isReported(second));
  const last = it.host.of("stack-deploy").map(({ runId, state }) => `${runId === first.id ? 1 : 2} ${state}`);
  expect(last.slice(-2)).toEqual(["1 failure", "2 success"]);
  expect(last.indexOf("1 failure")).toBeLessThan(last.findIndex((one) => one.startsWith("2")));
});

describe("the detail of a status", () => {
  it("has when it ran and the end of its log: whole lines, without what acts on a screen", async () => {
    await using it = await openReporting();
    await it.push();
    const run = await it.claim();
    const { log } = it.frameOf(run);
    for (let line = 0; line < 3_000; line++) log.write("build hello", `${line} \x1b[31m${"x".repeat(150)}\n`);
    log.write("platform", "the last line\n");
    await playHello(it, run);
    await it.end(run, SUCCEEDED);
    await eventually("it is told", () => it.isReported(run));
    const row = await it.store.selectFrom("runs").selectAll().executeTakeFirstOrThrow();
    const detail = it.host.of("stack-deploy").at(-1)?.detail;
    expect(detail).toMatchObject({ startedAt: row.started_at, finishedAt: row.finished_at, annotations: [] });
    const lines = detail?.logTail.split("\n") ?? [];
    expect(detail?.logTail.length).toBeGreaterThan(59_000);
    expect(detail?.logTail.length).toBeLessThanOrEqual(60_000);
    expect(lines[0]).toMatch(/^\[build hello\] \d{4} x{150}$/);
    expect(lines).toContain("the last line");
    expect(detail?.logTail).not.toContain("\x1b");
  });

  it("has the newest lines also where a page of the log cannot hold the last thousand", async () => {
    await using it = await openReporting();
    await it.push();
    const run = await it.claim();
    const { log } = it.frameOf(run);
    for (let line = 0; line < 400; line++) log.write("build hello", `${line} ${"y".repeat(8_000)}\n`);
    log.write("platform", "the last line\n");
    await it.end(run, SUCCEEDED);
    await eventually("it is told", () => it.isReported(run));
    expect(it.host.of("stack-deploy").at(-1)?.detail?.logTail).toMatch(/the last line$/);
  });

  it("is a function's own lines where it has any", async () => {
    await using it = await openReporting();
    await it.push();
    const run = await it.claim();
    const { log } = it.frameOf(run);
    log.write("build hello", "mine\n");
    log.write("build other-hello", "another's\n");
    await playHello(it, run);
    await it.end(run, SUCCEEDED);
    await eventually("it is told", () => it.isReported(run));
    const tail = it.host.of("hello").at(-1)?.detail?.logTail;
    expect(tail).toContain("mine");
    expect(tail).not.toContain("another's");
  });

  it("and its words never hold a secret of the owner's, nor part of one", async () => {
    await using it = await openReporting();
    await it.secrets.set("owner-a", "key", "hunter2-hunter2-hunter2");
    await it.secrets.set("owner-b", "theirs", "nobody's business");
    await it.push();
    const run = await it.claim();
    const { log } = it.frameOf(run);
    log.write("build hello", "<hunter2-hunter2-hunter2> and nobody's business\n");
    {
      await using frame = it.frameOf(run);
      // As long as that a cut of the description would go through it.
      const words = `function hello: ${"x".repeat(970)} hunter2-hunter2-hunter2`;
      await frame.begin("deploy", "hello").fail(new Rejected("function-unhealthy", words));
    }
    const annotation = { path: "stack.yml", line: 1, level: "failure", message: "hunter2-hunter2-hunter2" };
    await it.store
      .updateTable("runs")
      .set({ annotations: JSON.stringify([annotation]) })
      .execute();
    const reason = "it said hunter2-hunter2-hunter2";
    await it.end(run, { state: "failed", kind: "function-unhealthy", reason });
    await eventually("it is told", () => it.isReported(run));
    expect(JSON.stringify(it.host.taken)).not.toContain("hunter2");
    expect(it.host.of("stack-deploy").at(-1)).toMatchObject({
      description: "it said [secret]",
      detail: {
        annotations: [{ ...annotation, message: "[secret]" }],
        logTail: "[build hello] <[secret]> and nobody's business",
      },
    });
  });
});

describe("a push through the whole pipeline", () => {
  async function openPipeline() {
    const host = new RecordingHost();
    const it = await openTestPipeline({
      openReporter: (ports) =>
        openReporter({ ...ports, sourceHost: host, audit: openStoreAuditSink(ports.store) }, QUICK),
    });
    const isReported = (id: string) => it.find(id).then((run) => run.reported_at !== null);
    return Object.assign(it, { host, isReported });
  }

  it("is shown from its first stage to its address", async () => {
    await using it = await openPipeline();
    const run = await it.trigger(helloSaying("hi"));
    await it.runNext();
    await eventually("it is told", () => it.isReported(run.id));
    expect(it.host.story[0]).toBe("stack-deploy: pending");
    expect(it.host.story).toContain("hello: pending");
    expect(it.host.story.slice(-3)).toEqual([
      "hello: success",
      "stack-deploy: success",
      "deployment: success",
    ]);
    expect(it.host.of("stack-deploy").at(-1)?.detail?.logTail).toMatch(
      /live: http:\/\/a\.localhost:1\/hello$/,
    );
  });

  it("has an annotation at each line that the plan refuses", async () => {
    await using it = await openPipeline();
    const { "hello/handler.js": handler = "" } = helloSaying("hi");
    const run = await it.trigger({
      "stack.yaml": [
        "provider:",
        "  name: openfaas",
        "  gateway: http://x",
        "functions:",
        "  lost:",
        "    lang: node22",
        "    handler: ./nowhere",
        "  old:",
        "    lang: cobol85",
        "    handler: ./hello",
        "  keyless:",
        "    lang: node22",
        "    handler: ./hello",
        "    secrets:",
        "      - first-key",
        "      - second-key",
        "",
      ].join("\n"),
      "hello/handler.js": handler,
    });
    expect(await it.runNext()).toMatchObject({ state: "failed", reason_kind: "handler-invalid" });
    await eventually("it is told", () => it.isReported(run.id));
    const at = (line: number, level: string, message: RegExp) => ({
      path: "stack.yaml",
      line,
      level,
      message: expect.stringMatching(message),
    });
    expect(it.host.of("stack-deploy").at(-1)).toMatchObject({
      state: "failure",
      description: expect.stringMatching(
        /^function lost: the handler "nowhere" does not exist.* \(and 2 more\)$/,
      ),
      detail: {
        annotations: [
          at(7, "failure", /does not exist/),
          at(9, "failure", /cobol85/),
          at(15, "failure", /no secret first-key/),
          at(16, "failure", /no secret second-key/),
          at(3, "notice", /^provider\.gateway: /),
        ],
      },
    });
    expect(it.host.deployments).toEqual([]);
  });

  it("is nobody's mistake where there is no stack file and never was, and somebody's where functions are live", async () => {
    await using it = await openPipeline();
    const bare = await it.trigger({ "README.md": "Not for the platform." });
    expect(await it.runNext()).toMatchObject({ state: "failed", reason_kind: "nothing-to-deploy" });
    await eventually("it is told", () => it.isReported(bare.id));
    const description = expect.stringMatching(/^There is no stack\.yml at the root of the repository/);
    expect(it.host.of("stack-deploy").at(-1)).toMatchObject({ state: "neutral", description });

    await it.trigger(helloSaying("hi"));
    await it.runNext();
    const lost = await it.trigger({ "stack.yml": null });
    expect(await it.runNext()).toMatchObject({ state: "failed", reason_kind: "stack-file-missing" });
    await eventually("it is told", () => it.isReported(lost.id));
    expect(it.host.of("stack-deploy").at(-1)).toMatchObject({ state: "failure", description });
  });

  it("shows no secret that a function printed before it died", async () => {
    await using it = await openPipeline();
    await it.ports.secrets.set("owner-a", "api-key", "do-not-tell-anybody");
    const { "stack.yml": stackFile = "" } = helloSaying("");
    const run = await it.trigger({
      "stack.yml": `${stackFile}    secrets: [api-key]\n    image: x\n`,
      "hello/handler.js": "throw new Error('died of do-not-tell-anybody')\n",
    });
    expect(await it.runNext()).toMatchObject({ state: "failed", reason_kind: "function-unhealthy" });
    await eventually("it is told", () => it.isReported(run.id));
    expect(it.host.of("hello").at(-1)).toMatchObject({ state: "failure" });
    expect(it.host.of("hello").at(-1)?.description).toMatch(/^function hello did not become healthy/);
    expect(JSON.stringify(it.host.taken)).not.toContain("do-not-tell");
    const events = await it.ports.store.selectFrom("audit_events").select("result").execute();
    expect(events.at(-1)?.result).toMatch(/died of \[secret\]/);
    expect(JSON.stringify(events)).not.toContain("do-not-tell");
    expect(it.host.of("stack-deploy").at(-1)?.detail?.annotations).toMatchObject([
      { line: 9, level: "notice" },
    ]);
  });

  it("is kept as a note of its commit by the embedded host", async () => {
    await using it = await openTestPipeline({
      openReporter: (ports) => openReporter({ ...ports, audit: openStoreAuditSink(ports.store) }, QUICK),
    });
    const run = await it.trigger(helloSaying("hi"));
    await it.runNext();
    const gitDir = join(it.dataDir, "git", "repository-a.git");
    const page = `http://system.localhost:1/dashboard/runs/${run.id}`;
    const note = () =>
      runGit(gitDir, ["--git-dir=.", "notes", "--ref=openfaas", "show", run.commit_sha]).catch(() => "");
    await eventually("the note is there", async () => (await note()).includes("stack-deploy"));
    expect((await note()).split("\n").filter((line) => line !== "")).toEqual([
      "hello: success — Live at http://a.localhost:1/hello http://a.localhost:1/hello",
      `stack-deploy: success — Live: hello. ${page}`,
    ]);
  });
});
