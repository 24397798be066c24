import { existsSync } from "node:fs";
import { mkdir, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { afterEach, describe, expect, onTestFinished, test, vi } from "vitest";
import { eventually } from "../../test/support/eventually.ts";
import { part } from "../../test/support/parts.ts";
import { temporaryFolder } from "../../test/support/temporary-folder.ts";
import { findCgroups } from "../src/sandbox/cgroup.ts";
import { LastLines } from "../src/sandbox/last-lines.ts";
import { openSandbox } from "../src/sandbox/open-sandbox.ts";
import type { Command, Sandbox } from "../src/sandbox/sandbox.ts";
import { scopeOf } from "../src/sandbox/scope.ts";
import { openProcessPlatform, ownSeconds, processesWith } from "./support/process-platform.ts";

afterEach(() => vi.unstubAllEnvs());

const MiB = 1024 * 1024;

/** Runs a shell script in a sandbox of the test's own. */
async function openShell(options: Parameters<typeof openSandbox>[0] | object = {}) {
  const folder = await temporaryFolder();
  onTestFinished(() => folder[Symbol.asyncDispose]());
  const work = { host: join(folder.path, "work"), inside: "/home/app", access: "write" } as const;
  await mkdir(work.host);
  const sandbox = await openSandbox({ dataDir: join(folder.path, "data"), ...options });
  let output = "";
  const start = (script: string, changes: Partial<Command> = {}) =>
    sandbox.start({
      id: "shell",
      kind: "function",
      file: "/bin/sh",
      args: ["-c", script],
      cwd: sandbox.view(work),
      environment: { PATH: "/usr/bin:/bin" },
      mounts: [work],
      limits: { memoryBytes: 256 * MiB, processes: 64, tmpBytes: MiB, background: false },
      output: { kind: "stream", write: (chunk) => (output += Buffer.from(chunk).toString()) },
      statusFile: join(folder.path, "status"),
      ...changes,
    });
  return {
    folder: folder.path,
    work: work.host,
    sandbox: sandbox satisfies Sandbox,
    start,
    run: async (script: string, changes?: Partial<Command>) => {
      output = "";
      const ending = await start(script, changes).ended;
      return { ...ending, output };
    },
  };
}

part("bubblewrap")("sandbox", () => {
  test("proves itself when it opens", async () => {
    const { sandbox } = await openShell();
    expect(sandbox.isolation).toEqual({ kind: "sandboxed", by: "bubblewrap" });
  });

  test("shows nothing of the platform's data, nor of the homes and secrets of the machine", async () => {
    const shell = await openShell();
    const secret = join(shell.folder, "data/secret");
    await writeFile(secret, "canary");
    for (const path of [
      secret,
      "/etc/shadow",
      "/root",
      "/home/app/../../root/.ssh",
      "/run",
      "/var/lib",
      "/sys",
    ]) {
      expect(await shell.run(`ls ${path}`), path).not.toMatchObject({ code: 0 });
    }
    expect((await shell.run("ls /home; ls -A /tmp; cat /etc/passwd")).output).not.toMatch(/canary|root/);
  });

  test("lets nothing be written but its own folder and a small /tmp", async () => {
    const shell = await openShell();
    for (const path of [
      "/file",
      "/usr/file",
      "/etc/file",
      "/home/file",
      "/dev/file",
      "/proc/sys/kernel/core_pattern",
    ]) {
      expect(await shell.run(`echo x >> ${path}`), path).not.toMatchObject({ code: 0 });
    }
    expect(await shell.run("echo kept > file && echo gone > /tmp/file")).toMatchObject({ code: 0 });
    expect(existsSync(join(shell.work, "file"))).toBe(true);
    expect(existsSync("/tmp/file")).toBe(false);
    expect(await shell.run("head -c 2000000 /dev/zero > /tmp/large")).not.toMatchObject({ code: 0 });
  });

  test("shows no process but its own, and lets none outside be signalled", async () => {
    const shell = await openShell();
    const { output } = await shell.run(`ls -d /proc/[0-9]* | wc -l; kill -0 ${process.pid} 2>&1`);
    expect(Number(output.split("\n")[0])).toBeLessThan(6);
    expect(output).toMatch(/No such process/);
  });

  test("gives neither root, nor capabilities, nor a way to them", async () => {
    const shell = await openShell();
    const { output } = await shell.run(
      "id -u; grep -E 'CapEff|NoNewPrivs' /proc/self/status; unshare -Ur id -u",
    );
    expect(output).toMatch(/^1000\nCapEff:\t0+\nNoNewPrivs:\t1\n(?!0)/);
  });

  test("gives the environment that was asked for and nothing else", async () => {
    const shell = await openShell();
    vi.stubEnv("PLATFORM_ONLY", "canary");
    const { output } = await shell.run("env; cat /proc/*/environ | tr '\\0' '\\n'", {
      environment: { PATH: "/usr/bin:/bin", GIVEN: "given" },
    });
    expect(output).toContain("GIVEN=given");
    expect(output).not.toContain("canary");
  });

  test("runs nothing outside that a function's environment names", async () => {
    const shell = await openShell();
    const ending = await shell.run("true", {
      environment: { PATH: "/usr/bin:/bin", LD_PRELOAD: `${shell.work}/evil.so` },
    });
    // The loader of a program outside would complain of the missing library by its path outside, which does exist here.
    await writeFile(join(shell.work, "evil.so"), "not a library");
    const again = await shell.run("true", {
      environment: { PATH: "/usr/bin:/bin", LD_PRELOAD: `${shell.work}/evil.so` },
    });
    expect(again.output).not.toContain("invalid ELF header");
    expect(again.output).toBe(ending.output);
  });

  test("hands no open file of the platform on", async () => {
    const shell = await openShell();
    const { output } = await shell.run("ls -l /proc/self/fd");
    expect(output).not.toContain(shell.folder);
  });

  test("passes the request to end on to the command itself", async () => {
    const shell = await openShell();
    const running = shell.start("trap 'exit 42' TERM; touch ready; while :; do sleep 0.01; done");
    await eventually("it runs", () => existsSync(join(shell.work, "ready")));
    running.terminate();
    expect(await running.ended).toMatchObject({ code: 42 });
  });
});

for (const mode of ["auto", "none"] as const) {
  for (const cgroups of ["auto", "none"] as const) {
    part(...(mode === "auto" ? (["bubblewrap"] as const) : []))(
      `processes, mode ${mode}, cgroups ${cgroups}`,
      () => {
        test("end with their exit code or signal told", async () => {
          const shell = await openShell({ mode, cgroups });
          expect(await shell.run("exit 3")).toMatchObject({ code: 3 });
          expect(await shell.run("kill -SEGV $$")).toMatchObject({ signal: "SIGSEGV" });
        });

        test("are gone with all they started, daemons too, once they have ended", async () => {
          const shell = await openShell({ mode, cgroups });
          const seconds = ownSeconds();
          await shell.run(`setsid setsid sleep ${seconds} >/dev/null 2>&1 & exit 0`);
          expect(processesWith(seconds)).toEqual([]);
        });

        test("are gone with all they started once they are killed", async () => {
          const shell = await openShell({ mode, cgroups });
          const seconds = ownSeconds();
          const running = shell.start(`(setsid sleep ${seconds} &); touch ready; sleep ${seconds}`);
          await eventually("it runs", () => processesWith(`sleep ${seconds}`).length >= 2);
          await running.kill("for the test");
          expect(processesWith(seconds)).toEqual([]);
          expect(await running.ended).toMatchObject({ because: "for the test" });
        });

        test("are gone when killed the moment they are started", async () => {
          const shell = await openShell({ mode, cgroups });
          for (let n = 0; n < 10; n++) {
            const seconds = ownSeconds();
            await shell.start(`sleep ${seconds}`).kill();
            expect(processesWith(seconds)).toEqual([]);
          }
        });

        test("are found again by their record, and their end is noticed", async () => {
          const shell = await openShell({ mode, cgroups });
          const running = shell.start("touch ready; while [ ! -e stop ]; do sleep 0.01; done; exit 5");
          await eventually("it runs", () => existsSync(join(shell.work, "ready")));
          const again = shell.sandbox.adopt(running.record);
          // The others come and go.
          expect(again?.pids()[0]).toBe(running.pids()[0]);
          await writeFile(join(shell.work, "stop"), "");
          expect((await again?.ended)?.code).toBe(mode === "auto" ? 5 : undefined);
          expect(shell.sandbox.adopt(running.record)).toBeUndefined();
        });

        test("are ended when they use too much memory", async () => {
          const shell = await openShell({ mode, cgroups });
          const script = "setInterval(() => (globalThis.eaten ??= []).push(Buffer.alloc(8 << 20, 1)), 5)";
          const node = { host: process.execPath, inside: process.execPath, access: "read" } as const;
          const ending = await shell.run("", {
            file: process.execPath,
            args: ["-e", script],
            mounts: [{ host: shell.work, inside: "/home/app", access: "write" }, node],
            limits: { memoryBytes: 128 * MiB, processes: 64, tmpBytes: MiB, background: false },
          });
          expect(ending.because).toBe("over its memory limit of 128 MiB");
        });

        test("cannot multiply without end", async () => {
          const shell = await openShell({ mode, cgroups });
          const seconds = ownSeconds();
          const script = `for i in $(seq 200); do sleep ${seconds} & done; wait`;
          const running = shell.start(script, {
            limits: { memoryBytes: 256 * MiB, processes: 30, tmpBytes: MiB, background: false },
          });
          await running.ended;
          expect(processesWith(seconds)).toEqual([]);
        });
      },
    );
  }
}

describe("processes that cannot be ended", () => {
  // Nobody may signal them: to the platform that is what one looks like that hangs in the kernel.
  const refuseToKill = () =>
    vi.spyOn(process, "kill").mockImplementation(() => {
      throw Object.assign(new Error("kill EPERM"), { code: "EPERM" });
    });

  test("are told of when the time to end them is over, and are not waited for", async () => {
    const shell = await openShell({ mode: "none", killDeadlineMs: 300 });
    const running = shell.start(`sleep ${ownSeconds()}`);
    const refusing = refuseToKill();
    await expect(running.kill()).rejects.toThrow(`processes ${running.record.outer.pid}`);
    refusing.mockRestore();
    await running.kill();
  });

  part("proc")("of a former platform", () => {
    test("do not keep the next one from starting", async () => {
      const shell = await openShell({ mode: "none", killDeadlineMs: 300 });
      const running = shell.start(`sleep ${ownSeconds()}`);
      const refusing = refuseToKill();
      const warnings = vi.spyOn(process, "emitWarning").mockImplementation(() => undefined);
      await shell.sandbox.endStrays("function", new Set());
      expect(warnings).toHaveBeenCalledWith(
        expect.objectContaining({ message: expect.stringContaining("go on") }),
      );
      warnings.mockRestore();
      refusing.mockRestore();
      await running.kill();
    });
  });
});

describe("a command that cannot be started", () => {
  test("leaves no control group behind", async () => {
    const shell = await openShell({ mode: "none" });
    const scope = scopeOf(join(shell.folder, "data"));
    const groups = findCgroups(`openfaas-cloud-${scope}`);
    expect(() => shell.start("true", { args: ["\0"] })).toThrow();
    const left = () => groups?.bases.filter((base) => existsSync(join(base, "shell"))) ?? [];
    await eventually("the group is gone", () => left().length === 0, { withinMs: 2000 });
  });
});

describe("sandbox, absent", () => {
  test("says what is missing", async () => {
    vi.stubEnv("PATH", "/nowhere");
    const { sandbox } = await openShell();
    expect(sandbox.isolation).toMatchObject({ kind: "none", reason: expect.stringMatching(/bubblewrap/) });
  });

  test("is not trusted where it does not contain", async () => {
    const shell = await openShell();
    const liar = join(shell.folder, "bwrap");
    // Runs the command as it is: skips its own options, which are two of two words each.
    await writeFile(liar, '#!/bin/sh\nshift 4\nexec "$@"\n', { mode: 0o755 });
    vi.stubEnv("PATH", shell.folder);
    const { sandbox } = await openShell();
    expect(sandbox.isolation).toMatchObject({ kind: "none", reason: expect.stringContaining("probe") });
  });
});

part("bubblewrap", "npm")("what runs of one owner", () => {
  test("cannot reach what is another's, nor the platform's", async () => {
    const platform = await openProcessPlatform("sandboxed");
    const artifact = await platform.buildFixture("workshop");
    const victim = await platform.start(artifact, {
      revisionId: "revision-2",
      ownerId: "owner-2",
      secrets: { key: "canary-of-owner-2" },
    });
    const attacker = await platform.start(artifact);
    const { dataDir } = platform.parts;
    for (const path of [
      dataDir,
      join(dataDir, "runtime"),
      join(dataDir, "artifacts"),
      "/root/.ssh",
      import.meta.dirname,
    ]) {
      expect((await attacker.call(`/list?path=${path}`)).status, path).toBe(500);
    }
    for (const path of ["/home/app/function/handler.js", "/home/app/new", "/var/openfaas/secrets/key"]) {
      expect((await attacker.call(`/write?path=${path}`)).status, path).toBe(500);
    }
    expect((await attacker.call(`/signal?pid=${process.pid}`)).status).toBe(500);
    expect(await attacker.ask("/list?path=/var/openfaas/secrets")).toBe("[]");
    expect((await attacker.call("/write?path=/tmp/mine")).status).toBe(200);
    expect(await victim.ask("/list?path=/tmp")).not.toContain("mine");
  });
});

describe("last lines", () => {
  test("keep the end of an endless output, without what terminals take for orders", () => {
    const lines = new LastLines();
    for (let n = 0; n < 10_000; n++) lines.add(Buffer.from(`line ${n}\n`));
    lines.add(Buffer.from("\u001b[31mred\u001b[0m\r\n\n"));
    expect(lines.last(2)).toEqual(["line 9999", "red"]);
  });

  test("of npm tell the error and not where its log lies", () => {
    const lines = new LastLines();
    lines.add(
      Buffer.from(
        "npm error 404 Not Found\nnpm error A complete log of this run can be found in: /x/debug-0.log\n",
      ),
    );
    expect(lines.lastMeaningful()).toBe("npm error 404 Not Found");
  });
});
