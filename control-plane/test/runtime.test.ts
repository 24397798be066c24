import { spawn } from "node:child_process";
import { once } from "node:events";
import { existsSync, readdirSync, statSync } from "node:fs";
import { appendFile, mkdir, rmdir, truncate, writeFile } from "node:fs/promises";
import { createServer } from "node:http";
import { type AddressInfo, createServer as createTcpServer } from "node:net";
import { join } from "node:path";
import { must } from "@openfaas-cloud/shared/must.ts";
import { describe, expect, onTestFinished, test, vi } from "vitest";
import { eventually } from "../../test/support/eventually.ts";
import { part } from "../../test/support/parts.ts";
import { temporaryFolder } from "../../test/support/temporary-folder.ts";
import { untilHealthy } from "../src/ports/runtime/health.ts";
import { isPortFree, PortLeases } from "../src/ports/runtime/port-lease.ts";
import { RevisionFiles } from "../src/ports/runtime/revision-files.ts";
import { Spool, spoolBuffer } from "../src/ports/runtime/spool.ts";
import { SupervisedReplica } from "../src/ports/runtime/supervised-replica.ts";
import type { Sandbox, SandboxedProcess } from "../src/sandbox/sandbox.ts";
import { describeRuntime } from "./contracts/runtime.ts";
import { CountingSink } from "./support/memory-log-store.ts";
import {
  type Mode,
  openProcessPlatform,
  type ProcessPlatform,
  processesWith,
  revisionSpec,
} from "./support/process-platform.ts";

const MiB = 1024 * 1024;

describeRuntime("process, unsandboxed", (limits) => openProcessPlatform("unsandboxed", limits));

part("bubblewrap")("process runtime, sandboxed", () => {
  describeRuntime("process, sandboxed", (limits) => openProcessPlatform("sandboxed", limits));
  describeDeath("sandboxed");
});

describeDeath("unsandboxed");

function describeDeath(mode: Mode): void {
  test(`functions survive kill -9 of the control plane (${mode})`, async () => {
    const platform = await openProcessPlatform(mode);
    const spec = revisionSpec(await platform.buildFixture("workshop"));
    await platform.runtime[Symbol.asyncDispose]();
    const script = join(import.meta.dirname, "support/runtime-driver.ts");
    const driver = spawn(process.execPath, [script, platform.parts.dataDir, mode, JSON.stringify(spec)], {
      stdio: ["ignore", "pipe", "inherit"],
    });
    await once(driver.stdout, "data");
    driver.kill("SIGKILL");
    await once(driver, "exit");
    await platform.reopen();
    const replica = platform.replica();
    expect(replica).toMatchObject({ state: "ready", restarts: 0 });
    const ask = async (path: string) => (await fetch(`${replica?.upstream.url}${path}`)).text();
    const pid = await ask("/pid");
    await platform.reopen();
    expect(await ask("/pid")).toBe(pid);
    await platform.runtime.stop({ revisionId: "revision-1", ownerId: "owner-1" }, { graceMs: 1000 });
    await expect(ask("/pid")).rejects.toThrow();
  });
}

describe("process runtime", () => {
  test("starts a function again that ended while there was no control plane", async () => {
    const platform = await openProcessPlatform("unsandboxed");
    const running = await platform.start(await platform.buildFixture("workshop"));
    await platform.runtime[Symbol.asyncDispose]();
    await running.call("/exit?code=1").catch(() => undefined);
    await eventually("it ended", () => isPortFree(Number(new URL(running.url).port)));
    await platform.reopen();
    await eventually("it is back", () => platform.replica()?.state === "ready");
    expect(platform.replica()).toMatchObject({ restarts: 1, upstream: running.upstreams[0] });
  });

  test("starts a node function in little time", async () => {
    const platform = await openProcessPlatform("unsandboxed");
    const artifact = await platform.buildFixture("hello");
    const times: number[] = [];
    for (let n = 0; n < 5; n++) {
      const since = performance.now();
      const { ref } = await platform.start(artifact, { revisionId: `revision-${n}` });
      times.push(performance.now() - since);
      await platform.runtime.stop(ref, { graceMs: 1000 });
    }
    // Far above what an idle machine takes (90 ms), as this one runs other tests meanwhile.
    expect(Math.min(...times)).toBeLessThan(500);
  });

  test("never takes a port twice", async () => {
    const ports = new PortLeases();
    const leased = await Promise.all(Array.from({ length: 200 }, () => ports.lease()));
    expect(new Set(leased).size).toBe(200);
  });

  test("sees that a port is taken", async () => {
    const server = createTcpServer().listen(0, "127.0.0.1");
    await once(server, "listening");
    expect(await isPortFree((server.address() as AddressInfo).port)).toBe(false);
    server.close();
  });
});

