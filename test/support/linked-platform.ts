import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import { TestPlatform } from "./platform.ts";

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
