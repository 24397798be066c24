import { spawn } from "node:child_process";
import { once } from "node:events";
import { createServer } from "node:http";
import { type AddressInfo, createServer as createTcpServer } from "node:net";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { eventually } from "../../test/support/eventually.ts";
import { part } from "../../test/support/parts.ts";
import { untilHealthy } from "../src/ports/runtime/health.ts";
import { isPortFree, PortLeases } from "../src/ports/runtime/port-lease.ts";
import { describeRuntime } from "./contracts/runtime.ts";
import { type Mode, openProcessPlatform, revisionSpec } from "./support/process-platform.ts";

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

part("proc")("health", () => {
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
