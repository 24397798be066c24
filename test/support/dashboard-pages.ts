import type { Page } from "playwright-core";

/** Whether the person in this browser is told that the owner does not exist, or that they are nobody. */
export async function seesNothingOf(page: Page, dashboardUrl: string, owner: string): Promise<boolean> {
  await page.goto(`${dashboardUrl}repositories/${owner}`);
  const heading = page.getByRole("heading", { level: 1 });
  await heading.waitFor();
  return /^(Not found|Sign in)$/.test(await heading.innerText());
}
