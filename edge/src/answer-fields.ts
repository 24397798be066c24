import type { Domains } from "./config.ts";
import { isPlatformCookie } from "./credentials.ts";
import { type FieldKind, fieldKind, optionsOf, type RawHeaders } from "./field-kinds.ts";

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
