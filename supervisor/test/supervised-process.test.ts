import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { expect, test } from "vitest";
import { eventually } from "../../test/support/eventually.ts";
import { temporaryFolder } from "../../test/support/temporary-folder.ts";
import { ProcessLog } from "../src/process-log.ts";
import { SupervisedProcess } from "../src/supervised-process.ts";

const PLANE = fileURLToPath(new URL("fixtures/plane.ts", import.meta.url));

test("it is ready when the process says so, and has only the environment it was given", async () => {
  await using plane = await supervise("serves", { ISOLATION: "the given one" });
  const { port } = await plane.process.start();
  expect(port).toBe(plane.process.pid);
  expect(plane.log.tail(1)).toEqual([`alive as ${plane.process.pid}`]);
  expect(await plane.process.request("status")).toMatchObject({ kind: "status", isolation: "the given one" });
});

test("a process that is killed comes back", async () => {
  await using plane = await supervise("serves");
  await plane.process.start();
  const first = plane.process.pid ?? 0;
  process.kill(first, "SIGKILL");
  await eventually("another process", () => plane.process.pid !== undefined && plane.process.pid !== first);
  await expect(plane.process.request("status")).resolves.toMatchObject({ kind: "status" });
  expect(plane.said).toEqual([
    expect.stringContaining("The plane ended (signal SIGKILL); starting it again in 50 ms."),
  ]);
});

test("pauses grow while it keeps ending", async () => {
  await using plane = await supervise("serves");
  await plane.process.start();
  for (const lives of [1, 2, 3]) {
    const pid = await eventually("a process", () => plane.process.pid);
    process.kill(pid, "SIGKILL");
    await eventually("its end was told", () => plane.said.length === lives);
  }
  expect(plane.said.map((line) => line.match(/in (\d+) ms/)?.[1])).toEqual(["50", "100", "200"]);
});

test("a process that never gets ready is given up with its last words", async () => {
  await using plane = await supervise("fails");
  await expect(plane.process.start()).rejects.toMatchObject({
    kind: "start-failed",
    message: expect.stringMatching(/^The plane does not start \(exit code 3\)[\s\S]*cannot open the store$/),
  });
  expect(plane.process.pid).toBeUndefined();
});

test("one that is asked to end does, and stays away", async () => {
  await using plane = await supervise("serves");
  await plane.process.start();
  await plane.process.stop(10_000);
  expect(plane.process.pid).toBeUndefined();
  expect(plane.said).toEqual([]);
});

test("one that does not listen is killed after its grace", async () => {
  await using plane = await supervise("deaf");
  await plane.process.start();
  await plane.process.stop(50);
  expect(plane.process.pid).toBeUndefined();
});

test("a question that the process cannot answer any more is not waited for", async () => {
  await using plane = await supervise("deaf");
  await plane.process.start();
  const asked = plane.process.request("sign-in-link");
  process.kill(plane.process.pid ?? 0, "SIGKILL");
  await expect(asked).rejects.toThrow("The plane ended (signal SIGKILL) and did not answer.");
});

test("signals of the terminal's process group do not reach it", async () => {
  await using plane = await supervise("serves");
  await plane.process.start();
  // Only the first process of a group gives the group its id.
  expect(() => process.kill(-(plane.process.pid ?? 0), 0)).not.toThrow();
});

async function supervise(behaviour: string, environment: Record<string, string> = {}) {
  const folder = await temporaryFolder();
  const said: string[] = [];
  const log = new ProcessLog(join(folder.path, "plane.log"));
  const supervised = new SupervisedProcess({
    name: "plane",
    arguments: [PLANE, behaviour],
    log,
    environment: () => environment,
    say: (line) => void said.push(line),
    started: () => undefined,
  });
  return {
    process: supervised,
    log,
    said,
    async [Symbol.asyncDispose]() {
      await supervised.stop(1_000);
      await folder[Symbol.asyncDispose]();
    },
  };
}
