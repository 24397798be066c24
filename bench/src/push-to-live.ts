import { setTimeout as sleep } from "node:timers/promises";
import { HttpClient } from "../../test/support/http-client.ts";
import { startBenchPlatform } from "./bench-platform.ts";
import { averagesBy } from "./histogram.ts";
import { type Report, summary } from "./report.ts";

/** Pause between two looks at the function: the resolution of the measurement, and hardly any load. */
const LOOK_EVERY_MS = 2;
const STAGES = ["checkout", "plan", "build", "deploy", "publish", "prune"];

/** From the start of `git push` to the first answer of the new revision, and how long the push itself takes. */
export async function pushToLive(pushes: number): Promise<Report> {
  await using bench = await startBenchPlatform();
  using client = new HttpClient();
  const live: number[] = [];
  const pushed: number[] = [];
  for (let i = 1; i <= pushes; i++) {
    const seen = firstAnswer(client, bench.functionUrl, `answer ${i}`);
    const { startedAt, ms } = await bench.deploy(`answer ${i}`);
    pushed.push(ms);
    live.push((await seen) - startedAt);
  }
  const stages = averagesBy(
    await bench.platform.metrics("controlPlane"),
    "ofc_stage_duration_seconds",
    "stage",
  );
  return {
    bench: "push-to-live",
    figures: [
      {
        name: `push to live, ${pushes} pushes`,
        unit: "ms",
        values: summary(live),
        aim: "p50 at most 1000 ms on 2 cores",
      },
      { name: "git push", unit: "ms", values: summary(pushed) },
      ...STAGES.flatMap((stage) => {
        const average = stages.get(stage);
        return average === undefined
          ? []
          : [{ name: `stage ${stage}`, unit: "ms" as const, values: { average } }];
      }),
    ],
  };
}

async function firstAnswer(client: HttpClient, url: string, wanted: string): Promise<number> {
  const deadline = performance.now() + 60_000;
  for (;;) {
    const { status, body } = await client.get(url);
    if (status === 200 && body === wanted) return performance.now();
    if (performance.now() > deadline) throw new Error(`"${wanted}" was not answered: ${status} ${body}`);
    await sleep(LOOK_EVERY_MS);
  }
}
