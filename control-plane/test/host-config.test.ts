import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import { expect, test } from "vitest";
import { temporaryFolder } from "../../test/support/temporary-folder.ts";
import { type HostConfig, readHostsFile } from "../src/ports/source-host/host-config.ts";

const HOST = {
  kind: "bitbucket-datacenter",
  url: "https://bitbucket.example.com",
  token: "the-token",
  webhookSecrets: "the-secret",
};

async function read(text: string): Promise<readonly HostConfig[]> {
  await using folder = await temporaryFolder();
  const file = join(folder.path, "hosts.json");
  await writeFile(file, text);
  return readHostsFile(file);
}

const readOne = (changed: object) => read(JSON.stringify([{ ...HOST, ...changed }]));

test("a file of source hosts that is no JSON is refused without a word of it", async () => {
  const refused = read('[{"kind": "gitlab", "token": glpat-the-token, "webhookTokens": "the-secret"}]');
  await expect(refused).rejects.toMatchObject({ kind: "config-invalid" });
  await expect(refused).rejects.not.toThrow(/glpat/);
  await expect(read('[\n{"kind" "gitlab"}]')).rejects.toThrow("line 2 column 9");
});

test("a secret that is empty or cannot be read is refused, and why is said", async () => {
  await using folder = await temporaryFolder();
  const empty = join(folder.path, "empty");
  await writeFile(empty, "\n");
  await expect(readOne({ webhookSecrets: { file: empty } })).rejects.toThrow("must not be empty");
  await expect(readOne({ webhookSecrets: ["one", ""] })).rejects.toThrow("0.webhookSecrets.1: must not");
  const missing = { file: join(folder.path, "missing") };
  await expect(readOne({ token: missing })).rejects.toThrow("0.token: the file cannot be read: ENOENT");
  await expect(readOne({ webhookSecrets: [missing] })).rejects.toThrow("ENOENT");
});

test("an address means the same however it is written", async () => {
  const [host] = await readOne({ url: "HTTPS://Bitbucket.Example.com:443/Git//" });
  expect(host?.url).toBe("https://bitbucket.example.com/Git");
});

for (const url of ["https://me:pw@example.com", "https://example.com/?a=b", "https://example.com/#a"]) {
  test(`an address with more than a host and a path is refused: ${url}`, async () => {
    await expect(readOne({ url })).rejects.toThrow("must have no credentials, query or fragment");
  });
}

test.each(["https://embedded", "http://EMBEDDED:8080/git", "https://bitbucket.example.com."])(
  "an address that another host has in truth is refused: %s",
  async (url) => {
    await expect(readOne({ url })).rejects.toThrow(/0\.url: must/);
  },
);
