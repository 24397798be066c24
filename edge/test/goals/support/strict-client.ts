import { connect, type Socket } from "node:net";

export interface Ask {
  readonly method?: string;
  readonly host: string;
  readonly path: string;
  /** Further header lines, each with its CRLF. */
  readonly lines?: string;
  readonly body?: string;
  readonly timeoutMs?: number;
}

export interface Reply {
  readonly status: number;
  readonly reason: string;
  /** Names in lower case; every value of a name, in order. */
  readonly headers: ReadonlyMap<string, readonly string[]>;
  readonly trailers: ReadonlyMap<string, readonly string[]>;
  readonly body: Buffer;
  /** All of it, as it came. */
  readonly raw: string;
  readonly tookMs: number;
  /** Whether this was the last on its connection. */
  readonly closes: boolean;
}

export type Failure =
  /** The connection ended before the first byte of an answer. */
  | "unanswered"
  /** It ended within one. */
  | "cut"
  /** Bytes came that nobody had asked for. */
  | "unasked"
  | "malformed"
  | "timeout";

/** What a call ended with instead of one whole answer. */
export class CallFailed extends Error {
  readonly failure: Failure;
  readonly received: string;
  /** Whether the connection had served a request before, so that both sides may have ended it at once. */
  readonly reused: boolean;

  constructor(failure: Failure, received: string, reused: boolean) {
    super(
      `${failure}${reused ? " on a used connection" : ""}, received: ${JSON.stringify(received.slice(0, 300))}`,
    );
    this.failure = failure;
    this.received = received;
    this.reused = reused;
  }
}

/** For `catch`: what a call ended with; anything else is thrown on. */
export function failureOf(error: unknown): CallFailed {
  if (error instanceof CallFailed) return error;
  throw error;
}

interface Pending {
  readonly ask: Ask;
  readonly startedMs: number;
  readonly resolve: (reply: Reply) => void;
  readonly reject: (error: CallFailed) => void;
  readonly timer: NodeJS.Timeout;
}

/**
 * One keep-alive connection, one request at a time, by a reader that forgives nothing: an answer is framed in exactly one
 * way, ends where it says, and nothing follows it. Connects again where the other side closed between two calls.
 */
export class StrictClient implements Disposable {
  readonly #port: () => number;
  #socket: Socket | undefined;
  #served = 0;
  #received: Buffer = Buffer.alloc(0);
  #pending: Pending | undefined;
  #unasked: string | undefined;
  connections = 0;

  constructor(port: number | (() => number)) {
    this.#port = typeof port === "number" ? () => port : port;
  }

