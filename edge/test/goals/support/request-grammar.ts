import type { Random } from "./random.ts";

/** Bytes as latin1. */
export interface RawRequest {
  readonly bytes: string;
  /** Whether it is as it was made, which is legal; a mutated one may be legal too. */
  readonly mutated: boolean;
}

const METHODS = ["GET", "GET", "GET", "POST", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS"];
const HOSTS = [
  "alice.fn.test",
  "alice.fn.test",
  "alice.fn.test",
  "ALICE.fn.test",
  "alice.fn.test:8080",
  "alice.fn.test.",
];
const SEGMENTS = [
  "a",
  "b.c",
  "x-y",
  "~z",
  "%20",
  "%2F",
  "..",
  ".",
  "%2e%2E",
  "",
  "0123456789",
  "(1)",
  "a;b=c",
  "*",
  "@",
];
const QUERIES = ["", "", "", "?", "?a=b", "?a=/../b&c=%2e", "??", "?%00"];
const FIELDS = [
  "Accept: */*",
  "User-Agent: grammar/1.0 (x; y)",
  "Cookie: a=1; b=2",
  "Cookie: c",
  "Authorization: Basic YTpi",
  "traceparent: 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
  "X-Empty:",
  "X-Blanks: \t a \t b \t ",
  "X-Obs: caf\xc3\xa9",
  "x-lower: 1",
  "X-UPPER: 1",
  "X-Forwarded-For: 203.0.113.9",
  "X-Request-Id: given.1",
  "Connection: keep-alive",
  "Connection: X-Hop, keep-alive",
  "X-Hop: 1",
  "Keep-Alive: timeout=5",
  "TE: trailers",
  "Trailer: X-Sum",
  "Via: 1.1 somebody",
  "Content-Type: application/json",
  "Accept-Encoding: gzip, br",
  'If-None-Match: "x"',
  "__proto__: 1",
  "constructor: 1",
  "Expect: 100-continue",
  "Proxy-Connection: keep-alive",
  "Date: Thu, 01 Jan 1970 00:00:00 GMT",
];
const BODIES = [
  "",
  "x",
  "a=b&c=d",
  '{"a":1}',
  "\0\r\n\r\n",
  "0\r\n\r\n",
  "GET /hello HTTP/1.1\r\nHost: bob.fn.test\r\n\r\n",
  "y".repeat(300),
];
const EXTENSIONS = ["", "", "", ";x", ";x=y", ';x="y;z"'];

/** What is put in the place of a piece of a request, or between two. */
const SPLINTERS = [
  " ",
  "\t",
  "\r",
  "\n",
  "\r\n",
  "\r\n ",
  "\r\n\r\n",
  "\0",
  "\v",
  "\x7f",
  "\x80",
  "\xa0",
  "\xff",
  ":",
  ",",
  ";",
  "_",
  "/",
  "//",
  "\\",
  "#",
  "?",
  "%",
  "%2f",
  "%5c",
  "%00",
  "@",
  "..",
  "0",
  "1",
  "9",
  "a",
  "F",
  "0x",
  "+",
  "-",
  '"',
  "HTTP/1.0",
  "HTTP/1.1",
  "HTTP/2.0",
  "CONNECT",
  "TRACE",
  "chunked",
  "Host: bob.fn.test\r\n",
  "Host:\r\n",
  "Content-Length: 1\r\n",
  "Content-Length: 0\r\n",
  "Content-Length: +1\r\n",
  "Content-Length: 1, 1\r\n",
  "Content-Length:\r\n",
  "Transfer-Encoding: chunked\r\n",
  "Transfer-Encoding: identity\r\n",
  "Transfer-Encoding : chunked\r\n",
  "Transfer-Encoding:\r\n",
  "Transfer_Encoding: chunked\r\n",
  "Connection: close\r\n",
  "Connection: upgrade\r\nUpgrade: h2c\r\n",
  "Connection: content-length\r\n",
  "X-A: b\r\n c\r\n",
  "X-A\r\n",
  ": b\r\n",
];

/** Where pieces of HTTP begin and end: mutations are tried there more often than elsewhere. */
const SEAMS = /\r\n|: ?|[ ,;/?=]/g;

/**
 * Requests as they may be, and as they should not be: all legal by grammar first, then, some of them, cut into and patched
 * where parsers look. About 400,000 a second; the same for the same random choices.
 */
export class RequestGrammar {
  readonly #random: Random;
  readonly #mutatedShare: number;

  /** `mutatedShare`: of all requests, between 0 and 1. */
  constructor(random: Random, mutatedShare: number) {
    this.#random = random;
    this.#mutatedShare = mutatedShare;
  }

  /** `last` asks for the end of its connection. */
  next(last = false): RawRequest {
    const bytes = this.#legal(last);
    if (!this.#random.chance(this.#mutatedShare)) return { bytes, mutated: false };
    let mutated = bytes;
    for (let n = this.#random.between(1, 4); n > 0; n--) mutated = this.#mutate(mutated);
    return { bytes: mutated, mutated: true };
  }

  #legal(last: boolean): string {
    const random = this.#random;
    const version = random.chance(0.03) ? "1.0" : "1.1";
    let text = `${random.pick(METHODS)} ${this.#target()} HTTP/${version}\r\n`;
    const host = `Host: ${random.pick(HOSTS)}\r\n`;
    const hostFirst = random.chance(0.7);
    if (hostFirst) text += host;
    for (let n = random.between(0, 6); n > 0; n--) text += `${random.pick(FIELDS)}\r\n`;
    if (!hostFirst) text += host;
    if (last) text += "Connection: close\r\n";
    const kind = version === "1.0" ? random.between(0, 5) : random.between(0, 7);
    if (kind < 3) return `${text}\r\n`;
    const body = random.pick(BODIES);
    if (kind < 5) return `${text}Content-Length: ${body.length}\r\n\r\n${body}`;
    return `${text}Transfer-Encoding: chunked\r\n\r\n${this.#chunked(body)}`;
  }

  #target(): string {
    const random = this.#random;
    let path = random.chance(0.9) ? "/hello" : "/nobody";
    for (let n = random.between(0, 4); n > 0; n--) path += `/${random.pick(SEGMENTS)}`;
    const origin = path + random.pick(QUERIES);
    return random.chance(0.03) ? `http://alice.fn.test${origin}` : origin;
  }

  #chunked(body: string): string {
    const random = this.#random;
    let text = "";
    for (let at = 0; at < body.length; ) {
      const size = random.between(1, body.length - at + 1);
      const digits = size.toString(16);
      const zeros = random.chance(0.1) ? "00" : "";
      text += `${zeros}${random.chance(0.3) ? digits.toUpperCase() : digits}${random.pick(EXTENSIONS)}\r\n`;
      text += `${body.slice(at, at + size)}\r\n`;
      at += size;
    }
    return `${text}0\r\n${random.chance(0.2) ? "X-Sum: 1\r\n" : ""}\r\n`;
  }

  #mutate(text: string): string {
    const random = this.#random;
    const at = random.chance(0.7) ? this.#seam(text) : random.between(0, text.length + 1);
    switch (random.between(0, 7)) {
      case 0:
        return text.slice(0, at) + text.slice(at + 1);
      case 1:
        return text.slice(0, at) + text.slice(at + random.between(1, 12));
      case 2:
        return text.slice(0, at) + String.fromCharCode(random.between(0, 256)) + text.slice(at);
      case 3:
        return text.slice(0, at) + String.fromCharCode(random.between(0, 256)) + text.slice(at + 1);
      case 4: {
        // Again what stands here: a line, mostly.
        const end = text.indexOf("\r\n", at) + 2;
        return end < 2 ? text : text.slice(0, end) + text.slice(at, end) + text.slice(end);
      }
      case 5:
        return text.slice(0, at) + random.pick(SPLINTERS) + text.slice(at);
      default: {
        const line = text.indexOf("\r\n", at);
        const from = line === -1 ? at : line + 2;
        return text.slice(0, from) + random.pick(SPLINTERS) + text.slice(from);
      }
    }
  }

  /** The first seam behind a place taken by chance. */
  #seam(text: string): number {
    SEAMS.lastIndex = this.#random.between(0, text.length + 1);
    const found = SEAMS.exec(text);
    if (found === null) return text.length;
    return this.#random.chance(0.5) ? found.index : found.index + found[0].length;
  }
}
