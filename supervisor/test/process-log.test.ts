import { appendFile, readFile, stat, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { expect, test } from "vitest";
import { temporaryFolder } from "../../test/support/temporary-folder.ts";
import { ProcessLog } from "../src/process-log.ts";

test("the tail is what the process that was started last has said", async () => {
  await using folder = await temporaryFolder();
  const log = new ProcessLog(join(folder.path, "edge.log"));
  log.lend(() => undefined);
  await appendFile(log.path, "from the first life\n");
  log.lend(() => undefined);
  expect(log.tail(5)).toEqual([]);
  await appendFile(log.path, "one\ntwo\nthree\n");
  expect(log.tail(2)).toEqual(["two", "three"]);
});

test("a start with a large log begins a new one and keeps the old one beside it", async () => {
  await using folder = await temporaryFolder();
  const log = new ProcessLog(join(folder.path, "edge.log"), 10);
  await writeFile(log.path, "more than ten bytes\n");
  log.lend(() => undefined);
  expect(await readFile(log.path, "utf8")).toBe("");
  expect(await readFile(`${log.path}.1`, "utf8")).toBe("more than ten bytes\n");
});

test("a log that grows large while a process writes to it is emptied under it", async () => {
  await using folder = await temporaryFolder();
  const log = new ProcessLog(join(folder.path, "edge.log"), 10);
  log.lend(() => undefined);
  log.trim();
  await appendFile(log.path, "more than ten bytes\n");
  log.trim();
  expect((await stat(log.path)).size).toBe(0);
  await appendFile(log.path, "after\n");
  expect(log.tail(5)).toEqual(["after"]);
});
