import { describe, expect, test } from "vitest";
import { AnswerReader, reasonPhrase, responseHeaders, trailers } from "../src/answer-fields.ts";
import { type RequestHead, readHead, requestHeaders } from "../src/request-fields.ts";

const domains = { functions: "fn.test", system: "console.test" };

function head(lines: string[], httpVersion = "1.1"): RequestHead {
  const read = readHead(lines, httpVersion);
  if ("status" in read) throw new Error(`refused: ${read.code}`);
  return read;
}

function forwarded(
  lines: string[],
  credentials: "keep" | "remove-platforms" | "remove-platforms-and-authorization" = "remove-platforms",
): Map<string, string[]> {
  const raw = ["Host", "alice.fn.test", ...lines];
  const exchange = {
    method: "GET",
    httpVersion: "1.1",
    rawHeaders: raw,
    head: head(raw),
    downstream: { address: "192.0.2.1", forwardedFor: "192.0.2.1", scheme: "http" },
    requestId: "rid",
  } as const;
  const flat = requestHeaders(exchange, credentials);
  const sent = new Map<string, string[]>();
  for (let i = 0; i < flat.length; i += 2) {
    const name = (flat[i] ?? "").toLowerCase();
    sent.set(name, [...(sent.get(name) ?? []), flat[i + 1] ?? ""]);
  }
  return sent;
}

describe("a head is refused", () => {
  test.each<[string, number, string[], string?]>([
    ["for two Host lines", 400, ["Host", "a", "host", "a"]],
    ["for an underscore in a name", 400, ["X_Forwarded_For", "1"]],
    ["for Transfer_Encoding", 400, ["Transfer_Encoding", "chunked"]],
    ["for Content_Length", 400, ["Content_Length", "4"]],
    ["for `,chunked`", 400, ["Transfer-Encoding", ",chunked"]],
    ["for `gzip, chunked`", 400, ["Transfer-Encoding", "gzip, chunked"]],
    ["for an empty transfer coding beside a length", 400, ["Transfer-Encoding", "", "Content-Length", "4"]],
    ["for chunked on HTTP/1.0", 400, ["Transfer-Encoding", "chunked"], "1.0"],
    ["for chunked beside a length", 400, ["Transfer-Encoding", "chunked", "Content-Length", "4"]],
    ["for a length with leading zeros", 400, ["Content-Length", "003"]],
    ["for two lengths", 400, ["Content-Length", "3", "Content-Length", "3"]],
    ["for two Authorization lines", 400, ["Authorization", "Basic a", "authorization", "Basic b"]],
    ["for 101 lines", 431, Array.from({ length: 202 }, (_, i) => `x${i}`)],
  ])("%s", (_why, status, lines, httpVersion) => {
    expect(readHead(lines, httpVersion ?? "1.1")).toMatchObject({ status, close: true });
  });
});

test("100 header lines are accepted, and names that objects have are only names", () => {
  const lines = Array.from({ length: 200 }, (_, i) => `x${i}`);
  expect("status" in readHead(lines, "1.1")).toBe(false);
  expect(forwarded(["constructor", "1", "toString", "2"]).get("constructor")).toEqual(["1"]);
});

