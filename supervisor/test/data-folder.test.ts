import { readFile, stat } from "node:fs/promises";
import { join } from "node:path";
import { expect, test } from "vitest";
import { temporaryFolder } from "../../test/support/temporary-folder.ts";
import { chooseOwner, keepKeys, openDataFolder } from "../src/data-folder.ts";

test("nobody else can look into the data folder or read a key", async () => {
  await using folder = await temporaryFolder();
  const data = openDataFolder(join(folder.path, "deep/data"));
  await keepKeys(data);
  expect((await stat(data.path)).mode & 0o777).toBe(0o700);
  expect((await stat(join(data.path, "keys"))).mode & 0o777).toBe(0o700);
  expect((await stat(join(data.path, "keys/push-token"))).mode & 0o777).toBe(0o600);
  expect((await stat(join(data.path, "keys/feed-credential"))).mode & 0o777).toBe(0o600);
});

test("keys are made once and stay", async () => {
  await using folder = await temporaryFolder();
  const data = openDataFolder(folder.path);
  const first = await keepKeys(data);
  expect(first.pushToken).toMatch(/^ofc_[\w-]{43}$/);
  expect(first.feedCredential).toMatch(/^[\w-]{43}$/);
  expect(await keepKeys(data)).toEqual(first);
});

test("a data folder that cannot be made is named", async () => {
  await using folder = await temporaryFolder();
  const file = join(folder.path, "owner");
  await chooseOwner(openDataFolder(folder.path), "alice");
  expect(await readFile(file, "utf8")).toBe("alice\n");
  expect(() => openDataFolder(join(file, "data"))).toThrow(
    `The data folder ${file}/data cannot be used: ENOTDIR`,
  );
});

test("the first owner of a data folder stays its default", async () => {
  await using folder = await temporaryFolder();
  const data = openDataFolder(folder.path);
  expect(await chooseOwner(data, "alice")).toBe("alice");
  expect(await chooseOwner(data, undefined)).toBe("alice");
  expect(await chooseOwner(data, "bob")).toBe("bob");
  expect(await chooseOwner(data, undefined)).toBe("alice");
});

test("an owner that nobody named is a slug, whatever git says", async () => {
  await using folder = await temporaryFolder();
  expect(await chooseOwner(openDataFolder(folder.path), undefined)).toMatch(
    /^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$/,
  );
});

test.for([
  { asked: "Alice Ünal", says: '"alice-unal" would do' },
  { asked: "system", says: "no reserved word" },
  { asked: "-", says: "--owner must be" },
])("$asked cannot be an owner", async ({ asked, says }) => {
  await using folder = await temporaryFolder();
  const chosen = chooseOwner(openDataFolder(folder.path), asked);
  await expect(chosen).rejects.toMatchObject({ kind: "usage", message: expect.stringContaining(says) });
});
