import { describe, expect, test } from "vitest";
import { findTarget, isInternalPath, parseHost } from "../src/target.ts";

const domains = { functions: "fn.test", system: "console.test" };

function target(
  host: string | undefined,
  path: string,
  more: { method?: string; httpVersion?: string } = {},
) {
  return findTarget({ method: "GET", httpVersion: "1.1", ...more, target: path, host }, domains);
}

function refusal(
  host: string | undefined,
  path: string,
  more: { method?: string; httpVersion?: string } = {},
) {
  const found = target(host, path, more);
  return found.kind === "refused" ? found.refusal.status : found.kind;
}

describe("a function's path", () => {
  test.each([
    ["/fn", "fn", "/"],
    ["/fn/", "fn", "/"],
    ["/fn?q=1", "fn", "/?q=1"],
    ["/fn/?q=/../x", "fn", "/?q=/../x"],
    ["/fn/a/b?c=%2F&d=..", "fn", "/a/b?c=%2F&d=.."],
    ["/fn//a//b", "fn", "//a//b"],
    ["/fn/a%2Fb%00", "fn", "/a%2Fb%00"],
    ["/fn/./a/../b", "fn", "/b"],
    ["/fn/a/..", "fn", "/"],
    ["/fn/a/%2e%2E/b", "fn", "/b"],
    ["/fn/.%2e/other/x", "other", "/x"],
    ["/x/../../bob-fn/secret", "bob-fn", "/secret"],
    ["/x/%2e%2e/%2e%2e/bob-fn/secret", "bob-fn", "/secret"],
    ["/fn/..hidden/...", "fn", "/..hidden/..."],
    ["/fn/%252e%252e/b", "fn", "/%252e%252e/b"],
    ["/%66n/a", "fn", "/a"],
    ["/constructor", "constructor", "/"],
    ["/__proto__/x", "__proto__", "/x"],
  ])("%s is function %s at %s", (path, name, rest) => {
    expect(target("alice.fn.test", path)).toMatchObject({
      kind: "function",
      owner: "alice",
      function: name,
      path: rest,
    });
  });

  test.each([
    ["/a%2fb", "an encoded slash"],
    ["/a%5Cb", "an encoded backslash"],
    ["/a%00", "an encoded NUL"],
    ["/a%252fb", "an encoding of an encoding"],
    ["/a%zz", "no encoding at all"],
    ["/%c0%ae", "an overlong dot"],
    ["//fn/a", "an empty name"],
    ["/fn/a\\b", "a raw backslash"],
    ["/fn#x", "a fragment"],
    ["/fn/ü", "a raw non-ASCII letter"],
    ["fn", "no slash"],
    ["*", "an asterisk"],
    ["", "nothing"],
  ])("%s (%s) is refused", (path) => {
    expect(refusal("alice.fn.test", path)).toBe(400);
  });

  test.each(["/", "/.", "/..", "/fn/..", "/?q", "/%2e/"])("%s is the owner's own page", (path) => {
    expect(target("alice.fn.test", path)).toMatchObject({ kind: "owner", owner: "alice" });
  });
});

