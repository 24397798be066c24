import { existsSync, readdirSync } from "node:fs";
import { mkdir, symlink, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { FunctionName } from "@openfaas-cloud/shared/names.ts";
import { describe, expect, test } from "vitest";
import { eventually } from "../../../test/support/eventually.ts";
import { ownSeconds, type ProcessPlatform, processesWith } from "../support/process-platform.ts";

const HANDLER = "module.exports = async () => 'built'";
const MiB = 1024 * 1024;

/** A package whose install step runs `command`. */
function withInstall(command: string): Record<string, string> {
  const manifest = { name: "fixture", version: "1.0.0", scripts: { preinstall: command } };
  return { "handler/handler.js": HANDLER, "handler/package.json": JSON.stringify(manifest) };
}

export interface BuilderLimits {
  readonly deadlineMs?: number;
  readonly collectGraceMs?: number;
  readonly diskLimit?: { readonly bytes: number; readonly inodes: number };
  readonly diskIntervalMs?: number;
}

/** What every builder promises; `open` gives one on data of its own. */
export function describeBuilder(
  name: string,
  open: (limits?: BuilderLimits) => Promise<ProcessPlatform>,
): void {
  describe(`builder: ${name}`, () => {
    test("gives the same digest for the same source, another for another", async () => {
      const platform = await open();
      const first = await platform.build(await platform.source({ "handler/handler.js": HANDLER }));
      const again = await platform.build(await platform.source({ "handler/handler.js": HANDLER }));
      const other = await platform.build(await platform.source({ "handler/handler.js": `${HANDLER};` }));
      expect(first.digest).toMatch(/^sha256:[0-9a-f]{64}$/);
      expect(again).toEqual(first);
      expect(other.digest).not.toBe(first.digest);
    });

    test("says what is supported, and what is needed where it is not", async () => {
      const { builder } = await open();
      expect(builder.supports("node")).toEqual({ kind: "supported", template: "node22" });
      expect(builder.supports("dockerfile")).toMatchObject({
        kind: "unsupported",
        reason: expect.stringContaining("lang: dockerfile needs a container builder"),
      });
      expect(builder.supports("constructor").kind).toBe("unsupported");
    });

    test("refuses a language that is not supported", async () => {
      const platform = await open();
      const source = await platform.source({ "handler/handler.rb": "" });
      await expect(platform.build(source, { lang: "ruby" })).rejects.toMatchObject({
        kind: "language-unsupported",
      });
    });

    test.each([
      ["that is not there", "absent"],
      ["that is a file", "handler/handler.js"],
      ["that leads out of the repository", "handler/../.."],
    ])("refuses a handler %s", async (_title, handler) => {
      const platform = await open();
      const source = await platform.source({ "handler/handler.js": HANDLER });
      await expect(platform.build(source, { handler })).rejects.toMatchObject({ kind: "handler-invalid" });
    });

    test("refuses a handler that lacks its entry file, and names that", async () => {
      const platform = await open();
      const source = await platform.source({ "handler/main.js": HANDLER });
      await expect(platform.build(source)).rejects.toMatchObject({
        kind: "handler-invalid",
        message: expect.stringContaining("handler.js was not found"),
      });
    });

    test.each([
      ["an absolute one", "/etc/passwd"],
      ["one that climbs out", "../../outside"],
      ["one that climbs out and names the folder again", "../../../etc/passwd"],
    ])("refuses links out of the handler's folder: %s", async (_title, target) => {
      const platform = await open();
      const source = await platform.source({ "handler/handler.js": HANDLER, "outside/file": "" });
      await mkdir(join(source, "handler/sub"));
      await symlink(target, join(source, "handler/sub/link"));
      await expect(platform.build(source)).rejects.toMatchObject({
        kind: "handler-invalid",
        message: expect.stringContaining("sub/link"),
      });
    });

    test("refuses a link that leads out by way of another link", async () => {
      const platform = await open();
      const source = await platform.source({ "handler/handler.js": HANDLER, "handler/sub/file": "" });
      await symlink(".", join(source, "handler/sub/d"));
      await symlink("sub/d/d/../../../victim.txt", join(source, "handler/leak"));
      await expect(platform.build(source)).rejects.toMatchObject({
        kind: "handler-invalid",
        message: expect.stringContaining("leak"),
      });
    });

    test.each([
      ["that dangles", "absent.json"],
      ["to another file of the handler", "handler.js"],
    ])("reads no package.json that is a link %s", async (_title, target) => {
      const platform = await open();
      const source = await platform.source({ "handler/handler.js": HANDLER });
      await symlink(target, join(source, "handler/package.json"));
      await expect(platform.build(source)).rejects.toThrow("package.json must be a file, and no link");
    });

    test("refuses a handler that is itself a link", async () => {
      const platform = await open();
      const source = await platform.source({ "elsewhere/handler.js": HANDLER });
      await symlink("elsewhere", join(source, "handler"));
      await expect(platform.build(source)).rejects.toMatchObject({ kind: "handler-invalid" });
    });

    test("keeps links that stay inside the handler's folder", async () => {
      const platform = await open();
      const source = await platform.source({ "handler/sub/real.js": HANDLER });
      await symlink("sub/real.js", join(source, "handler/handler.js"));
      const running = await platform.start(await platform.build(source));
      expect(await running.ask("/")).toBe("built");
    });

    test("says which step failed, how, and its last words", async () => {
      const platform = await open();
      const source = await platform.source(
        withInstall("echo doing >&2; echo the compiler is missing >&2; exit 7"),
      );
      const failed = platform.build(source);
      await expect(failed).rejects.toMatchObject({ kind: "build-failed" });
      await expect(failed).rejects.toThrow(/^function hello: `npm install` failed with exit code \d+: \S/);
      expect(platform.log.text).toContain("the compiler is missing");
      expect([...platform.log.sources]).toEqual(["build hello"]);
    });

    test("ends a build that takes too long", async () => {
      const platform = await open({ deadlineMs: 1500 });
      const seconds = ownSeconds();
      const source = await platform.source(withInstall(`sleep ${seconds}`));
      await expect(platform.build(source)).rejects.toMatchObject({ kind: "build-timeout" });
      expect(processesWith(seconds)).toEqual([]);
    });

    test.each([
      ["its own folder", "."],
      ["its owner's cache", "$npm_config_cache"],
    ])("ends a build that writes too much to %s, while it writes", async (_title, folder) => {
      const platform = await open({
        diskLimit: { bytes: 20 * MiB, inodes: 100_000 },
        diskIntervalMs: 50,
      });
      const seconds = ownSeconds();
      const write = `mkdir -p ${folder}; head -c ${40 * MiB} /dev/zero > ${folder}/large; sleep ${seconds}`;
      const build = platform.build(await platform.source(withInstall(write)));
      await expect(build).rejects.toMatchObject({
        kind: "build-failed",
        message: "function hello: the build wrote more than 20 MiB",
      });
      expect(processesWith(seconds)).toEqual([]);
    });

    test("ends a build that makes too many files", async () => {
      const platform = await open({ diskLimit: { bytes: 1024 * MiB, inodes: 1000 }, diskIntervalMs: 50 });
      const seconds = ownSeconds();
      const many = `mkdir many; cd many; seq 3000 | xargs touch; sleep ${seconds}`;
      await expect(platform.build(await platform.source(withInstall(many)))).rejects.toThrow(
        "the build wrote more than 1,000 files and folders",
      );
      expect(processesWith(seconds)).toEqual([]);
    });

    test("refuses a build that wrote too much just before it ended", async () => {
      const platform = await open({ diskLimit: { bytes: 20 * MiB, inodes: 100_000 } });
      const source = await platform.source(withInstall(`head -c ${40 * MiB} /dev/zero > large`));
      await expect(platform.build(source)).rejects.toThrow("the build wrote more than 20 MiB");
    });

    test("is done with folders deeper than the system takes a path to", async () => {
      const platform = await open();
      const deep = `for i in $(seq 60); do mkdir ${"d".repeat(200)} && cd -P ${"d".repeat(200)}; done`;
      const source = await platform.source(withInstall(`${deep}; touch end`));
      await expect(platform.build(source)).rejects.toMatchObject({ kind: "build-failed" });
      expect(readdirSync(join(platform.parts.dataDir, "work"))).toEqual([]);
    });

    test("has ended every process, those that went into the background too, when an abort settles", async () => {
      const platform = await open();
      const seconds = ownSeconds();
      const source = await platform.source(withInstall(`(setsid sleep ${seconds} &); sleep ${seconds}`));
      const controller = new AbortController();
      const reason = new Error("superseded");
      const build = platform.build(source, {}, { signal: controller.signal });
      const settled = expect(build).rejects.toBe(reason);
      await eventually("the step runs", () => processesWith(`sleep ${seconds}`).length >= 2);
      controller.abort(reason);
      await settled;
      expect(processesWith(seconds)).toEqual([]);
    });

    test("leaves no process behind that a step put into the background", async () => {
      const platform = await open();
      const seconds = ownSeconds();
      await platform.build(await platform.source(withInstall(`setsid sleep ${seconds} >/dev/null 2>&1 &`)));
      expect(processesWith(seconds)).toEqual([]);
    });

    test("passes 100 MiB of output on without keeping it", async () => {
      const platform = await open();
      const source = await platform.source(
        withInstall("head -c 104857600 /dev/zero | tr '\\\\0' x | fold -w 1000 >&2; exit 5"),
      );
      const before = process.memoryUsage().rss;
      await expect(platform.build(source)).rejects.toMatchObject({ kind: "build-failed" });
      expect(platform.log.bytes).toBeGreaterThan(100 * MiB);
      expect(process.memoryUsage().rss - before).toBeLessThan(100 * MiB);
    });

    test("is harmless when the same source is built twice at once", async () => {
      const platform = await open();
      const source = await platform.source({ "handler/handler.js": HANDLER });
      const [one, two] = await Promise.all([platform.build(source), platform.build(source)]);
      expect(one).toEqual(two);
    });

    test("leaves its source as it was, and no work behind, however a build ends", async () => {
      const platform = await open();
      const source = await platform.source(withInstall("touch made; exit 1"));
      await expect(platform.build(source)).rejects.toThrow();
      await platform.build(await platform.source({ "handler/handler.js": HANDLER }));
      expect(readdirSync(join(source, "handler")).toSorted()).toEqual(["handler.js", "package.json"]);
      expect(readdirSync(join(platform.parts.dataDir, "work"))).toEqual([]);
    });

    test("removes what a crash left when it opens", async () => {
      const platform = await open();
      const left = join(platform.parts.dataDir, "work/crashed/hello");
      await mkdir(left, { recursive: true });
      await writeFile(join(left, "file"), "");
      await platform.reopen();
      expect(existsSync(left)).toBe(false);
    });

    test("collects the artifacts that nobody keeps", async () => {
      const platform = await open({ collectGraceMs: 0 });
      const kept = await platform.build(await platform.source({ "handler/handler.js": HANDLER }));
      const dropped = await platform.build(await platform.source({ "handler/handler.js": `${HANDLER};` }));
      await platform.builder.collect(new Set([kept.digest]));
      await expect(platform.start(dropped)).rejects.toThrow();
      const running = await platform.start(kept, { revisionId: "revision-2" });
      expect(await running.ask("/")).toBe("built");
    });

    test("does not collect what a build gave a moment ago", async () => {
      const platform = await open();
      const artifact = await platform.build(await platform.source({ "handler/handler.js": HANDLER }));
      await platform.builder.collect(new Set());
      expect(await (await platform.start(artifact)).ask("/")).toBe("built");
    });

    test("reports build arguments that mean nothing to it", async () => {
      const platform = await open();
      const source = await platform.source({ "handler/handler.js": HANDLER });
      await platform.build(source, { buildArgs: { ADDITIONAL_PACKAGE: "gcc" } });
      expect(platform.log.text).toContain("ADDITIONAL_PACKAGE is ignored");
    });

    test("builds nothing more once the signal has aborted", async () => {
      const platform = await open();
      const source = await platform.source({ "handler/handler.js": HANDLER });
      const reason = new Error("superseded");
      await expect(platform.build(source, {}, { signal: AbortSignal.abort(reason) })).rejects.toBe(reason);
    });

    test("names the function in its problems", async () => {
      const platform = await open();
      const source = await platform.source({ "handler/main.js": "" });
      await expect(platform.build(source, { name: FunctionName.parse("adder") })).rejects.toThrow(
        /^function adder: /,
      );
    });
  });
}
