import { spawn } from "node:child_process";
import { once } from "node:events";
import { readdir, readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { expect, test } from "vitest";
import { temporaryFolder } from "../../test/support/temporary-folder.ts";
import { DataLock } from "../src/data-lock.ts";
import { findProcess, isRunning } from "../src/process-identity.ts";

test("a second one is told which process holds the folder", async () => {
  await using folder = await temporaryFolder();
  using _held = await DataLock.acquire(folder.path);
  await expect(DataLock.acquire(folder.path)).rejects.toMatchObject({
    kind: "data-in-use",
    message: expect.stringContaining(`in use by process ${process.pid}.`),
  });
});

test("a lock that was given back is free and leaves nothing behind", async () => {
  await using folder = await temporaryFolder();
  (await DataLock.acquire(folder.path))[Symbol.dispose]();
  using _held = await DataLock.acquire(folder.path);
  expect(await readdir(folder.path)).toEqual(["supervisor.lock"]);
});

test.for([
  { what: "whose process is gone", text: JSON.stringify(holder({ pid: 2 ** 22 + 1, startTime: "1" })) },
  {
    what: "whose process id has become another process",
    text: JSON.stringify(holder({ pid: process.pid, startTime: "1" })),
  },
  { what: "that holds nothing readable", text: "{" },
])("a lock $what is taken over", async ({ text }) => {
  await using folder = await temporaryFolder();
  await writeFile(join(folder.path, "supervisor.lock"), text);
  using _held = await DataLock.acquire(folder.path);
  const lock = JSON.parse(await readFile(join(folder.path, "supervisor.lock"), "utf8"));
  expect(lock.supervisor.pid).toBe(process.pid);
});

test("of many that find a stale lock exactly one gets the folder", async () => {
  await using folder = await temporaryFolder();
  await writeFile(join(folder.path, "supervisor.lock"), "{");
  const program = `
    import { DataLock } from ${JSON.stringify(new URL("../src/data-lock.ts", import.meta.url).href)};
    await DataLock.acquire(${JSON.stringify(folder.path)}).then(() => console.log("held"), () => console.log("refused"));
    process.stdin.resume();
  `;
  const contenders = Array.from({ length: 4 }, () =>
    spawn(process.execPath, ["--input-type=module", "--eval", program], {
      stdio: ["pipe", "pipe", "inherit"],
    }),
  );
  const outcomes = await Promise.all(
    contenders.map(async ({ stdout }) => String((await once(stdout, "data"))[0]).trim()),
  );
  for (const contender of contenders) contender.stdin.end();
  await Promise.all(contenders.map((contender) => once(contender, "exit")));
  expect(outcomes.toSorted()).toEqual(["held", "refused", "refused", "refused"]);
});

test("planes that outlived their supervisor have ended before the folder is handed out", async () => {
  await using folder = await temporaryFolder();
  const plane = spawn(process.execPath, ["--eval", "setInterval(() => {}, 1000)"], { stdio: "ignore" });
  await once(plane, "spawn");
  const identity = findProcess(plane.pid ?? 0);
  const stale = { ...holder({ pid: 2 ** 22 + 1, startTime: "1" }), planes: [identity] };
  await writeFile(join(folder.path, "supervisor.lock"), JSON.stringify(stale));
  using _held = await DataLock.acquire(folder.path);
  expect(identity !== undefined && isRunning(identity)).toBe(false);
});

function holder(supervisor: { pid: number; startTime: string }) {
  return { supervisor, planes: [] };
}
