import { expect, test } from "vitest";
import { noteFailure, pickReplica, Replica } from "../src/upstreams.ts";

const START_MS = 1_000_000;

function replica(id: string, inFlight = 0): Replica {
  const made = new Replica(id, "http://127.0.0.1:1");
  made.inFlight = inFlight;
  return made;
}

/** How often each was picked, in so many picks a second apart from any ejection. */
function picks(
  replicas: readonly Replica[],
  nowMs: number,
  times = 400,
  failed?: Replica,
): Map<string, number> {
  const counts = new Map(replicas.map(({ id }) => [id, 0]));
  for (let i = 0; i < times; i++) {
    const picked = pickReplica(replicas, failed, nowMs);
    if (picked !== undefined) counts.set(picked.id, (counts.get(picked.id) ?? 0) + 1);
  }
  return counts;
}

function failOften(failing: Replica, among: readonly Replica[], nowMs: number, times = 5): boolean[] {
  return Array.from({ length: times }, () => noteFailure(failing, among, nowMs));
}

/** For how long a replica ejected at this time is left alone, to the second. */
function ejectedForS(ejected: Replica, atMs: number): number {
  ejected.eject(atMs);
  let seconds = 0;
  while (ejected.isEjected(atMs + seconds * 1000)) seconds += 1;
  return seconds;
}

test("of two replicas the one with less under way is asked, always", () => {
  const counts = picks([replica("busy", 3), replica("idle", 2)], START_MS);
  expect(Object.fromEntries(counts)).toEqual({ busy: 0, idle: 400 });
});

test("of many, two are looked at: the busiest gets nothing, and the others share what there is", () => {
  const replicas = [replica("busiest", 9), ...Array.from({ length: 7 }, (_, i) => replica(`r${i}`, 1))];
  const counts = picks(replicas, START_MS, 7_000);
  expect(counts.get("busiest")).toBe(0);
  for (let i = 0; i < 7; i++) expect(counts.get(`r${i}`)).toBeGreaterThan(700);
});

test("the idle one of many is not everybody's choice at once", () => {
  const replicas = [replica("idle", 0), ...Array.from({ length: 9 }, (_, i) => replica(`r${i}`, 5))];
  const share = (picks(replicas, START_MS, 5_000).get("idle") ?? 0) / 5_000;
  // Two of ten: one pick in five, where choosing the least loaded of all would make it every one.
  expect(share).toBeGreaterThan(0.15);
  expect(share).toBeLessThan(0.25);
});

test("nobody is asked where there is nobody, or only who has gone", async () => {
  expect(pickReplica([])).toBeUndefined();
  const gone = replica("gone");
  await gone.close();
  expect(pickReplica([gone])).toBeUndefined();
  expect(pickReplica([gone, gone])).toBeUndefined();
});

test("each ejection in a row is half a minute longer, up to five minutes, and good conduct starts anew", () => {
  const ejected = replica("r");
  let nowMs = START_MS;
  const lengths = Array.from({ length: 12 }, () => {
    const seconds = ejectedForS(ejected, nowMs);
    nowMs += seconds * 1000 + 1000;
    return seconds;
  });
  expect(lengths).toEqual([30, 60, 90, 120, 150, 180, 210, 240, 270, 300, 300, 300]);
  expect(ejectedForS(ejected, nowMs + 300_000)).toBe(30);
});

test("five failures in a row eject a replica; a success between them starts the count anew", () => {
  const failing = replica("r");
  const both = [failing, replica("other")];
  expect(failOften(failing, both, START_MS, 4)).toEqual([false, false, false, false]);
  failing.succeeded();
  expect(failOften(failing, both, START_MS)).toEqual([false, false, false, false, true]);
  expect(picks(both, START_MS + 29_999).get("r")).toBe(0);
});

test("the last one that serves is never ejected, however often it fails", () => {
  const [one, two] = [replica("one"), replica("two")];
  expect(failOften(one, [one], START_MS, 20)).not.toContain(true);
  failOften(one, [one, two], START_MS);
  expect(failOften(two, [one, two], START_MS, 20)).not.toContain(true);
  expect(picks([one, two], START_MS).get("two")).toBe(400);
});

test("the last one is ejected as soon as somebody else serves again", () => {
  const [one, two] = [replica("one"), replica("two")];
  failOften(one, [one, two], START_MS);
  failOften(two, [one, two], START_MS, 9);
  expect(noteFailure(two, [one, two], START_MS + 30_000)).toBe(true);
});

test("where none is healthy, all are asked", () => {
  const both = [replica("one"), replica("two")];
  for (const each of both) each.eject(START_MS);
  const counts = picks(both, START_MS + 1);
  for (const count of counts.values()) expect(count).toBeGreaterThan(100);
});

test("after a failure any other is asked, an ejected one too, rather than the one that failed", () => {
  const [one, two] = [replica("one"), replica("two")];
  two.eject(START_MS);
  expect(Object.fromEntries(picks([one, two], START_MS, 50, one))).toEqual({ one: 0, two: 50 });
  expect(pickReplica([one], one, START_MS)).toBe(one);
});

test("after its ejection a replica gets one request a second, until it has answered one", () => {
  const [ill, well] = [replica("ill"), replica("well", 1)];
  const both = [ill, well];
  ill.eject(START_MS);
  const probes = (atMs: number): number | undefined => picks(both, atMs).get("ill");
  expect(probes(START_MS + 29_999)).toBe(0);
  expect(probes(START_MS + 30_000)).toBe(1);
  expect(probes(START_MS + 30_999)).toBe(0);
  expect(probes(START_MS + 31_000)).toBe(1);
  ill.succeeded();
  expect(probes(START_MS + 31_001)).toBe(400);
});

test("a replica that fails its probe is ejected again at once, for longer", () => {
  const [ill, well] = [replica("ill"), replica("well", 1)];
  const both = [ill, well];
  failOften(ill, both, START_MS);
  expect(picks(both, START_MS + 30_000).get("ill")).toBe(1);
  expect(noteFailure(ill, both, START_MS + 30_001)).toBe(true);
  expect(picks(both, START_MS + 90_000).get("ill")).toBe(0);
  expect(picks(both, START_MS + 90_001).get("ill")).toBe(1);
});

test("failures of requests that were under way make an ejection no longer", () => {
  const [ill, well] = [replica("ill"), replica("well")];
  failOften(ill, [ill, well], START_MS);
  expect(failOften(ill, [ill, well], START_MS + 10)).not.toContain(true);
  expect(ill.isEjected(START_MS + 30_000)).toBe(false);
});
