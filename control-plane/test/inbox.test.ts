import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { must } from "@openfaas-cloud/shared/must.ts";
import { BranchName, type CommitSha } from "@openfaas-cloud/shared/names.ts";
import { pino } from "pino";
import { describe, expect, it } from "vitest";
import { Random } from "../../edge/test/goals/support/random.ts";
import { SEED, size } from "../../edge/test/goals/support/size.ts";
import { eventually } from "../../test/support/eventually.ts";
import { temporaryFolder } from "../../test/support/temporary-folder.ts";
import { Worker } from "../src/pipeline/worker.ts";
import type { Run } from "../src/ports/queue/queue.ts";
import { HostUnavailable } from "../src/ports/source-host/host-errors.ts";
import type { NamedRepository } from "../src/ports/store/repositories.ts";
import { Retryable } from "../src/rejected.ts";
import type { DeliveryAnswer } from "./support/delivery-client.ts";
import { type DeliveryWorld, openDeliveryWorld } from "./support/delivery-world.ts";
import { commitOf, MAIN, type PushFact, ScriptedHost } from "./support/scripted-host.ts";

const DAY_MS = 24 * 60 * 60 * 1000;
const SILENT = () => {
  throw new HostUnavailable("GitHub is not answering: it says 503.", { status: 503 });
};
const NEVER = new AbortController().signal;
const UNTIL_ABORTED = (_what: string, signal: AbortSignal) =>
  new Promise<never>((_, reject) => signal.addEventListener("abort", () => reject(signal.reason)));

/** A host with the repository `1`, and what follows its deliveries. */
async function openOne(options: Partial<Parameters<typeof openDeliveryWorld>[0]> = {}) {
  const host = new ScriptedHost();
  const repository = host.add("1", "site");
  const world = await openDeliveryWorld({ hosts: [host], ...options });
  return {
    ...world,
    host,
    repository,
    [Symbol.asyncDispose]: () => world[Symbol.asyncDispose](),
  };
}

/** With the repository linked, and a run of commit 1 that has ended well. */
async function openLinked(options: Parameters<typeof openOne>[0] = {}) {
  const it = await openOne(options);
  await it.send(it.host, it.host.push("1", commitOf(1)));
  await it.quiet();
  await endRun(it);
  return it;
}

async function endRun(it: DeliveryWorld, kind?: string) {
  const run = await it.queue.claim("test", []);
  if (!run) throw new Error("there is no run to end");
  await it.queue.finish(
    run.id,
    "test",
    kind === undefined ? { state: "succeeded" } : { state: "failed", kind, reason: "Why." },
  );
  return run;
}

