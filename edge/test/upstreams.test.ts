import { expect, test } from "vitest";
import { noteFailure, Replica } from "../src/upstreams.ts";

/** For how long a replica ejected at this time is left alone, to the second. */
function ejectedForS(replica: Replica, atMs: number): number {
  replica.eject(atMs);
  let seconds = 0;
  while (replica.isEjected(atMs + seconds * 1000)) seconds += 1;
  return seconds;
}

test("each ejection in a row is half a minute longer, up to five minutes, and good conduct starts anew", () => {
  const replica = new Replica("r", "http://127.0.0.1:1");
  let nowMs = 1_000_000;
  const lengths = Array.from({ length: 12 }, () => {
    const seconds = ejectedForS(replica, nowMs);
    nowMs += seconds * 1000 + 1000;
    return seconds;
  });
  expect(lengths).toEqual([30, 60, 90, 120, 150, 180, 210, 240, 270, 300, 300, 300]);
  expect(ejectedForS(replica, nowMs + 300_000)).toBe(30);
});

test("five failures in a row eject a replica; a success between them starts the count anew", () => {
  const replica = new Replica("r", "http://127.0.0.1:1");
  const both = [replica, new Replica("other", "http://127.0.0.1:2")];
  const fail = (times: number): boolean[] => Array.from({ length: times }, () => noteFailure(replica, both));
  expect(fail(4)).toEqual([false, false, false, false]);
  replica.succeeded();
  expect(fail(5)).toEqual([false, false, false, false, true]);
});
