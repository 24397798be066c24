import { formatPlural, shortUrl } from "../format.ts";
import { hasEnded } from "../phases.ts";
import type { RunDetail } from "../trpc.ts";
import { CopyButton } from "./copy-button.tsx";
import { Icon } from "./icon.tsx";
import { Reason } from "./reason.tsx";

const stays = "What was live stays live.";

/** What a person came for: is it live, and if not, why and what serves meanwhile. */
export function RunOutcome({ run }: { run: RunDetail }) {
  const reason = run.reason ?? "It ended without a reason.";
  const leftAsItWas = !run.stages.some((stage) => stage.name === "publish" && stage.state === "succeeded");
  return (
    <>
      {run.state === "queued" && (
        <p className="alert alert-secondary" role="status">
          <Icon name="clock" className="me-2" />
          {run.ahead
            ? `Waiting in the queue behind ${formatPlural(run.ahead, "run")}.`
            : "Next in the queue."}
        </p>
      )}
      {hasEnded(run.state) && run.state !== "succeeded" && (
        <div
          className={`alert ${run.state === "failed" ? "alert-danger" : "alert-secondary"} d-flex gap-3`}
          role="alert"
        >
          <Icon
            name={run.state === "failed" ? "failure" : run.state === "skipped" ? "skipped" : "stopped"}
            className="mt-1"
          />
          <div className="text-break">
            <Reason text={reason} />
            {leftAsItWas && run.state !== "skipped" && !reason.includes(stays) && (
              <p className="mb-0 mt-1">{stays}</p>
            )}
          </div>
        </div>
      )}
      {run.functions.length > 0 && (
        <section className="alert alert-success" aria-labelledby="live">
          <h2 className="h6" id="live">
            <Icon name="success" className="me-2" />
            {formatPlural(run.functions.length, "function")} live from this commit
          </h2>
          <ul className="list-unstyled mb-0">
            {run.functions.map((item) => (
              <li key={item.name} className="d-flex align-items-center">
                <a href={item.url} target="_blank" rel="noreferrer" className="alert-link text-break">
                  {shortUrl(item.url)}
                </a>
                <CopyButton text={item.url} what={`URL of ${item.name}`} />
              </li>
            ))}
          </ul>
        </section>
      )}
    </>
  );
}
