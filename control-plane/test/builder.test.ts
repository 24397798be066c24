import { spawn } from "node:child_process";
import { readdirSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { eventually } from "../../test/support/eventually.ts";
import { part } from "../../test/support/parts.ts";
import { describeBuilder } from "./contracts/builder.ts";
import { type Mode, openProcessPlatform, ownSeconds, processesWith } from "./support/process-platform.ts";

part("npm")("process builder, unsandboxed", () => {
  describeBuilder("process, unsandboxed", (limits) => openProcessPlatform("unsandboxed", limits));
});

part("npm", "bubblewrap")("process builder, sandboxed", () => {
  describeBuilder("process, sandboxed", (limits) => openProcessPlatform("sandboxed", limits));
});

describe("process builder", () => {
  test("starts no process where there is nothing to install", async () => {
    const platform = await openProcessPlatform("unsandboxed");
    const source = await platform.fixture("hello");
    const startedAt = performance.now();
    await platform.build(source);
    expect(performance.now() - startedAt).toBeLessThan(60);
    expect(platform.log.bytes).toBe(0);
  });

  test("keeps the caches of owners apart", async () => {
    const platform = await openProcessPlatform("unsandboxed");
    const files = {
      "handler/handler.js": "module.exports = () => {}",
      "handler/package.json": JSON.stringify({ scripts: { preinstall: "echo $npm_config_cache > cache" } }),
    };
    await platform.build(await platform.source(files), {}, { ownerId: "owner-1" });
    await platform.build(await platform.source(files), {}, { ownerId: "owner-2" });
    expect(readdirSync(join(platform.parts.dataDir, "cache"))).toHaveLength(2);
  });
});

describe("a build whose control plane is killed", () => {
  const buildUntilKilled = async (mode: Mode) => {
    const platform = await openProcessPlatform(mode);
    const seconds = ownSeconds();
    const manifest = JSON.stringify({
      scripts: { preinstall: `(setsid sleep ${seconds} &) ; sleep ${seconds}` },
    });
    const source = await platform.source({ "handler/handler.js": "", "handler/package.json": manifest });
    const script = join(import.meta.dirname, "support/builder-driver.ts");
    const driver = spawn(process.execPath, [script, platform.parts.dataDir, mode, source]);
    await eventually("the step runs", () => processesWith(`sleep ${seconds}`).length >= 2);
    driver.kill("SIGKILL");
    return { platform, seconds };
  };

  part("npm", "bubblewrap")("in a sandbox", () => {
    test("ends with it", async () => {
      const { seconds } = await buildUntilKilled("sandboxed");
      await eventually("nothing is left", () => processesWith(seconds).length === 0);
    });
  });

  part("npm", "proc")("without a sandbox", () => {
    test("ends when the next one starts", async () => {
      const { platform, seconds } = await buildUntilKilled("unsandboxed");
      await platform.reopen();
      expect(processesWith(seconds)).toEqual([]);
    });
  });
});
