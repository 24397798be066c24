import { once } from "node:events";
import { readFile } from "node:fs/promises";
import { createServer, type Server } from "node:net";
import { join } from "node:path";
import { expect, test } from "vitest";
import { eventually } from "../../test/support/eventually.ts";
import { TestPlatform } from "../../test/support/platform.ts";
import { temporaryFolder } from "../../test/support/temporary-folder.ts";

test("the planes have the admin ports that the environment gives, and come back at them", async () => {
  await using folder = await temporaryFolder();
  const [edge, controlPlane] = await freePorts();
  await using platform = await TestPlatform.start({
    data: folder.path,
    environment: { EDGE_ADMIN_PORT: String(edge), CONTROL_PLANE_ADMIN_PORT: String(controlPlane) },
  });
  expect(platform.ready).toMatchObject({
    edgeMetricsUrl: `http://127.0.0.1:${edge}/metrics`,
    controlPlaneMetricsUrl: `http://127.0.0.1:${controlPlane}/metrics`,
  });
  for (const [plane, name] of [
    ["edge", "edge"],
    ["controlPlane", "control plane"],
  ] as const) {
    process.kill(platform.ready.pids[plane], "SIGKILL");
    await eventually(`the end of the ${name} is told`, () =>
      platform.told.some((line) => line.startsWith(`The ${name} ended (signal SIGKILL)`)),
    );
    await eventually(`another ${name} at the same port`, () =>
      platform.metrics(plane).catch(() => undefined),
    );
  }
}, 60_000);

test("EDGE_ACCESS_LOG=all writes calls to the edge's log although the supervisor makes the level warn", async () => {
  await using folder = await temporaryFolder();
  await using platform = await TestPlatform.start({
    data: folder.path,
    environment: { EDGE_ACCESS_LOG: "all" },
  });
  await platform.get(`${platform.functionUrl("nowhere")}/asked-for`);
  const log = join(folder.path, "logs/edge.log");
  await eventually("the call is in the log", async () =>
    (await readFile(log, "utf8")).includes("/asked-for"),
  );
}, 60_000);

/** Two that are free now, and different since the first is held while the second is chosen. */
async function freePorts(): Promise<readonly [number, number]> {
  await using one = await listen();
  await using other = await listen();
  return [portOf(one), portOf(other)];
}

async function listen(): Promise<Server> {
  const server = createServer().listen(0, "127.0.0.1");
  await once(server, "listening");
  return server;
}

function portOf(server: Server): number {
  const address = server.address();
  return typeof address === "object" ? (address?.port ?? 0) : 0;
}
