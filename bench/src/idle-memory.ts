import { setTimeout as sleep } from "node:timers/promises";
import { TestPlatform } from "../../test/support/platform.ts";
import { handlerSaying, stackFile, TestRepository } from "../../test/support/repository.ts";
import { temporaryFolder } from "../../test/support/temporary-folder.ts";
import { memoryOf } from "./process-use.ts";
import type { Figure, Report } from "./report.ts";

const IDLE_MS = 30_000;
const AIM = "sum of rss at most 250 MiB";

/**
 * Memory of the platform's own processes after some time without anything to do: once after a first start and one
 * deployment, and once after a second start, which is how a machine that runs it for good will find it.
 */
export async function idleMemory(): Promise<Report> {
  await using folder = await temporaryFolder();
  const first = await (async () => {
    await using platform = await TestPlatform.start({ data: folder.path });
    await using repository = await TestRepository.create(platform, "bench", {
      "stack.yml": stackFile("bench"),
      "bench/handler.js": handlerSaying("idle"),
    });
    const { code, output } = await repository.push();
    if (code !== 0) throw new Error(`git push failed:\n${output}`);
    return await measure(platform, "after one deployment");
  })();
  await using platform = await TestPlatform.start({ data: folder.path });
  return { bench: "idle-memory", figures: [...first, ...(await measure(platform, "second start"))] };
}

async function measure(platform: TestPlatform, when: string): Promise<Figure[]> {
  await platform.answerOf("bench");
  await sleep(IDLE_MS);
  const { supervisor, edge, controlPlane } = platform.ready.pids;
  const processes = { supervisor, edge, "control plane": controlPlane };
  const figures = Object.entries(processes).map(([name, pid]) => ({
    name: `${when}: ${name}`,
    unit: "MiB" as const,
    values: memoryOf(pid),
  }));
  const total: Record<string, number> = {};
  for (const { values } of figures) {
    for (const [column, value] of Object.entries(values)) total[column] = (total[column] ?? 0) + value;
  }
  return [...figures, { name: `${when}: all`, unit: "MiB", values: total, aim: AIM }];
}
