import type { HostHealth, SourceHost } from "../trpc.ts";
import { Age } from "./age.tsx";
import { Icon } from "./icon.tsx";
import { StateBadge } from "./state-badge.tsx";

interface HostTableProps {
  readonly hosts: readonly SourceHost[];
  readonly health: readonly HostHealth[];
}

export function HostTable({ hosts, health }: HostTableProps) {
  return (
    <table className="table table-stacked align-middle mb-0">
      <caption className="visually-hidden">Source hosts</caption>
      <thead>
        <tr>
          <th scope="col">Source host</th>
          <th scope="col">State</th>
          <th scope="col">Last read</th>
          <th scope="col">Sign-in</th>
          <th scope="col">Webhooks point at</th>
        </tr>
      </thead>
      <tbody>
        {hosts.map((host) => {
          const state = health.find(({ instance }) => instance === host.instance);
          return (
            <tr key={host.instance}>
              <th scope="row" className="stacked-title">
                <a href={host.url} rel="noreferrer" className="fw-semibold text-break">
                  {host.title}
                  <Icon name="open" className="ms-1 small" />
                </a>
                {state?.failingSince !== undefined && state.lastError !== undefined && (
                  <div className="small fw-normal text-danger-emphasis text-break">
                    {state.lastError.message}
                  </div>
                )}
              </th>
              <td data-label="State">
                <HostState state={state} />
              </td>
              <td data-label="Last read">
                {state?.readAt === undefined ? "not yet" : <Age at={state.readAt} />}
              </td>
              <td data-label="Sign-in">{host.signIn ? "yes" : "no"}</td>
              <td data-label="Webhooks point at" className="stacked-whole">
                <code className="text-break">{host.webhookUrl}</code>
              </td>
            </tr>
          );
        })}
      </tbody>
    </table>
  );
}

function HostState({ state }: { state: HostHealth | undefined }) {
  if (state?.failingSince !== undefined)
    return <StateBadge look={{ word: "Not answering", icon: "failure", tone: "danger" }} />;
  if (state?.readAt === undefined)
    return <StateBadge look={{ word: "Being read", icon: "repeat", tone: "primary", turning: true }} />;
  return <StateBadge look={{ word: "Followed", icon: "success", tone: "success" }} />;
}
