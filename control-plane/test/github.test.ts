import { describe } from "vitest";
import { remoteHostContract } from "./contracts/remote-host.ts";
import { startGitHub } from "./support/fake-github/under-test.ts";

describe("GitHub, reporting by checks", () => {
  remoteHostContract(() => startGitHub({ report: "checks" }));
});
