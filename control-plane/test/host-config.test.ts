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

test("hosts that deliver to one address have no secret in common, and no host is named twice", async () => {
  const cloud = { ...HOST, kind: "bitbucket-cloud", url: "https://bitbucket.org", workspaces: ["acme"] };
  const gitHub = { kind: "github", appId: 1, slug: "a", privateKey: "k", webhookSecrets: "the-secret" };
  const readAll = (...hosts: object[]) => read(JSON.stringify(hosts));
  const shared = readAll({ ...HOST, webhookSecrets: ["newer", "the-secret"] }, cloud);
  await expect(shared).rejects.toMatchObject({
    kind: "config-invalid",
    message: expect.stringMatching(
      /bitbucket\.example\.com and bitbucket\.org .* have a webhook secret in common/,
    ),
  });
  await expect(shared).rejects.not.toThrow("the-secret");
  expect(await readAll({ ...HOST, webhookSecrets: ["twice", "twice"] }, cloud, gitHub)).toHaveLength(3);
  await expect(readAll(HOST, { ...HOST, webhookSecrets: "its own" })).rejects.toThrow("twice");
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
