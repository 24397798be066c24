import type { Random } from "./random.ts";
import type { ModelLine } from "./target-model.ts";

const METHODS = ["GET", "GET", "GET", "GET", "POST", "DELETE", "OPTIONS", "HEAD"];
const OWNERS = ["alice", "alice", "alice", "bob", "bob", "bob", "ALICE", "Bob", "nobody", "xn--bcher-kva"];
const ODD_HOSTS = [
  "fn.test",
  "fn.test",
  "fn.test",
  "fn.test",
  "console.test",
  "console.test",
  "system.console.test",
  "system.console.test",
  "SYSTEM.console.test.",
  "auth.system.console.test",
  "alice.console.test",
  "alice.bob.fn.test",
  "bob.alice.fn.test",
  ".fn.test",
  "alice..fn.test",
  "alicefn.test",
  "alice.fn.test.evil.test",
  "evil.test",
  "alice.fn.tes",
  "[::1]",
  "[fe80::1%25eth0]",
  "127.0.0.1",
  "",
];
/** Behind the name: a dot, a port, and what looks like one and is refused. */
const HOST_ENDS = ["", "", "", "", "", ".", ":80", ":8080", ".:443", ":080", ":65535"];
const ODD_HOST_ENDS = ["..", ":", ":0", ":65536", ":99999999", ":80:80", ":8o", ".:"];
/** Put into a host at any place: userinfo, lists, other alphabets. */
const HOST_SPLINTERS = ["@", "bob@", "/", "?", "#", ",", " ", "%2e", "_", "*", "\\", "\xe4", "\x7f", "-"];
/** Of functions that there are, as they are spelled, in other spellings, and in what is none. */
const FUNCTIONS = ["hello", "secret", "hello", "secret", "%68ello", "hell%6F", "%73ecret", "absent"];
const ODD_FUNCTIONS = [
  "Hello",
  "hello%2fx",
  "hello%2F..%2fsecret",
  "hello%5csecret",
  "hello%00",
  "hello%20",
  "hello;x",
  "hello%3fx",
  "hello%23",
  "hello%",
  "hello%6",
  "hello%zz",
  "%2568ello",
  "%c1%a8ello",
  "%80",
  "__proto__",
  "constructor",
  "",
];
const SEGMENTS = [
  ".",
  "..",
  "..",
  "%2e",
  "%2E%2e",
  ".%2e",
  "%2e.",
  "...",
  "..;",
  ".%00.",
  "%252e%252e",
  "%c0%ae%c0%ae",
  "%e0%80%ae",
  "%2f..",
  "..%2f",
  "..%5c",
  "%5c",
  "%2f",
  "",
  "",
  "a",
  "b.c",
  "hello",
  "secret",
  "%41",
  "%00",
  "internal",
  "api",
];
/** Refused wherever they stand. */
const ODD_SEGMENTS = ["x y", "a\\..", "#", "\xc0\xae", "\x7f", "a\t"];
const QUERIES = ["", "", "", "?", "?a=b", "?/../secret", "?%2e%2e", "??"];
const ODD_QUERIES = ["?#", "?a b", "?\\"];
/** How often each part is of the odd ones: enough that hardly two of them meet. */
const ODD = 0.07;
const SCHEMES = ["http://", "http://", "https://", "HTTP://", "ftp://", "http:", "//", "ws://"];
const MAX_TARGET_BYTES = 8_192;

/** What may be asked for, and of whom: mostly possible, and often what readers are known to part ways over. */
export class TargetGrammar {
  readonly #random: Random;

  constructor(random: Random) {
    this.#random = random;
  }

  next(): ModelLine {
    const random = this.#random;
    const method = random.chance(0.98) ? random.pick(METHODS) : random.pick(["CONNECT", "TRACE"]);
    const version = random.chance(0.97) ? "1.1" : random.pick(["1.0", "1.0", "0.9", "2.0", "1.2"]);
    const host = random.chance(0.99) ? this.#host() : undefined;
    return { method, version, host, target: this.#target(host ?? "") };
  }

  #host(): string {
    const random = this.#random;
    const name = random.chance(0.88)
      ? `${random.pick(OWNERS)}.${random.chance(0.95) ? "fn.test" : "FN.Test"}`
      : random.pick(ODD_HOSTS);
    const host = name + random.pick(random.chance(ODD) ? ODD_HOST_ENDS : HOST_ENDS);
    if (random.chance(0.96)) return host;
    const at = random.between(0, host.length + 1);
    return host.slice(0, at) + random.pick(HOST_SPLINTERS) + host.slice(at);
  }

  #target(host: string): string {
    const random = this.#random;
    if (random.chance(0.01)) return random.pick(["*", "hello", "", "?hello", host]);
    const origin = this.#path() + random.pick(random.chance(ODD) ? ODD_QUERIES : QUERIES);
    const target = random.chance(0.01) ? this.#padded(origin) : origin;
    if (random.chance(0.9)) return target;
    const authority = random.chance(0.6) ? host : this.#host();
    return random.pick(SCHEMES) + authority + (random.chance(0.9) ? target : target.slice(1));
  }

  #path(): string {
    const random = this.#random;
    let path = "";
    if (random.chance(0.02)) return "/";
    // A way that leads back to where it came from, or beyond it.
    while (random.chance(0.2)) path += `/${random.pick(["..", "%2e", ".%2E", "a/..", "hello/%2e%2e", ""])}`;
    path += random.chance(0.03)
      ? "/.."
      : `/${random.pick(random.chance(2 * ODD) ? ODD_FUNCTIONS : FUNCTIONS)}`;
    while (random.chance(0.45)) path += `/${random.pick(random.chance(ODD) ? ODD_SEGMENTS : SEGMENTS)}`;
    return path;
  }

  /** As long as a target may be, give or take a byte. */
  #padded(target: string): string {
    const length = MAX_TARGET_BYTES + this.#random.between(-1, 2);
    return `${target.split("?")[0]}/`.padEnd(length, "x");
  }
}
