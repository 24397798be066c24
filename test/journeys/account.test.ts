import type { Page } from "playwright-core";
import { expect, test } from "vitest";
import { TestBrowser } from "../support/browser.ts";
import { part } from "../support/parts.ts";
import { TestPlatform } from "../support/platform.ts";
import { temporaryFolder } from "../support/temporary-folder.ts";

part("chromium")("the account page in Chromium", () => {
  test("keeps the keyboard where it is used, and shows nothing of one person to another of the same name", async () => {
    await using folder = await temporaryFolder();
    await using platform = await TestPlatform.start({ data: folder.path });
    await using browser = await TestBrowser.open();
    const page = await (await browser.newContext()).newPage();
    await page.goto(platform.ready.signInUrl);
    await page.getByRole("heading", { level: 1, name: "Functions" }).waitFor();
    await page.goto(new URL("account", platform.ready.dashboardUrl).href);
    page.on("dialog", (dialog) => void dialog.accept());

    for (const name of ["first", "second", "third"]) {
      await page.getByLabel("What it is for").fill(name);
      await page.getByRole("button", { name: "Make token" }).press("Enter");
      await page.getByText(`This is ${name}.`).waitFor();
      await expect.poll(() => focused(page)).toMatch(new RegExp(`^This is ${name}.*ofc_`, "s"));
    }
    await press(page, "Revoke second");
    await expect.poll(() => focused(page)).toBe("Revoke first");
    await press(page, "Revoke first");
    await expect.poll(() => focused(page)).toBe("Revoke start command");

    await page.goto(new URL("secrets/alice", platform.ready.dashboardUrl).href);
    await page.getByLabel("Name").fill("key");
    await page.getByLabel("Value").fill("long enough");
    await page.getByRole("button", { name: "Set secret" }).press("Enter");
    await page.getByText("key is set.").waitFor();
    expect(await focused(page)).toBe("Set secret");
    await press(page, "Remove key");
    await expect.poll(() => focused(page)).toBe("There is none yet. Set the first one below.");
    expect(browser.complaints).toEqual([]);

    await page.goto(new URL("account", platform.ready.dashboardUrl).href);
    await page.getByLabel("What it is for").fill("of the first person");
    await page.getByRole("button", { name: "Make token" }).press("Enter");
    await page.getByRole("button", { name: "Revoke of the first person" }).waitFor();
    await page.getByRole("link", { name: "OpenFaaS Cloud" }).first().click();
    await page.getByRole("heading", { level: 1, name: "Functions" }).waitFor();
    await becomeAnother(page);
    await page.getByRole("button", { name: /alice/i }).first().click();
    await page.getByRole("link", { name: "Account" }).click();
    await page.getByRole("heading", { level: 1, name: /Account of/ }).waitFor();
    expect(await page.getByText("of the first person").count()).toBe(0);
    await page.unrouteAll({ behavior: "ignoreErrors" });
  }, 60_000);
});

/** A button of a row, which goes with that. */
async function press(page: Page, name: string): Promise<void> {
  const button = page.getByRole("button", { name });
  await button.press("Enter");
  await button.waitFor({ state: "detached" });
}

function focused(page: Page): Promise<string> {
  return page.evaluate(() => document.activeElement?.textContent.replaceAll(/\s+/g, " ") ?? "");
}

/** From here on the session is somebody else's of the same name, whose tokens do not arrive. */
async function becomeAnother(page: Page): Promise<void> {
  const isAnother = page.waitForResponse(/session\.current/);
  await page.route(/\/api\/trpc\//, async (route) => {
    const url = route.request().url();
    if (url.includes("tokens.list")) return;
    if (!url.includes("session.current")) return route.continue();
    // By its address: names below localhost are known to browsers alone.
    const { host, hostname } = new URL(url);
    const headers = { ...(await route.request().allHeaders()), host };
    const response = await route.fetch({ url: url.replace(hostname, "127.0.0.1"), headers });
    const answers = (await response.json()) as { result: { data: { subject?: string } } }[];
    for (const { result } of answers)
      if (result.data?.subject !== undefined) result.data.subject = "github.com:7";
    return route.fulfill({ response, json: answers });
  });
  // As when the person comes back to the page.
  await page.evaluate(() => window.dispatchEvent(new Event("visibilitychange")));
  await isAnother;
}
