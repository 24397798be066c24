import { expect, test } from "vitest";
import { TestBrowser } from "../support/browser.ts";
import { eventually } from "../support/eventually.ts";
import { TestGate } from "../support/gate.ts";
import { part } from "../support/parts.ts";
import { pictures } from "../support/pictures.ts";
import { TestPlatform } from "../support/platform.ts";
import { handlerSaying, packageWithBuildStep, stackFile, TestRepository } from "../support/repository.ts";
import { temporaryFolder } from "../support/temporary-folder.ts";

part("chromium")("the dashboard in Chromium", () => {
  test("sign in, push, watch the build to its end, see the function", async () => {
    await using folder = await temporaryFolder();
    await using platform = await TestPlatform.start({ data: folder.path });
    await using browser = await TestBrowser.open();
    const context = await browser.newContext();
    const page = await context.newPage();

    await page.goto(platform.ready.signInUrl);
    await page.getByRole("heading", { level: 1, name: "Functions" }).waitFor();
    expect(page.url()).not.toContain("code=");
    await page.getByText("git push").first().waitFor();
    await pictures(context, page.url(), "no-functions");

    await using gate = await TestGate.open();
    const waitInTheMiddle = `console.log('half way'); fetch('${gate.url}').then(() => console.log('all the way'))`;
    await using repository = await TestRepository.create(platform, "shop", {
      "stack.yml": stackFile("cart"),
      "cart/handler.js": handlerSaying("full"),
      "cart/package.json": packageWithBuildStep(waitInTheMiddle),
    });
    const pushed = repository.push();
    // The page that waits for the first push turns into its run by itself, or names it.
    const run = page.getByRole("link", { name: /change/ }).first();
    await run.waitFor();
    await run.click();
    await page.waitForURL(/\/dashboard\/runs\//);
    const log = page.getByRole("log");
    await log.getByText("half way", { exact: true }).waitFor();
    await pictures(context, page.url(), "run-building");
    await page.getByRole("button", { name: "Cancel" }).waitFor();
    gate.release();
    await log.getByText("all the way", { exact: true }).waitFor();
    await page.getByText("Succeeded", { exact: false }).first().waitFor();
    expect(await pushed).toMatchObject({ code: 0 });
    await pictures(context, page.url(), "run-succeeded");

    expect(await platform.answerOf("cart")).toBe("full");
    await page.goto(platform.ready.dashboardUrl);
    const row = page.getByRole("row").filter({ hasText: "cart" }).first();
    await row.getByText("Live").waitFor();
    await eventually("the invocation is counted", async () => {
      await page.reload();
      await row.waitFor();
      return /\b[1-9]\d*\b/.test(await row.getByRole("cell").last().innerText());
    });
    await pictures(context, page.url(), "functions");
    await row.getByRole("link", { name: "cart", exact: true }).click();
    await page.getByRole("heading", { level: 1, name: "cart" }).waitFor();
    await page.getByText("Serving commit", { exact: false }).first().waitFor();
    await pictures(context, page.url(), "function");

    const failed = await repository.push({ "cart/package.json": packageWithBuildStep("process.exit(3)") });
    expect(failed.code).not.toBe(0);
    await page.goto(platform.ready.dashboardUrl);
    await page.getByText("Failed").first().waitFor();
    await page
      .getByRole("link", { name: /change/ })
      .first()
      .click();
    await page.getByText("exit code 3").first().waitFor();
    await pictures(context, page.url(), "run-failed");

    expect(browser.complaints).toEqual([]);
  }, 120_000);

  test("a link signs in once, a token again, and signing out ends the session", async () => {
    await using folder = await temporaryFolder();
    await using platform = await TestPlatform.start({ data: folder.path });
    await using browser = await TestBrowser.open();
    const first = await (await browser.newContext()).newPage();
    await first.goto(platform.ready.signInUrl);
    await first.getByRole("heading", { level: 1, name: "Functions" }).waitFor();

    const second = await (await browser.newContext()).newPage();
    await second.goto(platform.ready.signInUrl);
    await second.getByText("used already", { exact: false }).first().waitFor();

    await second.getByLabel("Access token").fill("ofc_guess");
    await second.getByRole("button", { name: "Sign in" }).click();
    await second.getByText("not known", { exact: false }).first().waitFor();
    await second.getByLabel("Access token").fill(platform.ready.token);
    await second.getByRole("button", { name: "Sign in" }).click();
    await second.getByRole("heading", { level: 1, name: "Functions" }).waitFor();

    const session = await first.context().cookies();
    expect(session).toMatchObject([{ httpOnly: true, secure: true, sameSite: "Lax", path: "/" }]);
    await first.getByRole("button", { name: /alice/i }).first().click();
    await first.getByRole("button", { name: /sign out/i }).click();
    await first.getByRole("heading", { level: 1, name: /sign in/i }).waitFor();
    await first.context().addCookies(session);
    await first.goto(platform.ready.dashboardUrl);
    await first.getByRole("heading", { level: 1, name: /sign in/i }).waitFor();
  }, 60_000);

  test("links of the original OpenFaaS Cloud lead to what they name", async () => {
    await using folder = await temporaryFolder();
    await using platform = await TestPlatform.start({ data: folder.path });
    await using browser = await TestBrowser.open();
    await using repository = await TestRepository.create(platform, "shop", {
      "stack.yml": stackFile("cart"),
      "cart/handler.js": handlerSaying("full"),
    });
    expect(await repository.push()).toMatchObject({ code: 0 });
    const commit = (await repository.git("rev-parse", "HEAD")).trim();
    const page = await (await browser.newContext()).newPage();
    await page.goto(platform.ready.signInUrl);
    await page.getByRole("heading", { level: 1, name: "Functions" }).waitFor();

    const open = (link: string) => page.goto(new URL(link, platform.ready.dashboardUrl).href);
    const heading = (name: string) => page.getByRole("heading", { level: 1, name }).waitFor();
    await open("/dashboard/Alice");
    await heading("Functions of alice");
    await open("/dashboard/Alice/cart?repoPath=Alice/shop");
    await heading("cart");
    expect(page.url()).toMatch(/\/dashboard\/alice\/cart\?repoPath=Alice\/shop$/);
    await open("/dashboard/Alice/cart/function-log");
    await heading("Log of cart");
    await open(`/dashboard/Alice/cart/build-log?repoPath=Alice/shop&commitSHA=${commit}`);
    await page.waitForURL(/\/dashboard\/runs\//);
    expect(browser.complaints).toEqual([]);
  }, 60_000);
});
