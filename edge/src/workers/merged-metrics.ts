/** One metric of the text format with all its series, each under its name and labels as they are written. */
interface Family {
  readonly header: readonly string[];
  readonly kind: string;
  readonly series: Map<string, number>;
}

/** By the metric's name. */
type Exposition = Map<string, Family>;

/** Gauges of which the sum over processes says nothing; of these one process's value stands for all. */
const LEAST = new Set([
  "ofc_edge_route_version",
  "ofc_edge_routes",
  "ofc_edge_feed_connected",
  "ofc_edge_tls_certificates",
  "ofc_edge_tls_soonest_expiry_seconds",
  "process_start_time_seconds",
  "process_max_fds",
]);
const MOST = new Set([
  "ofc_edge_route_age_seconds",
  // Each worker sends to those of its own requests, mostly the same.
  "ofc_edge_replicas",
  "nodejs_version_info",
]);
const MOST_WITH_PREFIX = "nodejs_eventloop_lag_";

/** Kept of processes that are gone. Beyond, what was counted longest ago goes: no counter of a live function does. */
const MAX_PAST_SERIES = 200_000;

/**
 * What several workers count, as if one had. Counters and histograms are summed, also over workers that are gone, so that
 * they never go back; gauges are summed over those that live, but for some that are the least or the most of all.
 */
export class MergedMetrics {
  readonly #past: Exposition = new Map();
  #pastSeries = 0;

  /** A worker is gone that had counted this. */
  addPast(text: string): void {
    for (const [name, family] of parse(text)) {
      if (family.kind === "gauge") continue;
      const past = this.#past.get(name) ?? { ...family, series: new Map<string, number>() };
      this.#past.set(name, past);
      this.#pastSeries -= past.series.size;
      for (const [series, value] of family.series) {
        const sum = (past.series.get(series) ?? 0) + value;
        // Moved to the end: the map is in the order of what was counted last.
        past.series.delete(series);
        past.series.set(series, sum);
      }
      this.#pastSeries += past.series.size;
    }
    this.#forgetOldest();
  }

  /** @param living what each living worker has counted */
  render(living: readonly string[]): string {
    const merged: Exposition = new Map();
    for (const exposition of [this.#past, ...living.map(parse)]) {
      for (const [name, family] of exposition) mergeInto(merged, name, family);
    }
    const lines: string[] = [];
    for (const { header, series } of merged.values()) {
      lines.push(...header);
      for (const [key, value] of series) lines.push(`${key} ${value}`);
    }
    return `${lines.join("\n")}\n`;
  }

  #forgetOldest(): void {
    for (const { series } of this.#past.values()) {
      for (const key of series.keys()) {
        if (this.#pastSeries <= MAX_PAST_SERIES) return;
        series.delete(key);
        this.#pastSeries -= 1;
      }
    }
  }
}

function mergeInto(merged: Exposition, name: string, { header, kind, series }: Family): void {
  const family = merged.get(name) ?? { header, kind, series: new Map<string, number>() };
  merged.set(name, family);
  const combine = howToCombine(name);
  for (const [key, value] of series) {
    const before = family.series.get(key);
    family.series.set(key, before === undefined ? value : combine(before, value));
  }
}

function howToCombine(name: string): (one: number, other: number) => number {
  if (LEAST.has(name)) return Math.min;
  if (MOST.has(name) || name.startsWith(MOST_WITH_PREFIX)) return Math.max;
  return (one, other) => one + other;
}

/** The text of this program's own metrics: no timestamps, and every family under its own TYPE line. */
function parse(text: string): Exposition {
  const exposition: Exposition = new Map();
  let help: string | undefined;
  let family: Family | undefined;
  for (const line of text.split("\n")) {
    if (line.startsWith("# HELP ")) {
      help = line;
    } else if (line.startsWith("# TYPE ")) {
      const [name = "", kind = ""] = line.slice("# TYPE ".length).split(" ");
      family = { header: help === undefined ? [line] : [help, line], kind, series: new Map() };
      exposition.set(name, family);
      help = undefined;
    } else if (family !== undefined && line !== "" && !line.startsWith("#")) {
      const end = line.lastIndexOf(" ");
      family.series.set(line.slice(0, end), Number(line.slice(end + 1)));
    }
  }
  return exposition;
}
