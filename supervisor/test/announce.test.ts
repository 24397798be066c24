import { expect, test } from "vitest";
import { announcement, announcementForPrograms } from "../src/announce.ts";
import type { Platform } from "../src/supervisor.ts";

const PLATFORM: Platform = {
  data: "/data",
  owner: "alice",
  token: "ofc_token",
  tokenFile: "/data/keys/push-token",
  dashboardUrl: "http://system.localhost:8080/dashboard/",
  signInUrl: "http://system.localhost:8080/sign-in",
  gitBaseUrl: "http://system.localhost:8080/git",
  exampleUrl: null,
  isolation: "none",
  listensOn: undefined,
  edgeMetricsUrl: "http://127.0.0.1:9001/metrics",
  controlPlaneMetricsUrl: "http://127.0.0.1:9002/metrics",
  pids: { supervisor: 1, edge: 2, controlPlane: 3 },
};

test("people are told where the metrics of either plane are", () => {
  const lines = announcement(PLATFORM).split("\n");
  const first = lines.findIndex((line) => line.startsWith("  Metrics "));
  expect(lines.slice(first, first + 2)).toEqual([
    "  Metrics    http://127.0.0.1:9001/metrics  (edge)",
    "             http://127.0.0.1:9002/metrics  (control plane)",
  ]);
});

test("a token that was revoked is not printed, and what to do for a new one is", () => {
  const told = announcement({ ...PLATFORM, token: undefined });
  expect(told).toContain("http://alice@system.localhost:8080/git/alice/");
  expect(told).toContain("remove /data/keys/push-token and start again");
  expect(announcement(PLATFORM)).not.toContain("revoked");
});

test("with a URL of its own the address for the proxy is told", () => {
  expect(announcement({ ...PLATFORM, listensOn: "127.0.0.1:8080" })).toContain("127.0.0.1:8080, for a proxy");
  expect(announcement(PLATFORM)).not.toContain("Listens");
});

test("so are programs", () => {
  expect(JSON.parse(announcementForPrograms(PLATFORM))).toMatchObject({
    edgeMetricsUrl: "http://127.0.0.1:9001/metrics",
    controlPlaneMetricsUrl: "http://127.0.0.1:9002/metrics",
  });
});