/** The folder in which the runtime keeps what it knows of the only revision there is. */
function revisionFolder(platform: ProcessPlatform): string {
  const runtimeDir = join(platform.parts.dataDir, "runtime");
  return join(runtimeDir, must(readdirSync(runtimeDir)[0], "a revision"));
}

const gone = (pid: string) => !existsSync(`/proc/${pid}`);

describe("what a replica prints", () => {
  const openSpool = async () => {
    const folder = await temporaryFolder();
    onTestFinished(() => folder[Symbol.asyncDispose]());
    const log = new CountingSink();
    const path = join(folder.path, "spool");
    const spool = new Spool({ path, log, source: "hello-1", buffer: spoolBuffer(), floodBytes: 4 * MiB });
    return { spool, log, path };
  };

  test("is bounded where it made its output 8 GiB large before it ended", async () => {
    const { spool, log, path } = await openSpool();
    await truncate(path, 8 * 1024 * MiB);
    await appendFile(path, "last words");
    const since = performance.now();
    await spool.finish();
    expect(performance.now() - since).toBeLessThan(1000);
    expect(log.bytes).toBeLessThan(2 * MiB);
    expect(log.text).toMatch(/^\n\[\d{10} bytes were printed faster/);
    expect(spool.lastLines.last(1)).toEqual(["last words"]);
    expect(statSync(path).size).toBe(0);
  });

  test("is read to its end, with turns for others, when it ended", async () => {
    const { spool, log, path } = await openSpool();
    await writeFile(path, "x".repeat(4 * MiB));
    let turns = 0;
    const counting = setInterval(() => turns++, 0);
    await spool.finish();
    clearInterval(counting);
    expect(log.bytes).toBe(4 * MiB + 1);
    expect(turns).toBeGreaterThan(0);
  });

  test("does nothing more once it is disposed, and is disposed once", async () => {
    const { spool } = await openSpool();
    spool[Symbol.dispose]();
    spool[Symbol.dispose]();
    spool.drain();
    await spool.finish();
  });

  test("does not hold up the platform where a function makes it large and ends", async () => {
    const platform = await openProcessPlatform("unsandboxed", { floodBytes: 4 * MiB });
    const running = await platform.start(await platform.buildFixture("workshop"));
    await running.call(`/grow?bytes=${8 * 1024 * MiB}`).catch(() => undefined);
    await eventually("it is back", () => platform.replica()?.restarts === 1, { withinMs: 3000 });
    expect(platform.parts.logs.textOf("function-1").length).toBeLessThan(4 * MiB);
  });

  test("does not fill the disk while it is being stopped", async () => {
    const platform = await openProcessPlatform("unsandboxed", { floodBytes: 4 * MiB });
    const running = await platform.start(await platform.buildFixture("workshop"));
    await running.ask("/flood-when-asked-to-end");
    const spool = join(revisionFolder(platform), "1.spool");
    let largest = 0;
    const looking = setInterval(() => {
      largest = Math.max(largest, statSync(spool, { throwIfNoEntry: false })?.size ?? 0);
    }, 10);
    await platform.runtime.stop(running.ref, { graceMs: 1500 });
    clearInterval(looking);
    expect(largest).toBeGreaterThan(0);
    expect(largest).toBeLessThan(40 * MiB);
  });
});

describe("a replica that the platform cannot keep record of", () => {
  test("is ended, tried again with back-off, and is back when it can be", async () => {
    const platform = await openProcessPlatform("unsandboxed");
    const running = await platform.start(await platform.buildFixture("workshop"));
    // No record can be written where its new version would be: as on a full disk.
    const obstacle = join(revisionFolder(platform), "1.json.new");
    await mkdir(obstacle);
    await running.call("/exit?code=1").catch(() => undefined);
    await eventually("it was tried again", () => (platform.replica()?.restarts ?? 0) > 2);
    expect(platform.replica()?.lastExit).toBe("could not be kept running: EISDIR");
    expect(platform.parts.logs.textOf("function-1")).toContain("hello-1: could not be kept running: EISDIR");
    await rmdir(obstacle);
    await eventually("it is back", () => platform.replica()?.state === "ready");
    const { url } = must(platform.replica(), "the replica").upstream;
    expect((await fetch(`${url}/pid`)).status).toBe(200);
  });

  test("is not left running by nobody", async () => {
    const platform = await openProcessPlatform("unsandboxed");
    const running = await platform.start(await platform.buildFixture("workshop"));
    await mkdir(join(revisionFolder(platform), "1.json.new"));
    await running.call("/exit?code=1").catch(() => undefined);
    const program = platform.parts.dataDir;
    await eventually("it was tried again", () => (platform.replica()?.restarts ?? 0) > 1);
    await platform.runtime.stop(running.ref, { graceMs: 0 });
    expect(processesWith(program)).toEqual([]);
  });
});

describe("a record that cannot be read", () => {
  test("of a replica: it starts anew, its former process ends, others go on", async () => {
    const platform = await openProcessPlatform("unsandboxed");
    const artifact = await platform.buildFixture("workshop");
    const damaged = await platform.start(artifact);
    const record = join(revisionFolder(platform), "1.json");
    const sound = await platform.start(artifact, { revisionId: "revision-2" });
    const [pid, soundPid] = [await damaged.ask("/pid"), await sound.ask("/pid")];
    await platform.runtime[Symbol.asyncDispose]();
    await writeFile(record, "");
    await platform.reopen();
    await eventually("it is back", () => platform.replica()?.state === "ready");
    await eventually("its process is gone", () => gone(pid));
    expect(await sound.ask("/pid")).toBe(soundPid);
  });

  test("of a revision: it is forgotten and its process ends, others go on", async () => {
    const errors: Error[] = [];
    const platform = await openProcessPlatform("unsandboxed", { onError: (error) => errors.push(error) });
    const artifact = await platform.buildFixture("workshop");
    const damaged = await platform.start(artifact);
    const record = join(revisionFolder(platform), "revision.json");
    const sound = await platform.start(artifact, { revisionId: "revision-2" });
    const [pid, soundPid] = [await damaged.ask("/pid"), await sound.ask("/pid")];
    await platform.runtime[Symbol.asyncDispose]();
    await writeFile(record, "");
    await platform.reopen();
    expect(platform.runtime.list().map(({ revisionId }) => revisionId)).toEqual(["revision-2"]);
    await eventually("its process is gone", () => gone(pid));
    expect(await sound.ask("/pid")).toBe(soundPid);
    expect(errors.map(({ message }) => message)).toEqual([expect.stringContaining("cannot be read")]);
  });
});

describe("a live revision", () => {
  const backOff = { firstMs: 20, longestMs: 20, forgottenAfterMs: 1 };

  test("is not ended by another start, however often it was restarted before", async () => {
    const platform = await openProcessPlatform("unsandboxed", { backOff });
    const artifact = await platform.buildFixture("workshop");
    const running = await platform.start(artifact);
    for (let restarts = 1; restarts <= 5; restarts++) {
      await running.call("/exit?code=1").catch(() => undefined);
      await eventually("it is back", () => {
        const replica = platform.replica();
        return replica?.restarts === restarts && replica.state === "ready";
      });
    }
    await running.call("/exit?code=1").catch(() => undefined);
    await eventually("it ended", () => platform.replica()?.state !== "ready", { everyMs: 1 });
    const again = await platform.start(artifact);
    expect((await again.call("/pid")).status).toBe(200);
  });

  test("is not ended by another start that is aborted", async () => {
    const platform = await openProcessPlatform("unsandboxed", {
      backOff: { firstMs: 400, longestMs: 400, forgottenAfterMs: 1 },
    });
    const artifact = await platform.buildFixture("workshop");
    const running = await platform.start(artifact);
    await running.call("/exit?code=1").catch(() => undefined);
    await eventually("it ended", () => platform.replica()?.state === "backing-off");
    const controller = new AbortController();
    const again = platform.start(artifact, {}, controller.signal);
    controller.abort(new Error("superseded"));
    await expect(again).rejects.toThrow("superseded");
    await eventually("it is back", () => platform.replica()?.state === "ready");
    expect((await running.call("/pid")).status).toBe(200);
  });

  test("that another call still waits for is not ended by an aborted one", async () => {
    const platform = await openProcessPlatform("unsandboxed");
    const artifact = await platform.buildFixture("workshop");
    const controller = new AbortController();
    const aborted = platform.start(artifact, {}, controller.signal);
    const other = platform.start(artifact);
    const refused = expect(aborted).rejects.toThrow("superseded");
    controller.abort(new Error("superseded"));
    await refused;
    expect((await (await other).call("/pid")).status).toBe(200);
  });
});

describe("a port that another process takes while its replica restarts", () => {
  test("is given up: the replica is back on another one, which is announced", async () => {
    const platform = await openProcessPlatform("unsandboxed");
    const running = await platform.start(await platform.buildFixture("workshop"));
    const port = Number(new URL(running.url).port);
    const thief = createServer((_request, response) => response.end("stolen"));
    onTestFinished(() => void thief.close());
    thief.on("error", () => setTimeout(() => thief.listen(port, "127.0.0.1"), 1));
    thief.listen(port, "127.0.0.1");
    const states: string[] = [];
    using _subscription = platform.runtime.onChange(() => {
      const { state, upstream } = must(platform.replica(), "the replica");
      states.push(`${state} ${upstream.url === running.url ? "old" : "new"}`);
    });
    await running.call("/exit?code=1").catch(() => undefined);
    await eventually("it is back", () => states.includes("ready new"));
    expect(states).not.toContain("ready old");
    const { url } = must(platform.replica(), "the replica").upstream;
    expect((await fetch(`${url}/pid`)).status).toBe(200);
    expect(await (await fetch(running.url)).text()).toBe("stolen");
    await platform.reopen();
    expect(platform.replica()).toMatchObject({ state: "ready", upstream: { url } });
  });

  part("proc")("before the replica listens", () => {
    test("is given up as soon as somebody else answers there", async () => {
      const platform = await openProcessPlatform("unsandboxed");
      const running = await platform.start(await platform.buildFixture("workshop"));
      const port = Number(new URL(running.url).port);
      await running.call("/exit?code=1").catch(() => undefined);
      await eventually("it is started again", () => platform.replica()?.state === "starting", { everyMs: 1 });
      const thief = createServer((_request, response) => response.end("stolen"));
      onTestFinished(() => void thief.close());
      thief.listen(port, "127.0.0.1");
      await once(thief, "listening");
      await eventually("it is back", () => platform.replica()?.state === "ready");
      expect(platform.replica()?.upstream.url).not.toBe(running.url);
    });
  });
});

describe("a replica for which there is no other port", () => {
  test("keeps the one it has and is tried again", async () => {
    const folder = await temporaryFolder();
    onTestFinished(() => folder[Symbol.asyncDispose]());
    const spec = revisionSpec({ digest: "", reference: "" });
    const files = new RevisionFiles(folder.path, spec.revisionId);
    files.create(spec);
    const ports = new PortLeases();
    const outer = { pid: 0, startedAt: "never" };
    const record = { id: "ends-at-once", kind: "function" as const, outer, statusFile: "", cgroup: [] };
    const ended = Promise.resolve({ code: 1, signal: undefined, because: undefined });
    const endsAtOnce: SandboxedProcess = {
      record: { ...record, memoryBytes: 0, processes: 0 },
      ended,
      pids: () => [],
      terminate: () => undefined,
      kill: () => Promise.resolve(),
    };
    const spool = new Spool({
      path: files.spoolOf(1),
      log: new CountingSink(),
      source: "hello-1",
      buffer: spoolBuffer(),
      floodBytes: MiB,
    });
    const problems: string[] = [];
    const replica = await SupervisedReplica.open({
      number: 1,
      spec,
      files,
      spool,
      ports,
      sandbox: { start: () => endsAtOnce } as unknown as Sandbox,
      backOff: { firstMs: 1, longestMs: 1, forgottenAfterMs: 1000 },
      healthDeadlineMs: 1000,
      command: () => ({}) as never,
      onChange: () => undefined,
      onProblem: (problem) => problems.push(problem),
    });
    const { url } = replica.replica.upstream;
    vi.spyOn(ports, "lease").mockRejectedValue(new Error("no free port"));
    await eventually("it was tried again", () => replica.replica.restarts > 2);
    expect(problems).toContain("hello-1: it keeps its port: no free port");
    expect(replica.replica.upstream.url).toBe(url);
    await replica.stop(0);
    spool[Symbol.dispose]();
  });
});

describe("a revision that could not be stopped", () => {
  test("tells whoever asked, and is stopped by the next who asks", async () => {
    const platform = await openProcessPlatform("unsandboxed", { killDeadlineMs: 200 });
    const running = await platform.start(await platform.buildFixture("workshop"));
    const pid = await running.ask("/pid");
    const refusing = vi.spyOn(process, "kill").mockImplementation(() => {
      throw Object.assign(new Error("kill EPERM"), { code: "EPERM" });
    });
    await expect(platform.runtime.stop(running.ref, { graceMs: 0 })).rejects.toThrow("go on running");
    expect(platform.runtime.list()).toHaveLength(1);
    refusing.mockRestore();
    await platform.runtime.stop(running.ref, { graceMs: 0 });
    expect(platform.runtime.list()).toEqual([]);
    await eventually("its process is gone", () => gone(pid));
  });
});

describe("disposing the runtime", () => {
  test("waits for a revision that is being stopped, and may happen twice", async () => {
    const platform = await openProcessPlatform("unsandboxed");
    const running = await platform.start(await platform.buildFixture("workshop"));
    await running.ask("/stubborn");
    const stopping = platform.runtime.stop(running.ref, { graceMs: 300 });
    await Promise.all([platform.runtime[Symbol.asyncDispose](), platform.runtime[Symbol.asyncDispose]()]);
    await stopping;
    await platform.reopen();
    expect(platform.runtime.list()).toEqual([]);
  });
});

part("proc")("health", () => {
  test("a peer whose answer never ends is not waited for, and not at all after an abort", async () => {
    const server = createTcpServer((socket) => {
      socket.on("error", () => undefined);
      socket.write("HTTP/1.1 200 OK\r\nx: ");
      const dripping = setInterval(() => socket.write("a"), 100);
      socket.on("close", () => clearInterval(dripping));
    }).listen(0, "127.0.0.1");
    onTestFinished(() => void server.close());
    await once(server, "listening");
    const { port } = server.address() as AddressInfo;
    const controller = new AbortController();
    const sights: string[] = [];
    const target = { process: { pids: () => [] }, port, path: "/" };
    const looking = untilHealthy(target, {
      signal: controller.signal,
      onSight: ({ kind }) => sights.push(kind),
    });
    await eventually("it was given up", () => sights.includes("silent"), { withinMs: 3000 });
    const since = performance.now();
    controller.abort();
    await looking;
    expect(performance.now() - since).toBeLessThan(500);
  });

  test("another process that answers on the port is not mistaken for the replica", async () => {
    const server = createServer((_request, response) => response.end()).listen(0, "127.0.0.1");
    await once(server, "listening");
    const { port } = server.address() as AddressInfo;
    const other = spawn("sleep", ["30"]);
    const controller = new AbortController();
    const sights: string[] = [];
    const target = { process: { pids: () => [other.pid ?? 0] }, port, path: "/" };
    const looking = untilHealthy(target, {
      signal: controller.signal,
      onSight: ({ kind }) => sights.push(kind),
    });
    await eventually("it was looked at", () => sights.length > 3);
    controller.abort();
    await looking;
    expect(new Set(sights)).toEqual(new Set(["foreign"]));
    other.kill();
    server.close();
  });
});