describe("a delivered push", () => {
  it("links its repository where that is new, and enqueues a run of the head by who pushed", async () => {
    await using it = await openOne();
    expect(await it.send(it.host, it.host.push("1", commitOf(1)), "one")).toMatchObject({ status: 202 });
    const row = await it.quiet();
    const [run, ...others] = await it.runs();
    expect(others).toEqual([]);
    expect(run).toMatchObject({
      trigger: "push",
      branch: "main",
      before_sha: null,
      commit_sha: commitOf(1),
      message: `change ${commitOf(1)}`,
      person: "github.test:42",
      repository_id: (await it.find(it.host, "1"))?.id,
      unconfirmed: 0,
    });
    expect(row).toMatchObject({ state: "done", body: null, result: expect.stringContaining(run?.id ?? "-") });
    expect(await it.audit()).toMatchObject([
      {
        actor: "github.test:42",
        action: "push.receive",
        object: `a/site@${commitOf(1)}`,
        result: row?.result,
        owner_id: "owner-a",
      },
    ]);
  });

  it("that comes again under another id, or late, finds that its commit has a run", async () => {
    await using it = await openLinked();
    const first = it.host.push("1", commitOf(2));
    await it.send(it.host, first, "one");
    await it.send(it.host, first, "two");
    expect(await it.quiet()).toMatchObject({ state: "done", result: expect.stringContaining("nothing new") });
    expect((await it.runs()).map(({ commit_sha }) => commit_sha)).toEqual([commitOf(1), commitOf(2)]);
  });

  it("that is not the head any more is superseded by the newer, which is what is deployed", async () => {
    await using it = await openLinked();
    const older = it.host.push("1", commitOf(2));
    const newer = it.host.push("1", commitOf(3));
    await it.send(it.host, older, "one");
    expect(await it.quiet()).toMatchObject({ state: "done", result: expect.stringContaining("superseded") });
    await it.send(it.host, newer, "two");
    expect(await it.quiet()).toMatchObject({ result: expect.stringContaining("nothing new") });
    const runs = await it.runs();
    expect(runs.map(({ commit_sha }) => commit_sha)).toEqual([commitOf(1), commitOf(3)]);
    // Who pushed the third is not known from the delivery of the second.
    expect(runs.at(-1)).toMatchObject({ person: "github.test", before_sha: null });
  });

  it("of a commit that the branch never was at deploys the head", async () => {
    await using it = await openLinked();
    await it.send(it.host, { ...it.host.push("1", commitOf(2)), commit: commitOf(666) });
    await it.quiet();
    expect((await it.runs()).map(({ commit_sha }) => commit_sha)).toEqual([commitOf(1), commitOf(2)]);
  });

  it("is waited for where the host shows the branch as it was before", async () => {
    await using it = await openLinked();
    it.host.beforeAnswer = (what) => {
      // The branch moves after the host looked at it.
      if (what === "head") it.host.push("1", commitOf(2));
    };
    await it.send(it.host, { ...it.host.push("1", commitOf(1)), commit: commitOf(2) });
    expect(await it.quiet()).toMatchObject({ state: "done", attempts: 2 });
    expect((await it.runs()).at(-1)).toMatchObject({ commit_sha: commitOf(2), person: "github.test:42" });
  });

  it("is waited for where the host does not show the branch at all", async () => {
    await using it = await openOne();
    const { facts } = it.repository;
    it.repository.facts = { ...facts, defaultBranch: undefined };
    let answers = 0;
    it.host.beforeAnswer = () => {
      answers++;
      // First there is no branch at all, then there is a name for it, and then the branch.
      if (answers === 2) it.repository.facts = facts;
      if (answers === 3) it.host.push("1", commitOf(1));
    };
    const push = {
      kind: "push",
      repository: "1",
      branch: "main",
      before: undefined,
      commit: commitOf(1),
    } as const;
    await it.send(it.host, push);
    expect(await it.quiet()).toMatchObject({ state: "done", attempts: 3 });
    expect(await it.runs()).toMatchObject([{ commit_sha: commitOf(1), person: "github.test:42" }]);
  });

  it("that was taken back by a force-push is not waited for for ever", async () => {
    await using it = await openLinked();
    const push = it.host.push("1", commitOf(2));
    it.host.push("1", commitOf(1));
    await it.send(it.host, push);
    expect(await it.quiet()).toMatchObject({ state: "done", attempts: 3 });
    expect(await it.runs()).toHaveLength(1);
  });

  it("D19: to another branch deploys nothing, and is one audit event with the reason", async () => {
    await using it = await openLinked();
    const before = (await it.audit()).length;
    const push = it.host.push("1", commitOf(2), BranchName.parse("feature"));
    expect(await it.send(it.host, push)).toMatchObject({ status: 202 });
    const reason = "feature is not the deploy branch (main), so nothing is deployed";
    expect(await it.quiet()).toMatchObject({ state: "ignored", result: reason });
    expect((await it.audit()).slice(before)).toMatchObject([{ result: `ignored: ${reason}` }]);
    expect(await it.runs()).toHaveLength(1);
  });

  it("D19: of an owner that is not enrolled deploys nothing, and is one audit event with the reason", async () => {
    await using it = await openOne({ notEnrolled: new Set(["1"]) });
    expect(await it.send(it.host, it.host.push("1", commitOf(1)))).toMatchObject({ status: 202 });
    expect(await it.quiet()).toMatchObject({ state: "ignored", result: "a is not enrolled here" });
    expect(await it.audit()).toMatchObject([{ result: "ignored: a is not enrolled here" }]);
    expect(await it.runs()).toEqual([]);
  });

  it("D20: that deletes the branch asks nothing, clones nothing and builds nothing", async () => {
    await using it = await openLinked();
    const asked = { ...it.host.asked };
    await it.send(it.host, it.host.push("1", undefined));
    expect(await it.quiet()).toMatchObject({ state: "ignored", result: expect.stringContaining("deleted") });
    expect(it.host.asked).toMatchObject({ facts: asked.facts, head: asked.head });
    expect(await it.runs()).toHaveLength(1);
  });

  it("finds the repository by its id under its new name, with its new default branch", async () => {
    await using it = await openLinked();
    const before = await it.find(it.host, "1");
    const trunk = BranchName.parse("trunk");
    it.repository.facts = { ...it.repository.facts, fullName: "a/renamed", defaultBranch: trunk };
    await it.send(it.host, it.host.push("1", commitOf(2), trunk));
    await it.quiet();
    const now = await it.find(it.host, "1");
    expect(now).toMatchObject({ id: before?.id, full_name: "a/renamed", default_branch: "trunk" });
    expect((await it.runs()).map(({ branch }) => branch)).toEqual(["main", "trunk"]);
  });

  it("holds a person's redeploy of another commit only until the branch moves", async () => {
    await using it = await openLinked();
    const push = it.host.push("1", commitOf(2));
    await it.send(it.host, push);
    await it.quiet();
    await endRun(it);
    await it.send(it.host, { kind: "rerun", repository: "1", commit: commitOf(1) });
    expect(await it.quiet()).toMatchObject({ state: "done" });
    await it.send(it.host, push, "sent again");
    expect(await it.quiet()).toMatchObject({ result: expect.stringContaining("nothing new") });
    expect((await it.runs()).map(({ commit_sha }) => commit_sha)).toEqual([1, 2, 1].map(commitOf));
    await it.send(it.host, it.host.push("1", commitOf(3)));
    await it.quiet();
    expect((await it.runs()).at(-1)).toMatchObject({ commit_sha: commitOf(3) });
  });

  it("is tried again by its next delivery where the platform failed at it", async () => {
    await using it = await openLinked();
    const push = it.host.push("1", commitOf(2));
    await it.send(it.host, push);
    await it.quiet();
    await endRun(it, "platform-unavailable");
    await it.send(it.host, push, "sent again");
    await it.quiet();
    expect((await it.runs()).map(({ commit_sha }) => commit_sha)).toEqual([1, 2, 2].map(commitOf));
  });
});

