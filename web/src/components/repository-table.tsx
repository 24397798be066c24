import { Link } from "react-router";
import type { Repository } from "../trpc.ts";
import { Age } from "./age.tsx";
import { Icon } from "./icon.tsx";
import { RunStatus } from "./run-status.tsx";

export function RepositoryTable({ repositories }: { repositories: readonly Repository[] }) {
  return (
    <table className="table table-stacked align-middle mb-0">
      <caption className="visually-hidden">Repositories, by name</caption>
      <thead>
        <tr>
          <th scope="col">Repository</th>
          <th scope="col">From</th>
          <th scope="col">Deploys</th>
          <th scope="col">Last run</th>
          <th scope="col" className="text-md-end">
            Live functions
          </th>
        </tr>
      </thead>
      <tbody>
        {repositories.map((repository) => (
          <tr key={`${repository.host} ${repository.name}`}>
            <th scope="row" className="stacked-title">
              <RepositoryName repository={repository} />
              {repository.unlinked !== undefined && (
                <div className="small fw-normal text-warning-emphasis">
                  <Icon name="warning" className="me-1" />
                  Unlinked <Age at={repository.unlinked.at} />: {repository.unlinked.reason} Its functions are
                  deleted a day after that.
                </div>
              )}
            </th>
            <td data-label="From">{repository.host ?? "this platform"}</td>
            <td data-label="Deploys" className="text-break branch">
              {repository.branch ?? "—"}
            </td>
            <td data-label="Last run">
              {repository.newestRun === undefined ? (
                "none yet"
              ) : (
                <Link
                  to={`/runs/${repository.newestRun.id}`}
                  className="d-inline-flex flex-wrap gap-2 align-items-center text-decoration-none"
                >
                  <RunStatus state={repository.newestRun.state} />
                  <span className="small text-body-secondary">
                    <Age at={repository.newestRun.createdAt} />
                  </span>
                </Link>
              )}
            </td>
            <td data-label="Live functions" className="text-md-end">
              {repository.functions}
            </td>
          </tr>
        ))}
      </tbody>
    </table>
  );
}

function RepositoryName({ repository: { name, webUrl, isPrivate } }: { repository: Repository }) {
  return (
    <span className="d-inline-flex flex-wrap align-items-center gap-2">
      {webUrl === undefined ? (
        <span className="text-break">{name}</span>
      ) : (
        <a href={webUrl} rel="noreferrer" className="fw-semibold text-break">
          {name}
          <Icon name="open" className="ms-1 small" />
        </a>
      )}
      {isPrivate && <span className="badge text-bg-secondary fw-normal">private</span>}
    </span>
  );
}
