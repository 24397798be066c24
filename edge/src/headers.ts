import { PLATFORM_COOKIE_PREFIX } from "@openfaas-cloud/shared/session.ts";
import type { Domains } from "./config.ts";
import { isPlatformCredential } from "./credentials.ts";
import { malformed, type Refusal } from "./refusal.ts";

/** Header lines as they came: name, value, name, value. Order and spelling of names are kept. */
export type RawHeaders = readonly string[];

/** What the phases need to know of a request's head, read in one pass. */
export interface RequestHead {
  readonly host: string | undefined;
  /** `undefined` where the body is chunked, or where there is none. */
  readonly contentLength: number | undefined;
  readonly hasBody: boolean;
  readonly chunked: boolean;
  readonly asksUpgrade: boolean;
  /** An `Expect` stands in it, whatever it expects. */
  readonly expects: boolean;
  /** Names that `Connection` declares to be for this hop only, lower case. */
  readonly connectionOptions: readonly string[];
  readonly authorization: string | undefined;
  readonly cookies: readonly string[];
  readonly accept: string;
  readonly requestId: string | undefined;
  readonly callId: string | undefined;
}

const MAX_HEADER_LINES = 100;

/** RFC 9110 §7.6.1, its predecessors' lists, and what this proxy answers for itself. */
const HOP_BY_HOP = new Set([
  "connection",
  "keep-alive",
  "proxy-connection",
  "proxy-authenticate",
  "proxy-authorization",
  "te",
  "transfer-encoding",
  "upgrade",
  "http2-settings",
  "expect",
]);

/** What the platform asserts: removed from what came in, then set by us. */
const ASSERTED = new Set([
  "host",
  "content-length",
  "forwarded",
  "x-real-ip",
  "x-request-id",
  "x-call-id",
  "x-start-time",
]);
const ASSERTED_PREFIX = "x-forwarded-";

const ID = /^[A-Za-z0-9._-]{1,128}$/;

/**
 * Reads a head that llhttp has accepted, and refuses what llhttp lets through although parsers part ways over it: a second
 * Host, names with an underscore (which CGI-like functions read as a dash), any transfer coding but `chunked`.
 */
export function readHead(raw: RawHeaders, httpVersion: string): RequestHead | Refusal {
  if (raw.length > MAX_HEADER_LINES * 2) {
    return malformed("too-many-headers", `More than ${MAX_HEADER_LINES} header lines.`, 431);
  }
  let host: string | undefined;
  let contentLength: number | undefined;
  let chunked = false;
  let asksUpgrade = false;
  let expects = false;
  const connectionOptions: string[] = [];
  let authorization: string | undefined;
  const cookies: string[] = [];
  let accept = "";
  let requestId: string | undefined;
  let callId: string | undefined;

  for (let i = 0; i < raw.length; i += 2) {
    const name = (raw[i] ?? "").toLowerCase();
    const value = raw[i + 1] ?? "";
    switch (name) {
      case "host":
        if (host !== undefined) return malformed("host-invalid", "More than one Host header.");
        host = value;
        break;
      case "content-length":
        if (contentLength !== undefined || !/^(0|[1-9]\d{0,14})$/.test(value)) {
          return malformed("framing-invalid", "Content-Length must be one plain number.");
        }
        contentLength = Number(value);
        break;
      case "transfer-encoding":
        if (chunked || value !== "chunked" || httpVersion !== "1.1") {
          return malformed("framing-invalid", "Transfer-Encoding must be chunked, once, and on HTTP/1.1.");
        }
        chunked = true;
        break;
      case "connection":
        for (const option of value.split(",")) connectionOptions.push(option.trim().toLowerCase());
        break;
      case "upgrade":
        asksUpgrade = true;
        break;
      case "expect":
        expects = true;
        break;
      case "authorization":
        // Who takes the first of two would use another one than was decided by.
        if (authorization !== undefined) {
          return malformed("authorization-invalid", "More than one Authorization header.");
        }
        authorization = value;
        break;
      case "cookie":
        cookies.push(value);
        break;
      case "accept":
        accept = value;
        break;
      case "x-request-id":
        if (ID.test(value)) requestId = value;
        break;
      case "x-call-id":
        if (ID.test(value)) callId = value;
        break;
      default:
        if (name.includes("_")) {
          return malformed("header-underscore", "Header names must not hold an underscore.");
        }
    }
  }
  if (chunked && contentLength !== undefined) {
    return malformed("framing-invalid", "Content-Length and Transfer-Encoding exclude each other.");
  }
  const hasBody = chunked || (contentLength ?? 0) > 0;
  return {
    host,
    contentLength,
    hasBody,
    chunked,
    asksUpgrade,
    expects,
    connectionOptions,
    authorization,
    cookies,
    accept,
    requestId,
    callId,
  };
}

/** What is told to an upstream about a request. */
export interface Assertions {
  readonly host: string;
  readonly clientAddress: string;
  readonly scheme: "http" | "https";
  readonly requestId: string;
  readonly callId: string;
  /** Nanoseconds since the epoch, as OpenFaaS's gateway says it. */
  readonly startTime: string;
}

