/** Labels as they stand between the braces, and what they have come to. */
export type Sample = readonly [labels: string, value: number];

/**
 * A family of Prometheus' text format, version 0.0.4. Names, help and label values are this program's own words or names of
 * the route table: nothing in them needs escaping.
 */
export function family(
  name: string,
  type: "counter" | "gauge",
  help: string,
  samples: readonly Sample[],
): string {
  let text = familyHead(name, type, help);
  for (const [labels, value] of samples) {
    text += labels === "" ? `${name} ${value}\n` : `${name}{${labels}} ${value}\n`;
  }
  return text;
}

export function familyHead(name: string, type: "counter" | "gauge" | "histogram", help: string): string {
  return `# HELP ${name} ${help}\n# TYPE ${name} ${type}\n`;
}

/** Counters of a fixed set of label values, all there from the start: a counter that appears with its first count hides it. */
export function countersFor<Value extends string>(values: readonly Value[]): Record<Value, number> {
  return Object.fromEntries(values.map((value) => [value, 0])) as Record<Value, number>;
}

export function samplesBy(label: string, counts: Readonly<Record<string, number>>): Sample[] {
  return Object.entries(counts).map(([value, count]) => [`${label}="${value}"`, count]);
}