describe("a delivered push whose host does not answer", () => {
  it("is a run of what was delivered, which has to be confirmed", async () => {
    await using it = await openLinked();
    it.host.beforeAnswer = SILENT;
    await it.send(it.host, it.host.push("1", commitOf(2)));
    const row = await it.quiet();
    expect(row).toMatchObject({ state: "done", result: expect.stringContaining("GitHub is not answering") });
    expect((await it.runs()).at(-1)).toMatchObject({
      commit_sha: commitOf(2),
      before_sha: commitOf(1),
      message: "as delivered",
      unconfirmed: 1,
    });
  });

  it("is one too where the host says nothing at all, after a bounded time", async () => {
    await using it = await openLinked({ askMs: 50 });
    it.host.beforeAnswer = UNTIL_ABORTED;
    await it.send(it.host, it.host.push("1", commitOf(2)));
    await it.quiet();
    expect((await it.runs()).at(-1)).toMatchObject({ commit_sha: commitOf(2), unconfirmed: 1 });
  });

  it("is none where a run had its commit before, or came after it", async () => {
    await using it = await openLinked();
    const second = it.host.push("1", commitOf(2));
    const third = it.host.push("1", commitOf(3));
    it.host.beforeAnswer = SILENT;
    for (const push of [third, second, third]) await it.send(it.host, push);
    await it.quiet();
    expect((await it.runs()).map(({ commit_sha }) => commit_sha)).toEqual([1, 3].map(commitOf));
  });

  it("is none yet where somebody else was answered meanwhile", async () => {
    await using it = await openLinked();
    const repository = must(await it.find(it.host, "1"), "the linked repository");
    const late = it.host.push("1", commitOf(2));
    it.host.push("1", commitOf(3));
    let asked = 0;
    it.host.beforeAnswer = async () => {
      if (++asked !== 1) return;
      const looks = { trigger: "reconcile", person: "github.test" } as const;
      await it.deployHead(it.host, repository, looks, NEVER);
      SILENT();
    };
    await it.send(it.host, late);
    expect(await it.quiet()).toMatchObject({ state: "done", result: expect.stringContaining("nothing new") });
    expect((await it.runs()).map(({ commit_sha }) => commit_sha)).toEqual([1, 3].map(commitOf));
  });

  it("to another branch is ignored, and holds up none to the deploy branch", async () => {
    await using it = await openLinked();
    it.host.beforeAnswer = SILENT;
    await it.send(it.host, { kind: "repositories", repositories: ["1"] }, "a look");
    await it.send(it.host, it.host.push("1", commitOf(2), BranchName.parse("feature")), "feature");
    await it.send(it.host, it.host.push("1", commitOf(3)), "main");
    const stateOf = async (id: string) =>
      (await it.rows()).find(({ delivery_id }) => delivery_id === id)?.state;
    await eventually("the push is a run", async () => (await stateOf("main")) === "done");
    expect([await stateOf("feature"), await stateOf("a look")]).toEqual(["ignored", "stored"]);
    expect((await it.runs()).at(-1)).toMatchObject({ commit_sha: commitOf(3), unconfirmed: 1 });
  });

  it("waits for the host where the repository is not known, and is worked off when it answers", async () => {
    await using it = await openOne();
    it.host.beforeAnswer = SILENT;
    await it.send(it.host, it.host.push("1", commitOf(1)));
    await eventually("it was tried twice", async () => ((await it.rows())[0]?.attempts ?? 0) >= 2);
    expect((await it.rows())[0]).toMatchObject({
      state: "stored",
      result: "GitHub is not answering: it says 503.",
    });
    expect(await it.runs()).toEqual([]);
    it.host.beforeAnswer = () => undefined;
    expect(await it.quiet()).toMatchObject({ state: "done" });
    expect(await it.runs()).toMatchObject([{ commit_sha: commitOf(1), unconfirmed: 0 }]);
  });

  it("fails with the reason when the host has been silent for an hour, and is audited", async () => {
    await using it = await openOne();
    it.host.beforeAnswer = SILENT;
    await it.send(it.host, it.host.push("1", commitOf(1)), "one");
    await eventually("it was tried", async () => ((await it.rows())[0]?.attempts ?? 0) >= 1);
    it.advance(DAY_MS / 24);
    expect(await it.quiet()).toMatchObject({
      state: "failed",
      result: "GitHub is not answering: it says 503.",
    });
    expect(await it.audit()).toMatchObject([
      {
        actor: "github.test",
        action: "delivery.fail",
        object: "push one",
        result: expect.stringContaining("503"),
      },
    ]);
    it.host.beforeAnswer = () => undefined;
    await it.send(it.host, it.host.push("1", commitOf(1)), "one");
    expect(await it.quiet()).toMatchObject({ state: "done" });
  });

  it("honours how long the host asks to be left alone", async () => {
    await using it = await openOne();
    it.host.beforeAnswer = () => {
      throw new HostUnavailable("GitHub takes no more requests for now.", {
        status: 429,
        retryAfterMs: 60_000,
      });
    };
    await it.send(it.host, it.host.push("1", commitOf(1)));
    const row = await eventually("it was tried", async () =>
      (await it.rows()).find(({ attempts }) => attempts > 0),
    );
    const { next_at } = await eventually("it is postponed", async () => {
      const [now] = await it.rows();
      return (now?.next_at ?? 0) > row.received_at ? now : undefined;
    });
    expect((next_at ?? 0) - row.received_at).toBeGreaterThanOrEqual(60_000);
  });

  it("holds up no other host", async () => {
    const [silent, other] = ["silent", "other"].map((name) => {
      const host = new ScriptedHost({ instance: `${name}.test`, kind: "gitlab", secret: name });
      host.add("1", name);
      return host;
    }) as [ScriptedHost, ScriptedHost];
    await using it = await openDeliveryWorld({ hosts: [silent, other] });
    silent.beforeAnswer = SILENT;
    for (let n = 1; n <= 20; n++)
      await it.send(silent, { ...silent.push("1", commitOf(n)), repository: `${n}` });
    await it.send(other, other.push("1", commitOf(1)));
    await eventually("the other's is worked off", async () => (await it.rows()).at(-1)?.state === "done");
    expect((await it.rows()).filter(({ state }) => state === "stored").length).toBeGreaterThan(0);
  });
});