  call(ask: Ask): Promise<Reply> {
    if (this.#pending !== undefined) throw new Error("one at a time");
    if (this.#unasked !== undefined) {
      const error = new CallFailed("unasked", this.#unasked, true);
      this.#unasked = undefined;
      return Promise.reject(error);
    }
    const { promise, resolve, reject } = Promise.withResolvers<Reply>();
    const timer = setTimeout(() => this.#fail("timeout"), ask.timeoutMs ?? 10_000);
    this.#pending = { ask, startedMs: performance.now(), resolve, reject, timer };
    this.#received = Buffer.alloc(0);
    this.#open().write(requestText(ask), "latin1");
    return promise;
  }

  /** What came without being asked for, if anything did. */
  get unasked(): string | undefined {
    return this.#unasked;
  }

  [Symbol.dispose](): void {
    if (this.#pending !== undefined) clearTimeout(this.#pending.timer);
    this.#pending = undefined;
    this.#socket?.destroy();
  }

  #open(): Socket {
    if (this.#socket?.writable) return this.#socket;
    const socket = connect({ host: "127.0.0.1", port: this.#port(), noDelay: true });
    this.#socket = socket;
    this.#served = 0;
    this.connections += 1;
    const gone = (): void => {
      socket.destroy();
      if (socket !== this.#socket) return;
      this.#socket = undefined;
      if (this.#pending !== undefined) this.#fail(this.#received.length === 0 ? "unanswered" : "cut");
    };
    socket
      .on("data", (chunk) => {
        if (socket === this.#socket) this.#onData(chunk);
      })
      .on("end", gone)
      .on("error", gone)
      .on("close", gone);
    return socket;
  }

  #onData(chunk: Buffer): void {
    const pending = this.#pending;
    if (pending === undefined) {
      this.#unasked = chunk.toString("latin1");
      this.#drop();
      return;
    }
    this.#received = this.#received.length === 0 ? chunk : Buffer.concat([this.#received, chunk]);
    const parsed = parseReply(this.#received, pending.ask.method ?? "GET");
    if (parsed === "incomplete") return;
    if (parsed === "malformed" || parsed.length < this.#received.length) {
      this.#fail(parsed === "malformed" ? "malformed" : "unasked");
      return;
    }
    this.#pending = undefined;
    clearTimeout(pending.timer);
    this.#served += 1;
    if (parsed.closes) this.#drop();
    const raw = this.#received.toString("latin1");
    pending.resolve({ ...parsed, raw, tookMs: performance.now() - pending.startedMs });
  }

  #fail(failure: Failure): void {
    const pending = this.#pending;
    if (pending === undefined) return;
    this.#pending = undefined;
    clearTimeout(pending.timer);
    this.#drop();
    pending.reject(new CallFailed(failure, this.#received.toString("latin1"), this.#served > 0));
  }

  #drop(): void {
    this.#socket?.destroy();
    this.#socket = undefined;
  }
}

function requestText({ method = "GET", host, path, lines = "", body }: Ask): string {
  const length = body === undefined ? "" : `Content-Length: ${Buffer.byteLength(body, "latin1")}\r\n`;
  return `${method} ${path} HTTP/1.1\r\nHost: ${host}\r\n${lines}${length}\r\n${body ?? ""}`;
}

type Parsed = Omit<Reply, "raw" | "tookMs"> & { readonly length: number };

const STATUS_LINE = /^HTTP\/1\.1 ([2-5]\d\d) ([\t\x20-\x7e\x80-\xff]*)$/;
const FIELD = /^([!#$%&'*+\-.^_`|~0-9A-Za-z]+):[ \t]*([\t\x20-\x7e\x80-\xff]*?)[ \t]*$/;

function parseReply(bytes: Buffer, method: string): Parsed | "incomplete" | "malformed" {
  const headEnd = bytes.indexOf("\r\n\r\n");
  if (headEnd === -1) return bytes.length > 64 * 1024 ? "malformed" : "incomplete";
  const [first = "", ...rest] = bytes.toString("latin1", 0, headEnd).split("\r\n");
  const [, statusText, reason = ""] = STATUS_LINE.exec(first) ?? [];
  const headers = fields(rest);
  if (statusText === undefined || headers === undefined) return "malformed";
  const status = Number(statusText);
  const from = headEnd + 4;
  const closes = (headers.get("connection") ?? []).some((value) => /\bclose\b/i.test(value));
  const head = { status, reason, headers, closes };
  const lengths = headers.get("content-length") ?? [];
  const codings = headers.get("transfer-encoding") ?? [];
  if (lengths.length + codings.length > 1) return "malformed";
  if (method === "HEAD" || status === 204 || status === 304) {
    return { ...head, body: Buffer.alloc(0), trailers: new Map(), length: from };
  }
  const [length] = lengths;
  if (length !== undefined) {
    if (!/^\d+$/.test(length)) return "malformed";
    const end = from + Number(length);
    if (bytes.length < end) return "incomplete";
    return { ...head, body: bytes.subarray(from, end), trailers: new Map(), length: end };
  }
  // Without a length the end of the connection would have to be taken for the end of the answer.
  if (codings[0] !== "chunked") return "malformed";
  const chunked = parseChunked(bytes, from);
  return typeof chunked === "string" ? chunked : { ...head, ...chunked };
}

function parseChunked(
  bytes: Buffer,
  from: number,
): Pick<Parsed, "body" | "trailers" | "length"> | "incomplete" | "malformed" {
  const pieces: Buffer[] = [];
  for (let at = from; ; ) {
    const lineEnd = bytes.indexOf("\r\n", at);
    if (lineEnd === -1) return "incomplete";
    const line = bytes.toString("latin1", at, lineEnd);
    if (!/^[0-9a-fA-F]{1,8}$/.test(line)) return "malformed";
    const chunkLength = Number.parseInt(line, 16);
    at = lineEnd + 2;
    if (chunkLength === 0) return parseTrailers(bytes, at, Buffer.concat(pieces));
    if (bytes.length < at + chunkLength + 2) return "incomplete";
    pieces.push(bytes.subarray(at, at + chunkLength));
    at += chunkLength;
    if (bytes.toString("latin1", at, at + 2) !== "\r\n") return "malformed";
    at += 2;
  }
}

function parseTrailers(
  bytes: Buffer,
  from: number,
  body: Buffer,
): Pick<Parsed, "body" | "trailers" | "length"> | "incomplete" | "malformed" {
  const lines: string[] = [];
  for (let at = from; ; ) {
    const lineEnd = bytes.indexOf("\r\n", at);
    if (lineEnd === -1) return "incomplete";
    const line = bytes.toString("latin1", at, lineEnd);
    at = lineEnd + 2;
    if (line !== "") {
      lines.push(line);
      continue;
    }
    const trailers = fields(lines);
    return trailers === undefined ? "malformed" : { body, trailers, length: at };
  }
}

function fields(lines: readonly string[]): Map<string, string[]> | undefined {
  const headers = new Map<string, string[]>();
  for (const line of lines) {
    const [, name, value] = FIELD.exec(line) ?? [];
    if (name === undefined || value === undefined) return undefined;
    const lower = name.toLowerCase();
    headers.set(lower, [...(headers.get(lower) ?? []), value]);
  }
  return headers;
}
