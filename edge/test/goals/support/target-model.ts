/**
 * What a request is for, by the contract and not by target.ts: SECURITY.md §3 (Host rule, limits), RFC 3986 §5.2.4 word by
 * word, `%2e` read as a dot. Written to be read in one go; slow on purpose.
 */
export interface ModelLine {
  readonly method: string;
  readonly version: string;
  readonly host: string | undefined;
  readonly target: string;
}

export type ModelDecision =
  | { readonly kind: "function"; readonly owner: string; readonly function: string; readonly path: string }
  | { readonly kind: "owner"; readonly owner: string }
  | { readonly kind: "system"; readonly path: string }
  | { readonly kind: "home" | "unknown-host" }
  | { readonly kind: "refused"; readonly status: 400 | 405 | 414 | 505 };

const FUNCTIONS = "fn.test";
const SYSTEM = "console.test";

export function decide({ method, version, host, target }: ModelLine): ModelDecision {
  if (["CONNECT", "TRACE"].includes(method)) return refused(405);
  if (!["1.0", "1.1"].includes(version)) return refused(505);
  if (target.length > 8192) return refused(414);
  if ([...target].some((c) => c < "!" || c > "~" || c === "#" || c === "\\")) return refused(400);
  const named = readHost(host ?? "");
  if (named === undefined) return refused(400);
  const scheme = ["http://", "https://"].find((s) => target.toLowerCase().startsWith(s));
  let rest = target;
  if (scheme !== undefined) {
    const [authority = ""] = target.slice(scheme.length).split(/[/?]/);
    const other = readHost(authority);
    if (other?.labels.join() !== named.labels.join() || other.port !== named.port) return refused(400);
    rest = target.slice(scheme.length + authority.length);
    if (!rest.startsWith("/")) rest = `/${rest}`;
  }
  if (!rest.startsWith("/")) return refused(400);
  const [raw = ""] = rest.split("?");
  const query = rest.slice(raw.length);
  const path = withoutDots(raw);

  const name = named.labels.join(".");
  if (name === `system.${SYSTEM}` || name === `auth.system.${SYSTEM}`)
    return { kind: "system", path: path + query };
  if ((name === FUNCTIONS || name === SYSTEM) && path === "/") return { kind: "home" };
  const [owner = "", ...domain] = named.labels;
  if (domain.join(".") !== FUNCTIONS) {
    return name.endsWith(`.${FUNCTIONS}`) ? refused(400) : { kind: "unknown-host" };
  }
  if (path === "/") return { kind: "owner", owner };
  const [segment = "", ...below] = path.slice(1).split("/");
  const spelled = plainly(segment);
  if (spelled === undefined) return refused(400);
  return { kind: "function", owner, function: spelled, path: `/${below.join("/")}${query}` };
}

function refused(status: 400 | 405 | 414 | 505): ModelDecision {
  return { kind: "refused", status };
}

function readHost(text: string): { labels: string[]; port: number | undefined } | undefined {
  if (text.length > 262) return undefined;
  const colon = text.startsWith("[") ? text.indexOf(":", text.indexOf("]")) : text.indexOf(":");
  const name = colon === -1 ? text : text.slice(0, colon);
  let port: number | undefined;
  if (colon !== -1) {
    const digits = text.slice(colon + 1);
    port = Number(digits);
    if (!/^\d+$/.test(digits) || digits.length > 5 || port < 1 || port > 65_535) return undefined;
  }
  if (/^\[[0-9a-fA-F:.]{2,45}\]$/.test(name)) return { labels: ["[ipv6]"], port };
  const labels = (name.endsWith(".") ? name.slice(0, -1) : name).toLowerCase().split(".");
  return labels.every((label) => /^[a-z0-9-]+$/.test(label)) ? { labels, port } : undefined;
}

/** RFC 3986 §5.2.4, its steps A to E; the path begins with a slash, so that A and D's second half never apply. */
function withoutDots(path: string): string {
  let input = path.replaceAll(/(?<=\/)(?:\.|%2e){1,2}(?=\/|$)/gi, (dots) => dots.replaceAll(/%2e/gi, "."));
  let output = "";
  while (input !== "") {
    if (input.startsWith("/./")) input = input.slice(2);
    else if (input === "/.") input = "/";
    else if (input.startsWith("/../") || input === "/..") {
      input = input === "/.." ? "/" : input.slice(3);
      output = output.slice(0, Math.max(0, output.lastIndexOf("/")));
    } else {
      const end = input.indexOf("/", 1);
      output += end === -1 ? input : input.slice(0, end);
      input = end === -1 ? "" : input.slice(end);
    }
  }
  return output;
}

/** A segment's characters; none where it is empty, or an encoding hides what nobody spells with one. */
function plainly(segment: string): string | undefined {
  let spelled = "";
  for (let i = 0; i < segment.length; i++) {
    if (segment[i] !== "%") spelled += segment[i];
    else {
      const code = /^[0-9a-f]{2}$/i.test(segment.slice(i + 1, i + 3))
        ? Number.parseInt(segment.slice(i + 1, i + 3), 16)
        : -1;
      if (code < 0x20 || code > 0x7e || "/\\%".includes(String.fromCharCode(code))) return undefined;
      spelled += String.fromCharCode(code);
      i += 2;
    }
  }
  return spelled === "" ? undefined : spelled;
}
