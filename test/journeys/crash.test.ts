import { readdirSync, readFileSync } from "node:fs";
import { createServer } from "node:net";
import { join } from "node:path";
import { afterEach, beforeEach, expect, test } from "vitest";
import { eventually } from "../support/eventually.ts";
import { TestPlatform } from "../support/platform.ts";
import { handlerSaying, packageWithBuildStep, stackFile, TestRepository } from "../support/repository.ts";
import { readRuns } from "../support/runs.ts";
import { SteadyLoad } from "../support/steady-load.ts";
import { type TemporaryFolder, temporaryFolder } from "../support/temporary-folder.ts";

let folder: TemporaryFolder;
let platform: TestPlatform;
let repository: TestRepository;

beforeEach(async () => {
  folder = await temporaryFolder();
  platform = await TestPlatform.start({ data: join(folder.path, "data") });
  repository = await TestRepository.create(platform, "app", {
    "stack.yml": stackFile("steady"),
    "steady/handler.js": handlerSaying("first"),
  });
  expect(await repository.push()).toMatchObject({ code: 0 });
  expect(await platform.answerOf("steady")).toBe("first");
}, 60_000);

afterEach(async () => {
  await repository?.[Symbol.asyncDispose]();
  await platform?.[Symbol.asyncDispose]();
  await folder?.[Symbol.asyncDispose]();
}, 60_000);

test("a control plane that is killed in the middle of a build finishes the run once, and functions answer meanwhile", async () => {
  const commit = await repository.commit({
    "steady/handler.js": handlerSaying("second"),
    "steady/package.json": packageWithBuildStep("setTimeout(() => {}, 3000)"),
  });
  const load = new SteadyLoad(platform.functionUrl("steady"), 50);
  const push = repository.push();
  await eventually("the build is under way", () => runOf(commit)?.state === "running");
  process.kill(platform.ready.pids.controlPlane, "SIGKILL");
  // Its connection ended with the control plane; the trigger had been stored before.
  expect((await push).code).not.toBe(0);
  await eventually("the run is finished", () => runOf(commit)?.state === "succeeded", { withinMs: 60_000 });
  await eventually("the new answer", () => load.saw("second"), { withinMs: 20_000 });
  const { failures, bodies } = await load.end();
  expect(failures).toEqual([]);
  expect(bodies).toEqual(["first", "second"]);
  expect(readRuns(platform).filter((run) => run.commit === commit)).toHaveLength(1);
  await eventually("the branch has moved", async () => (await repository.remoteHead()) === commit);
}, 120_000);

test("an edge that is killed comes back with its routes", async () => {
  process.kill(platform.ready.pids.edge, "SIGKILL");
  expect(await platform.answerOf("steady")).toBe("first");
}, 60_000);

test("an edge that is killed comes back with its routes while the control plane is down", async () => {
  const { edge, controlPlane } = platform.ready.pids;
  await eventually("the edge has its routes on disk", () => storedRoutes().includes('"steady"'));
  // Stopped and not ended, it is never started again: there is nobody that the edge could ask.
  process.kill(controlPlane, "SIGSTOP");
  try {
    process.kill(edge, "SIGKILL");
    expect(await platform.answerOf("steady")).toBe("first");
  } finally {
    process.kill(controlPlane, "SIGCONT");
  }
}, 60_000);

test("while there is no edge nobody can take its port, and who connects waits for the next one", async () => {
  const { edge } = platform.ready.pids;
  const port = Number(new URL(platform.ready.dashboardUrl).port);
  const taken: string[] = [];
  const thief = setInterval(() => {
    for (const host of ["127.0.0.1", "::1", "0.0.0.0", "::"]) {
      const server = createServer();
      server.on("error", () => undefined);
      server.listen({ port, host }, () => {
        taken.push(host);
        server.close();
      });
    }
  }, 1);
  try {
    process.kill(edge, "SIGKILL");
    await eventually("the edge is gone", () => !isAlive(edge));
    const answers = await Promise.all(
      Array.from({ length: 20 }, () => platform.get(platform.functionUrl("steady"))),
    );
    expect(answers.map(({ status }) => status)).toEqual(new Array(20).fill(200));
  } finally {
    clearInterval(thief);
  }
  expect(taken).toEqual([]);
}, 60_000);

test("after a kill of both planes the next push deploys", async () => {
  const { edge, controlPlane } = platform.ready.pids;
  process.kill(edge, "SIGKILL");
  process.kill(controlPlane, "SIGKILL");
  expect(await platform.answerOf("steady")).toBe("first");
  await repository.commit({ "steady/handler.js": handlerSaying("second") });
  await eventually("a push succeeds", async () => (await repository.push()).code === 0, { withinMs: 30_000 });
  expect(await platform.answerOf("steady")).toBe("second");
}, 120_000);

function storedRoutes(): string {
  const folder = join(platform.data, "edge");
  return readdirSync(folder, { recursive: true, encoding: "utf8" })
    .filter((name) => name.endsWith(".json"))
    .map((name) => readFileSync(join(folder, name), "utf8"))
    .join("\n");
}

function runOf(commit: string) {
  return readRuns(platform).find((run) => run.commit === commit);
}

function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch {
    return false;
  }
}
