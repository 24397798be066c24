import { Link } from "react-router";
import { formatCount, shortUrl } from "../format.ts";
import type { FunctionSummary } from "../trpc.ts";
import { Age } from "./age.tsx";
import { Commit } from "./commit.tsx";
import { CopyButton } from "./copy-button.tsx";
import { FunctionState } from "./function-state.tsx";
import { Replicas } from "./replicas.tsx";

/** One row for each function; on a narrow screen one block. */
export function FunctionTable({ functions }: { functions: readonly FunctionSummary[] }) {
  return (
    <table className="table table-hover table-stacked align-middle mb-0">
      <caption className="visually-hidden">Functions</caption>
      <thead>
        <tr>
          <th scope="col">Function</th>
          <th scope="col">Owner</th>
          <th scope="col">State</th>
          <th scope="col">URL</th>
          <th scope="col">Replicas</th>
          <th scope="col">Commit</th>
          <th scope="col">Deployed</th>
          <th scope="col" className="text-md-end">
            <abbr title="Invocations of the last 24 hours">24 h</abbr>
          </th>
        </tr>
      </thead>
      <tbody>
        {functions.map((item) => (
          <tr key={item.id} className="position-relative">
            <th scope="row" className="stacked-title">
              <Link to={`/${item.owner}/${item.name}`} className="fw-semibold stretched-link text-break">
                {item.name}
              </Link>
            </th>
            <td data-label="Owner">{item.owner}</td>
            <td data-label="State">
              <FunctionState state={item.state} />
            </td>
            <td className="stacked-whole">
              <span className="d-inline-flex align-items-center mw-100 position-relative z-2">
                <a href={item.url} target="_blank" rel="noreferrer" className="text-break">
                  {shortUrl(item.url)}
                </a>
                <CopyButton text={item.url} what={`URL of ${item.name}`} />
              </span>
            </td>
            <td data-label="Replicas">
              <Replicas {...item.replicas} />
            </td>
            <td data-label="Commit">
              <Commit commit={item.commit} />
            </td>
            <td data-label="Deployed">
              <Age at={item.deployedAt} />
            </td>
            <td data-label="Last 24 h" className="text-md-end">
              {formatCount(item.invocations)}
            </td>
          </tr>
        ))}
      </tbody>
    </table>
  );
}