describe("towards an upstream", () => {
  test("what is for one hop stays behind, and what Connection names with it", () => {
    const sent = forwarded([
      "Connection",
      "keep-alive, X-Private",
      "X-Private",
      "1",
      "Keep-Alive",
      "timeout=5",
      "TE",
      "trailers",
      "Upgrade",
      "h2c",
      "HTTP2-Settings",
      "x",
      "Proxy-Authorization",
      "x",
      "Expect",
      "100-continue",
      "X-Public",
      "1",
    ]);
    const gone = ["connection", "x-private", "keep-alive", "te", "upgrade", "http2-settings", "expect"];
    for (const name of [...gone, "proxy-authorization"]) expect(sent.has(name), name).toBe(false);
    expect(sent.get("x-public")).toEqual(["1"]);
  });

  test("Connection cannot take away what we assert", () => {
    const sent = forwarded([
      "Connection",
      "close, X-Forwarded-For, X-Request-Id, Host, Content-Length",
      "Content-Length",
      "4",
    ]);
    expect(sent.get("x-forwarded-for")).toEqual(["192.0.2.1"]);
    expect(sent.get("x-request-id")).toEqual(["rid"]);
    expect(sent.get("host")).toEqual(["alice.fn.test"]);
    expect(sent.get("content-length")).toEqual(["4"]);
  });

  test.each([
    ["X-Forwarded-For", "192.0.2.1"],
    ["X-Forwarded-Host", "alice.fn.test"],
    ["X-Forwarded-Proto", "http"],
    ["X-Real-IP", "192.0.2.1"],
    ["Forwarded", 'for=192.0.2.1;host="alice.fn.test";proto=http'],
    ["X-Request-Id", "rid"],
    ["X-Call-Id", "rid"],
  ])("a client's %s is replaced by ours", (name, ours) => {
    expect(forwarded([name, "not ours"]).get(name.toLowerCase())).toEqual([ours]);
  });

  test("other X-Forwarded-* names of a client go, traceparent stays", () => {
    const sent = forwarded(["X-Forwarded-Prefix", "/x", "traceparent", "00-1-2-01"]);
    expect(sent.has("x-forwarded-prefix")).toBe(false);
    expect(sent.get("traceparent")).toEqual(["00-1-2-01"]);
  });

  test.each([
    ["a=1; __Host-openfaas_cloud_token=x; b=2", ["a=1; b=2"]],
    ["__Host-openfaas_cloud_token=x", undefined],
    ["__host-OPENFAAS_cloud_other=x;b=2", ["b=2"]],
    ["a=__Host-openfaas_cloud_token", ["a=__Host-openfaas_cloud_token"]],
    ["a=1,__Host-openfaas_cloud_token=x; b=2", ["b=2"]],
    ['a="x __Host-openfaas_cloud_token=x', undefined],
    ["=__Host-openfaas_cloud_token=x", undefined],
  ])("of the cookies `%s` a function sees %s", (cookie, seen) => {
    expect(forwarded(["Cookie", cookie]).get("cookie")).toEqual(seen);
  });

  test("the control plane sees all cookies", () => {
    expect(forwarded(["Cookie", "__Host-openfaas_cloud_token=x"], "keep").get("cookie")).toEqual([
      "__Host-openfaas_cloud_token=x",
    ]);
  });

  test("a bearer that opened the function is not shown to it; another Authorization is its own business", () => {
    const lines = ["Authorization", "Bearer x"];
    expect(forwarded(lines, "remove-platforms-and-authorization").has("authorization")).toBe(false);
    expect(forwarded(lines).get("authorization")).toEqual(["Bearer x"]);
  });
});

