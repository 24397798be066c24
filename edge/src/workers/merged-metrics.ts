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

/**
 * Kept of processes that are gone: more than the largest table has (200,000), with twenty series each. What the edge counts
 * of itself is no part of it.
 */
const MAX_PAST_FUNCTIONS = 250_000;

const FUNCTION_LABEL = 'function_name="';

/**
 * What several workers count, as if one had. Counters and histograms are summed, also over workers that are gone, so that
 * they never go back; gauges are summed over those that live, but for some that are the least or the most of all.
 */
export class MergedMetrics {
  readonly #past: Exposition = new Map();
  /** Of the past; the one that a worker which went counted longest ago is the first. */
  readonly #pastFunctions = new Set<string>();
  readonly #maxPastFunctions: number;

  constructor({ maxPastFunctions = MAX_PAST_FUNCTIONS }: { readonly maxPastFunctions?: number } = {}) {
    this.#maxPastFunctions = maxPastFunctions;
  }

  /**
   * A worker is gone that had counted this.
   * @param living what each of the others has counted, as far as it is known
   */
  addPast(text: string, living: readonly string[]): void {
    const counted = new Set<string>();
    for (const [name, family] of parse(text)) {
      if (family.kind === "gauge") continue;
      const past = this.#past.get(name) ?? { ...family, series: new Map<string, number>() };
      this.#past.set(name, past);
      for (const [series, value] of family.series) {
        past.series.set(series, (past.series.get(series) ?? 0) + value);
        const of = functionOf(series);
        if (of !== undefined) counted.add(of);
      }
    }
    for (const each of counted) {
      this.#pastFunctions.delete(each);
      this.#pastFunctions.add(each);
    }
    this.#forgetOldest(living);
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

  /** Whole functions: a sum without its count would mislead. Those that no living worker counts have no route, most likely. */
  #forgetOldest(living: readonly string[]): void {
    let tooMany = this.#pastFunctions.size - this.#maxPastFunctions;
    if (tooMany <= 0) return;
    const alive = functionsOf(living);
    const forgotten = new Set<string>();
    for (const which of [(each: string) => !alive.has(each), () => true]) {
      for (const each of this.#pastFunctions) {
        if (tooMany === 0) break;
        if (!which(each)) continue;
        this.#pastFunctions.delete(each);
        forgotten.add(each);
        tooMany -= 1;
      }
    }
    for (const { series } of this.#past.values()) {
      for (const key of series.keys()) {
        const of = functionOf(key);
        if (of !== undefined && forgotten.has(of)) series.delete(key);
      }
    }
  }
}

function functionsOf(texts: readonly string[]): Set<string> {
  const functions = new Set<string>();
  for (const text of texts) {
    for (const { series } of parse(text).values()) {
      for (const key of series.keys()) {
        const of = functionOf(key);
        if (of !== undefined) functions.add(of);
      }
    }
  }
  return functions;
}

/** `undefined` where a series is the edge's own. Functions' names have no quotes to escape. */
function functionOf(series: string): string | undefined {
  const start = series.indexOf(FUNCTION_LABEL);
  if (start === -1) return undefined;
  const from = start + FUNCTION_LABEL.length;
  return series.slice(from, series.indexOf('"', from));
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