/**
 * Functions never see a credential of the platform, needed or not; the control plane does. A bearer that opened a function
 * stays behind whatever it looks like.
 */
export type CredentialsRule = "keep" | "remove-platforms" | "remove-platforms-and-authorization";

export interface RequestHeaderOptions {
  readonly raw: RawHeaders;
  readonly head: RequestHead;
  readonly assertions: Assertions;
  readonly credentials: CredentialsRule;
}

/** The lines an upstream is sent, all but the ones of framing and connection, which the HTTP client writes. */
export function requestHeaders(options: RequestHeaderOptions): string[] {
  const { raw, head, assertions, credentials } = options;
  const lines: string[] = [];
  for (let i = 0; i < raw.length; i += 2) {
    const name = raw[i] ?? "";
    let value: string | undefined = raw[i + 1] ?? "";
    const lower = name.toLowerCase();
    if (HOP_BY_HOP.has(lower) || ASSERTED.has(lower) || lower.startsWith(ASSERTED_PREFIX)) continue;
    if (lower === "trailer" || head.connectionOptions.includes(lower)) continue;
    if (lower === "authorization" && !mayPass(value, credentials)) continue;
    if (lower === "cookie" && credentials !== "keep") value = withoutPlatformCookies(value);
    if (value !== undefined) lines.push(name, value);
  }
  // After the loop, so that nothing a client says can take these away.
  lines.push("host", assertions.host);
  if (head.contentLength !== undefined) lines.push("content-length", String(head.contentLength));
  lines.push(
    "X-Forwarded-For",
    assertions.clientAddress,
    "X-Forwarded-Host",
    assertions.host,
    "X-Forwarded-Proto",
    assertions.scheme,
    "Forwarded",
    `for=${forwardedNode(assertions.clientAddress)};host="${assertions.host}";proto=${assertions.scheme}`,
    "X-Real-IP",
    assertions.clientAddress,
    "X-Request-Id",
    assertions.requestId,
    "X-Call-Id",
    assertions.callId,
    "X-Start-Time",
    assertions.startTime,
  );
  return lines;
}

function mayPass(authorization: string, credentials: CredentialsRule): boolean {
  switch (credentials) {
    case "keep":
      return true;
    case "remove-platforms":
      return !isPlatformCredential(authorization);
    case "remove-platforms-and-authorization":
      return false;
  }
}

function forwardedNode(address: string): string {
  return address.includes(":") ? `"[${address}]"` : address;
}

/** `undefined` where nothing is left. Names are compared without case, as browsers compare cookie name prefixes. */
function withoutPlatformCookies(value: string): string | undefined {
  if (!value.toLowerCase().includes(PLATFORM_COOKIE_LOWER)) return value;
  const kept = value.split(";").filter((pair) => !isPlatformCookie(pair));
  const rest = kept.join(";").trim();
  return rest === "" ? undefined : rest;
}

const PLATFORM_COOKIE_LOWER = PLATFORM_COOKIE_PREFIX.toLowerCase();

/** At the start of a pair, or after what some parser takes for the end of one; nameless ones are read back as names. */
const PLATFORM_COOKIE = new RegExp(`(^\\s*=?|[\\s,"'])${PLATFORM_COOKIE_LOWER}`, "i");

function isPlatformCookie(pair: string): boolean {
  return PLATFORM_COOKIE.test(pair);
}

/** The values a cookie was sent with; more than one means that somebody tossed one in. */
export function cookieValues(cookies: readonly string[], name: string): string[] {
  const values: string[] = [];
  for (const line of cookies) {
    if (!line.includes(name)) continue;
    for (const pair of line.split(";")) {
      const at = pair.indexOf("=");
      if (at !== -1 && pair.slice(0, at).trim() === name) values.push(pair.slice(at + 1).trim());
    }
  }
  return values;
}

export interface ResponseHead {
  readonly lines: string[];
  readonly contentLength: string | undefined;
  readonly chunked: boolean;
  /** `Connection: close`: nothing more may be asked on its connection. */
  readonly closes: boolean;
  /** How long the upstream says that it keeps an idle connection, from `Keep-Alive`. */
  readonly keepAliveS: number | undefined;
  readonly hasDate: boolean;
}

/** Past about a thousand lines some clients drop the rest without a word (Node's do), and see another answer than we did. */
const MAX_ANSWER_LINES = 1_000;

/**
 * The lines of an upstream's answer that go on to the client. `undefined` where the answer is framed twice, which is not an
 * answer but an attack on whoever believes the other framing. `domains` is given where a function answers: it may neither set
 * cookies that reach beyond its own host nor clear them.
 */
