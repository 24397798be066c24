import { describe, vi } from "vitest";
import { remoteHostContract } from "./contracts/remote-host.ts";
import { startGitLab } from "./support/fake-gitlab/host-under-test.ts";

// Every test has real repositories, and the machine may be busy.
vi.setConfig({ testTimeout: 60_000 });

describe("GitLab keeps what every remote host promises", () => {
  remoteHostContract(() => startGitLab());
});
