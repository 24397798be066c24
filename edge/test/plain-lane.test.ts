import { describe, expect, test } from "vitest";
import { parseAnswerHead } from "../src/plain-lane/answer-head.ts";
import { ChunkedDecoder } from "../src/plain-lane/chunked-decoder.ts";
import { parseRequestHead } from "../src/plain-lane/request-head.ts";

const domains = { functions: "fn.test", system: "console.test" };

describe("a request's head", () => {
  const read = (text: string) => parseRequestHead(text);

  test("is read in one pass, and what passes goes on as it came", () => {
    const request = read(
      "POST /cart?x=1 HTTP/1.1\r\nUser-Agent: a  b\r\nHost: alice.fn.test\r\nAccept:*/*\r\nX-Forwarded-For: 1.2.3.4\r\n" +
        "Content-Length: 4\r\nCookie: a=1\r\ntraceparent: 00-1\r\nConnection: keep-alive\r\nx-last: \t1 \r\n\r\n",
    );
    expect(request?.method).toBe("POST");
    expect(request?.rawTarget).toBe("/cart?x=1");
    expect(request?.passed).toBe("User-Agent: a  b\r\nAccept:*/*\r\ntraceparent: 00-1\r\nx-last: \t1 \r\n");
    expect(request?.head).toMatchObject({
      host: "alice.fn.test",
      contentLength: 4,
      accept: "*/*",
      cookies: ["a=1"],
    });
    expect(request?.rawHeaders.slice(-2)).toEqual(["x-last", "1"]);
  });

  test.each([
    ["HTTP/1.0", "GET / HTTP/1.0\r\nHost: a\r\n\r\n"],
    ["another method", "PURGE / HTTP/1.1\r\nHost: a\r\n\r\n"],
    ["absolute-form", "GET http://a/ HTTP/1.1\r\nHost: a\r\n\r\n"],
    ["two spaces", "GET  / HTTP/1.1\r\nHost: a\r\n\r\n"],
    ["no Host", "GET / HTTP/1.1\r\nAccept: a\r\n\r\n"],
    ["two Hosts", "GET / HTTP/1.1\r\nHost: a\r\nhost: a\r\n\r\n"],
    ["a bare newline", "GET / HTTP/1.1\r\nHost: a\nX: b\r\n\r\n"],
    ["a bare carriage return", "GET / HTTP/1.1\r\nHost: a\rX: b\r\n\r\n"],
    ["a folded line", "GET / HTTP/1.1\r\nHost: a\r\n b\r\n\r\n"],
    ["a blank before the colon", "GET / HTTP/1.1\r\nHost : a\r\n\r\n"],
    ["bytes beyond ASCII", "GET / HTTP/1.1\r\nHost: a\r\nX: \xe4\r\n\r\n"],
    ["a control character", "GET / HTTP/1.1\r\nHost: a\r\nX: \x01\r\n\r\n"],
    ["a chunked body", "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"],
    ["two lengths", "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nContent-Length: 1\r\n\r\n"],
    ["a length with a sign", "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: +1\r\n\r\n"],
    ["an upgrade", "GET / HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\nConnection: upgrade\r\n\r\n"],
    ["an expectation", "POST / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\n\r\n"],
    ["fields for this hop", "GET / HTTP/1.1\r\nHost: a\r\nConnection: close, x-a\r\n\r\n"],
    ["Proxy-Connection", "GET / HTTP/1.1\r\nHost: a\r\nProxy-Connection: close\r\n\r\n"],
    ["an underscore", "GET / HTTP/1.1\r\nHost: a\r\nX_A: 1\r\n\r\n"],
    ["101 lines", `GET / HTTP/1.1\r\nHost: a\r\n${"A: 1\r\n".repeat(100)}\r\n`],
  ])("with %s is the full lane's", (_, text) => {
    expect(read(text)).toBeUndefined();
  });

  test("of 16 KiB is read in no time, matching or not", () => {
    const lines = `Host: a\r\n${"x".repeat(15_000)}: ${"y: ".repeat(300)}\r\n`;
    const startedMs = performance.now();
    for (let i = 0; i < 100; i++) {
      expect(read(`GET / HTTP/1.1\r\n${lines}\r\n`)).toBeDefined();
      expect(read(`GET / HTTP/1.1\r\n${lines}\x7f\r\n`)).toBeUndefined();
    }
    expect(performance.now() - startedMs).toBeLessThan(2_000);
  });
});