export function responseHeaders(raw: RawHeaders, domains: Domains | undefined): ResponseHead | undefined {
  if (raw.length > MAX_ANSWER_LINES * 2) return undefined;
  const options = connectionOptionsOf(raw);
  const lines: string[] = [];
  let contentLength: string | undefined;
  let chunked = false;
  let keepAliveS: number | undefined;
  let hasDate = false;
  for (let i = 0; i < raw.length; i += 2) {
    const name = raw[i] ?? "";
    const value = raw[i + 1] ?? "";
    const lower = name.toLowerCase();
    if (lower === "transfer-encoding") {
      // A coding that we do not undo would reach the client without the line that names it.
      if (chunked || value.toLowerCase() !== "chunked") return undefined;
      chunked = true;
    }
    if (lower === "keep-alive") keepAliveS = idleTimeoutOf(value);
    if (lower === "date") hasDate = true;
    if (HOP_BY_HOP.has(lower) || lower === "x-request-id" || lower === "x-call-id") continue;
    if (lower === "content-length") {
      if (contentLength !== undefined || !/^\d{1,15}$/.test(value)) return undefined;
      contentLength = String(Number(value));
      continue;
    }
    if (options.includes(lower)) continue;
    if (lower === "set-cookie" && domains !== undefined && !mayFunctionSet(value, domains)) continue;
    if (lower === "clear-site-data" && domains !== undefined && clearsCookies(value)) continue;
    lines.push(name, value);
  }
  if (chunked && contentLength !== undefined) return undefined;
  return { lines, contentLength, chunked, closes: options.includes("close"), keepAliveS, hasDate };
}

function idleTimeoutOf(keepAlive: string): number | undefined {
  const seconds = /(?:^|[,\s])timeout=(\d{1,5})/i.exec(keepAlive)?.[1];
  return seconds === undefined ? undefined : Number(seconds);
}

const MAX_REASON_CHARACTERS = 100;

/** What an upstream says beside its status, where it is fit to be said on. */
export function reasonPhrase(text: string | undefined): string {
  if (text === undefined || text.length > MAX_REASON_CHARACTERS) return "";
  return /^[\t\x20-\x7e]*$/.test(text) ? text : "";
}

function connectionOptionsOf(raw: RawHeaders): string[] {
  const options: string[] = [];
  for (let i = 0; i < raw.length; i += 2) {
    if ((raw[i] ?? "").toLowerCase() !== "connection") continue;
    for (const option of (raw[i + 1] ?? "").split(",")) options.push(option.trim().toLowerCase());
  }
  return options;
}

/** No platform cookie, and no Domain that a sibling function or the dashboard would receive. */
function mayFunctionSet(cookie: string, domains: Domains): boolean {
  const [pair = "", ...attributes] = cookie.split(";");
  // A nameless cookie's value counts as well: a browser sends it back like a name (RFC 6265bis §5.7).
  if (isPlatformCookie(pair)) return false;
  return attributes.every((attribute) => {
    const [name = "", value = ""] = attribute.split("=", 2);
    return name.trim().toLowerCase() !== "domain" || !reachesOthers(value, domains);
  });
}

/** Empty, it has no effect. Browsers read escapes and letters beyond ASCII as what they stand for. */
const PLAIN_DOMAIN = /^\.?[a-z0-9_-]+(\.[a-z0-9_-]+)*\.?$/;

/** Whether a Domain attribute covers one of our bare domains, a parent of one, or the system host. */
function reachesOthers(value: string, domains: Domains): boolean {
  const plain = value.trim().replace(/^"|"$/g, "").toLowerCase();
  if (plain === "") return false;
  if (!PLAIN_DOMAIN.test(plain)) return true;
  const domain = plain.replace(/^\./, "").replace(/\.$/, "");
  const ours = [
    domains.functions,
    domains.system,
    `system.${domains.system}`,
    `auth.system.${domains.system}`,
  ];
  return ours.some((name) => name === domain || name.endsWith(`.${domain}`));
}

/** Browsers clear the cookies of the whole registrable domain: the dashboard's and every sibling's with them. */
function clearsCookies(value: string): boolean {
  return /cookies|\*/i.test(value);
}

/** What a trailer may not say (RFC 9110 §6.5.1): how the answer is framed, typed, kept or led on, or who is who. */
const NOT_IN_TRAILERS = new Set([
  "age",
  "authorization",
  "cache-control",
  "clear-site-data",
  "content-encoding",
  "content-range",
  "content-security-policy",
  "content-type",
  "cookie",
  "date",
  "expires",
  "location",
  "pragma",
  "retry-after",
  "set-cookie",
  "trailer",
  "vary",
  "www-authenticate",
]);

/** Trailers that may follow a body. */
export function trailers(raw: RawHeaders): [string, string][] {
  const kept: [string, string][] = [];
  for (let i = 0; i < raw.length; i += 2) {
    const name = raw[i] ?? "";
    const lower = name.toLowerCase();
    if (HOP_BY_HOP.has(lower) || ASSERTED.has(lower) || NOT_IN_TRAILERS.has(lower)) continue;
    if (lower.startsWith(ASSERTED_PREFIX)) continue;
    kept.push([name, raw[i + 1] ?? ""]);
  }
  return kept;
}
