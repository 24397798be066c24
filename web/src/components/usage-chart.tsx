import { formatClock, formatCount } from "../format.ts";
import type { FunctionUsage } from "../trpc.ts";

type Bar = FunctionUsage["lastHour"][number];

const height = 100;

/** Failures stand on successes. The same numbers follow as a table. */
export function UsageChart({ bars, summary }: { bars: readonly Bar[]; summary: string }) {
  const now = Date.now();
  const peak = Math.max(0, ...bars.map((bar) => bar.success + bar.failure));
  const top = Math.max(1, peak);
  const first = bars[0];
  return (
    <figure className="mb-0">
      <svg
        className="usage-chart w-100 d-block border-bottom"
        viewBox={`0 0 ${bars.length * 10} ${height}`}
        preserveAspectRatio="none"
        role="img"
        aria-label={summary}
      >
        {bars.map((bar, index) => {
          const success = (bar.success / top) * height;
          const failure = (bar.failure / top) * height;
          return (
            <g key={bar.from}>
              <title>{`${formatClock(bar.from, now)}: ${bar.success} succeeded, ${bar.failure} failed`}</title>
              <rect className="bar-track" x={index * 10} y={0} width={10} height={height} />
              <rect
                className="bar-success"
                x={index * 10 + 1.5}
                y={height - success}
                width={7}
                height={success}
              />
              <rect
                className="bar-failure"
                x={index * 10 + 1.5}
                y={height - success - failure}
                width={7}
                height={failure}
              />
            </g>
          );
        })}
      </svg>
      <div className="d-flex justify-content-between small text-body-secondary mt-1">
        <span>{first === undefined ? "" : formatClock(first.from, now)}</span>
        {peak > 0 && <span>{`highest bar ${formatCount(peak)}`}</span>}
        <span>now</span>
      </div>
      <figcaption className="mt-2">{summary}</figcaption>
      <details className="mt-2">
        <summary className="small py-1">Show as a table</summary>
        <div className="usage-table overflow-auto mt-2">
          <table className="table table-sm mb-0">
            <thead>
              <tr>
                <th scope="col">From</th>
                <th scope="col" className="text-end">
                  Success
                </th>
                <th scope="col" className="text-end">
                  Failure
                </th>
              </tr>
            </thead>
            <tbody>
              {bars.map((bar) => (
                <tr key={bar.from}>
                  <th scope="row" className="fw-normal">
                    {formatClock(bar.from, now)}
                  </th>
                  <td className="text-end">{formatCount(bar.success)}</td>
                  <td className="text-end">{formatCount(bar.failure)}</td>
                </tr>
              ))}
            </tbody>
          </table>
        </div>
      </details>
    </figure>
  );
}