describe("a delivery", () => {
  it("that links repositories deploys their heads at once, and once", async () => {
    await using it = await openOne();
    it.host.add("2", "empty").unlinked = "the topic is gone";
    it.host.push("1", commitOf(1));
    await it.send(it.host, { kind: "repositories", repositories: ["1", "2"] }, "one");
    const row = await it.quiet();
    expect(row).toMatchObject({ state: "done", result: expect.stringContaining("a/site is linked, run ") });
    expect(row?.result).toContain("not linked: the topic is gone");
    expect(await it.runs()).toMatchObject([
      { trigger: "link", commit_sha: commitOf(1), person: "github.test" },
    ]);
    await endRun(it);
    await it.send(it.host, { kind: "repositories", repositories: ["1", "2"] }, "two");
    await it.quiet();
    expect(await it.runs()).toHaveLength(1);
  });

  it("that links a repository again deploys its head again", async () => {
    await using it = await openLinked();
    it.repository.unlinked = "the App was uninstalled";
    await it.send(it.host, { kind: "repositories", repositories: ["1"] });
    await it.quiet();
    it.repository.unlinked = undefined;
    await it.send(it.host, { kind: "repositories", repositories: ["1"] });
    await it.quiet();
    expect(await it.runs()).toMatchObject([
      { trigger: "push" },
      { trigger: "link", commit_sha: commitOf(1) },
    ]);
  });

  it("of an installation looks at everything behind it", async () => {
    await using it = await openOne();
    it.host.add("2", "shop");
    for (const id of ["1", "2"]) it.host.push(id, commitOf(Number(id)));
    await it.send(it.host, { kind: "installation", installation: "7" });
    expect(await it.quiet()).toMatchObject({ state: "done" });
    expect((await it.runs()).map(({ commit_sha }) => commit_sha)).toEqual([1, 2].map(commitOf));
    expect(await it.audit()).toMatchObject([
      { action: "delivery.installation", object: "a/site; a/shop", owner_id: "owner-a" },
    ]);
  });

  it("of many repositories does for each what it can, and is tried again for the rest", async () => {
    await using it = await openOne();
    it.host.add("2", "shop");
    for (const id of ["1", "2"]) it.host.push(id, commitOf(Number(id)));
    let heads = 0;
    it.host.beforeAnswer = (what) => {
      if (what === "head" && ++heads === 1) SILENT();
    };
    await it.send(it.host, { kind: "installation", installation: "7" });
    expect(await it.quiet()).toMatchObject({ state: "done", attempts: 2 });
    expect((await it.runs()).map(({ commit_sha }) => commit_sha).toSorted()).toEqual([1, 2].map(commitOf));
  });

  it("that links something waits until it is known who may deploy, and holds up no host", async () => {
    await using it = await openOne();
    let tries = 0;
    it.host.beforeAnswer = (what) => {
      if (what === "facts" && ++tries <= 8) throw new Retryable("Who may deploy here is not known yet.");
    };
    await it.send(it.host, it.host.push("1", commitOf(1)));
    expect(await it.quiet()).toMatchObject({ state: "done", attempts: 9 });
  });

  it("of memberships makes what is known of them stale", async () => {
    await using it = await openOne();
    await it.send(it.host, { kind: "memberships", person: "42", owner: "a" });
    await it.send(it.host, { kind: "memberships", person: undefined, owner: "a" });
    await it.quiet();
    expect(it.stale).toEqual([
      { instance: "github.test", person: "42", owner: "a" },
      { instance: "github.test", owner: "a" },
    ]);
  });

  it("of the re-run button redeploys a commit whose run has ended, by who pressed it", async () => {
    await using it = await openLinked();
    await it.send(it.host, { kind: "rerun", repository: "1", commit: commitOf(1) });
    expect(await it.quiet()).toMatchObject({ state: "done" });
    await it.send(it.host, { kind: "rerun", repository: "1", commit: commitOf(1) });
    expect(await it.quiet()).toMatchObject({
      state: "ignored",
      result: expect.stringContaining("has not ended"),
    });
    await it.send(it.host, { kind: "rerun", repository: "1", commit: commitOf(9) });
    expect(await it.quiet()).toMatchObject({ state: "ignored", result: "no run of this commit is known" });
    await it.send(it.host, { kind: "rerun", repository: "2", commit: commitOf(1) });
    expect(await it.quiet()).toMatchObject({ state: "ignored", result: "the repository is not linked" });
    expect((await it.runs()).slice(1)).toMatchObject([{ trigger: "redeploy", person: "github.test:42" }]);
  });

  it("D19: of an event that is not known is ignored, and one audit event with the reason", async () => {
    await using it = await openOne();
    await it.send(it.host, { kind: "ignored", reason: "nothing follows from ping" });
    expect(await it.quiet()).toMatchObject({
      state: "ignored",
      body: null,
      result: "nothing follows from ping",
    });
    expect(await it.audit()).toMatchObject([{ result: "ignored: nothing follows from ping" }]);
  });

  it("that the platform itself fails at is given up, and keeps no other from being worked off", async () => {
    await using it = await openOne();
    it.host.beforeAnswer = () => {
      throw new TypeError("a bug");
    };
    await it.send(it.host, it.host.push("1", commitOf(1)));
    expect(await it.quiet()).toMatchObject({
      state: "failed",
      attempts: 5,
      result: expect.stringContaining("its log"),
    });
    it.host.beforeAnswer = () => undefined;
    await it.send(it.host, it.host.push("1", commitOf(1)));
    expect(await it.quiet()).toMatchObject({ state: "done" });
  });

  it("that ended the process at every try is given up", async () => {
    await using folder = await temporaryFolder();
    const file = join(folder.path, "store.sqlite");
    {
      await using it = await openOne({ file, withoutInbox: true });
      await it.send(it.host, it.host.push("1", commitOf(1)));
      await it.store.updateTable("deliveries").set({ attempts: 30 }).execute();
    }
    await using it = await openOne({ file });
    expect(await it.quiet()).toMatchObject({ state: "failed", attempts: 30 });
    expect(it.host.asked.facts).toBe(0);
  });

  it("is followed after those of its repository that came before, however long they take", async () => {
    await using it = await openLinked();
    it.host.add("2", "shop");
    const { promise: released, resolve: release } = Promise.withResolvers<void>();
    let isFirst = true;
    it.host.beforeAnswer = async (what) => {
      if (what !== "head" || !isFirst) return;
      isFirst = false;
      await released;
    };
    await it.send(it.host, it.host.push("1", commitOf(2)), "slow");
    await eventually("the first is under way", () => !isFirst);
    await it.send(it.host, it.host.push("1", commitOf(3)), "behind it");
    await it.send(it.host, it.host.push("2", commitOf(4)), "of another");
    const stateOf = async (id: string) =>
      (await it.rows()).find(({ delivery_id }) => delivery_id === id)?.state;
    await eventually("the other repository's is done", async () => (await stateOf("of another")) === "done");
    expect(await stateOf("behind it")).toBe("stored");
    release();
    await it.quiet();
    expect((await it.runs()).at(-1)).toMatchObject({ commit_sha: commitOf(3) });
  });

  it("is not followed before one of its repository that waits for the host", async () => {
    // What fails waits for a minute at least; the host itself is left alone for half a minute.
    await using it = await openOne({ limits: { firstPauseMs: 100_000, longestPauseMs: 100_000 } });
    it.host.add("2", "shop");
    let isFirst = true;
    it.host.beforeAnswer = () => {
      if (!isFirst) return;
      isFirst = false;
      SILENT();
    };
    await it.send(it.host, it.host.push("1", commitOf(1)), "waiting");
    await eventually("it waits", async () => (await it.rows())[0]?.result !== null);
    it.advance(31_000);
    await it.send(it.host, it.host.push("1", commitOf(2)), "behind it");
    await it.send(it.host, it.host.push("2", commitOf(3)), "of another");
    await eventually("the other's is done", async () => (await it.rows()).at(-1)?.state === "done");
    expect((await it.rows()).map(({ attempts, state }) => [attempts, state])).toEqual([
      [1, "stored"],
      [0, "stored"],
      [1, "done"],
    ]);
  });

  it("that was stored before a crash is worked off by the next inbox on the same file", async () => {
    await using dir = await temporaryFolder();
    const file = join(dir.path, "store.sqlite");
    const host = new ScriptedHost();
    host.add("1", "site");
    {
      await using it = await openDeliveryWorld({ hosts: [host], file, withoutInbox: true });
      await it.send(host, host.push("1", commitOf(1)), "one");
    }
    await using it = await openDeliveryWorld({ hosts: [host], file });
    expect(await it.quiet()).toMatchObject({ state: "done", delivery_id: "one" });
    expect(await it.runs()).toMatchObject([{ commit_sha: commitOf(1) }]);
  });

  it("that was broken off is worked off by the next inbox on the same file", async () => {
    await using dir = await temporaryFolder();
    const file = join(dir.path, "store.sqlite");
    const host = new ScriptedHost();
    host.add("1", "site");
    {
      await using it = await openDeliveryWorld({ hosts: [host], file });
      host.beforeAnswer = UNTIL_ABORTED;
      await it.send(host, host.push("1", commitOf(1)), "one");
      await eventually("it is under way", async () => (await it.rows())[0]?.attempts === 1);
    }
    host.beforeAnswer = () => undefined;
    await using it = await openDeliveryWorld({ hosts: [host], file });
    expect(await it.quiet()).toMatchObject({ state: "done", delivery_id: "one" });
    expect(await it.runs()).toMatchObject([{ commit_sha: commitOf(1) }]);
  });

  it("is known for a week after it came, and forgotten some time after that", async () => {
    await using dir = await temporaryFolder();
    const file = join(dir.path, "store.sqlite");
    const host = new ScriptedHost();
    {
      await using it = await openDeliveryWorld({ hosts: [host], file });
      for (const id of ["old", "older"]) await it.send(host, { kind: "ignored", reason: "nothing" }, id);
      await it.quiet();
      const came = async (id: string, days: number) => {
        const received_at = Date.now() - days * DAY_MS;
        await it.store.updateTable("deliveries").set({ received_at }).where("delivery_id", "=", id).execute();
      };
      await came("old", 7);
      await came("older", 9);
    }
    await using it = await openDeliveryWorld({ hosts: [host], file });
    await eventually("the older is forgotten", async () => (await it.rows()).length === 1);
    expect(await it.rows()).toMatchObject([{ delivery_id: "old" }]);
  });
});

