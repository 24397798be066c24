import { describe, expect, test } from "vitest";
import { appendLines, emptyLog, type LogBuffer, logText } from "../src/log-buffer.ts";

function lines(from: number, count: number) {
  return Array.from({ length: count }, (_, index) => ({
    at: 0,
    source: "build",
    text: `line ${from + index}`,
  }));
}

function texts(log: LogBuffer): string[] {
  return log.blocks.flatMap((block) => block.lines.map((line) => line.text));
}

describe("a log", () => {
  test("keeps every line in order, however they arrive", () => {
    const log = [1, 250, 3, 700].reduce(
      (log, count) => appendLines(log, lines(log.appended, count), 20_000),
      emptyLog,
    );
    expect(texts(log)).toEqual(lines(0, 954).map((line) => line.text));
    expect(log.appended).toBe(954);
  });

  test("leaves full blocks as they are when it grows", () => {
    const before = appendLines(emptyLog, lines(0, 450), 20_000);
    const after = appendLines(before, lines(450, 1), 20_000);
    expect(after.blocks.slice(0, 2)).toEqual(before.blocks.slice(0, 2));
    expect(after.blocks[0]).toBe(before.blocks[0]);
  });

  test("keeps exactly the newest lines once it is full, and counts the rest", () => {
    const log = [150, 150, 150].reduce(
      (log, count) => appendLines(log, lines(log.appended, count), 200),
      emptyLog,
    );
    expect(texts(log)).toEqual(lines(250, 200).map((line) => line.text));
    expect(log.dropped).toBe(250);
  });

  test("takes a page that is longer than its bound", () => {
    const log = appendLines(emptyLog, lines(0, 1_000), 300);
    expect(texts(log)).toEqual(lines(700, 300).map((line) => line.text));
  });

  test("keeps the identity of a block whose front was dropped", () => {
    const log = appendLines(appendLines(emptyLog, lines(0, 400), 400), lines(400, 1), 400);
    expect(log.blocks.map(({ id, first }) => ({ id, first }))).toEqual([
      { id: 0, first: 1 },
      { id: 200, first: 200 },
      { id: 400, first: 400 },
    ]);
  });

  test("is text with time and source, one line each", () => {
    const log = appendLines(emptyLog, [{ at: 0, source: "plan", text: "1 function" }], 10);
    expect(logText(log)).toBe("1970-01-01T00:00:00.000Z plan 1 function\n");
  });
});