describe("a host", () => {
  test.each([
    ["alice.fn.test", "alice"],
    ["ALICE.Fn.Test", "alice"],
    ["alice.fn.test.", "alice"],
    ["alice.fn.test:8080", "alice"],
    ["alice.fn.test.:443", "alice"],
  ])("%s is owner %s", (host, owner) => {
    expect(target(host, "/f")).toMatchObject({ kind: "function", owner });
  });

  test.each([
    ["system.console.test", "system"],
    ["SYSTEM.console.test.:8080", "system"],
    ["auth.system.console.test", "system"],
    ["system.fn.test", "function"],
    ["fn.test", "unknown-host"],
    ["console.test", "unknown-host"],
    ["alice.fn.test.evil.example", "unknown-host"],
    ["evilfn.test", "unknown-host"],
    ["127.0.0.1:8080", "unknown-host"],
    ["[::1]:8080", "unknown-host"],
    ["other.system.console.test", "unknown-host"],
  ])("%s is %s", (host, kind) => {
    expect(target(host, "/f").kind).toBe(kind);
  });

  test.each(["fn.test", "console.test:8080"])("the root of %s is the way to the dashboard", (host) => {
    expect(target(host, "/").kind).toBe("home");
  });

  test.each([
    undefined,
    "",
    "a@b",
    "user@alice.fn.test",
    "a/b",
    "a, b",
    "alice.fn.test..",
    ".fn.test",
    "alice..fn.test",
    "a.alice.fn.test",
    "alice.fn.test:",
    "alice.fn.test:0",
    "alice.fn.test:65536",
    "alice.fn.test:80:80",
    "al_ice.fn.test",
    "älice.fn.test",
    "alice.fn.test\t",
    "alice.fn.test%00",
  ])("%s is refused", (host) => {
    expect(refusal(host, "/f")).toBe(400);
  });

  test("that both domains share has a system host and owners beside it", () => {
    const shared = { functions: "localhost", system: "localhost" };
    const kindOf = (host: string) =>
      findTarget({ method: "GET", target: "/f", httpVersion: "1.1", host }, shared).kind;
    expect(kindOf("system.localhost:8080")).toBe("system");
    expect(kindOf("auth.system.localhost:8080")).toBe("system");
    expect(kindOf("alice.localhost:8080")).toBe("function");
  });

  test("keeps the port a client came by, for links back", () => {
    expect(parseHost("A.b:0080")).toEqual({ name: "a.b", port: ":80" });
  });
});

describe("an absolute target", () => {
  test.each([
    ["http://alice.fn.test/f/x?y", "/x?y"],
    ["HTTPS://ALICE.fn.test/f", "/"],
  ])("%s that names the same host is served", (path, rest) => {
    expect(target("alice.fn.test", path)).toMatchObject({ kind: "function", function: "f", path: rest });
  });

  test.each([
    "http://bob.fn.test/f",
    "http://alice.fn.test:81/f",
    "http://u@alice.fn.test/f",
    "http:///f",
    "ftp://alice.fn.test/f",
    "http://alice.fn.test@bob.fn.test/f",
  ])("%s is refused", (path) => {
    expect(refusal("alice.fn.test", path)).toBe(400);
  });
});

test.each([
  ["CONNECT", "1.1", 405],
  ["TRACE", "1.1", 405],
  ["GET", "0.9", 505],
  ["GET", "2.0", 505],
])("%s over HTTP/%s is answered %i", (method, httpVersion, status) => {
  expect(refusal("alice.fn.test", "/f", { method, httpVersion })).toBe(status);
});

test("a target of more than 8 KiB is answered 414", () => {
  expect(refusal("alice.fn.test", `/f/${"x".repeat(8 * 1024)}`)).toBe(414);
  expect(refusal("alice.fn.test", `/f/${"x".repeat(8 * 1024 - 3)}`)).toBe("function");
});

describe("the control plane's internal paths", () => {
  test.each([
    "/internal",
    "/internal/route-feed?edge=x",
    "/INTERNAL/usage",
    "//internal/usage",
    "/%69nternal",
    "/%2569nternal",
    "/%2finternal",
    "/%5cinternal",
    "/a%2f..%2finternal",
    "/;x/internal",
    "/internal;x/usage",
    "/internals",
    "/internal/%252e%252e",
    "/internal/%2e%2e/dashboard",
  ])("%s is one", (path) => {
    expect(isInternalPath(path)).toBe(true);
  });

  test.each([
    "/",
    "/dashboard/internal",
    "/api/trpc/x?input=/internal",
    "/git/alice/internal.git",
    "/intern",
  ])("%s is none", (path) => {
    expect(isInternalPath(path)).toBe(false);
  });
});
