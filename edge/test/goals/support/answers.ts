/** One answer of the edge, read from the bytes of a connection. */
export interface RawAnswer {
  readonly status: number;
  readonly version: string;
  /** Name, value, name, value; names in lower case. */
  readonly headers: readonly string[];
  readonly body: string;
}

export interface RawAnswers {
  readonly answers: readonly RawAnswer[];
  /** Bytes behind the last whole answer; empty where the connection ended where an answer did. */
  readonly rest: string;
}

/**
 * The final answers on a connection. `methods` are those of the requests in order, since an answer to HEAD has no body
 * whatever its head says; interim ones (1xx) are left out.
 */
export function readAnswers(received: Buffer, methods: readonly string[]): RawAnswers {
  const text = received.toString("latin1");
  const answers: RawAnswer[] = [];
  let at = 0;
  while (at < text.length) {
    const headEnd = text.indexOf("\r\n\r\n", at);
    const head = headEnd === -1 ? undefined : readHead(text.slice(at, headEnd));
    if (head === undefined) break;
    const bodyStart = headEnd + 4;
    if (head.status < 200) {
      at = bodyStart;
      continue;
    }
    const body = readBody(text, bodyStart, head, methods[answers.length] ?? "GET");
    if (body === undefined) break;
    answers.push({ ...head, body: body.content });
    at = body.end;
  }
  return { answers, rest: text.slice(at) };
}

export function answerHeader(answer: RawAnswer, name: string): string | undefined {
  const at = answer.headers.indexOf(name);
  return at === -1 ? undefined : answer.headers[at + 1];
}

function readHead(head: string): Omit<RawAnswer, "body"> | undefined {
  const [first = "", ...lines] = head.split("\r\n");
  const match = /^HTTP\/(1\.[01]) ([1-5]\d\d) [\t -~]*$/.exec(first);
  if (match === null) return undefined;
  const headers: string[] = [];
  for (const line of lines) {
    const field = /^([!#$%&'*+.^_`|~0-9A-Za-z-]+):[\t ]*(.*?)[\t ]*$/.exec(line);
    if (field === null) return undefined;
    headers.push((field[1] ?? "").toLowerCase(), field[2] ?? "");
  }
  return { version: match[1] ?? "", status: Number(match[2]), headers };
}

function readBody(
  text: string,
  from: number,
  { status, headers }: Omit<RawAnswer, "body">,
  method: string,
): { content: string; end: number } | undefined {
  if (method === "HEAD" || status === 204 || status === 304) return { content: "", end: from };
  const lengthAt = headers.indexOf("content-length");
  if (lengthAt !== -1) {
    const end = from + Number(headers[lengthAt + 1]);
    return end > text.length ? undefined : { content: text.slice(from, end), end };
  }
  if (!headers.includes("transfer-encoding")) return { content: text.slice(from), end: text.length };
  let content = "";
  for (let at = from; ; ) {
    const lineEnd = text.indexOf("\r\n", at);
    if (lineEnd === -1) return undefined;
    const size = Number.parseInt(text.slice(at, lineEnd), 16);
    if (size === 0) {
      // Trailers end with an empty line, as the last chunk's line does where there are none.
      const end = text.indexOf("\r\n\r\n", lineEnd);
      return end === -1 ? undefined : { content, end: end + 4 };
    }
    content += text.slice(lineEnd + 2, lineEnd + 2 + size);
    at = lineEnd + 2 + size + 2;
    if (at > text.length) return undefined;
  }
}
