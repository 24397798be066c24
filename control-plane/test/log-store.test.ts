import { appendFile, mkdir, mkdtemp, readdir, rm, rmdir, stat } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setFlagsFromString } from "node:v8";
import { runInNewContext } from "node:vm";
import { describe, expect, test, vi } from "vitest";
import { type FsLogLimits, openFsLogStore } from "../src/ports/log-store/fs.ts";
import type { LogStream } from "../src/ports/log-store/log-store.ts";
import { sanitiseLogText } from "../src/ports/log-store/sanitise.ts";
import { logStoreContract, readAll } from "./contracts/log-store.ts";

vi.setConfig({ testTimeout: 60_000 });

const MiB = 1024 * 1024;
const run: LogStream = { kind: "run", runId: "run-1" };

async function openLogs(limits: Partial<FsLogLimits> = {}) {
  const dataDir = await mkdtemp(join(tmpdir(), "log-store-"));
  const stores = [openFsLogStore({ dataDir, limits })];
  return {
    dataDir,
    logs: stores[0] as (typeof stores)[number],
    folder: join(dataDir, "runs", "run-1"),
    async reopen() {
      await stores.at(-1)?.[Symbol.asyncDispose]();
      const next = openFsLogStore({ dataDir, limits });
      stores.push(next);
      return next;
    },
    async [Symbol.asyncDispose]() {
      for (const store of stores) await store[Symbol.asyncDispose]();
      await rm(dataDir, { recursive: true, force: true });
    },
  };
}

describe("logs on the file system", () => {
  logStoreContract(openLogs);
});

async function storedBytes(folder: string): Promise<number> {
  const sizes = await Promise.all(
    (await readdir(folder)).map(async (name) => (await stat(join(folder, name))).size),
  );
  return sizes.reduce((sum, size) => sum + size, 0);
}

test.each<[string, () => Buffer, number]>([
  ["lines", () => Buffer.from(`${"x".repeat(99)}\n`.repeat(655)), 0],
  ["one line without end", () => Buffer.alloc(64 * 1024, "x"), 0],
  ["carriage returns and escapes", () => Buffer.alloc(64 * 1024, "\x1b[1m\r"), 0],
])("a flood of %s is kept within its bounds, on disk and in memory", async (_what, makeChunk) => {
  await using it = await openLogs();
  const sink = it.logs.open(run);
  const chunk = makeChunk();
  const total = 128 * MiB;
  const before = process.memoryUsage.rss();
  let peak = before;
  let written = 0;
  while (written < total) {
    sink.write(written % (chunk.length * 2) === 0 ? "build a" : "build b", chunk);
    written += chunk.length;
    if (written % (4 * MiB) < chunk.length) {
      await new Promise((resolve) => setImmediate(resolve));
      peak = Math.max(peak, process.memoryUsage.rss());
    }
  }
  await it.logs.end(run);
  expect(peak - before).toBeLessThan(100 * MiB);
  expect(await storedBytes(it.folder)).toBeLessThanOrEqual(4 * MiB * 1.01);
  const lines = await readAll(it.logs, run);
  const kept = lines.filter(({ source }) => source !== "platform");
  const markers = lines.filter(({ source }) => source === "platform");
  const dropped = markers.reduce((sum, { text }) => sum + Number(/\d+/.exec(text)?.[0]), 0);
  const ends = chunk.includes(10) ? kept.length : 0;
  expect(kept.reduce((sum, { text }) => sum + Buffer.byteLength(text), 0) + ends + dropped).toBe(written);
  expect(markers).toHaveLength(1);
  expect(it.logs.diskErrors).toBe(0);
});

test("a million tiny writes are kept within the same bounds, and to the byte", async () => {
  await using it = await openLogs();
  const sink = it.logs.open(run);
  const before = process.memoryUsage.rss();
  for (let i = 0; i < 1_000_000; i++) sink.write("build", i % 20 === 0 ? "end\n" : "tiny ");
  await it.logs.end(run);
  expect(process.memoryUsage.rss() - before).toBeLessThan(100 * MiB);
  const lines = await readAll(it.logs, run);
  const marker = lines.findIndex(({ source }) => source === "platform");
  const dropped = Number(/\d+/.exec(lines[marker]?.text ?? "")?.[0] ?? 0);
  const kept = lines.reduce((sum, { text }, index) => sum + (index === marker ? 0 : text.length + 1), 0);
  // What comes after the last line end is unfinished: it has none.
  expect(kept - 1 + dropped).toBe(50_000 * 4 + 950_000 * 5);
});

