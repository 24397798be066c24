import type { Phase } from "../phases.ts";
import { StateBadge, type StateLook } from "./state-badge.tsx";

const looks: Record<Phase["state"], StateLook> = {
  waiting: { word: "Waiting", icon: "waiting", tone: "secondary" },
  running: { word: "Running", icon: "repeat", tone: "primary", turning: true },
  succeeded: { word: "Succeeded", icon: "success", tone: "success" },
  failed: { word: "Failed", icon: "failure", tone: "danger" },
  skipped: { word: "Skipped", icon: "skipped", tone: "secondary" },
  "not reached": { word: "Not reached", icon: "notReached", tone: "secondary" },
};

export function StageStatus({ state }: { state: Phase["state"] }) {
  return <StateBadge look={looks[state]} />;
}
