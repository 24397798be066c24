import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import { TestPlatform } from "./platform.ts";

/** Of the platform, for a Bitbucket that is there before it. */
export const ADDRESSES_TO_COME = {
  webhookUrl: "http://to-come.invalid/",
  redirectUri: "http://to-come.invalid/",
};

/** What an operator registers at a Bitbucket: where its webhooks point, and where its consent page sends people back to. */
export function register(
  { ready }: TestPlatform,
  bitbucket: { webhookUrl: string; readonly client: { redirectUri: string } },
): void {
  bitbucket.webhookUrl = new URL("/bitbucket-event", ready.gitBaseUrl).href;
  bitbucket.client.redirectUri = new URL("/oauth2/authorized", ready.gitBaseUrl).href.replace(
    "//",
    "//auth.",
  );
}

/**
 * The platform that follows these source hosts, as `CONTROL_PLANE_SOURCE_HOSTS` names them, and deploys for whoever is called
 * `acme` there.
 */
export async function startLinkedPlatform(folder: string, hosts: readonly unknown[]): Promise<TestPlatform> {
  const hostsFile = join(folder, "hosts.json");
  const customers = join(folder, "customers");
  await writeFile(hostsFile, JSON.stringify(hosts));
  await writeFile(customers, "acme\n");
  return TestPlatform.start({
    data: join(folder, "data"),
    environment: { CONTROL_PLANE_SOURCE_HOSTS: hostsFile, CONTROL_PLANE_CUSTOMERS: customers },
  });
}
