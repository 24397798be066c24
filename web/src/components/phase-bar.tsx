import type { Phase } from "../phases.ts";
import { Duration } from "./duration.tsx";
import { StageStatus } from "./stage-status.tsx";

/** How far a run has come, left to right; top to bottom where the screen is narrow. */
export function PhaseBar({ phases }: { phases: readonly Phase[] }) {
  return (
    <ol className="phase-bar list-unstyled mb-0" aria-label="Stages">
      {phases.map((phase) => (
        <li
          key={phase.name}
          className={`phase phase-${phase.state.replace(" ", "-")}`}
          aria-current={phase.state === "running" ? "step" : undefined}
        >
          <span className="fw-semibold text-capitalize">{phase.name}</span>
          <StageStatus state={phase.state} />
          <span className="small text-body-secondary">
            <Duration from={phase.startedAt} to={phase.finishedAt} />
          </span>
        </li>
      ))}
    </ol>
  );
}
