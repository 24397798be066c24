import { cpus, totalmem } from "node:os";
import { rank } from "./quantiles.ts";

/** One measured quantity: all its samples, or what is known of them. */
export interface Figure {
  readonly name: string;
  readonly unit: "ms" | "s" | "MiB" | "count";
  /** Column → value, in the order in which people read them. NaN, `null` in JSON, where nothing was measured. */
  readonly values: Readonly<Record<string, number>>;
  /** What the project wants of it, in words. */
  readonly aim?: string;
  /** Whether it got it. */
  readonly met?: boolean;
  /** Figures of one table stand below each other, under the names of their columns. */
  readonly table?: string;
}

export interface Report {
  readonly bench: string;
  /** How it was measured, where that differs from run to run. */
  readonly notes?: readonly string[];
  readonly figures: readonly Figure[];
  /** What went wrong meanwhile. Where anything did, the figures count for nothing. */
  readonly failures?: readonly string[];
}

const FAILURES_SHOWN = 20;

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

/** Least, median, 95th percentile and most: each is a value that was measured. */
export function summary(samples: readonly number[]): Record<string, number> {
  const sorted = samples.toSorted((a, b) => a - b);
  return { min: rank(sorted, 0), p50: rank(sorted, 0.5), p95: rank(sorted, 0.95), max: rank(sorted, 1) };
}

export function reportForPeople({ bench, notes = [], figures, failures = [] }: Report): string {
  const { cores, cpu, memoryGiB, platform, node, date } = machine();
  const facts = `${cores} cores (${cpu}), ${memoryGiB} GiB, ${platform}, Node ${node}, ${date}`;
  const tables = [...Map.groupBy(figures, ({ table }) => table)].map(([title, rows]) =>
    title === undefined ? listOf(rows) : tableOf(title, rows),
  );
  const failed =
    failures.length === 0
      ? []
      : [
          `  FAILED ${failures.length} ×\n${failures
            .slice(0, FAILURES_SHOWN)
            .map((each) => `    ${each}`)
            .join("\n")}`,
        ];
  return `${[[bench, facts, ...notes].join("\n"), ...tables, ...failed].join("\n\n")}\n`;
}

export function reportForPrograms(report: Report): string {
  return `${JSON.stringify({ ...report, machine: machine() })}\n`;
}

function listOf(figures: readonly Figure[]): string {
  const width = Math.max(...figures.map(({ name }) => name.length));
  const lines = figures.map(({ name, unit, values, aim, met }) => {
    const columns = Object.entries(values).map(([column, value]) => `${column} ${format(value)}`);
    const wanted = aim === undefined ? "" : `   aim: ${aim}`;
    const got = met === undefined ? "" : met ? "   met" : "   MISSED";
    return `  ${name.padEnd(width)}  ${columns.join("  ")}${unit === "count" ? "" : ` ${unit}`}${wanted}${got}`;
  });
  return lines.join("\n");
}

function tableOf(title: string, figures: readonly Figure[]): string {
  const columns = [...new Set(figures.flatMap(({ values }) => Object.keys(values)))];
  const rows = figures.map(({ name, values }) => [
    name,
    ...columns.map((column) => {
      const value = values[column];
      return value === undefined ? "" : format(value);
    }),
  ]);
  const head = [title, ...columns];
  const widths = head.map((cell, i) => Math.max(cell.length, ...rows.map((row) => row[i]?.length ?? 0)));
  return [head, ...rows]
    .map((row) =>
      row
        .map((cell, i) => (i === 0 ? cell.padEnd(widths[i] ?? 0) : cell.padStart(widths[i] ?? 0)))
        .join("  "),
    )
    .map((line) => `  ${line}`.trimEnd())
    .join("\n");
}

function format(value: number): string {
  if (Number.isNaN(value)) return "–";
  if (Number.isInteger(value)) return String(value);
  return value.toFixed(value < 10 ? 2 : value < 100 ? 1 : 0);
}
