import type { Domains } from "./config.ts";
import { malformed, type Refusal, type RefusalCode } from "./refusal.ts";

/**
 * What a request is for. The form made here is the only one: it is decided on, remembered and forwarded, so that no two
 * parts can read one request differently.
 */
export type Target =
  /** `path` begins with `/` and carries the query as it came. */
  | {
      readonly kind: "function";
      readonly host: Host;
      readonly owner: string;
      readonly function: string;
      readonly path: string;
    }
  | { readonly kind: "owner"; readonly host: Host; readonly owner: string }
  | { readonly kind: "system"; readonly host: Host; readonly path: string }
  /** The bare domain, which is what people type first. */
  | { readonly kind: "home"; readonly host: Host }
  | { readonly kind: "unknown-host"; readonly host: Host }
  | { readonly kind: "refused"; readonly refusal: Refusal };

export interface Host {
  /** Lower case, no trailing dot, no port. */
  readonly name: string;
  /** With its colon, or empty: what a link back to this listener needs. */
  readonly port: string;
}

export interface RequestLine {
  readonly method: string;
  /** The request target as it came: origin-form or absolute-form. */
  readonly target: string;
  readonly httpVersion: string;
  readonly host: string | undefined;
}

const MAX_TARGET_BYTES = 8 * 1024;

export function findTarget(line: RequestLine, domains: Domains): Target {
  const unusable = checkLine(line);
  if (unusable !== undefined) return { kind: "refused", refusal: unusable };

  const host = line.host === undefined ? undefined : parseHost(line.host);
  if (host === undefined) return refuse("host-invalid", "The Host header is missing or is not a host name.");

  const origin = originForm(line.target, host);
  if (typeof origin !== "string") return { kind: "refused", refusal: origin };

  const queryAt = origin.indexOf("?");
  const path = removeDotSegments(queryAt === -1 ? origin : origin.slice(0, queryAt));
  const query = queryAt === -1 ? "" : origin.slice(queryAt);

  if (host.name === `system.${domains.system}` || host.name === `auth.system.${domains.system}`) {
    return { kind: "system", host, path: path + query };
  }
  return functionTarget(host, path, query, domains);
}

function checkLine(line: RequestLine): Refusal | undefined {
  if (line.method === "CONNECT" || line.method === "TRACE") {
    return malformed("method-refused", `${line.method} is not served here.`, 405);
  }
  if (line.httpVersion !== "1.1" && line.httpVersion !== "1.0") {
    return malformed("version-refused", "Only HTTP/1.1 and HTTP/1.0 are served here.", 505);
  }
  if (line.target.length > MAX_TARGET_BYTES) {
    return malformed("target-too-long", "The request target is longer than 8 KiB.", 414);
  }
  if (!isPlainTarget(line.target)) {
    return malformed("target-invalid", "The request target holds characters that must be percent-encoded.");
  }
  return undefined;
}

/** Visible ASCII without what parsers are known to disagree on: `#` (a fragment) and `\` (a slash to some). */
function isPlainTarget(target: string): boolean {
  for (let i = 0; i < target.length; i++) {
    const c = target.charCodeAt(i);
    if (c <= 0x20 || c >= 0x7f || c === 0x23 || c === 0x5c) return false;
  }
  return true;
}

/** The Host rule (SECURITY.md §3) short of knowing our domains. IPv6 literals are hosts, though never ours. */
export function parseHost(value: string): Host | undefined {
  const match = /^(?:([a-z0-9-]+(?:\.[a-z0-9-]+)*)\.?|\[[0-9a-f:.]{2,45}\])(?::(\d{1,5}))?$/i.exec(value);
  if (match === null || value.length > 262) return undefined;
  const port = match[2];
  if (port !== undefined && (Number(port) < 1 || Number(port) > 65_535)) return undefined;
  return { name: (match[1] ?? "[ipv6]").toLowerCase(), port: port === undefined ? "" : `:${Number(port)}` };
}

/** The origin-form of a target; an absolute-form one must name the host that the Host header names. */
function originForm(target: string, host: Host): string | Refusal {
  if (target.startsWith("/")) return target;
  const absolute = /^https?:\/\/([^/?]*)(.*)$/i.exec(target);
  if (absolute === null) return malformed("target-invalid", "The request target must begin with a slash.");
  const [, authority = "", rest = ""] = absolute;
  const named = parseHost(authority);
  if (named === undefined || named.name !== host.name || named.port !== host.port) {
    return malformed("host-mismatch", "The request target and the Host header name different hosts.");
  }
  return rest.startsWith("/") ? rest : `/${rest}`;
}

