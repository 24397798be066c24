import { expect, test } from "vitest";
import type { LogLine, LogStore, LogStream } from "../../src/ports/log-store/log-store.ts";

export interface LogStoreUnderTest extends AsyncDisposable {
  readonly logs: LogStore;
  /** The same logs as the next process of the platform finds them. */
  reopen(): Promise<LogStore>;
}

const run: LogStream = { kind: "run", runId: "run-1" };
const never = new AbortController().signal;

/** All of a stream, page by page. */
export async function readAll(logs: LogStore, stream: LogStream, maxLines = 1000): Promise<LogLine[]> {
  const lines: LogLine[] = [];
  let cursor: string | undefined;
  for (;;) {
    const page = await logs.read(stream, { maxLines, ...(cursor === undefined ? {} : { cursor }) });
    lines.push(...page.lines);
    if (page.lines.length === 0) return lines;
    cursor = page.cursor;
  }
}

const texts = (lines: readonly LogLine[]) => lines.map(({ text }) => text);

/** What every LogStore promises. */
export function logStoreContract(start: () => Promise<LogStoreUnderTest>): void {
  test("a stream nobody wrote to is empty and not ended", async () => {
    await using it = await start();
    expect(await it.logs.read(run)).toMatchObject({ lines: [], ended: false });
    await it.logs.remove(run);
  });

  test("lines are put together from pieces, each with its source and its time", async () => {
    await using it = await start();
    const sink = it.logs.open(run);
    const before = Date.now();
    sink.write("checkout", "one\ntw");
    sink.write("build hello", Buffer.from("other\n"));
    sink.write("checkout", "o\n\nthr");
    const open = await it.logs.read(run);
    expect(open.lines.map(({ source, text }) => [source, text])).toEqual([
      ["checkout", "one"],
      ["build hello", "other"],
      ["checkout", "two"],
      ["checkout", ""],
    ]);
    expect(open.ended).toBe(false);
    for (const { at } of open.lines) expect(at).toBeGreaterThanOrEqual(before);
    await it.logs.end(run);
    const rest = await it.logs.read(run, { cursor: open.cursor });
    expect(rest).toMatchObject({ lines: [{ source: "checkout", text: "thr" }], ended: true });
    expect(texts(await readAll(it.logs, run))).toEqual(["one", "other", "two", "", "thr"]);
  });

  test("keeps what was printed as it was printed, characters cut in two by a write included", async () => {
    await using it = await start();
    const sink = it.logs.open(run);
    const line = "\t\x1b[31mrot\x1b[0m\r50 %\r100 % äöü 🚀\0";
    for (const byte of Buffer.from(`${line}\n`)) sink.write("build", Uint8Array.of(byte));
    sink.write("a\tb\nc", "odd source\n");
    const { lines } = await it.logs.read(run);
    expect(texts(lines)).toEqual([line, "odd source"]);
    expect(lines[1]?.source).toBe("a b c");
  });

  test("a line longer than 16 KiB comes in pieces of at most that, and none is lost", async () => {
    await using it = await start();
    const sink = it.logs.open(run);
    const long = "ä€🚀x".repeat(20_000);
    sink.write("build", long.slice(0, 5001));
    sink.write("build", `${long.slice(5001)}\nnext\n`);
    const lines = await readAll(it.logs, run);
    for (const { text } of lines) expect(Buffer.byteLength(text)).toBeLessThanOrEqual(16 * 1024);
    expect(texts(lines.slice(0, -1)).join("")).toBe(long);
    expect(lines.at(-1)?.text).toBe("next");
  });

  test("pages have a bound and a cursor that the next process understands", async () => {
    await using it = await start();
    const sink = it.logs.open(run);
    for (let i = 0; i < 2500; i++) sink.write("build", `${i}\n`);
    const first = await it.logs.read(run, { maxLines: 700 });
    expect(texts(first.lines)).toEqual(Array.from({ length: 700 }, (_, i) => `${i}`));
    expect((await it.logs.read(run, { maxLines: 5000 })).lines).toHaveLength(1000);
    const last = await it.logs.read(run, { tailLines: 3 });
    expect(texts(last.lines)).toEqual(["2497", "2498", "2499"]);
    expect((await it.logs.read(run, { cursor: last.cursor })).lines).toEqual([]);

    const again = await it.reopen();
    expect((await again.read(run, { cursor: first.cursor, maxLines: 1 })).lines[0]?.text).toBe("700");
    again.open(run).write("build", "resumed\n");
    expect(texts((await again.read(run, { cursor: last.cursor })).lines)).toEqual(["resumed"]);
    expect(await readAll(again, run, 999)).toHaveLength(2501);
  });

  test("a follower gets lines as they come and ends with the stream", async () => {
    await using it = await start();
    const sink = it.logs.open(run);
    sink.write("build", "early\n");
    const seen: string[] = [];
    const follow = it.logs.follow(run, { signal: never })[Symbol.asyncIterator]();
    const take = async () => {
      const { value, done } = await follow.next();
      if (!done) seen.push(...texts(value.lines));
      return done;
    };
    await take();
    for (const line of ["one", "two"]) {
      const next = take();
      sink.write("build", `${line}\n`);
      await next;
    }
    const last = take();
    sink.write("build", "unfinished");
    await it.logs.end(run);
    await last;
    expect(await take()).toBe(true);
    expect(seen).toEqual(["early", "one", "two", "unfinished"]);
  });

  test("a follower may come before the stream, begin at a cursor or near the end, and leave", async () => {
    await using it = await start();
    const controller = new AbortController();
    const early = it.logs.follow(run, { signal: controller.signal })[Symbol.asyncIterator]();
    const first = early.next();
    const sink = it.logs.open(run);
    for (let i = 0; i < 10; i++) sink.write("build", `${i}\n`);
    expect((await first).value?.lines[0]?.text).toBe("0");
    const rest = it.logs.follow(run, { signal: controller.signal, tailLines: 2 })[Symbol.asyncIterator]();
    expect(texts((await rest.next()).value?.lines ?? [])).toEqual(["8", "9"]);
    const waiting = rest.next();
    controller.abort();
    expect((await waiting).done).toBe(true);
    const { cursor } = await it.logs.read(run, { maxLines: 9 });
    const from = it.logs.follow(run, { signal: never, cursor })[Symbol.asyncIterator]();
    expect(texts((await from.next()).value?.lines ?? [])).toEqual(["9"]);
    await it.logs.end(run);
    expect((await from.next()).done).toBe(true);
  });

  test("what was written after the end is nobody's, and the writer does not notice", async () => {
    await using it = await start();
    const sink = it.logs.open(run);
    sink.write("build", "one\n");
    await it.logs.end(run);
    await it.logs.end(run);
    sink.write("build", "two\n");
    expect(await it.logs.read(run)).toMatchObject({ lines: [{ text: "one" }], ended: true });
  });

  test("streams are apart from each other, and a removed one is gone", async () => {
    await using it = await start();
    const other: LogStream = { kind: "function", functionId: "run-1" };
    it.logs.open(run).write("build", "of the run\n");
    it.logs.open(other).write("hello-1", "of the function\n");
    expect(texts(await readAll(it.logs, other))).toEqual(["of the function"]);
    await it.logs.remove(run);
    expect(await it.logs.read(run)).toMatchObject({ lines: [], ended: false });
    expect(texts(await readAll(it.logs, other))).toEqual(["of the function"]);
    it.logs.open(run).write("build", "anew\n");
    expect(texts(await readAll(it.logs, run))).toEqual(["anew"]);
  });

  test("a run keeps its beginning and its end, and says exactly how much it dropped between", async () => {
    await using it = await start();
    const sink = it.logs.open(run);
    const line = (i: number) => `line ${String(i).padStart(7, "0")} ${"x".repeat(100)}`;
    const count = 120_000;
    for (let i = 0; i < count; i++) sink.write("build", `${line(i)}\n`);
    await it.logs.end(run);
    const lines = await readAll(it.logs, run);
    expect(lines[0]?.text).toBe(line(0));
    expect(lines.at(-1)?.text).toBe(line(count - 1));
    const markers = lines.filter(({ source }) => source === "platform");
    expect(markers).toHaveLength(1);
    const lineBytes = line(0).length + 1;
    const dropped = (count - (lines.length - 1)) * lineBytes;
    expect(markers[0]?.text).toContain(`${dropped} bytes`);
    const stored = lines.reduce((sum, { text }) => sum + text.length + 1, 0);
    expect(stored).toBeLessThanOrEqual(4 * 1024 * 1024 * 1.01);
    expect(stored).toBeGreaterThan(3 * 1024 * 1024);
    const marker = lines.findIndex(({ source }) => source === "platform");
    expect(marker * (lineBytes + 30)).toBeGreaterThanOrEqual(1024 * 1024);
  });
}
