import { cpus, totalmem } from "node:os";

/** One measured quantity: all its samples, or what is known of them. */
export interface Figure {
  readonly name: string;
  readonly unit: "ms" | "s" | "MiB" | "count";
  /** Column → value, in the order in which people read them. */
  readonly values: Readonly<Record<string, number>>;
  /** What the project wants of it, in words. */
  readonly aim?: string;
}

export interface Report {
  readonly bench: string;
  readonly figures: readonly Figure[];
}

export function machine() {
  const [first] = cpus();
  return {
    cores: cpus().length,
    cpu: first?.model.trim() ?? "unknown",
    memoryGiB: Math.round(totalmem() / 2 ** 30),
    platform: `${process.platform} ${process.arch}`,
    node: process.versions.node,
    date: new Date().toISOString(),
  };
}

/** Least, median, 95th percentile and most, by nearest rank: each is a value that was measured. */
export function summary(samples: readonly number[]): Record<string, number> {
  const sorted = samples.toSorted((a, b) => a - b);
  const rank = (share: number) => sorted[Math.max(0, Math.ceil(share * sorted.length) - 1)] ?? Number.NaN;
  return { min: rank(0), p50: rank(0.5), p95: rank(0.95), max: rank(1) };
}

export function reportForPeople({ bench, figures }: Report): string {
  const { cores, cpu, memoryGiB, platform, node, date } = machine();
  const facts = `${cores} cores (${cpu}), ${memoryGiB} GiB, ${platform}, Node ${node}, ${date}`;
  const width = Math.max(...figures.map(({ name }) => name.length));
  const lines = figures.map(({ name, unit, values, aim }) => {
    const columns = Object.entries(values).map(([column, value]) => `${column} ${format(value)}`);
    const wanted = aim === undefined ? "" : `   aim: ${aim}`;
    return `  ${name.padEnd(width)}  ${columns.join("  ")}${unit === "count" ? "" : ` ${unit}`}${wanted}`;
  });
  return `${bench}\n${facts}\n\n${lines.join("\n")}\n`;
}

export function reportForPrograms(report: Report): string {
  return `${JSON.stringify({ ...report, machine: machine() })}\n`;
}

function format(value: number): string {
  return Number.isInteger(value) ? String(value) : value.toFixed(value < 10 ? 2 : value < 100 ? 1 : 0);
}