describe("the head of a branch", () => {
  const look = (it: Awaited<ReturnType<typeof openLinked>>, repository: NamedRepository) =>
    it.deployHead(it.host, repository, { trigger: "reconcile", person: "github.test" }, NEVER);

  it("is not replaced by an older one whose answer took longer", async () => {
    await using it = await openLinked();
    const repository = must(await it.find(it.host, "1"), "the linked repository");
    const { promise: released, resolve: release } = Promise.withResolvers<void>();
    let asked = 0;
    it.host.beforeAnswer = () => (++asked === 1 ? released : undefined);
    it.host.push("1", commitOf(2));
    const slow = look(it, repository);
    await eventually("the host is asked", () => asked === 1);
    it.host.push("1", commitOf(3));
    expect(await look(it, repository)).toMatchObject({ kind: "enqueued", run: { commit_sha: commitOf(3) } });
    release();
    expect(await slow).toMatchObject({ kind: "nothing-new", head: commitOf(3) });
    expect((await it.runs()).map(({ commit_sha }) => commit_sha)).toEqual([1, 3].map(commitOf));
  });

  it("is deployed once by all who look at the same time", async () => {
    await using it = await openLinked();
    const repository = must(await it.find(it.host, "1"), "the linked repository");
    it.host.push("1", commitOf(2));
    await Promise.all(Array.from({ length: 8 }, () => look(it, repository)));
    expect((await it.runs()).map(({ commit_sha }) => commit_sha)).toEqual([1, 2].map(commitOf));
  });

  it("is none where the repository has no branch yet", async () => {
    await using it = await openOne();
    it.repository.facts = { ...it.repository.facts, defaultBranch: undefined };
    await it.send(it.host, { kind: "repositories", repositories: ["1"] });
    expect(await it.quiet()).toMatchObject({
      state: "done",
      result: expect.stringContaining("no branch yet"),
    });
    expect(await it.runs()).toEqual([]);
  });
});

