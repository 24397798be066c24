import { eventually } from "../../test/support/eventually.ts";
import { SteadyLoad } from "../../test/support/steady-load.ts";
import { startBenchPlatform } from "./bench-platform.ts";
import { type Report, summary } from "./report.ts";

const PER_SECOND = 50;

/** Requests at a steady rate while pushes change what answers them. */
export async function deployUnderLoad(pushes: number): Promise<Report> {
  await using bench = await startBenchPlatform();
  const load = new SteadyLoad(bench.functionUrl, PER_SECOND);
  for (let i = 1; i <= pushes; i++) {
    await bench.deploy(`answer ${i}`);
    await eventually(`answer ${i} is seen`, () => load.saw(`answer ${i}`));
    const after = load.sent;
    await eventually("a second of load more", () => load.sent > after + PER_SECOND);
  }
  const { sent, failures, latenciesMs } = await load.end();
  return {
    bench: "deploy-under-load",
    figures: [
      {
        name: `requests at ${PER_SECOND}/s during ${pushes} pushes`,
        unit: "count",
        values: { sent, failed: failures.length },
        aim: "0 failed",
      },
      { name: "latency", unit: "ms", values: summary(latenciesMs) },
    ],
    failures,
  };
}
