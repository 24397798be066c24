import { expect, test } from "vitest";
import { bringDelivery } from "../../control-plane/test/support/bring-delivery.ts";
import { FakeBitbucketCloud } from "../../control-plane/test/support/fake-bitbucket-cloud.ts";
import { FakeGitLab } from "../../control-plane/test/support/fake-gitlab/fake-gitlab.ts";
import { TestBrowser } from "../support/browser.ts";
import { seesNothingOf } from "../support/dashboard-pages.ts";
import { eventually } from "../support/eventually.ts";
import { ADDRESSES_TO_COME, register, startLinkedPlatform } from "../support/linked-platform.ts";
import { part } from "../support/parts.ts";
import { pictures } from "../support/pictures.ts";
import type { TestPlatform } from "../support/platform.ts";
import { handlerSaying, stackFile } from "../support/repository.ts";
import { temporaryFolder } from "../support/temporary-folder.ts";

const DEPLOY_MS = 60_000;
/** What a person may do on the source host holds here within a minute. */
const REVOKED_MS = 60_000;
const DEVELOPER = 30;
const HOOK = { token: "the-token-of-the-hook-0123456789" };

test("a private project of a nested GitLab group deploys by its hook, and goes with its topic", async () => {
  await using folder = await temporaryFolder();
  await using gitlab = await FakeGitLab.open({ base: "/git" });
  const acme = gitlab.world.addGroup("acme", { name: "Acme & Sons" });
  const team = gitlab.world.addGroup("team", { parent: acme });
  const site = await gitlab.addProject("site", team, { visibility: "private", name: "The Site" });
  await using platform = await startLinkedPlatform(folder.path, [hostOf(gitlab)]);
  hookInto(gitlab, platform);
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

part("chromium")("a platform that is linked to GitLab, in Chromium", () => {
  test("signs people in by the consent page, shows them what their push did, and forgets who left", async () => {
    await using folder = await temporaryFolder();
    await using gitlab = await FakeGitLab.open({ base: "/git" });
    const acme = gitlab.world.addGroup("acme", { name: "Acme & Sons" });
    const team = gitlab.world.addGroup("team", { parent: acme });
    acme.members.set(gitlab.visitor.id, DEVELOPER);
    const site = await gitlab.addProject("site", team, {
      visibility: "private",
      topics: ["openfaas-cloud"],
    });
    await using platform = await startLinkedPlatform(folder.path, [hostOf(gitlab)]);
    hookInto(gitlab, platform);
    await using browser = await TestBrowser.open();
    const { dashboardUrl } = platform.ready;
    const files = { "stack.yml": stackFile("hello"), "hello/handler.js": handlerSaying("from GitLab") };
    const commit = await gitlab.push(site, files);

    // What the status of the commit links to asks them to sign in, and brings them back to itself.
    const targetUrl = await eventually(
      "GitLab is told",
      () => gitlab.statuses.find(({ sha }) => sha === commit)?.target_url ?? undefined,
      { withinMs: DEPLOY_MS },
    );
    const context = await browser.newContext();
    const person = await context.newPage();
    await person.goto(targetUrl);
    await pictures(context, person.url(), "gitlab-sign-in");
    await person.getByRole("link", { name: /Continue with GitLab/ }).click();
    await person.getByRole("button", { name: "Authorize" }).click();
    await person.waitForURL(targetUrl);
    await person.getByText("Succeeded").first().waitFor({ timeout: DEPLOY_MS });
    await person.getByText(commit.slice(0, 7)).first().waitFor();

    await person.goto(`${dashboardUrl}repositories/acme`);
    const row = person.getByRole("row").filter({ hasText: "team/site" });
    await row.getByText("private").waitFor();
    await row.getByText("Succeeded").waitFor();
    expect(await row.getByRole("link", { name: "team/site" }).getAttribute("href")).toBe(
      `${gitlab.url}/acme/team/site`,
    );
    await pictures(context, person.url(), "gitlab-repositories");
    expect(browser.complaints).toEqual([]);

    // Who leaves the group sees nothing of it any more, though nobody told the platform.
    const told = gitlab.sent.length;
    acme.members.delete(gitlab.visitor.id);
    await eventually("access is gone", () => seesNothingOf(person, dashboardUrl, "acme"), {
      withinMs: REVOKED_MS,
    });
    expect(gitlab.sent).toHaveLength(told);
    await person.goto(targetUrl);
    await person.getByRole("heading", { level: 1, name: "Not found" }).waitFor();
    expect(gitlab.violations).toEqual([]);
  }, 240_000);
});

part("chromium")("a platform that is linked to GitLab and to Bitbucket, in Chromium", () => {
  test("offers both, and shows whoever signs in with one nothing of the other's owner, who has the same name", async () => {
    await using folder = await temporaryFolder();
    await using gitlab = await FakeGitLab.open();
    await using bitbucket = await FakeBitbucketCloud.open(ADDRESSES_TO_COME);
    const { url, token, webhookSecrets, client } = bitbucket;
    const acme = gitlab.world.addGroup("acme");
    acme.members.set(gitlab.visitor.id, DEVELOPER);
    await bitbucket.setRole("admin");
    const topics = ["openfaas-cloud"];
    const site = await gitlab.addProject("from-gitlab", acme, { topics });
    await using platform = await startLinkedPlatform(folder.path, [
      hostOf(gitlab),
      {
        ...{ kind: "bitbucket-cloud", url, apiUrl: url, token, webhookSecrets, workspaces: ["acme"] },
        oauth: { id: client.id, secret: client.secret },
      },
    ]);
    register(platform, bitbucket);
    hookInto(gitlab, platform);
    await gitlab.push(site, { "stack.yml": stackFile("hello"), "hello/handler.js": handlerSaying("hello") });
    const { dashboardUrl } = platform.ready;
    const helloUrl = platform.functionUrl("hello").replace("//alice.", "//acme.");
    await eventually("it is live", async () => (await platform.get(helloUrl)).status === 200, {
      withinMs: DEPLOY_MS,
    });
    const { key, ...repository } = await bitbucket.addRepository();
    const { headers, body } = await bitbucket.pushDelivery({ key, ...repository }, { secret: 0 });
    await bringDelivery(bitbucket.webhookUrl, headers as Record<string, string>, body);

    await using browser = await TestBrowser.open();
    const context = await browser.newContext();
    const person = await context.newPage();
    await person.goto(`${dashboardUrl}repositories/acme`);
    await person.getByRole("link", { name: /Continue with GitLab/ }).waitFor();
    await pictures(context, person.url(), "two-hosts-sign-in");

    // Each host's answer counts for what was begun there alone, though both come back to one address in one browser.
    const begin = async (host: "GitLab" | "Bitbucket") => {
      await person.goto(dashboardUrl);
      await person.getByRole("link", { name: `Continue with ${host}` }).click();
      await person.getByRole("button", { name: host === "GitLab" ? "Authorize" : "Grant access" }).waitFor();
      return new URL(person.url());
    };
    /** The page of one host that asks what the other was to ask: its answer fits the other in all but the code. */
    const inPlaceOf = (other: URL, page: URL) => {
      const mixed = new URL(page);
      for (const name of ["state", "code_challenge"])
        mixed.searchParams.set(name, other.searchParams.get(name) ?? "");
      return mixed;
    };
    const comeBack = async ({ state, code }: { readonly state: string; readonly code: string }) => {
      const back = new URL("/oauth2/authorized", dashboardUrl).href.replace("//", "//auth.");
      await person.goto(`${back}?${new URLSearchParams({ state, code })}`);
    };
    const [atGitLab, atBitbucket] = [await begin("GitLab"), await begin("Bitbucket")];
    await comeBack(await bitbucket.consent(inPlaceOf(atGitLab, atBitbucket)));
    await person.getByText(/GitLab .* did not confirm who you are/).waitFor();
    const { searchParams } = await gitlab.consent(inPlaceOf(atBitbucket, atGitLab));
    await comeBack({ state: searchParams.get("state") ?? "", code: searchParams.get("code") ?? "" });
    await person.getByText(/Bitbucket .* did not confirm who you are/).waitFor();
    await person.goto(dashboardUrl);
    await person.getByRole("heading", { level: 1, name: "Sign in" }).waitFor();

    await begin("Bitbucket");
    await person.getByRole("button", { name: "Grant access" }).click();
    await person.waitForURL(dashboardUrl);
    await person.getByRole("link", { name: "Repositories" }).click();
    await person.getByRole("row").filter({ hasText: repository.ref.name }).waitFor();
    expect(person.url()).toBe(`${dashboardUrl}repositories/acme-127-0-0-1`);
    await pictures(context, person.url(), "two-hosts-repositories");
    expect(await seesNothingOf(person, dashboardUrl, "acme")).toBe(true);
    expect(gitlab.violations).toEqual([]);
  }, 240_000);
});

function hostOf({ url, token, oauth }: FakeGitLab) {
  return { kind: "gitlab", url, token, webhookTokens: HOOK.token, oauth };
}

function hookInto(gitlab: FakeGitLab, platform: TestPlatform): void {
  const url = new URL("/gitlab-event", platform.ready.gitBaseUrl).href;
  gitlab.hooks.push({ kind: "system", url, token: HOOK.token, signingToken: undefined });
}
