/** How a forgiving parser might cut a byte stream into requests; what the edge sends must look the same to all of them. */
export interface Leniency {
  readonly name: string;
  /** Which framing header counts when there are several. */
  readonly framing: "te-first" | "cl-first" | "cl-last";
  /** A line feed alone ends a line. */
  readonly bareLf: boolean;
  /** A carriage return alone ends a line. */
  readonly bareCr: boolean;
  /** Names are compared without control characters and spaces around them, with `_` as `-`. */
  readonly foldNames: boolean;
  /** Any value that holds `chunked` means it; a length is its longest decimal prefix, a chunk size its longest hex prefix. */
  readonly looseValues: boolean;
}

export const LENIENT: readonly [Leniency, ...Leniency[]] = [
  {
    name: "transfer coding first, as loose as can be",
    framing: "te-first",
    bareLf: true,
    bareCr: true,
    foldNames: true,
    looseValues: true,
  },
  {
    name: "length first, as loose as can be",
    framing: "cl-first",
    bareLf: true,
    bareCr: true,
    foldNames: true,
    looseValues: true,
  },
  {
    name: "last length first, bare line feeds",
    framing: "cl-last",
    bareLf: true,
    bareCr: false,
    foldNames: true,
    looseValues: true,
  },
  {
    name: "as the standard has it",
    framing: "te-first",
    bareLf: false,
    bareCr: false,
    foldNames: false,
    looseValues: false,
  },
];

export interface LenientRequest {
  readonly method: string;
  readonly target: string;
  /** Name, value, name, value. */
  readonly headers: readonly string[];
  readonly body: Buffer;
  /** What this parser took for framing: values of Content-Length and Transfer-Encoding, in order. */
  readonly framing: readonly string[];
  /** Offset behind its last byte. */
  readonly end: number;
}

/** The request that begins at `from`, or `undefined` while it is not whole. */
export function readLenient(bytes: Buffer, from: number, how: Leniency): LenientRequest | undefined {
  let at = from;
  const line = (): string | undefined => {
    const end = endOfLine(bytes, at, how);
    if (end === undefined) return undefined;
    const text = bytes.toString("latin1", at, end.at);
    at = end.next;
    return text;
  };
  let start = line();
  while (start === "") start = line();
  if (start === undefined) return undefined;
  const [method = "", target = ""] = start.split(" ");
  const headers: string[] = [];
  for (let text = line(); text !== ""; text = line()) {
    if (text === undefined) return undefined;
    const colon = text.indexOf(":");
    headers.push(text.slice(0, colon), text.slice(colon + 1).replaceAll(/^[ \t]+|[ \t]+$/g, ""));
  }
  const framing = framingOf(headers, how);
  const bodyStart = at;
  if (framing.chunked) {
    const chunks: Buffer[] = [];
    for (;;) {
      const sizeLine = line();
      if (sizeLine === undefined) return undefined;
      const size = Number.parseInt(sizeLine.trim(), 16);
      if (!(size > 0)) break;
      if (at + size > bytes.length) return undefined;
      chunks.push(bytes.subarray(at, at + size));
      at += size;
      if (line() === undefined) return undefined;
    }
    for (let text = line(); text !== ""; text = line()) if (text === undefined) return undefined;
    return { method, target, headers, body: Buffer.concat(chunks), framing: framing.seen, end: at };
  }
  const end = bodyStart + framing.length;
  if (end > bytes.length) return undefined;
  return { method, target, headers, body: bytes.subarray(bodyStart, end), framing: framing.seen, end };
}

/** Where each request ends, by one parser; what is left at the end is not counted. */
export function boundaries(bytes: Buffer, how: Leniency): number[] {
  const ends: number[] = [];
  for (let at = 0; ; ) {
    const request = readLenient(bytes, at, how);
    if (request === undefined) return ends;
    ends.push(request.end);
    at = request.end;
  }
}

function endOfLine(bytes: Buffer, from: number, how: Leniency): { at: number; next: number } | undefined {
  for (let i = from; i < bytes.length; i++) {
    const byte = bytes[i];
    if (byte === 0x0d && bytes[i + 1] === 0x0a) return { at: i, next: i + 2 };
    // Whether a line feed follows is not known yet.
    if (byte === 0x0d && i + 1 === bytes.length) return undefined;
    if (byte === 0x0d && how.bareCr) return { at: i, next: i + 1 };
    if (byte === 0x0a && how.bareLf) return { at: i, next: i + 1 };
  }
  return undefined;
}

function framingOf(headers: readonly string[], how: Leniency) {
  const seen: string[] = [];
  const lengths: number[] = [];
  let chunked = false;
  for (let i = 0; i < headers.length; i += 2) {
    const spelled = (headers[i] ?? "").toLowerCase();
    const name = how.foldNames ? spelled.replaceAll("_", "-").replaceAll(/[^!-~]/g, "") : spelled;
    const given = headers[i + 1] ?? "";
    const value = how.looseValues ? given.trim() : given;
    if (name === "content-length") {
      seen.push(value);
      lengths.push(how.looseValues ? Number.parseInt(value, 10) || 0 : Number(value));
    } else if (name === "transfer-encoding") {
      seen.push(value);
      chunked ||= how.looseValues ? value.toLowerCase().includes("chunked") : value === "chunked";
    }
  }
  const length = (how.framing === "cl-last" ? lengths.at(-1) : lengths[0]) ?? 0;
  if (how.framing === "te-first") return { seen, chunked, length: chunked ? 0 : length };
  return { seen, chunked: chunked && lengths.length === 0, length };
}
