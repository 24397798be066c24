import { mkdirSync } from "node:fs";
import { resolve } from "node:path";
import { openBubblewrap } from "./bubblewrap.ts";
import { findCgroups, removeEmptyCgroups } from "./cgroup.ts";
import { type Confinement, unconfined } from "./confinement.ts";
import type { Sandbox } from "./sandbox.ts";
import { processesIn } from "./sandboxed-process.ts";
import { scopeOf } from "./scope.ts";
import { findSandboxFault } from "./self-test.ts";

export interface SandboxOptions {
  readonly dataDir: string;
  /** `none` runs everything as plain child processes, on machines that could do better too. */
  readonly mode?: "auto" | "none";
  /** Whether limits are held by control groups where the machine allows; else, and with `none`, by looking each second. */
  readonly cgroups?: "auto" | "none";
  /** How long processes have to be gone once they are killed; 10 s. */
  readonly killDeadlineMs?: number;
}

const KILL_DEADLINE_MS = 10_000;

/** Takes the strongest isolation that proves itself here and now. */
export async function openSandbox(options: SandboxOptions): Promise<Sandbox> {
  const dataDir = resolve(options.dataDir);
  mkdirSync(dataDir, { recursive: true });
  const scope = scopeOf(dataDir);
  const cgroups = options.cgroups === "none" ? undefined : findCgroups(`openfaas-cloud-${scope}`);
  if (cgroups !== undefined) removeEmptyCgroups(cgroups);
  const make = (confinement: Confinement): Sandbox => ({
    isolation: confinement.isolation,
    view: (mount) => confinement.view(mount),
    ...processesIn({
      confinement,
      cgroups,
      scope,
      killDeadlineMs: options.killDeadlineMs ?? KILL_DEADLINE_MS,
    }),
  });
  if (options.mode === "none") return make(unconfined("isolation was switched off"));
  const bubblewrap = openBubblewrap(dataDir);
  if (bubblewrap.kind === "absent") return make(unconfined(bubblewrap.reason));
  const sandbox = make(bubblewrap.confinement);
  const fault = await findSandboxFault(sandbox, dataDir);
  return fault === undefined ? sandbox : make(unconfined(fault));
}