/** Path and query of a target that `findTarget` did not refuse, in the form that it decided on. */
export function canonicalPath(target: string, host: Host): string {
  const origin = originForm(target, host);
  if (typeof origin !== "string") throw new Error("a target that was refused has no canonical path");
  const queryAt = origin.indexOf("?");
  return queryAt === -1
    ? removeDotSegments(origin)
    : removeDotSegments(origin.slice(0, queryAt)) + origin.slice(queryAt);
}

/** RFC 3986 §5.2.4, with `%2e` read as the dot it stands for; everything else keeps its spelling. */
function removeDotSegments(path: string): string {
  if (!path.includes("/.") && !/%2e/i.test(path)) return path;
  const kept: string[] = [];
  const segments = path.split("/");
  segments.forEach((segment, i) => {
    const plain = segment.replaceAll(/%2e/gi, ".");
    const last = i === segments.length - 1;
    if (plain === "..") {
      if (kept.length > 1) kept.pop();
      if (last) kept.push("");
    } else if (plain === ".") {
      if (last) kept.push("");
    } else {
      kept.push(segment);
    }
  });
  return kept.length === 1 ? "/" : kept.join("/");
}

function functionTarget(host: Host, path: string, query: string, domains: Domains): Target {
  const suffix = `.${domains.functions}`;
  const isBareDomain = host.name === domains.functions || host.name === domains.system;
  if (isBareDomain && path === "/") return { kind: "home", host };
  if (!host.name.endsWith(suffix)) return { kind: "unknown-host", host };
  const owner = host.name.slice(0, -suffix.length);
  if (owner.includes(".")) {
    return refuse(
      "host-invalid",
      `Exactly one label stands before ${domains.functions} in the host of a function.`,
    );
  }
  if (path === "/") return { kind: "owner", host, owner };

  const end = path.indexOf("/", 1);
  const segment = end === -1 ? path.slice(1) : path.slice(1, end);
  const name = decodeName(segment);
  if (name === undefined) {
    return refuse("path-ambiguous", "The first path segment must be the function's name, spelled plainly.");
  }
  const rest = end === -1 ? "/" : path.slice(end);
  return { kind: "function", host, owner, function: name, path: rest + query };
}

/** The name a segment spells, or `undefined` where decoders could part ways: empty, separators, NUL, bad encoding. */
function decodeName(segment: string): string | undefined {
  if (segment === "") return undefined;
  if (!segment.includes("%")) return segment;
  if (/%(2f|5c|25|[01][0-9a-f]|7f|[89a-f][0-9a-f]|(?![0-9a-f]{2}))/i.test(segment)) return undefined;
  return decodeURIComponent(segment);
}

/**
 * Whether a path of the system host is the control plane's own business. Reads it as the most forgiving parser might
 * (decoded until it stays the same, separators folded, case ignored), since refusing too much is harmless here.
 */
export function isInternalPath(path: string): boolean {
  let plain = path.split("?", 1)[0] ?? "";
  for (let round = 0; round < 4; round++) {
    if (beginsInternally(plain)) return true;
    const decoded = plain.replaceAll(/%([0-9a-f]{2})/gi, (_, hex: string) =>
      String.fromCharCode(Number.parseInt(hex, 16)),
    );
    if (decoded === plain) return false;
    plain = decoded;
  }
  return beginsInternally(plain);
}

/** As it stands, and with its dot segments resolved. */
function beginsInternally(path: string): boolean {
  const segments = path
    .replaceAll("\\", "/")
    .split("/")
    .map((segment) => segment.replace(/;.*$/, "").trim().toLowerCase());
  const resolved: string[] = [];
  let first: string | undefined;
  for (const segment of segments) {
    if (segment === "..") resolved.pop();
    else if (segment !== "" && segment !== ".") {
      resolved.push(segment);
      first ??= segment;
    }
  }
  return [first, resolved[0]].some((segment) => segment?.startsWith("internal") === true);
}

function refuse(code: RefusalCode, message: string): Target {
  return { kind: "refused", refusal: malformed(code, message) };
}
