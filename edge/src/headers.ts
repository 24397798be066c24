import { must } from "@openfaas-cloud/shared/must.ts";
import { PLATFORM_COOKIE_PREFIX } from "@openfaas-cloud/shared/session.ts";
import type { Domains } from "./config.ts";
import { isPlatformCredential } from "./credentials.ts";
import type { Downstream, Exchange } from "./exchange.ts";
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
  /** How many more may pass it on; said of OPTIONS and TRACE, and ignored elsewhere. */
  readonly maxForwards: number | undefined;
  /** Names that `Connection` declares to be for this hop only, lower case. */
  readonly connectionOptions: readonly string[];
  readonly authorization: string | undefined;
  readonly cookies: readonly string[];
  readonly accept: string;
  readonly requestId: string | undefined;
  readonly callId: string | undefined;
  /** As it came, valid or not; empty where there is more than one, which is none. */
  readonly traceparent: string | undefined;
  /** `X-Forwarded-For`, its lines joined by commas: counts where a trusted peer says it, and passes in no case. */
  readonly forwardedFor: string | undefined;
  /** `X-Forwarded-Proto`, likewise; empty where there is more than one, which is none. */
  readonly forwardedProto: string | undefined;
}

export const MAX_HEADER_LINES = 100;
/** How we call ourselves in `Via`. */
const PSEUDONYM = "openfaas-cloud";

/** What a field is to us; all that is `end-to-end` passes as it came. */
export type FieldKind =
  | "host"
  | "content-length"
  | "transfer-encoding"
  | "connection"
  | "upgrade"
  | "expect"
  | "max-forwards"
  | "authorization"
  | "cookie"
  | "accept"
  | "x-request-id"
  | "x-call-id"
  | "traceparent"
  | "x-forwarded-for"
  | "x-forwarded-proto"
  | "keep-alive"
  | "date"
  | "set-cookie"
  | "clear-site-data"
  | "trailer"
  /** For this hop only: RFC 9110 §7.6.1, its predecessors' lists, and what this proxy answers for itself. */
  | "hop"
  /** llhttp takes it for a `Connection`; nobody else has to. */
  | "proxy-connection"
  /** What the platform asserts: removed from what came in, then set by us. */
  | "asserted"
  /** CGI-like functions read it as a dash. */
  | "underscore"
  | "end-to-end";

const KINDS: ReadonlyMap<string, FieldKind> = spelled({
  host: "host",
  "content-length": "content-length",
  "transfer-encoding": "transfer-encoding",
  connection: "connection",
  upgrade: "upgrade",
  expect: "expect",
  "max-forwards": "max-forwards",
  authorization: "authorization",
  cookie: "cookie",
  accept: "accept",
  "x-request-id": "x-request-id",
  "x-call-id": "x-call-id",
  traceparent: "traceparent",
  "x-forwarded-for": "x-forwarded-for",
  "x-forwarded-proto": "x-forwarded-proto",
  "keep-alive": "keep-alive",
  date: "date",
  "set-cookie": "set-cookie",
  "clear-site-data": "clear-site-data",
  trailer: "trailer",
  "proxy-authenticate": "hop",
  "proxy-authorization": "hop",
  te: "hop",
  "http2-settings": "hop",
  "proxy-connection": "proxy-connection",
  forwarded: "asserted",
  "x-real-ip": "asserted",
  "x-start-time": "asserted",
  // Known only so that their usual spellings are found at once.
  "user-agent": "end-to-end",
  "accept-encoding": "end-to-end",
  "accept-language": "end-to-end",
  "content-type": "end-to-end",
  "cache-control": "end-to-end",
  referer: "end-to-end",
  origin: "end-to-end",
  server: "end-to-end",
  etag: "end-to-end",
  "last-modified": "end-to-end",
});
const ASSERTED_PREFIX = "x-forwarded-";

/** By each name in lower case and as it is usually written. */
function spelled(kinds: Readonly<Record<string, FieldKind>>): Map<string, FieldKind> {
  return new Map(
    Object.entries(kinds).flatMap(([name, kind]) => [
      [name, kind],
      [name.replaceAll(/(?<![a-z0-9])[a-z]/g, (letter) => letter.toUpperCase()), kind],
    ]),
  );
}

export function fieldKind(name: string): FieldKind {
  return KINDS.get(name) ?? kindOfLower(name.toLowerCase());
}