describe("an answer's head", () => {
  test("passes what may pass, in its order", () => {
    const head = parseAnswerHead(
      "HTTP/1.1 200 OK\r\nServer: a\r\nConnection: close, x-hop\r\nX-Hop: 1\r\nContent-Length: 3\r\nSet-Cookie: a=1\r\n" +
        "Set-Cookie: __Host-openfaas_cloud_token=x\r\nX-Request-Id: theirs\r\nX: \xe4\r\nKeep-Alive: timeout=7\r\n\r\n",
      domains,
    );
    expect(head?.passed).toBe("Server: a\r\nSet-Cookie: a=1\r\nX: \xe4\r\n".replaceAll(": ", ": "));
    expect(head?.fields).toMatchObject({ contentLength: "3", closes: true, keepAliveS: 7, hasDate: false });
    expect(head).toMatchObject({ status: 200, reason: "OK", minorVersion: "1" });
  });

  test.each([
    ["two framings", "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n"],
    ["two lengths", "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 1\r\n\r\n"],
    ["a coding that is not undone", "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n"],
    ["a folded line", "HTTP/1.1 200 OK\r\nA: 1\r\n 2\r\n\r\n"],
    ["another version", "HTTP/2.0 200 OK\r\n\r\n"],
    ["a status of two digits", "HTTP/1.1 99 OK\r\n\r\n"],
    ["a status of six hundred", "HTTP/1.1 600 OK\r\n\r\n"],
    ["a NUL", "HTTP/1.1 200 OK\r\nA: \0\r\n\r\n"],
  ])("with %s is none", (_, text) => {
    expect(parseAnswerHead(text, domains)).toBeUndefined();
  });
});

describe("a chunked body", () => {
  function decode(pieces: readonly string[]): { data: string; end: number; decoder: ChunkedDecoder } {
    const decoder = new ChunkedDecoder();
    let data = "";
    let end = 0;
    for (const piece of pieces) {
      const bytes = Buffer.from(piece, "latin1");
      end = decoder.decode(bytes, (start, stop) => {
        data += bytes.toString("latin1", start, stop);
      });
    }
    return { data, end, decoder };
  }

  const WHOLE = "4\r\nwiki\r\n6;a=b\r\npedia \r\nE\r\nin \r\n\r\nchunks.\r\n0\r\nX-T: 1\r\n\r\nrest";

  test("is the same however it was cut", () => {
    for (let cut = 0; cut <= WHOLE.length; cut++) {
      const { data, decoder } = decode([WHOLE.slice(0, cut), WHOLE.slice(cut)]);
      expect(data).toBe("wikipedia in \r\n\r\nchunks.");
      expect(decoder.done).toBe(true);
      expect(decoder.trailers).toEqual(["X-T", "1"]);
    }
    expect(decode([...WHOLE]).data).toBe("wikipedia in \r\n\r\nchunks.");
  });

  test("ends where it says, and no byte later", () => {
    expect(WHOLE.slice(decode([WHOLE]).end)).toBe("rest");
  });

  test.each([
    ["a size with a sign", "+1\r\na\r\n0\r\n\r\n"],
    ["a size with a prefix", "0x1\r\na\r\n0\r\n\r\n"],
    ["no size", "\r\na\r\n0\r\n\r\n"],
    ["a size past 48 bits", "1000000000000000\r\n"],
    ["a bare newline after the size", "1\na\r\n0\r\n\r\n"],
    ["more data than the size", "1\r\nab\r\n0\r\n\r\n"],
    ["a trailer that is none", "0\r\nX T: 1\r\n\r\n"],
    ["an endless extension", `1;${"a".repeat(2_000)}`],
    ["endless trailers", `0\r\n${"X: 1\r\n".repeat(5_000)}\r\n`],
  ])("with %s is broken", (_, text) => {
    expect(decode([text]).decoder.broken).toBe(true);
  });
});