/** Hosts that name their deliveries, and hosts that do not. */
function openFleet(): readonly ScriptedHost[] {
  return [
    new ScriptedHost(),
    new ScriptedHost({ instance: "gitlab.test", kind: "gitlab", title: "GitLab", secret: "of GitLab" }),
  ];
}

describe(`G17: pushes that are delivered one to five times, shuffled, in parallel (seed ${SEED})`, () => {
  it("come to one run each, none without reason, and to the head", { timeout: 120_000 }, async () => {
    const random = new Random(SEED);
    const hosts = openFleet();
    await using it = await openDeliveryWorld({ hosts });
    const places = hosts.flatMap((host) =>
      Array.from({ length: 5 }, (_, n) => {
        host.add(`${n}`, `${host.kind}-${n}`);
        host.beforeAnswer = () => sleep(random.between(0, 3));
        return { host, id: `${n}`, pushed: [] as string[] };
      }),
    );
    const pending: (() => Promise<DeliveryAnswer>)[] = [];
    const sent: { readonly host: ScriptedHost; readonly fact: PushFact; readonly id: string }[] = [];
    const answers: Promise<DeliveryAnswer>[] = [];
    for (let pushes = 0; pushes < size(200, 1_000); pushes++) {
      const place = random.pick(places);
      const fact = place.host.push(place.id, commitOf(pushes + 1));
      place.pushed.push(commitOf(pushes + 1));
      const one = { host: place.host, fact, id: `delivery ${pushes}` };
      sent.push(one);
      for (let times = random.between(1, 6); times > 0; times--) pending.push(() => send(it, one));
      for (let now = random.between(0, 8); now > 0 && pending.length > 0; now--)
        answers.push(...pending.splice(random.between(0, pending.length), 1).map((start) => start()));
      if (random.chance(0.2)) await Promise.all(answers);
    }
    answers.push(...random.shuffled(pending).map((start) => start()));
    expect(new Set((await Promise.all(answers)).map(({ status }) => status))).toEqual(new Set([202]));
    await it.quiet(60_000);

    const runs = await it.runs();
    const commits = runs.map(({ commit_sha }) => commit_sha);
    expect(commits).toHaveLength(new Set(commits).size);
    for (const { host, id, pushed } of places) {
      const repository = await it.find(host, id);
      const own = runs.filter(({ repository_id }) => repository_id === repository?.id);
      const order = own.map(({ commit_sha }) => pushed.indexOf(commit_sha));
      expect(order).not.toContain(-1);
      expect(order).toEqual(order.toSorted((a, b) => a - b));
      expect(own.at(-1)?.commit_sha).toBe(pushed.at(-1));
    }
    expect(new Set((await it.rows()).map(({ state }) => state))).toEqual(new Set(["done"]));
    expect(await it.audit()).toHaveLength((await it.rows()).length);

    it.advance(3 * DAY_MS);
    const before = await it.rows();
    for (const one of random.shuffled(sent)) await send(it, one);
    await it.quiet(60_000);
    expect(await it.runs()).toHaveLength(runs.length);
    const known = (await it.rows()).length - before.length;
    expect(known).toBe(sent.filter(({ host }) => host.kind === "gitlab").length);
  });
});

