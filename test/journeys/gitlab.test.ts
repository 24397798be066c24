import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import { expect, test } from "vitest";
import { FakeGitLab } from "../../control-plane/test/support/fake-gitlab/fake-gitlab.ts";
import { eventually } from "../support/eventually.ts";
import { TestPlatform } from "../support/platform.ts";
import { handlerSaying, stackFile } from "../support/repository.ts";
import { temporaryFolder } from "../support/temporary-folder.ts";

const DEPLOY_MS = 60_000;
const HOOK = { token: "the-token-of-the-hook-0123456789" };

test("a private project of a nested GitLab group deploys by its hook, and goes with its topic", async () => {
  await using folder = await temporaryFolder();
  await using gitlab = await FakeGitLab.open({ base: "/git" });
  const acme = gitlab.world.addGroup("acme", { name: "Acme & Sons" });
  const team = gitlab.world.addGroup("team", { parent: acme });
  const site = await gitlab.addProject("site", team, { visibility: "private", name: "The Site" });
  const hosts = join(folder.path, "hosts.json");
  const customers = join(folder.path, "customers");
  await writeFile(
    hosts,
    JSON.stringify([
      {
        kind: "gitlab",
        url: gitlab.url,
        token: gitlab.token,
        webhookTokens: HOOK.token,
        oauth: gitlab.oauth,
      },
    ]),
  );
  await writeFile(customers, "acme\n");
  await using platform = await TestPlatform.start({
    data: join(folder.path, "data"),
    environment: { CONTROL_PLANE_SOURCE_HOSTS: hosts, CONTROL_PLANE_CUSTOMERS: customers },
  });
  const url = new URL("/gitlab-event", platform.ready.gitBaseUrl).href;
  gitlab.hooks.push({ kind: "system", url, token: HOOK.token, signingToken: undefined });
  const helloUrl = platform.functionUrl("hello").replace("//alice.", "//acme.");
  const answer = async () => (await platform.get(helloUrl).catch(() => undefined))?.body;
  const files = { "stack.yml": stackFile("hello"), "hello/handler.js": handlerSaying("from GitLab") };

  // Nothing is deployed that nobody marked.
  await gitlab.push(site, files);
  expect(gitlab.sent.map(({ status }) => status)).toEqual([202]);
  await gitlab.update(site, { topics: ["openfaas-cloud"] });
  await eventually("it is live", async () => (await answer()) === "from GitLab", { withinMs: DEPLOY_MS });

  const commit = await gitlab.push(site, { "hello/handler.js": handlerSaying("pushed") });
  await eventually("the push is live", async () => (await answer()) === "pushed", { withinMs: DEPLOY_MS });
  await eventually("its statuses say so", () =>
    ["hello", "stack-deploy"].every((context) =>
      gitlab.statuses.some(
        ({ sha, name, status }) => sha === commit && name === context && status === "success",
      ),
    ),
  );

  await gitlab.update(site, { topics: [] });
  await eventually("it is not routed", async () => (await platform.get(helloUrl)).status === 404);
  await gitlab.update(site, { topics: ["openfaas-cloud"] });
  await eventually("it is back", async () => (await answer()) === "pushed", { withinMs: DEPLOY_MS });
  expect(gitlab.sent.every(({ status }) => status === 202)).toBe(true);
  expect(gitlab.violations).toEqual([]);
}, 240_000);
