import { describe, expect, test } from "vitest";
import {
  authorName,
  badgeMarkdown,
  describeServing,
  firstLine,
  formatAge,
  formatBytes,
  formatClock,
  formatDuration,
  formatLatency,
  formatPlural,
  shortArtifact,
  shortCommit,
  shortUrl,
} from "../src/format.ts";

const now = new Date(2026, 10, 22, 15, 30).getTime();
const today = new Date(2026, 10, 22, 14, 2).getTime();
const second = 1_000;
const minute = 60 * second;
const hour = 60 * minute;

describe("times", () => {
  test.each([
    ["a clock that is behind says just now", -5 * second, "just now"],
    ["seconds", 42 * second, "42 s ago"],
    ["minutes, rounded down", 5 * minute + 59 * second, "5 min ago"],
    ["hours up to two days", 47 * hour, "47 h ago"],
    ["days from then on", 49 * hour, "2 d ago"],
  ])("age: %s", (_, ms, expected) => {
    expect(formatAge(now - ms, now)).toBe(expected);
  });

  test("a time of today needs no day", () => {
    expect(formatClock(today, now)).toBe("14:02");
  });

  test("a time of another day names it", () => {
    expect(formatClock(today - 24 * hour, now)).toBe("21 Nov, 14:02");
  });

  test.each([
    ["below a second in milliseconds", 310, "310 ms"],
    ["never negative", -40, "0 ms"],
    ["tenths while they matter", 8_240, "8.2 s"],
    ["what rounds up to ten seconds has no tenths", 9_960, "10 s"],
    ["minutes keep their seconds in two digits", 185 * second, "3 min 05 s"],
    ["hours keep their minutes", 62 * minute, "1 h 02 min"],
  ])("duration: %s", (_, ms, expected) => {
    expect(formatDuration(ms)).toBe(expected);
  });

  test.each([
    [0.42, "0.4 ms"],
    [8.2, "8 ms"],
    [1_240, "1.24 s"],
  ])("latency of %d ms reads %s", (ms, expected) => {
    expect(formatLatency(ms)).toBe(expected);
  });
});

describe("sizes and counts", () => {
  test.each([
    [0, "0 B"],
    [512, "512 B"],
    [128 * 1_024 ** 2, "128 MiB"],
    [1.5 * 1_024 ** 3, "1.5 GiB"],
    [3_000 * 1_024 ** 4, "3000 TiB"],
  ])("%d bytes read %s", (bytes, expected) => {
    expect(formatBytes(bytes)).toBe(expected);
  });

  test("one is singular, none and many are plural", () => {
    expect([0, 1, 1_204].map((count) => formatPlural(count, "line"))).toEqual([
      "0 lines",
      "1 line",
      "1,204 lines",
    ]);
  });
});

describe("names", () => {
  test("a commit is known by seven digits", () => {
    expect(shortCommit("3f9a1c07d2e84b6591c0aa17be55d2f4c8e01b37")).toBe("3f9a1c0");
  });

  test.each([
    ["a digest alone", `sha256:${"9c41d0f2ab77".padEnd(64, "0")}`, "sha256:9c41d0f2ab77"],
    ["an image with its digest", `registry/alice/hello@sha256:${"a".repeat(64)}`, "sha256:aaaaaaaaaaaa"],
    ["anything else stays whole", "hello:latest", "hello:latest"],
  ])("artifact: %s", (_, artifact, expected) => {
    expect(shortArtifact(artifact)).toBe(expected);
  });

  test("an author is named without the address, unless there is nothing else", () => {
    expect(["Alice Liddell <alice@example.org>", "<alice@example.org>", "Alice"].map(authorName)).toEqual([
      "Alice Liddell",
      "<alice@example.org>",
      "Alice",
    ]);
  });

  test("of a message the first line counts, and none is empty", () => {
    expect(["\nGreet by name\n\nBecause.", ""].map(firstLine)).toEqual(["Greet by name", ""]);
  });

  test("a URL is read without its scheme", () => {
    expect(shortUrl("http://alice.localhost:8080/hello")).toBe("alice.localhost:8080/hello");
  });
});

describe("what serves, in a sentence", () => {
  const serving = {
    state: "live",
    commit: "abc1234def",
    branch: "main",
    deployedAt: today,
    replicas: { ready: 1, wanted: 1 },
  } as const;

  test("says how much and how fast", () => {
    expect(describeServing(serving, { success: 12, failure: 0, p95Ms: 8.1 }, now)).toBe(
      "Serving commit abc1234 of main since 14:02, 1 of 1 replicas ready, 12 invocations in the last hour, p95 8 ms.",
    );
  });

  test("names failures", () => {
    expect(describeServing(serving, { success: 9, failure: 3, p95Ms: 8.1 }, now)).toContain(
      "12 invocations in the last hour, 3 of them failed, p95 8 ms.",
    );
  });

  test("says nothing of usage that is not known yet", () => {
    expect(describeServing(serving, undefined, now)).toBe(
      "Serving commit abc1234 of main since 14:02, 1 of 1 replicas ready.",
    );
  });

  test("does not claim to serve while no replica answers", () => {
    const down = { ...serving, state: "down", replicas: { ready: 0, wanted: 1 } } as const;
    expect(describeServing(down, { success: 0, failure: 0 }, now)).toBe(
      "Not answering: commit abc1234 of main, deployed 14:02, is being started again, 0 of 1 replicas ready, no invocations in the last hour.",
    );
  });
});

test("a badge is an image that leads to the function's page", () => {
  expect(badgeMarkdown("https://system.example.com", "acme", "cart")).toBe(
    "[![cart on OpenFaaS Cloud](https://system.example.com/badge/acme/cart.svg)](https://system.example.com/dashboard/acme/cart)",
  );
});
