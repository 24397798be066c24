/** What Prometheus would read in a text, and a complaint about whatever it should not have to. */
export interface Scrape {
  /** By name and labels as they stand in the text. */
  readonly series: ReadonlyMap<string, number>;
  readonly types: ReadonlyMap<string, string>;
  readonly problems: readonly string[];
}

const NAME = "[a-zA-Z_:][a-zA-Z0-9_:]*";
const LABEL = `[a-zA-Z_][a-zA-Z0-9_]*="(?:[^"\\\\\\n]|\\\\[\\\\"n])*"`;
const SAMPLE = new RegExp(`^((${NAME})(?:\\{(${LABEL}(?:,${LABEL})*)\\})?) (\\S+)$`);
const HEAD = new RegExp(`^# (HELP|TYPE) (${NAME}) (.+)$`);
const VALUE = /^(?:[+-]?(?:\d+(?:\.\d+)?(?:e[+-]?\d+)?|Inf)|NaN)$/i;

/** Reads the text format 0.0.4, more strictly than Prometheus does: families in one piece, each with its HELP and TYPE. */
export function parseExposition(text: string): Scrape {
  const series = new Map<string, number>();
  const types = new Map<string, string>();
  const helped = new Set<string>();
  const finished = new Set<string>();
  const problems: string[] = [];
  let current: string | undefined;

  const enter = (family: string, line: string): void => {
    if (family === current) return;
    if (current !== undefined) finished.add(current);
    if (finished.has(family)) problems.push(`family in two pieces: ${line}`);
    current = family;
  };
  if (!text.endsWith("\n")) problems.push("the last line does not end");
  for (const line of text.split("\n")) {
    if (line === "") continue;
    const head = HEAD.exec(line);
    if (head !== null) {
      const [, kind, family = "", rest = ""] = head;
      enter(family, line);
      if (kind === "HELP" && helped.has(family)) problems.push(`second HELP: ${line}`);
      if (kind === "HELP") helped.add(family);
      if (kind === "TYPE" && types.has(family)) problems.push(`second TYPE: ${line}`);
      if (kind === "TYPE" && !/^(counter|gauge|histogram|summary|untyped)$/.test(rest)) problems.push(line);
      if (kind === "TYPE") types.set(family, rest);
      continue;
    }
    const sample = SAMPLE.exec(line);
    if (sample === null || !VALUE.test(sample[4] ?? "")) {
      problems.push(`not a sample: ${line}`);
      continue;
    }
    const [, id = "", name = "", , value] = sample;
    const family = familyOf(name, types);
    enter(family, line);
    if (!types.has(family) || !helped.has(family)) problems.push(`sample without TYPE or HELP: ${line}`);
    if (series.has(id)) problems.push(`second sample: ${line}`);
    series.set(id, Number(value?.replace(/Inf$/i, "Infinity")));
  }
  return { series, types, problems };
}

function familyOf(name: string, types: ReadonlyMap<string, string>): string {
  const base = name.replace(/_(bucket|sum|count)$/, "");
  return types.get(base) === "histogram" || types.get(base) === "summary" ? base : name;
}

/** Counters, buckets and counts that are less in the later scrape than they were. */
export function fallen(before: Scrape, after: Scrape): string[] {
  return [...before.series.keys()].filter((id) => {
    const name = id.split("{", 1)[0] ?? "";
    const type = after.types.get(familyOf(name, after.types));
    if (type !== "counter" && type !== "histogram") return false;
    return (after.series.get(id) ?? Number.NEGATIVE_INFINITY) < (before.series.get(id) ?? 0);
  });
}

/** Ids of the series of one function. */
export function seriesOf(scrape: Scrape, functionName: string): string[] {
  return [...scrape.series.keys()].filter((id) => id.includes(`function_name="${functionName}"`));
}
