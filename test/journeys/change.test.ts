import { afterAll, beforeAll, expect, test } from "vitest";
import { eventually } from "../support/eventually.ts";
import { TestPlatform } from "../support/platform.ts";
import { handlerSaying, packageWithBuildStep, stackFile, TestRepository } from "../support/repository.ts";
import { readRuns } from "../support/runs.ts";
import { SteadyLoad } from "../support/steady-load.ts";
import { type TemporaryFolder, temporaryFolder } from "../support/temporary-folder.ts";

let folder: TemporaryFolder;
let platform: TestPlatform;

beforeAll(async () => {
  folder = await temporaryFolder();
  platform = await TestPlatform.start({ data: folder.path });
}, 60_000);

afterAll(async () => {
  await platform?.[Symbol.asyncDispose]();
  await folder?.[Symbol.asyncDispose]();
}, 60_000);

test("a changed handler takes over under load without one failed request", async () => {
  await using repository = await TestRepository.create(platform, "loaded", {
    "stack.yml": stackFile("counter"),
    "counter/handler.js": handlerSaying("first"),
  });
  expect(await repository.push()).toMatchObject({ code: 0 });
  const load = new SteadyLoad(platform.functionUrl("counter"), 50);
  await eventually("the first answers", () => load.saw("first"));
  expect(await repository.push({ "counter/handler.js": handlerSaying("second") })).toMatchObject({ code: 0 });
  await eventually("the second answers", () => load.saw("second"));
  const after = load.sent;
  await eventually("a second of load more", () => load.sent > after + 50);
  const { failures, bodies } = await load.end();
  expect(failures).toEqual([]);
  expect(bodies).toEqual(["first", "second"]);
}, 60_000);

test("a function that left the stack file is removed, and nothing else", async () => {
  await using other = await TestRepository.create(platform, "other", {
    "stack.yml": stackFile("bystander"),
    "bystander/handler.js": handlerSaying("other"),
  });
  await using repository = await TestRepository.create(platform, "shrinking", {
    "stack.yml": stackFile("stays", "leaves"),
    "stays/handler.js": handlerSaying("stays"),
    "leaves/handler.js": handlerSaying("leaves"),
  });
  expect(await other.push()).toMatchObject({ code: 0 });
  expect(await repository.push()).toMatchObject({ code: 0 });
  expect(await platform.answerOf("leaves")).toBe("leaves");
  expect(await repository.push({ "stack.yml": stackFile("stays") })).toMatchObject({ code: 0 });
  await eventually("the function is gone", async () => {
    const { status } = await platform.get(platform.functionUrl("leaves"));
    return status === 404;
  });
  expect(await platform.answerOf("stays")).toBe("stays");
  expect(await platform.answerOf("bystander")).toBe("other");
}, 60_000);

test("of two pushes to one branch the newer one wins", async () => {
  await using repository = await TestRepository.create(platform, "hasty", {
    "stack.yml": stackFile("hasty"),
    "hasty/handler.js": handlerSaying("older"),
    "hasty/package.json": packageWithBuildStep("setTimeout(() => {}, 20000)"),
  });
  const older = repository.push();
  const olderCommit = await repository.git("rev-parse", "HEAD");
  await eventually("the older run is under way", () =>
    readRuns(platform).some((run) => run.commit === olderCommit && run.state === "running"),
  );
  const newer = await repository.push({
    "hasty/handler.js": handlerSaying("newer"),
    "hasty/package.json": null,
  });
  expect(newer).toMatchObject({ code: 0 });
  const { code, output } = await older;
  expect(code).not.toBe(0);
  expect(output).toContain("superseded");
  expect(await platform.answerOf("hasty")).toBe("newer");
  expect(await repository.remoteHead()).toBe(await repository.git("rev-parse", "HEAD"));
  expect(readRuns(platform).find((run) => run.commit === olderCommit)?.state).toBe("superseded");
}, 60_000);

test("a branch that is not the deploy branch is kept and not deployed", async () => {
  await using repository = await TestRepository.create(platform, "branches", {
    "stack.yml": stackFile("branchy"),
    "branchy/handler.js": handlerSaying("main"),
  });
  expect(await repository.push()).toMatchObject({ code: 0 });
  const draft = await repository.commit({ "branchy/handler.js": handlerSaying("draft") });
  const pushed = await repository.push({}, { branch: "draft" });
  expect(pushed).toMatchObject({ code: 0, output: expect.stringContaining("not the deploy branch") });
  expect(await repository.remoteHead("draft")).toBe(draft);
  expect(await platform.answerOf("branchy")).toBe("main");
}, 60_000);
