import { startBenchPlatform } from "./bench-platform.ts";
import { quantile, readHistogram, since } from "./histogram.ts";
import type { Report } from "./report.ts";

const METRIC = "ofc_route_propagation_seconds";

/** From publishing a route change to the edge's confirmation, as the control plane measures it. */
export async function routePropagation(pushes: number): Promise<Report> {
  await using bench = await startBenchPlatform();
  const before = readHistogram(await bench.platform.metrics("controlPlane"), METRIC);
  for (let i = 1; i <= pushes; i++) await bench.deploy(`answer ${i}`);
  const observed = since(before, readHistogram(await bench.platform.metrics("controlPlane"), METRIC));
  const ms = (share: number) => 1000 * quantile(observed, share);
  return {
    bench: "route-propagation",
    figures: [
      {
        name: `publish to confirmation, ${observed.count} changes`,
        unit: "ms",
        values: { p50: ms(0.5), p95: ms(0.95) },
        aim: "p95 at most 25 ms",
      },
    ],
  };
}