function kindOfLower(name: string): FieldKind {
  const known = KINDS.get(name);
  if (known !== undefined) return known;
  if (name.startsWith(ASSERTED_PREFIX)) return "asserted";
  return name.includes("_") ? "underscore" : "end-to-end";
}

const ID = /^[A-Za-z0-9._-]{1,128}$/;
const NONE: readonly string[] = [];

/**
 * Reads a head field by field, and refuses what llhttp lets through although parsers part ways over it: a second Host, names
 * with an underscore, any transfer coding but `chunked`.
 */
export class HeadReader implements RequestHead {
  host: string | undefined;
  contentLength: number | undefined;
  chunked = false;
  asksUpgrade = false;
  expects = false;
  maxForwards: number | undefined;
  connectionOptions: readonly string[] = NONE;
  authorization: string | undefined;
  cookies: readonly string[] = NONE;
  accept = "";
  requestId: string | undefined;
  callId: string | undefined;
  traceparent: string | undefined;
  forwardedFor: string | undefined;
  forwardedProto: string | undefined;
  readonly #httpVersion: string;

  constructor(httpVersion: string) {
    this.#httpVersion = httpVersion;
  }

  get hasBody(): boolean {
    return this.chunked || (this.contentLength ?? 0) > 0;
  }

  read(kind: FieldKind, value: string): Refusal | undefined {
    switch (kind) {
      case "host":
        if (this.host !== undefined) return malformed("host-invalid", "More than one Host header.");
        this.host = value;
        break;
      case "content-length":
        if (this.contentLength !== undefined || !/^(0|[1-9]\d{0,14})$/.test(value)) {
          return malformed("framing-invalid", "Content-Length must be one plain number.");
        }
        this.contentLength = Number(value);
        break;
      case "transfer-encoding":
        if (this.chunked || value.toLowerCase() !== "chunked" || this.#httpVersion !== "1.1") {
          return malformed("framing-invalid", "Transfer-Encoding must be chunked, once, and on HTTP/1.1.");
        }
        this.chunked = true;
        break;
      case "connection":
        this.connectionOptions = this.connectionOptions.concat(optionsOf(value));
        break;
      case "upgrade":
        this.asksUpgrade = true;
        break;
      case "expect":
        this.expects = true;
        break;
      case "max-forwards":
        if (/^\d{1,9}$/.test(value)) this.maxForwards = Number(value);
        break;
      case "authorization":
        // Who takes the first of two would use another one than was decided by.
        if (this.authorization !== undefined) {
          return malformed("authorization-invalid", "More than one Authorization header.");
        }
        this.authorization = value;
        break;
      case "cookie":
        this.cookies = [...this.cookies, value];
        break;
      case "accept":
        this.accept = value;
        break;
      case "x-request-id":
        if (ID.test(value)) this.requestId = value;
        break;
      case "x-call-id":
        if (ID.test(value)) this.callId = value;
        break;
      case "traceparent":
        this.traceparent = this.traceparent === undefined ? value : "";
        break;
      case "x-forwarded-for":
        this.forwardedFor = this.forwardedFor === undefined ? value : `${this.forwardedFor},${value}`;
        break;
      case "x-forwarded-proto":
        this.forwardedProto = this.forwardedProto === undefined ? value : "";
        break;
      case "underscore":
        return malformed("header-underscore", "Header names must not hold an underscore.");
      default:
    }
    return undefined;
  }

  /** What can be wrong with the whole of it. */
  conclude(): Refusal | undefined {
    return this.chunked && this.contentLength !== undefined
      ? malformed("framing-invalid", "Content-Length and Transfer-Encoding exclude each other.")
      : undefined;
  }
}

export function readHead(raw: RawHeaders, httpVersion: string): RequestHead | Refusal {
  if (raw.length > MAX_HEADER_LINES * 2) {
    return malformed("too-many-headers", `More than ${MAX_HEADER_LINES} header lines.`, 431);
  }
  const reader = new HeadReader(httpVersion);
  for (let i = 0; i < raw.length; i += 2) {
    const refusal = reader.read(fieldKind(raw[i] ?? ""), raw[i + 1] ?? "");
    if (refusal !== undefined) return refusal;
  }
  return reader.conclude() ?? reader;
}

function optionsOf(connection: string): string[] {
  return connection
    .toLowerCase()
    .split(",")
    .map((option) => option.trim());
}

