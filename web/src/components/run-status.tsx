import type { RunSummary } from "../trpc.ts";
import { StateBadge, type StateLook } from "./state-badge.tsx";

const looks: Record<RunSummary["state"], StateLook> = {
  queued: { word: "Queued", icon: "clock", tone: "secondary" },
  running: { word: "Running", icon: "repeat", tone: "primary", turning: true },
  succeeded: { word: "Succeeded", icon: "success", tone: "success" },
  failed: { word: "Failed", icon: "failure", tone: "danger" },
  skipped: { word: "Nothing to deploy", icon: "skipped", tone: "secondary" },
  superseded: { word: "Superseded", icon: "skipped", tone: "secondary" },
  cancelled: { word: "Cancelled", icon: "stopped", tone: "secondary" },
};

export function RunStatus({ state }: { state: RunSummary["state"] }) {
  return <StateBadge look={looks[state]} />;
}