test("a function's log keeps its end and loses its beginning", async () => {
  const limits = { function: { headBytes: 0, tailBytes: 256 * 1024 } };
  await using it = await openLogs(limits);
  const stream: LogStream = { kind: "function", functionId: "f" };
  const sink = it.logs.open(stream);
  for (let i = 0; i < 20_000; i++) {
    sink.write("hello-1", `${i} ${"x".repeat(50)}\n`);
    if (i % 1000 === 0) await it.logs.read(stream, { tailLines: 1 });
  }
  const lines = await readAll(it.logs, stream);
  expect(lines[0]).toMatchObject({ source: "platform", text: expect.stringMatching(/^\[\d+ bytes/) });
  expect(lines.at(-1)?.text).toMatch(/^19999 /);
  expect(await storedBytes(join(it.dataDir, "functions", "f"))).toBeLessThanOrEqual(256 * 1024);
  // A reader that stood in what is gone now learns how much that was.
  const [marker] = (await it.logs.read(stream, { cursor: "53", maxLines: 1 })).lines;
  const fromStart = Number(/\d+/.exec(lines[0]?.text ?? "")?.[0]);
  expect(marker?.text).toContain(`${fromStart - 53} bytes`);
});

test("a line that a crash tore is left out, and what comes after it is not", async () => {
  await using it = await openLogs();
  it.logs.open(run).write("build", "one\ntwo\n");
  const { cursor } = await it.logs.read(run);
  const [segment] = await readdir(it.folder);
  await appendFile(join(it.folder, segment ?? ""), "17000000\tbuild\thalf of a li");
  const next = await it.reopen();
  expect((await next.read(run)).lines.map(({ text }) => text)).toEqual(["one", "two"]);
  next.open(run).write("build", "three\n");
  expect((await next.read(run, { cursor })).lines.map(({ text }) => text)).toEqual(["three"]);
  expect((await readAll(next, run)).map(({ text }) => text)).toEqual(["one", "two", "three"]);
});

test("a thousand open streams hold no files open", async () => {
  await using it = await openLogs();
  const before = (await readdir("/proc/self/fd")).length;
  for (let i = 0; i < 1000; i++) it.logs.open({ kind: "run", runId: `run-${i}` }).write("build", "x\n");
  for (let i = 0; i < 1000; i++) {
    expect((await it.logs.read({ kind: "run", runId: `run-${i}` })).lines).toHaveLength(1);
  }
  expect((await readdir("/proc/self/fd")).length).toBeLessThanOrEqual(before + 20);
});

test("many streams that flood at once share one bound of memory", async () => {
  await using it = await openLogs({ maxPendingBytes: 8 * MiB });
  const before = heldMemory();
  const chunk = Buffer.from(`${"x".repeat(1000)}\n`.repeat(1000));
  const sinks = Array.from({ length: 50 }, (_, i) => it.logs.open({ kind: "run", runId: `run-${i}` }));
  for (let round = 0; round < 6; round++) for (const sink of sinks) sink.write("build", chunk);
  // The bound, and the block that each stream is writing: 8 and 3 MiB.
  const held = heldMemory() - before;
  expect(held).toBeLessThan(24 * MiB);
  const [first] = (await it.logs.read({ kind: "run", runId: "run-49" }, { tailLines: 1 })).lines;
  expect(first?.text).toHaveLength(1000);
});

test("a disk that fails costs lines, which are counted, and never the writer", async () => {
  await using it = await openLogs();
  const sink = it.logs.open(run);
  sink.write("build", "one\n");
  await it.logs.read(run);
  const [segment = ""] = await readdir(it.folder);
  const path = join(it.folder, segment);
  // A folder where the segment was: the disk refuses the append, whoever asks.
  await rm(path);

  await mkdir(path);
  sink.write("build", "lost\n");
  await it.logs.read(run).catch(() => undefined);
  expect(it.logs.diskErrors).toBe(1);
  await rmdir(path);

  sink.write("build", "two\n");
  await it.logs.end(run);
  const texts = (await readAll(it.logs, run)).map(({ text }) => text);
  expect(texts).toEqual([
    "[9 bytes of output were dropped here]",
    expect.stringContaining("could not be written (EISDIR)"),
    "two",
  ]);
});

test("an id that could leave the folder is refused", async () => {
  await using it = await openLogs();
  for (const runId of ["../x", "a/b", "", ".", "a\0"]) {
    expect(() => it.logs.open({ kind: "run", runId })).toThrow(/not a log stream's id/);
  }
});

test.each([
  ["plain text\twith a tab", "plain text\twith a tab"],
  ["\x1b[31mred\x1b[0m", "red"],
  ["\x1b]8;;javascript:alert(1)\x07click\x1b]8;;\x07", "click"],
  ["\x1b]0;title\x1b\\after", "after"],
  ["\x1b]52;c;never ended", ""],
  ["\x9b2Jc1\x9d0;x\x9cy", "c1y"],
  ["\x1bPq#0\x1b\\sixel", "sixel"],
  ["\x1b(B\x1b7\x1b=x", "x"],
  ["10 %\r50 %\r100 %", "100 %"],
  ["done\r", "done"],
  ["half\rdone\r\r", "done"],
  ["\r", ""],
  ["a\x00\x07\x08b\x7f", "ab"],
  ["a\u202eb\u2066c\u200f", "abc"],
  ["a\ud800b\udc00", "ab"],
  ["<script>&amp;", "<script>&amp;"],
  ["🚀 äöü", "🚀 äöü"],
])("%j is shown as %j", (text, shown) => {
  expect(sanitiseLogText(text)).toBe(shown);
});

test("making a hostile line harmless takes no longer for being hostile", () => {
  const start = performance.now();
  for (const piece of ["\x1b", "\x1b[", "\x1b]", "\x1b]\x1b", "\r", "\x1b[0;", "\x9d"]) {
    // Longer than a line of a log: a commit's message has no bound.
    for (const end of ["", "x"])
      expect(sanitiseLogText(piece.repeat(128 * 1024) + end)).not.toContain("\x1b");
  }
  expect(performance.now() - start).toBeLessThan(1000);
});

/** What is in use once garbage is not counted: resident memory would depend on when that was last collected. */
function heldMemory(): number {
  setFlagsFromString("--expose-gc");
  const gc = runInNewContext("gc") as () => void;
  gc();
  // Buffers are given back beside what goes on after a collection; the next one waits for that.
  gc();
  const { heapUsed, external } = process.memoryUsage();
  return heapUsed + external;
}
