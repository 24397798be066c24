export interface RawAnswer {
  readonly status: number;
  /** Lower-case names; values in the order they came. */
  readonly headers: ReadonlyMap<string, readonly string[]>;
  readonly body: string;
  readonly trailers: ReadonlyMap<string, readonly string[]>;
  readonly framing: "length" | "chunked" | "close" | "none";
}

/**
 * Reads what came on one connection as a strict client would, given the methods that were asked for: nothing may be missing,
 * and nothing left over. 1xx answers are answers too.
 */
export function readAnswers(text: string, methods: readonly string[]): RawAnswer[] {
  const answers: RawAnswer[] = [];
  const asked = [...methods];
  let rest = text;
  while (rest !== "") {
    const { answer, length } = readOne(rest, asked[0] ?? "GET");
    answers.push(answer);
    rest = rest.slice(length);
    if (answer.status >= 200) asked.shift();
  }
  return answers;
}

/** Whether there is a whole answer, for a wait. What ends with its connection never is. */
export function hasAnswers(text: string, methods: readonly string[]): boolean {
  try {
    const answers = readAnswers(text, methods).filter(({ status }) => status >= 200);
    return answers.length >= methods.length && answers.every(({ framing }) => framing !== "close");
  } catch {
    return false;
  }
}

function readOne(text: string, method: string): { answer: RawAnswer; length: number } {
  const headEnd = indexOf(text, "\r\n\r\n", 0);
  const [statusLine = "", ...lines] = text.slice(0, headEnd).split("\r\n");
  const status = Number(/^HTTP\/1\.1 (\d{3})( |$)/.exec(statusLine)?.[1]);
  if (Number.isNaN(status)) throw new Error(`not a status line: ${JSON.stringify(statusLine.slice(0, 80))}`);
  const headers = fields(lines);
  const lengths = headers.get("content-length") ?? [];
  const chunked = headers.has("transfer-encoding");
  if (lengths.length > 1 || (lengths.length > 0 && chunked)) throw new Error("framed twice");
  const bodyBegin = headEnd + 4;
  const none = new Map<string, string[]>();
  if (method === "HEAD" || status < 200 || status === 204 || status === 304) {
    return { answer: { status, headers, body: "", trailers: none, framing: "none" }, length: bodyBegin };
  }
  if (chunked) {
    const { body, trailers, end } = readChunks(text, bodyBegin);
    return { answer: { status, headers, body, trailers, framing: "chunked" }, length: end };
  }
  const end = lengths.length > 0 ? bodyBegin + Number(lengths[0]) : text.length;
  if (end > text.length) throw new Error(`${end - text.length} bytes of the body are missing`);
  const framing = lengths.length > 0 ? "length" : "close";
  return {
    answer: { status, headers, body: text.slice(bodyBegin, end), trailers: none, framing },
    length: end,
  };
}

function readChunks(text: string, begin: number) {
  let body = "";
  let at = begin;
  for (;;) {
    const lineEnd = indexOf(text, "\r\n", at);
    const size = Number.parseInt(text.slice(at, lineEnd), 16);
    if (Number.isNaN(size)) throw new Error("not a chunk");
    at = lineEnd + 2;
    if (size === 0) break;
    if (text.slice(at + size, at + size + 2) !== "\r\n") throw new Error("a chunk is cut short");
    body += text.slice(at, at + size);
    at += size + 2;
  }
  if (text.startsWith("\r\n", at)) return { body, trailers: fields([]), end: at + 2 };
  const end = indexOf(text, "\r\n\r\n", at);
  return { body, trailers: fields(text.slice(at, end).split("\r\n")), end: end + 4 };
}

function fields(lines: readonly string[]): Map<string, string[]> {
  const found = new Map<string, string[]>();
  for (const line of lines) {
    const colon = line.indexOf(":");
    const name = line.slice(0, colon).toLowerCase();
    found.set(name, [...(found.get(name) ?? []), line.slice(colon + 1).trim()]);
  }
  return found;
}

function indexOf(text: string, what: string, from: number): number {
  const at = text.indexOf(what, from);
  if (at === -1) throw new Error(`no ${JSON.stringify(what)} in what is left`);
  return at;
}
