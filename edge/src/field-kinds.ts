/** Header lines as they came: name, value, name, value. Order and spelling of names are kept. */
export type RawHeaders = readonly string[];

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

/** The options of a `Connection` line, lower case. */
export function optionsOf(connection: string): string[] {
  return connection
    .toLowerCase()
    .split(",")
    .map((option) => option.trim());
}
