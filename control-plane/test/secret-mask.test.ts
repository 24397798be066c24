import { expect, test } from "vitest";
import { openSecretMask } from "../src/pipeline/reports/secret-mask.ts";

/** What is left of a text when these are the owner's secrets. */
async function masked(text: string, secrets: Readonly<Record<string, string>>): Promise<string> {
  const mask = await openSecretMask(
    {
      list: async () => Object.keys(secrets).map((name) => ({ name, updatedAt: 0 })),
      reveal: async (_owner, names) => Object.fromEntries(names.map((name) => [name, secrets[name] ?? ""])),
      set: async () => undefined,
      remove: async () => undefined,
    },
    "owner-a",
  );
  return mask(text);
}

const SECRET = "hunter2/hunter2+hunter2";
const KEY = '-----BEGIN KEY-----\nbGluZSBvZiBhIGtleQ\nsecond line of it\n-----END KEY-----\nas "quoted"';

test.each<[string, string]>([
  ["as it is", SECRET],
  ["in hexadecimal", Buffer.from(SECRET).toString("hex")],
  ["in capital hexadecimal", Buffer.from(SECRET).toString("hex").toUpperCase()],
  ["in a URL", encodeURIComponent(SECRET)],
  ["a line of it", "bGluZSBvZiBhIGtleQ"],
  ["in JSON", JSON.stringify(KEY).slice(1, -1)],
  ["in a URL, with its lines", encodeURIComponent(KEY)],
])("a secret is found %s", async (_how, form) => {
  expect(await masked(`before <${form}> after <${form}>`, { secret: SECRET, key: KEY })).toBe(
    "before <[secret]> after <[secret]>",
  );
});

test.each(["base64", "base64url"] as const)(
  "a secret is found in %s, wherever it stands in it",
  async (how) => {
    for (const before of ["", "1", "12", "123"]) {
      const text = Buffer.from(`${before}${SECRET}z`).toString(how);
      const left = await masked(text, { secret: SECRET });
      expect(left).toContain("[secret]");
      expect(left.replace("[secret]", "").length).toBeLessThanOrEqual(12);
    }
  },
);

test("the longest secret goes, where one holds another", async () => {
  expect(await masked("abcdefgh-ijklmnop", { a: "abcdefgh", b: "abcdefgh-ijklmnop" })).toBe("[secret]");
});

test("a secret of few characters that are many bytes is found", async () => {
  expect(await masked("<ключ>", { a: "ключ" })).toBe("<[secret]>");
});

test("what is like a secret stays", async () => {
  const text = "hunter2 is not all of it, and nor is -----";
  expect(await masked(text, { secret: SECRET, key: KEY })).toBe(text);
});

test("lines of a secret that is longer than any line are found, however many there are", async () => {
  const lines = Array.from({ length: 4_000 }, (_, i) => `line ${i} ${"x".repeat(50)}`);
  const began = performance.now();
  const left = await masked(lines.join("\n"), { long: lines.join("\n") });
  expect(left).not.toContain("line");
  expect(performance.now() - began).toBeLessThan(2_000);
});

test("forms that differ in their last letter only do not hold up the platform", async () => {
  const alike = Array.from({ length: 15 }, (_, i) => [`s${i}`, `${"a".repeat(16_000 + i)}b`]);
  const began = performance.now();
  await masked("a".repeat(60_000), Object.fromEntries(alike));
  expect(performance.now() - began).toBeLessThan(2_000);
});

test("nothing of the text is left where there are too many secrets to look for", async () => {
  const value = "x".repeat(16 * 1024);
  const many = Object.fromEntries(Array.from({ length: 40 }, (_, i) => [`s${i}`, value]));
  expect(await masked("hello", many)).toBe("[left out: there are too many secrets to look for]");
});
