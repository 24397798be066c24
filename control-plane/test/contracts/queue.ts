import { describe, expect, it } from "vitest";
import {
  LEASE_MS,
  MOST_ATTEMPTS,
  MOST_FRUITLESS,
  type NewTrigger,
  type Queue,
  type Run,
  type RunEnd,
} from "../../src/ports/queue/queue.ts";
import type { Queries, Store } from "../../src/ports/store/store.ts";
import type { RunNews } from "../../src/run-feed.ts";

export interface QueueUnderTest extends AsyncDisposable {
  readonly queue: Queue;
  readonly store: Store;
  /** What the run feed was told, oldest first. */
  readonly news: [runId: string, news: RunNews][];
  /** Moves the queue's clock. */
  advance(ms: number): void;
}

/** The promises of the Queue port, for one adapter. The world has owners `a` and `b` with a repository each. */
export function describeQueue(name: string, open: () => Promise<QueueUnderTest>): void {
  const push = (owner: "a" | "b", branch: string, commit: string): NewTrigger => ({
    trigger: "push",
    owner_id: `owner-${owner}`,
    repository_id: `repository-${owner}`,
    branch,
    before_sha: null,
    commit_sha: commit.padEnd(40, "0"),
    message: "change",
    author: "somebody",
    person: "local:a",
  });
  const stateOf = async ({ store }: QueueUnderTest, id: string) =>
    store.selectFrom("runs").selectAll().where("id", "=", id).executeTakeFirstOrThrow();

  describe(`queue: ${name}`, () => {
    it("hands out runs of different branches in the order they came", async () => {
      await using it = await open();
      const first = await it.queue.enqueue(push("a", "main", "1"));
      it.advance(1);
      const second = await it.queue.enqueue(push("a", "other", "2"));
      expect((await it.queue.claim("w", []))?.id).toBe(first.id);
      expect((await it.queue.claim("w", []))?.id).toBe(second.id);
      expect(await it.queue.claim("w", [])).toBeUndefined();
    });

    it("runs one of a branch at a time", async () => {
      await using it = await open();
      await it.queue.enqueue(push("a", "main", "1"));
      const running = await it.queue.claim("w", []);
      const next = await it.queue.enqueue(push("a", "main", "2"));
      expect(await it.queue.claim("w", [])).toBeUndefined();
      await it.queue.finish(running?.id ?? "", "w", { state: "succeeded" });
      expect((await it.queue.claim("w", []))?.id).toBe(next.id);
    });

    it("supersedes queued runs of the branch at once, and asks the one under way to stop", async () => {
      await using it = await open();
      const first = await it.queue.enqueue(push("a", "main", "1"));
      await it.queue.claim("w", []);
      const second = await it.queue.enqueue(push("a", "main", "2"));
      const third = await it.queue.enqueue(push("a", "main", "3333333"));
      expect(await stateOf(it, second.id)).toMatchObject({
        state: "superseded",
        reason: expect.stringContaining("3333333"),
      });
      expect(await it.queue.heartbeat(first.id, "w")).toMatchObject({ state: "superseded" });
      expect(await stateOf(it, third.id)).toMatchObject({ state: "queued", generation: 3 });
    });

    it("leaves other branches and other repositories alone when one is superseded", async () => {
      await using it = await open();
      const other = await it.queue.enqueue(push("a", "other", "1"));
      const foreign = await it.queue.enqueue(push("b", "main", "1"));
      await it.queue.enqueue(push("a", "main", "2"));
      expect((await stateOf(it, other.id)).state).toBe("queued");
      expect((await stateOf(it, foreign.id)).state).toBe("queued");
    });

    it("prefers the owner with the fewest runs under way", async () => {
      await using it = await open();
      for (const branch of ["x", "y", "z"]) {
        await it.queue.enqueue(push("a", branch, "1"));
        it.advance(1);
      }
      const late = await it.queue.enqueue(push("b", "main", "1"));
      await it.queue.claim("w", []);
      expect((await it.queue.claim("w", []))?.id).toBe(late.id);
    });

    it("gives a run to another holder once its lease ran out, and refuses what the first one writes", async () => {
      await using it = await open();
      const run = await it.queue.enqueue(push("a", "main", "1"));
      await it.queue.claim("dead", []);
      it.advance(LEASE_MS - 1);
      expect(await it.queue.claim("next", [])).toBeUndefined();
      it.advance(2);
      expect(await it.queue.claim("next", [])).toMatchObject({ id: run.id, attempts: 2 });
      expect(await it.queue.heartbeat(run.id, "dead")).toBe("lost");
      expect(await it.queue.finish(run.id, "dead", { state: "succeeded" })).toBe(false);
      expect((await stateOf(it, run.id)).state).toBe("running");
    });

    it("does not hand a holder its own run again, when the machine slept past the lease", async () => {
      await using it = await open();
      const run = await it.queue.enqueue(push("a", "main", "1"));
      await it.queue.claim("w", []);
      it.advance(LEASE_MS * 100);
      expect(await it.queue.claim("w", [run.id])).toBeUndefined();
      expect(await it.queue.heartbeat(run.id, "w")).toBeUndefined();
    });

    it("ends a released run that was asked to stop, instead of queueing it", async () => {
      await using it = await open();
      const run = await it.queue.enqueue(push("a", "main", "1"));
      await it.queue.claim("w", []);
      await it.queue.stop(run.id, { state: "cancelled", kind: "cancelled", reason: "Cancelled by a." });
      await it.queue.release(run.id, "w");
      expect(await stateOf(it, run.id)).toMatchObject({ state: "cancelled", lease_holder: null });
      expect(await it.queue.claim("w", [])).toBeUndefined();
    });

    describe("enqueues the head of a branch unless", () => {
      const head = (it: QueueUnderTest, commit: string, after?: number) =>
        it.queue.enqueueUnless("head", push("a", "main", commit), after === undefined ? {} : { after });
      const end = async (it: QueueUnderTest, end: RunEnd) => {
        const run = await it.queue.claim("w", []);
        await it.queue.finish(run?.id ?? "", "w", end);
      };
      const failed = (kind: string): RunEnd => ({ state: "failed", kind, reason: "Why." });

      it("the newest run has it, whatever came of it for the commit's own sake", async () => {
        await using it = await open();
        const first = await head(it, "1");
        expect(first).toMatchObject({ kind: "enqueued", run: { generation: 1, state: "queued" } });
        for (const ended of [failed("build-failed"), { state: "succeeded" } as const]) {
          expect(await head(it, "1")).toMatchObject({ kind: "needless" });
          await end(it, ended);
          expect(await head(it, "1")).toMatchObject({ kind: "needless" });
          await it.queue.enqueue(push("a", "main", "1"));
        }
      });

      it("an older run had it, and the branch was moved on and back since", async () => {
        await using it = await open();
        await head(it, "1");
        await head(it, "2");
        expect(await head(it, "1")).toMatchObject({ kind: "enqueued", run: { generation: 3 } });
      });

      it("the platform failed at it, a bounded number of times", async () => {
        await using it = await open();
        for (let tries = 1; tries <= MOST_FRUITLESS; tries++) {
          expect(await head(it, "1")).toMatchObject({ kind: "enqueued", run: { generation: tries } });
          await end(it, failed("platform-unavailable"));
        }
        expect(await head(it, "1")).toMatchObject({ kind: "needless" });
        expect(await head(it, "2")).toMatchObject({ kind: "enqueued" });
      });

      it("a person redeployed another commit since, until the branch moves", async () => {
        await using it = await open();
        await head(it, "1");
        await head(it, "2");
        await it.queue.enqueue({ ...push("a", "main", "1"), trigger: "redeploy" });
        expect(await head(it, "2")).toMatchObject({ kind: "needless", run: { generation: 2 } });
        expect(await head(it, "3")).toMatchObject({ kind: "enqueued" });
      });

      it("a run came in between what the caller looked at and this", async () => {
        await using it = await open();
        const after = await it.queue.generation("repository-a", "main");
        expect(after).toBe(0);
        await head(it, "2", after);
        expect(await head(it, "1", after)).toEqual({ kind: "overtaken" });
        expect(await it.queue.generation("repository-a", "main")).toBe(1);
        expect(await it.queue.generation("repository-b", "main")).toBe(0);
      });

      it("somebody else does at the same moment", async () => {
        await using it = await open();
        const outcomes = await Promise.all(Array.from({ length: 20 }, () => head(it, "1")));
        expect(outcomes.filter(({ kind }) => kind === "enqueued")).toHaveLength(1);
      });
    });

    it("enqueues a commit that may be old unless any run had it or came after it", async () => {
      await using it = await open();
      await it.queue.enqueue({ ...push("a", "main", "2"), before_sha: "1".padEnd(40, "0") });
      await it.queue.enqueue(push("a", "main", "3"));
      for (const old of ["1", "2", "3"])
        expect(await it.queue.enqueueUnless("ever", push("a", "main", old))).toMatchObject({
          kind: "needless",
        });
      const run = await it.queue.enqueueUnless("ever", { ...push("a", "main", "4"), unconfirmed: 1 });
      expect(run).toMatchObject({ kind: "enqueued", run: { unconfirmed: 1 } });
    });

    it("enqueues a commit anew unless a run of it is under way", async () => {
      await using it = await open();
      const again = () => it.queue.enqueueUnless("under-way", push("a", "main", "1"));
      expect(await again()).toMatchObject({ kind: "enqueued" });
      expect(await again()).toMatchObject({ kind: "needless" });
      const run = await it.queue.claim("w", []);
      expect(await again()).toMatchObject({ kind: "needless" });
      await it.queue.finish(run?.id ?? "", "w", { state: "succeeded" });
      expect(await again()).toMatchObject({ kind: "enqueued" });
    });

    it("says which runs it ended by itself, and which it asked to stop", async () => {
      await using it = await open();
      const running = await it.queue.enqueue(push("a", "main", "1"));
      await it.queue.claim("w", []);
      const waiting = await it.queue.enqueue(push("a", "main", "2"));
      it.news.length = 0;
      await it.queue.enqueue(push("a", "main", "3"));
      expect(it.news).toContainEqual([waiting.id, "ended"]);
      expect(it.news).toContainEqual([running.id, "stop"]);
      it.news.length = 0;
      it.advance(LEASE_MS + 1);
      await it.queue.claim("other", []);
      expect(it.news).toContainEqual([running.id, "ended"]);
    });

    it("keeps a run whose holder's heart beats", async () => {
      await using it = await open();
      const run = await it.queue.enqueue(push("a", "main", "1"));
      await it.queue.claim("w", []);
      for (let i = 0; i < 5; i++) {
        it.advance(LEASE_MS - 1);
        expect(await it.queue.heartbeat(run.id, "w")).toBeUndefined();
      }
      expect(await it.queue.claim("other", [])).toBeUndefined();
    });

    it("frees the runs of all other holders at once when told that they are gone", async () => {
      await using it = await open();
      const run = await it.queue.enqueue(push("a", "main", "1"));
      await it.queue.claim("dead", []);
      await it.queue.reclaim("next");
      expect((await it.queue.claim("next", []))?.id).toBe(run.id);
    });

    it("gives up a run under which the platform died too often", async () => {
      await using it = await open();
      const run = await it.queue.enqueue(push("a", "main", "1"));
      for (let i = 0; i < MOST_ATTEMPTS; i++) {
        expect((await it.queue.claim("w", []))?.id).toBe(run.id);
        it.advance(LEASE_MS + 1);
      }
      expect(await it.queue.claim("w", [])).toBeUndefined();
      expect(await stateOf(it, run.id)).toMatchObject({
        state: "failed",
        reason_kind: "platform-unavailable",
      });
    });

    it("does not take up again an orphan that somebody asked to stop", async () => {
      await using it = await open();
      const run = await it.queue.enqueue(push("a", "main", "1"));
      await it.queue.claim("dead", []);
      await it.queue.stop(run.id, { state: "cancelled", kind: "cancelled", reason: "Cancelled by a." });
      it.advance(LEASE_MS + 1);
      expect(await it.queue.claim("w", [])).toBeUndefined();
      expect(await stateOf(it, run.id)).toMatchObject({ state: "cancelled", reason: "Cancelled by a." });
    });

    it("puts a released run back without counting the attempt", async () => {
      await using it = await open();
      const run = await it.queue.enqueue(push("a", "main", "1"));
      await it.queue.claim("w", []);
      await it.queue.release(run.id, "w");
      expect(await stateOf(it, run.id)).toMatchObject({ state: "queued", attempts: 0, lease_holder: null });
      expect((await it.queue.claim("w", []))?.id).toBe(run.id);
    });

    it("ends a run in exactly one state", async () => {
      await using it = await open();
      const run = await it.queue.enqueue(push("a", "main", "1"));
      await it.queue.claim("w", []);
      expect(await it.queue.finish(run.id, "w", { state: "succeeded" })).toBe(true);
      expect(await it.queue.finish(run.id, "w", { state: "failed", kind: "x", reason: "y" })).toBe(false);
      expect(await it.queue.stop(run.id, { state: "cancelled", kind: "cancelled", reason: "late" })).toBe(
        false,
      );
      expect(await stateOf(it, run.id)).toMatchObject({ state: "succeeded", reason: null });
    });

    it("writes what else belongs to a trigger or a stop with it, or neither", async () => {
      await using it = await open();
      const note = (what: string) => (transaction: Queries, run: Run) =>
        transaction
          .insertInto("meta")
          .values({ key: `note-${what}`, value: run.id })
          .execute()
          .then(() => undefined);
      const fail = () => Promise.reject(new Error("could not be written"));
      const reason = { state: "cancelled", kind: "cancelled", reason: "asked" } as const;

      await expect(it.queue.enqueue(push("a", "main", "1"), fail)).rejects.toThrow("could not be written");
      expect(await it.queue.depth()).toEqual({ queued: 0, running: 0 });
      const run = await it.queue.enqueue(push("a", "main", "1"), note("trigger"));
      await expect(it.queue.stop(run.id, reason, fail)).rejects.toThrow("could not be written");
      expect(await it.queue.depth()).toEqual({ queued: 1, running: 0 });
      expect(await it.queue.stop(run.id, reason, note("stop"))).toBe(true);
      expect(await it.queue.stop(run.id, reason, note("late"))).toBe(false);
      const notes = await it.store.selectFrom("meta").selectAll().where("key", "like", "note-%").execute();
      expect(notes.map(({ key, value }) => [key, value]).toSorted()).toEqual([
        ["note-stop", run.id],
        ["note-trigger", run.id],
      ]);
    });

    it("says how many runs wait before one", async () => {
      await using it = await open();
      await it.queue.enqueue(push("a", "x", "1"));
      it.advance(1);
      await it.queue.enqueue(push("a", "y", "1"));
      it.advance(1);
      const last = await it.queue.enqueue(push("a", "z", "1"));
      expect(await it.queue.ahead(last)).toBe(2);
      expect(await it.queue.depth()).toEqual({ queued: 3, running: 0 });
    });
  });
}
