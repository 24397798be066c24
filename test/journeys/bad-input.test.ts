import { afterAll, beforeAll, expect, test } from "vitest";
import { TestPlatform } from "../support/platform.ts";
import {
  type Files,
  handlerSaying,
  packageWithBuildStep,
  stackFile,
  TestRepository,
} from "../support/repository.ts";
import { type TemporaryFolder, temporaryFolder } from "../support/temporary-folder.ts";

const BUILD_TIMEOUT_MS = 4_000;
const HEALTH_TIMEOUT_MS = 4_000;
/** All that a push may print of a build, however much that printed. */
const MAX_OUTPUT_BYTES = 1024 * 1024;

let folder: TemporaryFolder;
let platform: TestPlatform;
let repository: TestRepository;
let good: string;

beforeAll(async () => {
  folder = await temporaryFolder();
  platform = await TestPlatform.start({
    data: folder.path,
    environment: {
      CONTROL_PLANE_BUILD_TIMEOUT_MS: String(BUILD_TIMEOUT_MS),
      CONTROL_PLANE_HEALTH_TIMEOUT_MS: String(HEALTH_TIMEOUT_MS),
    },
  });
  repository = await TestRepository.create(platform, "app", {
    "stack.yml": stackFile("steady"),
    "steady/handler.js": handlerSaying("still here"),
  });
  expect(await repository.push()).toMatchObject({ code: 0 });
  good = await repository.git("rev-parse", "HEAD");
}, 60_000);

afterAll(async () => {
  await repository?.[Symbol.asyncDispose]();
  await platform?.[Symbol.asyncDispose]();
  await folder?.[Symbol.asyncDispose]();
}, 60_000);

interface BadPush {
  readonly what: string;
  readonly files: Files;
  /** What the message has to name. */
  readonly says: RegExp;
}

const BAD_PUSHES: readonly BadPush[] = [
  { what: "no stack file", files: { "stack.yml": null }, says: /stack\.yml/ },
  { what: "a stack file that is no YAML", files: { "stack.yml": "functions: [" }, says: /stack\.yml/ },
  { what: "a stack file of aliases of aliases", files: { "stack.yml": aliases() }, says: /alias/i },
  {
    what: "a stack file that is too large",
    files: { "stack.yml": `${stackFile("steady")}${"# padding\n".repeat(30_000)}` },
    says: /256 KiB/,
  },
  {
    what: "a language that nobody knows",
    files: { "stack.yml": stackFile("steady").replace("node22", "cobol85") },
    says: /cobol85/,
  },
  {
    what: "a handler outside of the repository",
    files: { "stack.yml": stackFile("steady").replace("./steady", "../../steady") },
    says: /handler/,
  },
  { what: "a handler that is a link", files: { steady: { linkTo: "/etc" } }, says: /handler/ },
  { what: "a handler that is not there", files: { steady: null }, says: /handler/ },
  {
    what: "a function name that breaks the rule",
    files: { "stack.yml": stackFile("steady").replace("  steady:", "  Not_A_Name:") },
    says: /Not_A_Name/,
  },
  {
    what: "two functions of one name",
    files: { "stack.yml": `${stackFile("steady")}${stackFile("steady").split("functions:\n")[1]}` },
    says: /steady/,
  },
  {
    what: "a build step that fails",
    files: { "steady/package.json": packageWithBuildStep("console.log('no way'); process.exit(7)") },
    says: /npm test.*(7|no way)/,
  },
  {
    what: "a build step that hangs",
    files: { "steady/package.json": packageWithBuildStep("setInterval(() => {}, 1000)") },
    says: /did not end within 4 s/,
  },
  {
    what: "a function that ends as soon as it starts",
    files: { "steady/handler.js": 'throw new Error("not today");\n' },
    says: /not today|healthy/,
  },
  {
    what: "a function that opens another port than it was told",
    files: { "steady/handler.js": handlerOnAnotherPort() },
    says: /port|healthy|health/,
  },
];

test.for(BAD_PUSHES)("$what is refused with its reason, and what was live stays", async ({ files, says }) => {
  const commit = await repository.commit(files);
  const pushed = await repository.push();
  await repository.reset(good);
  expect(pushed.code).not.toBe(0);
  const said = pushed.output.split("\n").filter((line) => line.startsWith("remote:"));
  expect(said.join("\n")).toMatch(says);
  expect(pushed.output).not.toContain(platform.data);
  // The same on the run's page, which is found by its commit.
  const { id } = await ask("runs.ofCommit", { owner: "alice", repository: "app", commit });
  const run = await ask("runs.get", { id });
  expect(run.state).toBe("failed");
  expect(run.reason).toMatch(says);
  expect(run.reason).not.toContain(platform.data);
  expect(await repository.remoteHead()).toBe(good);
  expect(await platform.answerOf("steady")).toBe("still here");
});

test("a build step that prints 100 MB is cut short, with a line that says so", async () => {
  const pushed = await repository.push({
    "steady/package.json": packageWithBuildStep(
      "const line = 'x'.repeat(99) + '\\n'; for (let i = 0; i < 1e6; i++) require('fs').writeSync(1, line)",
    ),
  });
  await repository.reset(good);
  expect(Buffer.byteLength(pushed.output)).toBeLessThan(MAX_OUTPUT_BYTES);
  expect(pushed.output).toMatch(/there is more|cut|MiB/);
  expect(await platform.answerOf("steady")).toBe("still here");
}, 60_000);

test("a wrong token is refused with 401 and nothing is created", async () => {
  const pushed = await repository.push({}, { token: "ofc_wrong" });
  expect(pushed.code).not.toBe(0);
  expect(pushed.output).toMatch(/Authentication failed|401|could not read/i);
  const { gitBaseUrl, owner } = platform.ready;
  const refused = await platform.get(`${gitBaseUrl}/${owner}/app.git/info/refs?service=git-receive-pack`);
  expect(refused.status).toBe(401);
  expect(refused.headers["www-authenticate"]).toMatch(/^Basic /);
});

test("an unknown host is a 404 that says what is known", async () => {
  const unknown = await platform.get(platform.functionUrl("steady").replace("//alice.", "//mallory."), {
    headers: { accept: "text/html" },
  });
  expect(unknown.status).toBe(404);
  expect(unknown.headers["content-type"]).toContain("text/html");
  expect(unknown.body).toContain("mallory");
});

test("an unknown function is a 404", async () => {
  expect((await platform.get(platform.functionUrl("nothing"))).status).toBe(404);
});

/** Each level names the one below it ten times: nine levels would be 10⁹ values. */
function aliases(): string {
  const levels = Array.from({ length: 9 }, (_, level) => {
    const value = level === 0 ? "x" : `*a${level - 1}`;
    return `a${level}: &a${level} [${Array.from({ length: 10 }, () => value).join(", ")}]\n`;
  });
  return `${levels.join("")}${stackFile("steady")}`;
}

/** The template opens the port; a handler can only bend what opening one does. */
function handlerOnAnotherPort(): string {
  return `"use strict";
const { Server } = require("node:net");
const listen = Server.prototype.listen;
Server.prototype.listen = function (...args) {
  return listen.call(this, 0, ...args.filter((argument) => typeof argument === "function"));
};
${handlerSaying("on another port")}`;
}

/** What a procedure answers the local owner. */
async function ask(procedure: string, input: unknown) {
  const answer = await platform.call("query", procedure, input);
  expect(answer.status).toBe(200);
  return JSON.parse(answer.body).result.data;
}
