import type { Stage } from "../trpc.ts";
import { Duration } from "./duration.tsx";
import { StageStatus } from "./stage-status.tsx";

/** Every stage that ran, with the function it worked on and what came of it. */
export function StageTable({ stages }: { stages: readonly Stage[] }) {
  return (
    <table className="table table-stacked align-middle mb-0">
      <caption className="visually-hidden">Stages in the order they ran</caption>
      <thead>
        <tr>
          <th scope="col">Stage</th>
          <th scope="col">State</th>
          <th scope="col">What came of it</th>
          <th scope="col" className="text-md-end">
            Duration
          </th>
        </tr>
      </thead>
      <tbody>
        {stages.map((stage) => (
          <tr key={`${stage.name} ${stage.function ?? ""}`}>
            <th scope="row" className="stacked-title fw-normal">
              <span className="fw-semibold text-capitalize">{stage.name}</span>
              {stage.function !== undefined && <span className="text-break"> {stage.function}</span>}
            </th>
            <td data-label="State">
              <StageStatus state={stage.state} />
            </td>
            <td className="stacked-whole text-break">{stage.detail?.split("\n")[0] ?? "–"}</td>
            <td data-label="Duration" className="text-md-end">
              <Duration from={stage.startedAt} to={stage.finishedAt} />
            </td>
          </tr>
        ))}
      </tbody>
    </table>
  );
}