/**
 * Functions never see a credential of the platform, needed or not; the control plane does. A bearer that opened a function
 * stays behind whatever it looks like.
 */
export type CredentialsRule = "keep" | "remove-platforms" | "remove-platforms-and-authorization";

/** What of an exchange goes into the head that an upstream is sent. */
export type Forwarded = Pick<
  Exchange,
  "method" | "httpVersion" | "rawHeaders" | "head" | "downstream" | "requestId"
>;

/** The lines an upstream is sent, all but the ones of framing and connection, which the HTTP client writes. */
export function requestHeaders(exchange: Forwarded, credentials: CredentialsRule): string[] {
  const raw = exchange.rawHeaders;
  const lines: string[] = [];
  const head = must(exchange.head, "the head that is forwarded");
  for (let i = 0; i < raw.length; i += 2) {
    const name = raw[i] ?? "";
    if (!isPassed(fieldKind(name)) || head.connectionOptions.includes(name.toLowerCase())) continue;
    lines.push(name, raw[i + 1] ?? "");
  }
  // After the loop, so that nothing a client says can take these away.
  lines.push(...credentialLines(head, credentials));
  if (head.contentLength !== undefined) lines.push("content-length", String(head.contentLength));
  if (head.maxForwards !== undefined)
    lines.push("Max-Forwards", forwardsLeft(exchange.method, head.maxForwards));
  lines.push(
    ...originLines(exchange.downstream, head.host ?? "", exchange.httpVersion),
    ...callLines(exchange),
  );
  return lines;
}

/** RFC 9110 §7.6.2; who is asked for nothing but OPTIONS and TRACE leaves it as it is. */
function forwardsLeft(method: string, maxForwards: number): string {
  return String(method === "OPTIONS" ? maxForwards - 1 : maxForwards);
}

/** Whether a request's field of this kind goes on as it came. */
export function isPassed(kind: FieldKind): boolean {
  switch (kind) {
    case "end-to-end":
    case "accept":
    case "traceparent":
    case "date":
    case "set-cookie":
    case "clear-site-data":
      return true;
    default:
      return false;
  }
}

/** What is left of a client's credentials. */
export function credentialLines(head: RequestHead, rule: CredentialsRule): readonly string[] {
  const { authorization, cookies, connectionOptions } = head;
  if (authorization === undefined && cookies.length === 0) return NONE;
  const lines: string[] = [];
  if (
    authorization !== undefined &&
    mayPass(authorization, rule) &&
    !connectionOptions.includes("authorization")
  )
    lines.push("Authorization", authorization);
  if (connectionOptions.includes("cookie")) return lines;
  for (const cookie of cookies) {
    const kept = rule === "keep" ? cookie : withoutPlatformCookies(cookie);
    if (kept !== undefined) lines.push("Cookie", kept);
  }
  return lines;
}

/**
 * What we tell an upstream about who asks, whom, and by what way; the same for every request of a connection to one host, but
 * for those of a trusted peer. Our `Via` stands behind those of whoever passed it on before (RFC 9110 §7.6.3).
 */
export function originLines(downstream: Downstream, host: string, httpVersion: string): string[] {
  const { address, scheme, forwardedFor } = downstream;
  return [
    "Host",
    host,
    "X-Forwarded-For",
    forwardedFor,
    "X-Forwarded-Host",
    host,
    "X-Forwarded-Proto",
    scheme,
    "Forwarded",
    forwarded(downstream, host),
    "X-Real-IP",
    address,
    "Via",
    `${httpVersion} ${PSEUDONYM}`,
  ];
}

/** What we tell an upstream about one request. The time is nanoseconds since the epoch, as OpenFaaS's gateway says it. */
function callLines(exchange: Forwarded): string[] {
  return [...identityLines(exchange), "X-Start-Time", `${Date.now()}000000`];
}