describe("towards a client", () => {
  test("options of Connection cost what they are, and not the square of it", () => {
    const shortestMs = (options: number): number => {
      const value = Array.from({ length: options }, (_, i) => i.toString(36)).join();
      const trials = Array.from({ length: 7 }, () => {
        const startedMs = performance.now();
        responseHeaders(["Connection", value], undefined);
        return performance.now() - startedMs;
      });
      return Math.min(...trials);
    };
    shortestMs(1_000);
    // Ten times as many: ten times the cost, and not a hundred times.
    expect(shortestMs(10_000) / shortestMs(1_000)).toBeLessThan(40);
  });

  test("what is for one hop stays behind, and what Connection names with it", () => {
    const lines = [
      "Connection",
      "X-Private",
      "X-Private",
      "1",
      "Keep-Alive",
      "1",
      "Upgrade",
      "x",
      "X-Public",
      "1",
    ];
    expect(responseHeaders(lines, domains)?.lines).toEqual(["X-Public", "1"]);
  });

  test("an answer framed twice is none", () => {
    expect(responseHeaders(["Content-Length", "1", "Transfer-Encoding", "chunked"], domains)).toBeUndefined();
    expect(responseHeaders(["Content-Length", "1", "Content-Length", "1"], domains)).toBeUndefined();
  });

  test.each(["gzip, chunked", "chunked, chunked", "identity", "chunked;q=1", ""])(
    "an answer in the coding `%s` is none",
    (coding) => {
      expect(responseHeaders(["Transfer-Encoding", coding], domains)).toBeUndefined();
    },
  );

  test("an answer of more lines than every client reads is none", () => {
    const lines = (count: number) => Array.from({ length: count }, () => ["X-A", "1"]).flat();
    expect(responseHeaders(lines(1_000), domains)?.lines).toHaveLength(2_000);
    expect(responseHeaders(lines(1_001), domains)).toBeUndefined();
  });

  test("a length is passed on in its one canonical form", () => {
    expect(responseHeaders(["Content-Length", "007"], domains)?.contentLength).toBe("7");
  });

  test.each([
    ["timeout=5", 5],
    ["max=10, timeout=5", 5],
    ["timeout=x", undefined],
    ["yes", undefined],
  ])("of Keep-Alive `%s` an idle connection lives %s seconds", (value, seconds) => {
    const reader = new AnswerReader(domains);
    reader.read("keep-alive", value);
    expect(reader.keepAliveS).toBe(seconds);
  });

  test.each([
    ["Not Found", "Not Found"],
    ["", ""],
    [undefined, ""],
    ["a\r\nSet-Cookie: b=1", ""],
    ["\u00e9", ""],
    ["x".repeat(100), "x".repeat(100)],
    ["x".repeat(101), ""],
  ])("of the reason phrase %j what is fit to be said on is %j", (given, said) => {
    expect(reasonPhrase(given)).toBe(said);
  });

  test.each([
    ["a=1", true],
    ["a=1; Path=/; HttpOnly", true],
    ["a=1; Domain=alice.fn.test", true],
    ["__Host-openfaas_cloud_token=x", false],
    ["__HOST-openfaas_cloud_token=x; Secure", false],
    [" __Host-openfaas_cloud_x=1", false],
    ["=__Host-openfaas_cloud_token=x", false],
    ["a=1; Domain=fn.test", false],
    ["a=1; domain=.FN.test", false],
    ["a=1; Domain = fn.test.", false],
    ["a=1; Domain=console.test", false],
    ["a=1; Domain=system.console.test", false],
    ["a=1; Domain=test", false],
    ["a=1; Domain=", true],
    ["a=1; Domain=%66n.test", false],
    ["a=1; Domain=\uff46\uff4e.test", false],
    ["a=1; Domain=alice.fn.test; Domain=fn.test", false],
  ])("Set-Cookie `%s` of a function passes: %s", (cookie, passes) => {
    const lines = responseHeaders(["Set-Cookie", cookie], domains)?.lines;
    expect(lines).toEqual(passes ? ["Set-Cookie", cookie] : []);
  });

  test.each([
    ['"cookies"', false],
    ['"cache", "Cookies"', false],
    ['"*"', false],
    ['"storage"', true],
  ])("Clear-Site-Data %s of a function passes: %s", (value, passes) => {
    const lines = responseHeaders(["Clear-Site-Data", value], domains)?.lines;
    expect(lines).toEqual(passes ? ["Clear-Site-Data", value] : []);
  });

  test("Set-Cookie of the control plane passes as it is", () => {
    const lines = ["Set-Cookie", "__Host-openfaas_cloud_token=x; Secure; Path=/"];
    expect(responseHeaders(lines, undefined)?.lines).toEqual(lines);
  });

  test("trailers that frame or set state are dropped", () => {
    const dropped = [
      "Content-Length",
      "Set-Cookie",
      "Content-Type",
      "X-Forwarded-For",
      "Location",
      "X-Request-Id",
    ];
    const raw = ["X-Sum", "1", ...dropped.flatMap((name) => [name, "1"]), "Content-Digest", "1"];
    expect(trailers(raw).map(([name]) => name)).toEqual(["X-Sum", "Content-Digest"]);
  });
});
