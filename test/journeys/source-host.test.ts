import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import { expect, test } from "vitest";
import { FakeGitHub } from "../../control-plane/test/support/fake-github/fake-github.ts";
import { TestBrowser } from "../support/browser.ts";
import { seesNothingOf } from "../support/dashboard-pages.ts";
import { eventually } from "../support/eventually.ts";
import { part } from "../support/parts.ts";
import { pictures } from "../support/pictures.ts";
import { TestPlatform } from "../support/platform.ts";
import { handlerSaying, stackFile } from "../support/repository.ts";
import { temporaryFolder } from "../support/temporary-folder.ts";

const DEPLOY_MS = 60_000;
/** What a person may do on the source host holds here within a minute. */
const REVOKED_MS = 60_000;

part("chromium")("a platform that is linked to GitHub", () => {
  test("makes its App, signs people in, deploys what they link and push, and forgets who left", async () => {
    await using folder = await temporaryFolder();
    await using gitHub = await FakeGitHub.start();
    const { alice, acme, world } = gitHub;
    world.memberships.get(acme)?.set(alice, "admin");
    const site = await gitHub.addRepository(acme, "site", {
      isPrivate: true,
      files: { "stack.yml": stackFile("hello"), "hello/handler.js": handlerSaying("from GitHub") },
    });
    const customers = join(folder.path, "customers");
    await writeFile(customers, "acme\n");
    await using platform = await TestPlatform.start({
      data: join(folder.path, "data"),
      environment: { CONTROL_PLANE_GITHUB_URL: gitHub.url, CONTROL_PLANE_CUSTOMERS: customers },
    });
    await using browser = await TestBrowser.open();
    const { dashboardUrl } = platform.ready;
    const helloUrl = platform.functionUrl("hello").replace("//alice.", "//acme.");

    // The operator makes the App with two clicks, and installs it.
    const operator = await (await browser.newContext()).newPage();
    await operator.goto(platform.ready.signInUrl);
    await operator.getByRole("heading", { level: 1, name: "Functions" }).waitFor();
    await operator.goto(`${dashboardUrl}hosts`);
    await operator.getByText("Only this machine reaches").waitFor();
    await operator.getByRole("button", { name: "Create the GitHub App" }).click();
    await operator.getByRole("button", { name: "Create GitHub App" }).click();
    await operator.getByText("is added").waitFor();
    await pictures(operator.context(), operator.url(), "hosts");
    await operator.getByRole("link", { name: "install the App" }).click();
    await operator.getByRole("button", { name: "Install on acme" }).click();

    // What is linked is deployed without a push, and GitHub is told.
    const answer = async () => (await platform.get(helloUrl).catch(() => undefined))?.body;
    await eventually("it is live", async () => (await answer()) === "from GitHub", { withinMs: DEPLOY_MS });
    const conclusions = (commit: string) =>
      world.checkRuns
        .filter((check) => check.commit === commit)
        .map(({ given }) => `${given["name"]}: ${given["conclusion"]}`)
        .toSorted();
    const [first = ""] = world.commits.get(site) ?? [];
    await eventually(
      "its checks are green",
      () => conclusions(first).join() === ["hello: success", "stack-deploy: success"].join(),
    );

    // Whoever pushes to the platform's own git is told that GitHub is another way, and whose functions those are.
    await operator.goto(`${dashboardUrl}repositories/alice`);
    await operator.getByText("for its owner there and not for alice").waitFor();
    await pictures(operator.context(), operator.url(), "repositories-embedded");

    // Somebody of the owner signs in by the consent page, and comes to what an old link names.
    const person = await (await browser.newContext()).newPage();
    await person.goto(`${dashboardUrl}acme/hello/build-log?repoPath=Acme/site&commitSHA=${first}`);
    await pictures(person.context(), person.url(), "sign-in");
    await person.getByRole("link", { name: /Continue with GitHub/ }).click();
    await person.getByRole("button", { name: "Allow" }).click();
    await person.waitForURL(/\/dashboard\/runs\//);
    await person.goto(dashboardUrl);
    await person.getByRole("row").filter({ hasText: "hello" }).first().waitFor();
    await person.goto(`${dashboardUrl}repositories/acme`);
    await person.getByRole("row").filter({ hasText: "site" }).getByText("private").waitFor();
    await pictures(person.context(), person.url(), "repositories");

    await person.goto(`${dashboardUrl}acme/hello`);
    const link = person.getByRole("link", { name: "acme/site" });
    expect(await link.getAttribute("href")).toBe(`${gitHub.url}/acme/site`);
    await person.goto(`${dashboardUrl}audit/acme`);
    await person.getByRole("row").filter({ hasText: "run.end" }).first().waitFor();
    await pictures(person.context(), person.url(), "audit");

    // A push deploys.
    const { commit } = await gitHub.push(site, { "hello/handler.js": handlerSaying("pushed") });
    await eventually("the push is live", async () => (await answer()) === "pushed", { withinMs: DEPLOY_MS });
    await eventually(
      "its checks are green",
      () => conclusions(commit).join() === ["hello: success", "stack-deploy: success"].join(),
    );

    // From here on pages ask for what there is not, and browsers complain of each 404.
    expect(browser.complaints.filter((complaint) => !complaint.includes(gitHub.url))).toEqual([]);

    // Who leaves the organisation sees nothing of it any more, though nobody told the platform.
    world.memberships.get(acme)?.delete(alice);
    await eventually("access is gone", () => seesNothingOf(person, dashboardUrl, "acme"), {
      withinMs: REVOKED_MS,
    });

    // What is uninstalled answers no more.
    await gitHub.uninstall(acme);
    await eventually("it is not routed", async () => (await platform.get(helloUrl)).status === 404);
  }, 240_000);
});
