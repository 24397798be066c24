import { must } from "@openfaas-cloud/shared/must.ts";
import { isPlatformCredential, withoutPlatformCookies } from "./credentials.ts";
import type { Downstream, Exchange } from "./exchange.ts";
import { type FieldKind, fieldKind, optionsOf, type RawHeaders } from "./field-kinds.ts";
import { malformed, type Refusal } from "./refusal.ts";

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
