import type { AuditItem } from "../trpc.ts";
import { Age } from "./age.tsx";

export function AuditTable({ events }: { events: readonly AuditItem[] }) {
  return (
    <table className="table table-stacked align-middle mb-0">
      <caption className="visually-hidden">What was done, the newest first</caption>
      <thead>
        <tr>
          <th scope="col">What</th>
          <th scope="col">Who</th>
          <th scope="col">From</th>
          <th scope="col" className="text-md-end">
            When
          </th>
        </tr>
      </thead>
      <tbody>
        {events.map((event) => (
          <tr key={event.id}>
            <th scope="row" className="stacked-title fw-normal">
              <div className="text-break">
                <span className="fw-semibold">{event.action}</span> {event.object}
              </div>
              <div className="small text-body-secondary text-break">{event.result}</div>
              {Object.keys(event.details).length > 0 && (
                <details className="small">
                  <summary>Details</summary>
                  <pre className="mb-0 p-2 border rounded bg-body-tertiary audit-details">
                    {JSON.stringify(event.details, null, 2)}
                  </pre>
                </details>
              )}
            </th>
            <td data-label="Who" className="text-break">
              {event.actorName ?? event.actor}
            </td>
            <td data-label="From" className="text-break">
              {event.address || "the platform"}
            </td>
            <td data-label="When" className="text-md-end">
              <Age at={event.at} />
            </td>
          </tr>
        ))}
      </tbody>
    </table>
  );
}
