import { spawn } from "node:child_process";
import { readdirSync, readFileSync } from "node:fs";
import { mkdir, symlink, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { describe, expect, onTestFinished, test } from "vitest";
import { eventually } from "../../test/support/eventually.ts";
import { part } from "../../test/support/parts.ts";
import { temporaryFolder } from "../../test/support/temporary-folder.ts";
import { DiskWatch, diskUse } from "../src/ports/builder/disk-use.ts";
import { isReallyIn, placeFile } from "../src/ports/builder/staging.ts";
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

  test("drops an owner's cache that has grown too large, when the owner's last build ends", async () => {
    const platform = await openProcessPlatform("unsandboxed", {
      cacheLimit: { bytes: 10 * 1024 * 1024, inodes: 1000 },
    });
    const caches = () => readdirSync(join(platform.parts.dataDir, "cache"));
    const filling = (megabytes: number) =>
      platform.source({
        "handler/handler.js": "module.exports = () => {}",
        "handler/package.json": JSON.stringify({
          scripts: {
            preinstall: `mkdir -p $npm_config_cache; head -c ${megabytes}000000 /dev/zero > $npm_config_cache/${megabytes}`,
          },
        }),
      });
    await platform.build(await filling(6));
    expect(caches()).toHaveLength(1);
    await platform.build(await filling(7));
    await eventually("it is gone", () => caches().length === 0);
    await platform.build(await filling(6));
    expect(caches()).toHaveLength(1);
  });

  test("counts what cannot be looked into as too much", async () => {
    const folder = await temporaryFolder();
    onTestFinished(() => folder[Symbol.asyncDispose]());
    await writeFile(join(folder.path, "file"), "x".repeat(10_000));
    const most = { bytes: 1_000_000, inodes: 10 };
    expect(await diskUse(folder.path, most)).toEqual({ bytes: expect.any(Number), inodes: 1 });
    expect(await diskUse(join(folder.path, "absent"), most)).toEqual({ bytes: 0, inodes: 0 });
    const loop = join(folder.path, "loop");
    await symlink("loop", loop);
    const watch = new DiskWatch(
      { work: join(folder.path, "absent"), cache: loop },
      { limit: most, intervalMs: 1 },
    );
    expect(await watch.look()).toBe("bytes");
    expect((await diskUse(`${folder.path}/${"x".repeat(300)}`, most)).bytes).toBe(Number.POSITIVE_INFINITY);
  });
});

describe("the platform's own files in a build", () => {
  const openFolder = async () => {
    const folder = await temporaryFolder();
    onTestFinished(() => folder[Symbol.asyncDispose]());
    await mkdir(join(folder.path, "root"));
    await writeFile(join(folder.path, "victim"), "of the machine");
    return { root: join(folder.path, "root"), victim: join(folder.path, "victim"), folder: folder.path };
  };

  test.each(["../victim", "../absent"])("replace a link to %s, and do not follow it", async (target) => {
    const { root, victim, folder } = await openFolder();
    await symlink(target, join(root, "index.mjs"));
    await placeFile(root, "index.mjs", "ours", "hello");
    expect(readFileSync(join(root, "index.mjs"), "utf8")).toBe("ours");
    expect(readFileSync(victim, "utf8")).toBe("of the machine");
    expect(readdirSync(folder).toSorted()).toEqual(["root", "victim"]);
  });

  test("are not put into a folder that is a link", async () => {
    const { root, folder } = await openFolder();
    await symlink("..", join(root, "entry"));
    const placed = placeFile(root, "entry/main.go", "ours", "hello");
    await expect(placed).rejects.toMatchObject({ kind: "handler-invalid" });
    expect(readdirSync(folder).toSorted()).toEqual(["root", "victim"]);
  });

  test("are not found by way of a link that a step made", async () => {
    const { root } = await openFolder();
    await mkdir(join(root, "real"));
    await writeFile(join(root, "real/static"), "");
    await symlink("real", join(root, "linked"));
    expect(await isReallyIn(root, "real/static")).toBe(true);
    expect(await isReallyIn(root, "linked/static")).toBe(false);
    expect(await isReallyIn(root, "real/absent")).toBe(false);
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
