import { afterAll, beforeAll, expect, test } from "vitest";
import { eventually } from "../support/eventually.ts";
import { TestGate } from "../support/gate.ts";
import { TestPlatform } from "../support/platform.ts";
import { handlerSaying, packageWithBuildStep, stackFile, TestRepository } from "../support/repository.ts";
import { readRuns } from "../support/runs.ts";
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

const SECRET_READER = `"use strict";
const { readFileSync } = require("node:fs");
module.exports = async (event, context) =>
  context.succeed(readFileSync((process.env.secret_mount_path || "/var/openfaas/secrets") + "/api-key", "utf8"));
`;

test("a function reads the secret it names, once that is set, and nobody else gets it back", async () => {
  const stack = stackFile("vault").replace(
    "handler: ./vault",
    "handler: ./vault\n    secrets:\n      - api-key",
  );
  await using repository = await TestRepository.create(platform, "vaults", {
    "stack.yml": stack,
    "vault/handler.js": SECRET_READER,
  });
  const refused = await repository.push();
  expect(refused.code).not.toBe(0);
  expect(refused.output).toContain("there is no secret api-key");

  const set = await platform.call("mutation", "secrets.set", {
    owner: "alice",
    name: "api-key",
    value: "open sesame",
  });
  expect(set.status).toBe(200);
  expect(await repository.push()).toMatchObject({ code: 0 });
  expect(await platform.answerOf("vault")).toBe("open sesame");

  const listed = await platform.call("query", "secrets.list", { owner: "alice" });
  expect(listed.body).toContain("api-key");
  expect(listed.body).not.toContain("sesame");
  const detail = await platform.call("query", "functions.get", { owner: "alice", name: "vault" });
  expect(detail.body).not.toContain("sesame");
}, 60_000);

const ECHO = `"use strict";
module.exports = async (event, context) => context.succeed(event.headers);
`;

test("a function for machines is opened by the token that pushed it, called as often as it says, and never sees the token", async () => {
  const annotations = [
    "com.openfaas.cloud.auth: token",
    "com.openfaas.cloud.limit.rate: 2/m",
    "com.openfaas.cloud.limit.burst: 2",
    "com.openfaas.cloud.limit.body: 1Ki",
  ];
  const stack = stackFile("machine").replace(
    "handler: ./machine",
    `handler: ./machine\n    annotations:\n${annotations.map((line) => `      ${line}\n`).join("")}`,
  );
  await using repository = await TestRepository.create(platform, "machines", {
    "stack.yml": stack,
    "machine/handler.js": ECHO,
  });
  const pushed = await repository.push();
  expect(pushed).toMatchObject({ code: 0 });
  expect(pushed.output).not.toContain("limit");
  const url = platform.functionUrl("machine");
  const { token, owner } = platform.ready;
  const get = (authorization?: string) =>
    platform.get(url, authorization === undefined ? {} : { headers: { authorization } });
  expect((await get()).status).toBe(401);
  expect((await get("Bearer ofc_nobody-has-this-one-0123456789")).status).toBe(401);

  const opened = await eventually("the function is opened", async () => {
    const answer = await get(`Bearer ${token}`);
    return answer.status === 200 ? answer : undefined;
  });
  expect(opened.body).not.toContain(token);
  const pair = Buffer.from(`${owner}:${token}`).toString("base64");
  expect((await get(`Basic ${pair}`)).status).toBe(200);
  const tooOften = await get(`Bearer ${token}`);
  expect(tooOften.status).toBe(429);
  expect(Number(tooOften.headers["retry-after"])).toBeGreaterThan(1);
}, 60_000);

