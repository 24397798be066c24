import { useState } from "react";
import { formatCount, formatLatency, formatPlural } from "../format.ts";
import type { FunctionUsage } from "../trpc.ts";
import { UsageChart } from "./usage-chart.tsx";

const windows = [
  { key: "hour", word: "1 h", phrase: "in the last hour" },
  { key: "day", word: "24 h", phrase: "in the last 24 hours" },
] as const;

export function UsageCard({ usage }: { usage: FunctionUsage }) {
  const [key, setKey] = useState<"hour" | "day">("hour");
  const totals = usage[key];
  const bars = key === "hour" ? usage.lastHour : usage.lastDay;
  const phrase = windows.find((window) => window.key === key)?.phrase ?? "";
  const all = totals.success + totals.failure;
  return (
    <section className="card" aria-labelledby="invocations">
      <div className="card-header d-flex align-items-center justify-content-between py-1">
        <h2 className="h6 mb-0" id="invocations">
          Invocations
        </h2>
        <fieldset className="btn-group btn-group-sm" aria-label="Time range">
          {windows.map((window) => (
            <button
              key={window.key}
              type="button"
              className={`btn btn-outline-secondary ${window.key === key ? "active" : ""}`}
              aria-pressed={window.key === key}
              onClick={() => setKey(window.key)}
            >
              {window.word}
            </button>
          ))}
        </fieldset>
      </div>
      <div className="card-body">
        <dl className="row row-cols-2 row-cols-sm-4 g-2 text-center mb-3">
          <Figure term="Success" value={formatCount(totals.success)} mark="bar-success" />
          <Figure term="Failure" value={formatCount(totals.failure)} mark="bar-failure" />
          <Figure term="p50" value={latency(totals.p50Ms)} />
          <Figure term="p95" value={latency(totals.p95Ms)} />
        </dl>
        <UsageChart
          bars={bars}
          summary={
            all === 0
              ? `No invocations ${phrase}.`
              : `${formatPlural(all, "invocation")} ${phrase}, ${totals.failure === 0 ? "none" : formatCount(totals.failure)} of them failed.`
          }
        />
      </div>
    </section>
  );
}

function Figure({ term, value, mark }: { term: string; value: string; mark?: string }) {
  return (
    <div className="col d-flex flex-column-reverse">
      <dt className="fw-normal small text-body-secondary">
        {mark !== undefined && <span aria-hidden className={`mark ${mark}`} />}
        {term}
      </dt>
      <dd className="fs-5 fw-semibold mb-0 text-nowrap">{value}</dd>
    </div>
  );
}

function latency(ms: number | undefined): string {
  return ms === undefined ? "–" : formatLatency(ms);
}
