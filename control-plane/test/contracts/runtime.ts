import { describe, expect, test, vi } from "vitest";
import { eventually } from "../../../test/support/eventually.ts";
import {
  ownSeconds,
  type ProcessPlatform,
  processesWith,
  revisionSpec,
} from "../support/process-platform.ts";

const MiB = 1024 * 1024;

export interface RuntimeLimits {
  readonly healthDeadlineMs?: number;
  readonly floodBytes?: number;
}

/** What every runtime promises; `open` gives one on data of its own, with a builder whose artifacts it runs. */
export function describeRuntime(
  name: string,
  open: (limits?: RuntimeLimits) => Promise<ProcessPlatform>,
): void {
  describe(`runtime: ${name}`, () => {
    test("resolves with upstreams that answer", async () => {
      const platform = await open();
      const running = await platform.start(await platform.buildFixture("hello"), { replicas: 2 });
      expect(running.upstreams.map(({ id }) => id)).toEqual(["hello-1", "hello-2"]);
      for (const { url } of running.upstreams) {
        expect(await (await fetch(`${url}/there`)).text()).toBe("hello /there");
      }
      expect(platform.runtime.list()).toMatchObject([
        { revisionId: "revision-1", ownerId: "owner-1", replicas: [{ state: "ready" }, { state: "ready" }] },
      ]);
    });

    test("waits for a revision that already runs and does not start it again", async () => {
      const platform = await open();
      const artifact = await platform.buildFixture("workshop");
      const [first, second] = await Promise.all([platform.start(artifact), platform.start(artifact)]);
      expect(second.upstreams).toEqual(first.upstreams);
      const third = await platform.start(artifact);
      expect(await third.ask("/pid")).toBe(await first.ask("/pid"));
      expect(platform.runtime.list()).toHaveLength(1);
    });

    test("runs several revisions of one function side by side", async () => {
      const platform = await open();
      const old = await platform.start(await platform.buildFixture("hello"));
      const next = await platform.start(await platform.buildFixture("workshop"), {
        revisionId: "revision-2",
      });
      expect(next.url).not.toBe(old.url);
      await platform.runtime.stop(old.ref, { graceMs: 1000 });
      expect((await next.call("/")).status).toBe(200);
      await expect(old.call("/")).rejects.toThrow();
    });

    test("gives a function its environment, its port and its name, and nothing of the platform's", async () => {
      const platform = await open();
      vi.stubEnv("PLATFORM_ONLY", "not for functions");
      const running = await platform.start(await platform.buildFixture("workshop"), {
        environment: { GREETING: "good\nday", PORT: "1" },
      });
      const environment = JSON.parse(await running.ask("/env"));
      const port = new URL(running.url).port;
      expect(environment).toMatchObject({
        GREETING: "good\nday",
        PORT: port,
        http_port: port,
        OPENFAAS_NAME: "hello",
        OPENFAAS_NAMESPACE: "alice",
      });
      expect(environment).not.toHaveProperty("PLATFORM_ONLY");
      vi.unstubAllEnvs();
    });

    test("shows secrets as files that cannot be written", async () => {
      const platform = await open();
      const secrets = { "api-key": "s3cret-value\n" };
      const running = await platform.start(await platform.buildFixture("workshop"), { secrets });
      const { secret_mount_path: folder } = JSON.parse(await running.ask("/env"));
      expect(await running.ask(`/read?path=${folder}/api-key`)).toBe("s3cret-value\n");
      expect(processesWith("s3cret-value")).toEqual([]);
    });

    test("keeps what a function prints in the function's log", async () => {
      const platform = await open();
      const running = await platform.start(await platform.buildFixture("workshop"));
      await running.ask("/print?text=what+it+says");
      await eventually("the log has it", () =>
        platform.parts.logs.textOf("function-1").includes("what it says\n"),
      );
    });

    test("logs a flood without end or loses it visibly, and goes on", async () => {
      const platform = await open({ floodBytes: 4 * MiB });
      const running = await platform.start(await platform.buildFixture("workshop"));
      await running.ask(`/flood?bytes=${64 * MiB}`);
      await eventually("the log goes on", async () => {
        // Said again and again: what is said before the flood was read may be lost with it.
        await running.ask("/print?text=after+the+flood");
        return platform.parts.logs.textOf("function-1").includes("after the flood");
      });
    });

    describe("a function that does not become healthy", () => {
      test("and exits is told with its exit code and last words", async () => {
        const platform = await open();
        const started = platform.start(await platform.buildFixture("crash"));
        await expect(started).rejects.toMatchObject({ kind: "function-unhealthy" });
        await expect(started).rejects.toThrow(
          /exited with code 3 \(restarted \d+ times\)[\s\S]*no settings were found/,
        );
        expect(platform.runtime.list()).toEqual([]);
      });

      test("and listens on another port is told which", async () => {
        const platform = await open({ healthDeadlineMs: 1500 });
        const started = platform.start(await platform.buildFixture("wrong-port"));
        await expect(started).rejects.toThrow(/it listens on port \d+ but was told \d+ in PORT/);
      });

      test("and never listens is told so, with its last words", async () => {
        const platform = await open({ healthDeadlineMs: 1500 });
        const started = platform.start(await platform.buildFixture("silent"));
        await expect(started).rejects.toThrow(
          /did not answer \/_\/health[\s\S]*a database that is not there/,
        );
        expect(platform.runtime.list()).toEqual([]);
      });

      test("and answers its health path with an error is told the status", async () => {
        const platform = await open({ healthDeadlineMs: 1500 });
        const started = platform.start(await platform.buildFixture("workshop"), { healthPath: "/missing" });
        await expect(started).rejects.toThrow("its health path /missing answered 404");
      });
    });

    test("leaves nothing running when an abort ends the wait", async () => {
      const platform = await open();
      const controller = new AbortController();
      const reason = new Error("superseded");
      const artifact = await platform.buildFixture("silent");
      const settled = expect(platform.start(artifact, {}, controller.signal)).rejects.toBe(reason);
      await eventually("it runs", () => platform.replica() !== undefined);
      controller.abort(reason);
      await settled;
      expect(platform.runtime.list()).toEqual([]);
    });

    test("starts a replica that ended again, on the same upstream, with its exit told", async () => {
      const platform = await open();
      const running = await platform.start(await platform.buildFixture("workshop"));
      let changes = 0;
      using _subscription = platform.runtime.onChange(() => changes++);
      await running.call("/exit?code=9").catch(() => undefined);
      await eventually(
        "it is back",
        () => platform.replica()?.restarts === 1 && platform.replica()?.state === "ready",
      );
      expect(platform.replica()).toMatchObject({ lastExit: "exit code 9", upstream: running.upstreams[0] });
      expect((await running.call("/pid")).status).toBe(200);
      expect(changes).toBeGreaterThanOrEqual(3);
    });

    test("waits longer before each restart of a crash loop", async () => {
      const platform = await open();
      const running = await platform.start(await platform.buildFixture("workshop"));
      const waits: number[] = [];
      for (let restarts = 1; restarts <= 3; restarts++) {
        await running.call("/exit?code=1").catch(() => undefined);
        await eventually("it ended", () => platform.replica()?.state === "backing-off");
        const since = performance.now();
        await eventually("it is started", () => platform.replica()?.state === "starting");
        waits.push(performance.now() - since);
        await eventually("it is back", () => platform.replica()?.state === "ready");
      }
      expect(waits[0]).toBeGreaterThan(70);
      expect(waits[1]).toBeGreaterThan(170);
      expect(waits[2]).toBeGreaterThan(350);
    });

    test("ends a function that goes over its memory limit, says so, and starts it again", async () => {
      const platform = await open();
      const running = await platform.start(await platform.buildFixture("workshop"), {
        memoryLimitBytes: 96 * MiB,
      });
      await running.call("/eat").catch(() => undefined);
      await eventually("it ended", () => (platform.replica()?.restarts ?? 0) > 0);
      expect(platform.replica()?.lastExit).toBe("killed: over its memory limit of 96 MiB");
    });

    test("lets requests under way end when it stops", async () => {
      const platform = await open();
      const running = await platform.start(await platform.buildFixture("workshop"));
      const slow = running.ask("/slow?ms=400");
      await running.ask("/pid");
      await platform.runtime.stop(running.ref, { graceMs: 5000 });
      expect(await slow).toBe("slow");
    });

    test("stops what ignores that it is asked to, and everything it started", async () => {
      const platform = await open();
      const running = await platform.start(await platform.buildFixture("workshop"));
      const seconds = ownSeconds();
      await running.ask(`/daemon?seconds=${seconds}`);
      await eventually("the daemon runs", () => processesWith(seconds).length > 0);
      await running.ask("/stubborn");
      const since = performance.now();
      await platform.runtime.stop(running.ref, { graceMs: 300 });
      expect(performance.now() - since).toBeGreaterThan(250);
      expect(processesWith(seconds)).toEqual([]);
      await expect(running.call("/pid")).rejects.toThrow();
      expect(platform.runtime.list()).toEqual([]);
    });

    test("stops what is absent without complaint", async () => {
      const platform = await open();
      await platform.runtime.stop({ revisionId: "absent", ownerId: "owner-1" }, { graceMs: 0 });
    });

    test("touches no revision of another owner", async () => {
      const platform = await open();
      const artifact = await platform.buildFixture("hello");
      const running = await platform.start(artifact);
      const foreign = { ...running.ref, ownerId: "owner-2" };
      await expect(platform.runtime.stop(foreign, { graceMs: 0 })).rejects.toMatchObject({
        kind: "not-the-owner",
      });
      const asked = platform.runtime.start(revisionSpec(artifact, { ownerId: "owner-2" }), {
        log: platform.log,
        signal: new AbortController().signal,
      });
      await expect(asked).rejects.toMatchObject({ kind: "not-the-owner" });
      expect(await running.ask("/")).toBe("hello /");
    });

    test("starts a revision again after it was stopped", async () => {
      const platform = await open();
      const artifact = await platform.buildFixture("hello");
      const running = await platform.start(artifact);
      const stopping = platform.runtime.stop(running.ref, { graceMs: 1000 });
      const again = await platform.start(artifact);
      await stopping;
      expect(await again.ask("/")).toBe("hello /");
    });

    test("finds what runs when it is made anew on the same data, and goes on supervising it", async () => {
      const platform = await open();
      const running = await platform.start(await platform.buildFixture("workshop"));
      const pid = await running.ask("/pid");
      await platform.reopen();
      expect(await running.ask("/pid")).toBe(pid);
      expect(platform.replica()).toMatchObject({
        state: "ready",
        restarts: 0,
        upstream: running.upstreams[0],
      });
      await running.ask("/print?text=said+after+all");
      await eventually("its log goes on", () =>
        platform.parts.logs.textOf("function-1").includes("said after all"),
      );
      await running.call("/exit?code=4").catch(() => undefined);
      const since = performance.now();
      await eventually("its end is noticed", () => platform.replica()?.restarts === 1);
      expect(performance.now() - since).toBeLessThan(1000);
      await eventually("it is back", () => platform.replica()?.state === "ready");
      expect(new URL(platform.replica()?.upstream.url ?? "").port).toBe(new URL(running.url).port);
    });

    test("forgets what it stopped", async () => {
      const platform = await open();
      const running = await platform.start(await platform.buildFixture("hello"));
      await platform.runtime.stop(running.ref, { graceMs: 1000 });
      await platform.reopen();
      expect(platform.runtime.list()).toEqual([]);
    });
  });
}