test("a run under way is cancelled: its processes end, and what was live stays", async () => {
  await using gate = await TestGate.open();
  await using repository = await TestRepository.create(platform, "slow", {
    "stack.yml": stackFile("turtle"),
    "turtle/handler.js": handlerSaying("first"),
  });
  expect(await repository.push()).toMatchObject({ code: 0 });
  const pushing = repository.push({
    "turtle/handler.js": handlerSaying("second"),
    "turtle/package.json": packageWithBuildStep(`fetch('${gate.url}')`),
  });
  await eventually("the build waits", () => gate.waiting > 0);
  const run = await eventually("the run is under way", () =>
    readRuns(platform).find(({ state }) => state === "running"),
  );
  expect((await platform.call("mutation", "runs.cancel", { id: run.id })).status).toBe(200);
  const { code, output } = await pushing;
  expect(code).not.toBe(0);
  expect(output).toContain("Cancelled by alice");
  expect(await platform.answerOf("turtle")).toBe("first");
  await eventually("the build's process is gone", () => gate.waiting === 0);

  const again = await platform.call("mutation", "runs.redeploy", { id: run.id });
  expect(again.status).toBe(200);
  await eventually("the build waits again", () => gate.waiting > 0);
  gate.release();
  await eventually("the redeployed commit answers", async () => {
    const answer = await platform.get(platform.functionUrl("turtle"));
    return answer.body === "second";
  });
}, 60_000);

test.each([
  ["another site's page", { "sec-fetch-site": "cross-site", origin: "http://evil.test" }, 403],
  ["a function's page", { "sec-fetch-site": "same-site", origin: "http://alice.localhost" }, 403],
  ["an old browser on another page", { origin: "http://evil.test" }, 403],
  ["the dashboard's own page", { "sec-fetch-site": "same-origin" }, 200],
])("the API called by %s answers %#", async (_who, headers, status) => {
  const answer = await platform.call(
    "mutation",
    "secrets.remove",
    { owner: "alice", name: "absent" },
    headers,
  );
  expect(answer.status).toBe(status);
});

test.each([
  ["query", "functions.get", { owner: "bob", name: "x" }],
  ["query", "functions.list", { owner: "bob" }],
  ["query", "functions.usage", { owner: "bob", name: "x" }],
  ["query", "runs.list", { owner: "bob" }],
  ["query", "runs.get", { id: "absent" }],
  ["query", "secrets.list", { owner: "bob" }],
  ["mutation", "secrets.set", { owner: "bob", name: "x", value: "long enough" }],
  ["mutation", "runs.cancel", { id: "absent" }],
  ["mutation", "runs.redeploy", { id: "absent" }],
] as const)(
  "%s %s of somebody else's looks like nothing, and asks for a sign-in",
  async (kind, name, input) => {
    expect((await platform.call(kind, name, input)).status).toBe(404);
    const anonymous = await platform.call(kind, name, input, { authorization: "Bearer ofc_guess" });
    expect(anonymous.status).toBe(401);
  },
);

test("the auth host passes people on to the system host, and sets no cookie itself", async () => {
  const system = new URL(platform.ready.gitBaseUrl).origin;
  const auth = system.replace("//system.", "//auth.system.");
  const back = await platform.get(`${auth}/oauth2/authorized?code=c&state=s&more=left-out`);
  expect(back.status).toBe(303);
  expect(back.headers.location).toBe(`${system}/oauth2/authorized?state=s&code=c`);
  const refused = await platform.get(back.headers.location ?? "");
  expect(refused.status).toBe(400);
  expect(refused.body).toContain("Not signed in");
  const elsewhere = await platform.get(`${auth}/dashboard/`);
  expect(elsewhere.headers.location).toBe(`${system}/dashboard/`);
  const none = await platform.get(`${system}/login/github.com`);
  expect(none.status).toBe(404);
  for (const answer of [back, refused, elsewhere, none]) expect(answer.headers["set-cookie"]).toBeUndefined();
}, 30_000);

test("a token makes no token, not even the one of the start command", async () => {
  const refused = await platform.call("mutation", "tokens.create", {
    name: "another",
    scopes: ["read"],
    expiresInDays: 1,
  });
  expect(refused.status).toBe(403);
  expect(refused.body).toContain("No access token may do this");
}, 30_000);

test("errors of the API name no file of the machine", async () => {
  const answer = await platform.call("query", "functions.list", { owner: 5 });
  expect(answer.status).toBe(400);
  expect(answer.body).not.toMatch(/\/(work|home|root|tmp)\//);
  expect(answer.body).not.toContain("stack");
});
