import { Link } from "react-router";
import { firstLine } from "../format.ts";
import type { RunSummary } from "../trpc.ts";
import { Age } from "./age.tsx";
import { Commit } from "./commit.tsx";
import { Duration } from "./duration.tsx";
import { RunStatus } from "./run-status.tsx";

export function RunTable({ runs }: { runs: readonly RunSummary[] }) {
  return (
    <table className="table table-hover table-stacked align-middle mb-0">
      <caption className="visually-hidden">Runs, newest first</caption>
      <thead>
        <tr>
          <th scope="col">Run</th>
          <th scope="col">State</th>
          <th scope="col">Branch</th>
          <th scope="col">Began</th>
          <th scope="col" className="text-md-end">
            Duration
          </th>
        </tr>
      </thead>
      <tbody>
        {runs.map((run) => (
          <tr key={run.id} className="position-relative">
            <th scope="row" className="stacked-title">
              <Link to={`/runs/${run.id}`} className="fw-semibold stretched-link text-break">
                {firstLine(run.message) || "No commit message"}
              </Link>
              <div className="small fw-normal text-body-secondary text-break">
                {run.owner}/{run.repository} <Commit commit={run.commit} />
                {run.trigger !== "push" && ` · ${run.trigger}`}
              </div>
              {run.state === "failed" && run.reason !== undefined && (
                <div className="small fw-normal text-danger-emphasis clamped">{run.reason}</div>
              )}
            </th>
            <td data-label="State">
              <RunStatus state={run.state} />
            </td>
            <td data-label="Branch" className="text-break branch">
              {run.branch}
            </td>
            <td data-label="Began">
              <Age at={run.createdAt} />
            </td>
            <td data-label="Duration" className="text-md-end">
              <Duration from={run.startedAt} to={run.finishedAt} />
            </td>
          </tr>
        ))}
      </tbody>
    </table>
  );
}
