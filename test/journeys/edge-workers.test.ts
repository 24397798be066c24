import { join } from "node:path";
import { expect, test } from "vitest";
import { isRunning } from "../../supervisor/src/process-identity.ts";
import { eventually } from "../support/eventually.ts";
import { part } from "../support/parts.ts";
import { TestPlatform } from "../support/platform.ts";
import { descendantsOf } from "../support/process-tree.ts";
import { SteadyLoad } from "../support/steady-load.ts";
import { temporaryFolder } from "../support/temporary-folder.ts";

const PER_SECOND = 50;

part("proc")("with several edge workers", () => {
  test("the platform answers while they are replaced and when one is killed, and its end leaves nothing behind", async () => {
    await using folder = await temporaryFolder();
    await using platform = await TestPlatform.start({
      data: join(folder.path, "data"),
      environment: { EDGE_WORKERS: "2" },
    });
    const { edge, supervisor } = platform.ready.pids;
    const before = descendantsOf(edge);
    expect(before).toHaveLength(2);

    const load = new SteadyLoad(platform.ready.dashboardUrl, PER_SECOND);
    process.kill(edge, "SIGHUP");
    await eventually("new workers serve", () => !before.some(isRunning) && descendantsOf(edge).length === 2, {
      withinMs: 30_000,
    });
    const { failures, sent } = await load.end();
    expect(failures).toEqual([]);
    expect(sent).toBeGreaterThan(10);

    process.kill(descendantsOf(edge)[0]?.pid ?? 0, "SIGKILL");
    expect((await platform.get(platform.ready.dashboardUrl)).status).toBe(200);
    await eventually("the killed one is started again", () => descendantsOf(edge).length === 2);
    await eventually("it is counted", async () =>
      (await platform.metrics("edge")).includes("ofc_edge_worker_restarts_total 1"),
    );

    const all = descendantsOf(supervisor);
    expect(await platform.stop()).toBe(0);
    expect(all.filter(isRunning)).toEqual([]);
  }, 120_000);
});