/** What every answer carries, so that it can be found again. */
export function identityLines({ head, requestId }: Pick<Forwarded, "head" | "requestId">): string[] {
  return ["X-Request-Id", requestId, "X-Call-Id", head?.callId ?? requestId];
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

/** RFC 7239: what the client sent to whom, and after it whoever passed it on. */
function forwarded({ address, scheme, forwardedFor }: Downstream, host: string): string {
  const first = `for=${forwardedNode(address)};host="${host}";proto=${scheme}`;
  if (forwardedFor === address) return first;
  const [, ...others] = forwardedFor.split(", ");
  return [first, ...others.map((other) => `for=${forwardedNode(other)}`)].join(", ");
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

const NO_NAMES: ReadonlySet<string> = new Set();

/** Reads the head of an upstream's answer field by field, and tells what of it goes on to the client. */
export class AnswerReader {
  readonly #domains: Domains | undefined;
  contentLength: string | undefined;
  chunked = false;
  /** `Connection: close`: nothing more may be asked on its connection. */
  closes = false;
  /** Names beside `close` and `keep-alive` that are for this hop only. */
  hopNames: ReadonlySet<string> = NO_NAMES;
  /** How long the upstream says that it keeps an idle connection, from `Keep-Alive`. */
  keepAliveS: number | undefined;
  hasDate = false;
  /** Framed twice, or by a coding that we do not undo: no answer but an attack on whoever believes the other framing. */
  broken = false;

  /** @param domains given where a function answers: it may neither set cookies that reach beyond its own host nor clear them */
  constructor(domains: Domains | undefined) {
    this.#domains = domains;
  }

  /** @returns whether the field goes on to the client as it came, short of `hopNames` */
  read(kind: FieldKind, value: string): boolean {
    switch (kind) {
      case "end-to-end":
      case "accept":
      case "traceparent":
      case "host":
      case "underscore":
      case "asserted":
      case "x-forwarded-for":
      case "x-forwarded-proto":
      case "trailer":
      case "authorization":
      case "cookie":
        return true;
      case "transfer-encoding":
        if (this.chunked || value.toLowerCase() !== "chunked") this.broken = true;
        this.chunked = true;
        return false;
      case "content-length":
        if (this.contentLength !== undefined || !/^\d{1,15}$/.test(value)) this.broken = true;
        this.contentLength = String(Number(value));
        return false;
      case "connection":
        this.#readConnection(value);
        return false;
      case "keep-alive":
        this.keepAliveS = idleTimeoutOf(value);
        return false;
      case "date":
        this.hasDate = true;
        return true;
      case "set-cookie":
        return this.#domains === undefined || mayFunctionSet(value, this.#domains);
      case "clear-site-data":
        return this.#domains === undefined || !clearsCookies(value);
      default:
        return false;
    }
  }

  #readConnection(value: string): void {
    const hopNames = new Set(this.hopNames);
    for (const option of optionsOf(value)) {
      if (option === "close") this.closes = true;
      else if (option !== "keep-alive") hopNames.add(option);
    }
    if (hopNames.size > 0) this.hopNames = hopNames;
  }

  /** Whether it can be believed, now that all of it is read. */
  get isWhole(): boolean {
    return !this.broken && !(this.chunked && this.contentLength !== undefined);
  }
}

export interface ResponseHead {
  readonly lines: string[];
  readonly contentLength: string | undefined;
}

/** Past about a thousand lines some clients drop the rest without a word (Node's do), and see another answer than we did. */
export const MAX_ANSWER_LINES = 1_000;

/** The lines of an upstream's answer that go on to the client; `undefined` where it cannot be believed. */
export function responseHeaders(raw: RawHeaders, domains: Domains | undefined): ResponseHead | undefined {
  if (raw.length > MAX_ANSWER_LINES * 2) return undefined;
  const reader = new AnswerReader(domains);
  const lines: string[] = [];
  for (let i = 0; i < raw.length; i += 2) {
    const name = raw[i] ?? "";
    const value = raw[i + 1] ?? "";
    if (reader.read(fieldKind(name), value)) lines.push(name, value);
  }
  if (!reader.isWhole) return undefined;
  return { lines: withoutNames(lines, reader.hopNames), contentLength: reader.contentLength };
}

/** Those that an answer's `Connection` does not take away, wherever in the head that stands. */
export function withoutNames(lines: string[], names: ReadonlySet<string>): string[] {
  if (names.size === 0) return lines;
  const kept: string[] = [];
  for (let i = 0; i < lines.length; i += 2) {
    const name = lines[i] ?? "";
    if (!names.has(name.toLowerCase())) kept.push(name, lines[i + 1] ?? "");
  }
  return kept;
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
    if (fieldKind(lower) !== "end-to-end" || NOT_IN_TRAILERS.has(lower)) continue;
    kept.push([name, raw[i + 1] ?? ""]);
  }
  return kept;
}
