/** A Prometheus histogram without labels, or the sum of all its series: upper bound → observations up to it. */
export interface Histogram {
  readonly buckets: ReadonlyMap<number, number>;
  readonly count: number;
}

export function readHistogram(exposition: string, name: string): Histogram {
  const buckets = new Map<number, number>();
  let count = 0;
  for (const line of exposition.split("\n")) {
    const bucket = line.match(/^(\w+)_bucket\{(?:.*,)?le="([^"]+)".*\} (\S+)/);
    if (bucket?.[1] === name) {
      const bound = bucket[2] === "+Inf" ? Number.POSITIVE_INFINITY : Number(bucket[2]);
      buckets.set(bound, (buckets.get(bound) ?? 0) + Number(bucket[3]));
    }
    const total = line.match(/^(\w+)_count(?:\{.*\})? (\S+)/);
    if (total?.[1] === name) count += Number(total[2]);
  }
  return { buckets, count };
}

/** What was observed after `before` was read. */
export function since(before: Histogram, after: Histogram): Histogram {
  const buckets = [...after.buckets].map(
    ([bound, value]) => [bound, value - (before.buckets.get(bound) ?? 0)] as const,
  );
  return { buckets: new Map(buckets), count: after.count - before.count };
}

/** As Prometheus' `histogram_quantile` does: even spread within the bucket is assumed. */
export function quantile({ buckets, count }: Histogram, share: number): number {
  const wanted = share * count;
  let below = { bound: 0, value: 0 };
  for (const [bound, value] of [...buckets].toSorted(([a], [b]) => a - b)) {
    if (value >= wanted && value > below.value) {
      if (bound === Number.POSITIVE_INFINITY) return below.bound;
      return below.bound + ((bound - below.bound) * (wanted - below.value)) / (value - below.value);
    }
    below = { bound, value };
  }
  return Number.NaN;
}

/** Average duration by the value of one label, milliseconds: from the sums and counts beside the buckets. */
export function averagesBy(exposition: string, name: string, label: string): Map<string, number> {
  const sums = new Map<string, { sum: number; count: number }>();
  const series = new RegExp(`^${name}_(sum|count)\\{(?:.*,)?${label}="([^"]*)".*\\} (\\S+)`);
  for (const line of exposition.split("\n")) {
    const [, kind, value = "", amount] = line.match(series) ?? [];
    if (kind !== "sum" && kind !== "count") continue;
    const total = sums.get(value) ?? { sum: 0, count: 0 };
    total[kind] += Number(amount);
    sums.set(value, total);
  }
  return new Map([...sums].map(([value, { sum, count }]) => [value, (1000 * sum) / count]));
}
