import { readdir, readFile, stat, symlink, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { expect, test } from "vitest";
import { temporaryFolder } from "../../test/support/temporary-folder.ts";
import { checkOwner, chooseOwner, keepKeys, openDataFolder } from "../src/data-folder.ts";

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

test.for(["", "/data", "/deep/data"])("a data folder at a file%s is refused in words", async (below) => {
  await using folder = await temporaryFolder();
  const file = join(folder.path, "file");
  await writeFile(file, "mine");
  expect(() => openDataFolder(file + below)).toThrow(
    `The data folder ${file}${below} cannot be used: ${file} is a file, not a folder. Choose another one with --data.`,
  );
  expect(await readFile(file, "utf8")).toBe("mine");
});

test("a data folder behind a link to nothing is refused in words, and nothing is left of it", async () => {
  await using folder = await temporaryFolder();
  await symlink(join(folder.path, "nothing"), join(folder.path, "link"));
  expect(() => openDataFolder(join(folder.path, "link/data"))).toThrow(
    `${folder.path}/link cannot be made (EEXIST). Choose another one with --data.`,
  );
  expect(await readdir(folder.path)).toEqual(["link"]);
});

test("a data folder that can be used in part only is left as it was", async () => {
  await using folder = await temporaryFolder();
  await writeFile(join(folder.path, "logs"), "mine");
  expect(() => openDataFolder(folder.path)).toThrow(`${folder.path}/logs is a file, not a folder.`);
  expect(await readdir(folder.path)).toEqual(["logs"]);
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
  await expect(checkOwner(asked)).rejects.toMatchObject({
    kind: "usage",
    message: expect.stringContaining(says),
  });
});
