import { useConnection } from "../connection.ts";
import { formatClock } from "../format.ts";
import { Icon } from "./icon.tsx";

/** Says that the page may be old; the page itself stays. */
export function ConnectionBanner() {
  const connection = useConnection();
  return (
    <div role="status" className="connection-banner">
      {connection.kind === "lost" && (
        <div className="bg-warning-subtle text-warning-emphasis border-bottom border-warning-subtle">
          <div className="container-xl d-flex align-items-center gap-2 py-2">
            <Icon name="disconnected" />
            <span>
              Not connected
              {connection.lastAnswerAt !== undefined &&
                `, showing data from ${formatClock(connection.lastAnswerAt, Date.now())}`}
              . Trying again by itself; live functions keep answering.
            </span>
          </div>
        </div>
      )}
    </div>
  );
}
