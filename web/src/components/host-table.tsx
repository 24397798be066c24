import type { SourceHost } from "../trpc.ts";
import { Icon } from "./icon.tsx";

export function HostTable({ hosts }: { hosts: readonly SourceHost[] }) {
  return (
    <table className="table table-stacked align-middle mb-0">
      <caption className="visually-hidden">Source hosts</caption>
      <thead>
        <tr>
          <th scope="col">Source host</th>
          <th scope="col">Sign-in</th>
          <th scope="col">Webhooks point at</th>
        </tr>
      </thead>
      <tbody>
        {hosts.map((host) => (
          <tr key={host.instance}>
            <th scope="row" className="stacked-title">
              <a href={host.url} rel="noreferrer" className="fw-semibold text-break">
                {host.title}
                <Icon name="open" className="ms-1 small" />
              </a>
            </th>
            <td data-label="Sign-in">{host.signIn ? "yes" : "no"}</td>
            <td data-label="Webhooks point at" className="stacked-whole">
              <code className="text-break">{host.webhookUrl}</code>
            </td>
          </tr>
        ))}
      </tbody>
    </table>
  );
}
