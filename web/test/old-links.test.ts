import { describe, expect, test } from "vitest";
import { canonicalPath, parseRepoPath } from "../src/old-links.ts";

describe("links of the original", () => {
  test.each([
    ["/Acme", "/acme"],
    ["/Acme/", "/acme/"],
    ["/Acme/cart", "/acme/cart"],
    ["/Acme/cart/build-log", "/acme/cart/build-log"],
    ["/acme/cart/function-log", "/acme/cart/function-log"],
    ["/acme", "/acme"],
    ["/", "/"],
  ])("%s leads to %s", (path, canonical) => {
    expect(canonicalPath(path)).toBe(canonical);
  });

  test.each([
    ["acme/shop", { owner: "acme", repository: "shop" }],
    ["Acme/Shop", { owner: "acme", repository: "Shop" }],
    ["acme/team/site", { owner: "acme", repository: "team/site" }],
    ["acme/shop/", { owner: "acme", repository: "shop" }],
    ["acme", undefined],
    ["acme/", undefined],
    ["/shop", undefined],
    ["", undefined],
  ])("repoPath=%s is the repository %o", (repoPath, repository) => {
    expect(parseRepoPath(repoPath)).toEqual(repository);
  });
});
