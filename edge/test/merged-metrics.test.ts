import { expect, test } from "vitest";
import { MergedMetrics } from "../src/workers/merged-metrics.ts";

function counter(...series: string[]): string {
  return ["# HELP hits Hits.", "# TYPE hits counter", ...series, ""].join("\n");
}

function gauge(name: string, value: number): string {
  return `# HELP ${name} A gauge.\n# TYPE ${name} gauge\n${name} ${value}\n`;
}

/** The lines with a value. */
function values(text: string): string[] {
  return text.split("\n").filter((line) => line !== "" && !line.startsWith("#"));
}

test("counters and histograms are summed by their labels, each metric under one header", () => {
  const histogram = (count: number) =>
    `# HELP took Took.\n# TYPE took histogram\ntook_bucket{le="1"} ${count}\ntook_sum ${count / 2}\ntook_count ${count}\n`;
  const merged = new MergedMetrics().render([
    counter('hits{code="200"} 3', 'hits{code="404"} 1') + histogram(4),
    counter('hits{code="200"} 2', 'hits{code="500"} 7') + histogram(6),
  ]);
  expect(merged.split("\n")).toEqual([
    "# HELP hits Hits.",
    "# TYPE hits counter",
    'hits{code="200"} 5',
    'hits{code="404"} 1',
    'hits{code="500"} 7',
    "# HELP took Took.",
    "# TYPE took histogram",
    'took_bucket{le="1"} 10',
    "took_sum 5",
    "took_count 10",
    "",
  ]);
});

test("a label's value may hold a space", () => {
  expect(
    values(new MergedMetrics().render([counter('hits{what="a b"} 3'), counter('hits{what="a b"} 4')])),
  ).toEqual(['hits{what="a b"} 7']);
});

test.each([
  ["ofc_edge_client_connections", "their sum", 5],
  ["ofc_edge_route_version", "the least, since all serve at least that one", 2],
  ["ofc_edge_feed_connected", "the least", 2],
  ["ofc_edge_route_age_seconds", "the most", 3],
  ["ofc_edge_replicas", "the most, since they are mostly the same", 3],
  ["nodejs_eventloop_lag_p99_seconds", "the most", 3],
])("of the gauge %s all workers together have %s", (name, _how, value) => {
  expect(values(new MergedMetrics().render([gauge(name, 2), gauge(name, 3)]))).toEqual([`${name} ${value}`]);
});

test("what a worker counted that is gone counts on, and what it was at the moment does not", () => {
  const merged = new MergedMetrics();
  merged.addPast(counter('hits{code="200"} 10') + gauge("open", 4));
  merged.addPast(counter('hits{code="200"} 5', 'hits{code="404"} 1'));
  expect(values(merged.render([counter('hits{code="200"} 1') + gauge("open", 2)]))).toEqual([
    'hits{code="200"} 16',
    'hits{code="404"} 1',
    "open 2",
  ]);
  // Asked again, it is the same: nothing was added up in the asking.
  expect(values(merged.render([]))).toEqual(['hits{code="200"} 15', 'hits{code="404"} 1']);
});

test("the past is bounded: what was counted longest ago is forgotten first", () => {
  const merged = new MergedMetrics();
  const many = (from: number) =>
    counter(Array.from({ length: 150_000 }, (_, i) => `hits{f="${from + i}"} 1`).join("\n"));
  merged.addPast(many(0));
  merged.addPast(many(100_000));
  const kept = values(merged.render([]));
  expect(kept).toHaveLength(200_000);
  expect(kept).toContain('hits{f="100000"} 2');
  expect(kept).not.toContain('hits{f="49999"} 1');
});
