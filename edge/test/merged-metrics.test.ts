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
  merged.addPast(counter('hits{code="200"} 10') + gauge("open", 4), []);
  merged.addPast(counter('hits{code="200"} 5', 'hits{code="404"} 1'), []);
  expect(values(merged.render([counter('hits{code="200"} 1') + gauge("open", 2)]))).toEqual([
    'hits{code="200"} 16',
    'hits{code="404"} 1',
    "open 2",
  ]);
  // Asked again, it is the same: nothing was added up in the asking.
  expect(values(merged.render([]))).toEqual(['hits{code="200"} 15', 'hits{code="404"} 1']);
});

/** What a worker says that counted these functions, each in two families, after a family of its own. */
function worker(functions: readonly string[]): string {
  const family = (name: string): string =>
    [`# TYPE ${name} counter`, ...functions.map((f) => `${name}{function_name="${f}.o",code="200"} 1`)].join(
      "\n",
    );
  return `# TYPE own counter\nown{reason="x"} 1\n${family("calls")}\n${family("bytes")}\n`;
}

/** The functions that a metric still tells of, by their numbers. */
function functionsIn(text: string, name: string): Record<string, number> {
  const found = text.matchAll(new RegExp(`^${name}\\{function_name="(.*)\\.o".*\\} (\\d+)$`, "gm"));
  return Object.fromEntries([...found].map(([, f, value]) => [f, Number(value)]));
}

test("the past is bounded by functions: one is forgotten whole, the one counted longest ago first", () => {
  const merged = new MergedMetrics({ maxPastFunctions: 3 });
  merged.addPast(worker(["a", "b", "c"]), []);
  merged.addPast(worker(["a", "d"]), []);
  merged.addPast(worker(["e"]), []);
  const text = merged.render([]);
  expect(functionsIn(text, "calls")).toEqual({ a: 2, d: 1, e: 1 });
  expect(functionsIn(text, "bytes")).toEqual({ a: 2, d: 1, e: 1 });
});

test("functions that a living worker still counts are forgotten after those that none does", () => {
  const merged = new MergedMetrics({ maxPastFunctions: 3 });
  merged.addPast(worker(["a", "b"]), []);
  merged.addPast(worker(["gone-1", "gone-2"]), [worker(["b"]), worker(["a"])]);
  const living = [worker(["b"]), worker(["a"])];
  expect(functionsIn(merged.render(living), "calls")).toEqual({ a: 2, b: 2, "gone-2": 1 });
  merged.addPast(worker(["c", "d"]), living);
  expect(functionsIn(merged.render(living), "calls")).toEqual({ a: 2, b: 2, d: 1 });
});

test("what the edge counts of itself is never forgotten, nor is anything of a table of any size", () => {
  const merged = new MergedMetrics();
  const table = Array.from({ length: 200_000 }, (_, i) => `f-${i}`);
  merged.addPast(worker(table), []);
  const others = Array.from({ length: 100_000 }, (_, i) => `g-${i}`);
  merged.addPast(worker(others), [worker(table)]);
  const text = merged.render([]);
  expect(values(text)).toContain('own{reason="x"} 2');
  const kept = Object.keys(functionsIn(text, "bytes"));
  expect(kept.filter((f) => f.startsWith("f-"))).toHaveLength(table.length);
  expect(kept).toHaveLength(250_000);
});