/** GitLab's come without an id here. */
function send(
  it: DeliveryWorld,
  { host, fact, id }: { readonly host: ScriptedHost; readonly fact: PushFact; readonly id: string },
): Promise<DeliveryAnswer> {
  return it.send(host, fact, host.kind === "gitlab" ? undefined : id);
}

describe(`G20: branches that are moved, moved back, deleted and made again (seed ${SEED})`, () => {
  it("end where the host says, by generations that only rise", { timeout: 120_000 }, async () => {
    const random = new Random(SEED);
    const hosts = openFleet();
    await using it = await openDeliveryWorld({ hosts });
    const places = hosts.flatMap((host) =>
      Array.from({ length: 4 }, (_, n) => {
        host.add(`${n}`, `${host.kind}-${n}`);
        // Answers arrive late and out of order, so that some are old when they do.
        host.beforeAnswer = () => sleep(random.between(0, 12));
        return { host, id: `${n}`, past: [] as CommitSha[] };
      }),
    );
    await using deployed = openScriptedWorker(it, random);
    const pending: (() => Promise<unknown>)[] = [];
    const under: Promise<unknown>[] = [];
    for (let step = 0; step < size(200, 1_000); step++) {
      const { host, id, past } = random.pick(places);
      const isThere = host.repositories.get(id)?.branches.has(MAIN);
      const moves = {
        push: () => commitOf(step + 1),
        "force-push back": () => (past.length === 0 ? commitOf(step + 1) : random.pick(past)),
        delete: () => undefined,
      };
      const move = random.pick([
        "push",
        "push",
        "push",
        "force-push back",
        ...(isThere ? ["delete"] : []),
      ] as const);
      const commit = moves[move as keyof typeof moves]();
      if (commit !== undefined) past.push(commit);
      const one = { host, fact: host.push(id, commit), id: `delivery ${step}` };
      for (let times = random.between(1, 3); times > 0; times--) pending.push(() => send(it, one));
      // Somebody else looks at the same time, as the loop does that finds lost deliveries.
      const repository = await it.find(host, id);
      const looks = { trigger: "reconcile", person: host.instance } as const;
      if (repository && random.chance(0.3)) under.push(it.deployHead(host, repository, looks, NEVER));
      for (let now = random.between(0, 4); now > 0 && pending.length > 0; now--)
        under.push(...pending.splice(random.between(0, pending.length), 1).map((start) => start()));
      if (random.chance(0.3)) await sleep(random.between(0, 10));
    }
    under.push(...random.shuffled(pending).map((start) => start()));
    await Promise.all(under);
    await it.quiet(60_000);
    await eventually(
      "every run has ended",
      async () => (await it.queue.depth()).queued === 0 && (await it.queue.depth()).running === 0,
      { withinMs: 60_000 },
    );

    const runs = await it.runs();
    for (const { host, id } of places) {
      const repository = await it.find(host, id);
      const head = host.repositories.get(id)?.branches.get(MAIN)?.commit;
      const own = runs.filter(({ repository_id }) => repository_id === repository?.id);
      if (head === undefined) continue;
      expect(own.at(-1)).toMatchObject({ commit_sha: head, state: "succeeded" });
      expect(deployed.live.get(repository?.id ?? "")).toBe(head);
    }
    expect(deployed.built.filter((commit) => /^0+$/.test(commit))).toEqual([]);
    expect(deployed.wentBack).toEqual([]);
  });
});

/** Takes runs as the platform does, each for a time of its own, and keeps what is live of each repository. */
function openScriptedWorker(it: DeliveryWorld, random: Random) {
  const live = new Map<string, string>();
  const generations = new Map<string, number>();
  const built: string[] = [];
  const wentBack: Run[] = [];
  const worker = new Worker({
    ...{ queue: it.queue, feed: it.feed, concurrency: 3, logger: pino({ level: "silent" }) },
    closeEnded: async () => undefined,
    execute: async (run, holder, signal) => {
      built.push(run.commit_sha);
      await sleep(random.between(0, 40), undefined, { signal }).catch(() => undefined);
      if (signal.aborted) {
        const end = { state: "superseded", kind: "superseded", reason: "A newer push." } as const;
        await it.queue.finish(run.id, holder, end);
        return;
      }
      if ((generations.get(run.repository_id) ?? 0) > run.generation) wentBack.push(run);
      generations.set(run.repository_id, run.generation);
      live.set(run.repository_id, run.commit_sha);
      await it.queue.finish(run.id, holder, { state: "succeeded" });
    },
  });
  return { live, built, wentBack, [Symbol.asyncDispose]: () => worker[Symbol.asyncDispose]() };
}
