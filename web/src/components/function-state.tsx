import type { FunctionSummary } from "../trpc.ts";
import { StateBadge, type StateLook } from "./state-badge.tsx";

const looks: Record<FunctionSummary["state"], StateLook> = {
  live: { word: "Live", icon: "success", tone: "success" },
  degraded: { word: "Degraded", icon: "warning", tone: "warning" },
  down: { word: "Down", icon: "failure", tone: "danger" },
};

export function FunctionState({ state }: { state: FunctionSummary["state"] }) {
  return <StateBadge look={looks[state]} />;
}
