import { mkdir } from "node:fs/promises";
import { fileURLToPath } from "node:url";
import type { BrowserContext, Page } from "playwright-core";
import { expect } from "vitest";
import { eventually } from "./eventually.ts";

/** Pictures for people to look at; nothing compares them. */
const PICTURES = fileURLToPath(new URL("../../.screenshots/", import.meta.url));

/** Wide and narrow, light and dark; fails where a page is wider than the window. */
export async function pictures(context: BrowserContext, url: string, name: string): Promise<void> {
  await mkdir(PICTURES, { recursive: true });
  const page = await context.newPage();
  for (const colorScheme of ["light", "dark"] as const) {
    for (const width of [1440, 360]) {
      await page.emulateMedia({ colorScheme });
      await page.setViewportSize({ width, height: 900 });
      if (page.url() !== url) await page.goto(url);
      await page.getByRole("heading", { level: 1 }).waitFor();
      await settled(page);
      await page.screenshot({ path: `${PICTURES}${name}-${width}-${colorScheme}.png`, fullPage: true });
      const overflow = await page.evaluate(
        () => document.documentElement.scrollWidth - document.documentElement.clientWidth,
      );
      expect(overflow, `${name} at ${width} px scrolls sideways`).toBe(0);
    }
  }
  await page.close();
}

/** Nothing is a placeholder any more, and what the page says of a log is no longer that it connects. */
async function settled(page: Page): Promise<void> {
  await eventually("the page has its data", async () => (await page.locator(".placeholder").count()) === 0);
  await eventually(
    "its log is there",
    async () => !/Connecting/.test(await page.locator("main").innerText()),
  );
}
