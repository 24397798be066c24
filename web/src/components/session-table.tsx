import type { SessionItem } from "../trpc.ts";
import { Age } from "./age.tsx";
import { ActionsHeader, RowButton } from "./row-button.tsx";

interface SessionTableProps {
  readonly sessions: readonly SessionItem[];
  readonly busy: boolean;
  readonly onEnd: (id: string) => void;
}

export function SessionTable({ sessions, busy, onEnd }: SessionTableProps) {
  return (
    <table className="table table-stacked align-middle mb-0">
      <caption className="visually-hidden">Where you are signed in, the one used last first</caption>
      <thead>
        <tr>
          <th scope="col">Browser</th>
          <th scope="col">From</th>
          <th scope="col">Last seen</th>
          <th scope="col">Signed in</th>
          <ActionsHeader className="text-md-end" />
        </tr>
      </thead>
      <tbody>
        {sessions.map((session) => (
          <tr key={session.id}>
            <th scope="row" className="stacked-title fw-normal">
              <span className="clamped text-break">{session.userAgent || "unknown"}</span>
            </th>
            <td data-label="From" className="text-break">
              {session.address || "unknown"}
            </td>
            <td data-label="Last seen">
              <Age at={session.seenAt} />
            </td>
            <td data-label="Signed in">
              <Age at={session.createdAt} />
            </td>
            <td className="text-md-end">
              {session.isThis ? (
                <span className="text-nowrap text-body-secondary">this one</span>
              ) : (
                <RowButton
                  act="Sign out"
                  to={session.userAgent}
                  busy={busy}
                  onPress={() => onEnd(session.id)}
                />
              )}
            </td>
          </tr>
        ))}
      </tbody>
    </table>
  );
}
