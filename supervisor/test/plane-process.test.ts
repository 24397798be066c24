import { expect, test } from "vitest";
import { edgeStopMs, passedOn } from "../src/plane-process.ts";

test.each([
  ["programs and files", "PATH"],
  ["proxies, in either spelling", "https_proxy"],
  ["the edge's settings", "EDGE_ACCESS_LOG"],
  ["how many workers it has", "EDGE_WORKERS"],
  ["the control plane's settings", "CONTROL_PLANE_BUILDER"],
])("what a person's environment says of %s is passed on to the planes", (_what, name) => {
  expect(passedOn({ [name]: "x" })).toEqual({ [name]: "x" });
});

test.each([
  ["what else is in a shell", "AWS_SECRET_ACCESS_KEY"],
  ["flags for Node", "NODE_OPTIONS"],
  ["what an edge tells its workers", "EDGE_WORKER"],
  ["what an edge tells its successor", "EDGE_SUCCESSOR"],
  ["the descriptor it hands over", "EDGE_ADMIN_FD"],
])("%s is not", (_what, name) => {
  expect(passedOn({ [name]: "1" })).toEqual({});
});

test("the edge is killed 2 s after the drain it was given, whoever gave it", () => {
  expect(edgeStopMs({})).toBe(7_000);
  expect(edgeStopMs({ EDGE_DRAIN_MS: "30000" })).toBe(32_000);
  // The edge itself refuses such a value and does not start.
  expect(edgeStopMs({ EDGE_DRAIN_MS: "long" })).toBe(7_000);
});
