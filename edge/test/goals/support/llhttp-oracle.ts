/**
 * What Node's own HTTP parser (llhttp, as strict as the full lane runs it) makes of bytes, in memory and without a server:
 * about 300,000 requests a second. `node:_http_common` is where `node:http` itself has it from; there is no public door.
 */

/** A header block's bytes, as in edge.ts. */
const MAX_HEADER_BYTES = 16 * 1024;
const STRICT = 0;
const NO_BODY = Buffer.alloc(0);

export interface ReadRequest {
  readonly method: string;
  readonly target: string;
  /** As `major.minor`. */
  readonly version: string;
  /** Name, value, name, value: spelling and order as they came, bytes as latin1. */
  readonly headers: readonly string[];
  readonly body: Buffer;
  readonly trailers: readonly string[];
  /** It asks for another protocol, or is a CONNECT: what follows it is not HTTP. */
  readonly upgrade: boolean;
  readonly keepAlive: boolean;
  /** All of its body has come. */
  readonly whole: boolean;
}

export interface Reading {
  /** In order; only the last one may lack a part of its body (`whole` is false then). */
  readonly requests: readonly ReadRequest[];
  /**
   * How the bytes end: between two requests; within one; at the first byte that is no HTTP; or after a request that takes the
   * connection away from HTTP.
   */
  readonly end: "clean" | "incomplete" | "refused" | "upgrade";
  /** llhttp's name of what is wrong. */
  readonly error: string | undefined;
}

export type FirstRequest =
  | ({ readonly kind: "request" } & ReadRequest)
  /** Cannot be said yet; `head` is there where the head is whole and the body is not. */
  | { readonly kind: "incomplete"; readonly head: ReadRequest | undefined }
  | { readonly kind: "refused"; readonly error: string };

interface Parser {
  [callback: number]: ((...args: never[]) => unknown) | null;
  initialize(type: number, resource: object, maxHeaderSize: number, lenientFlags: number): void;
  execute(bytes: Buffer): number | ParserError;
}

interface ParserError extends Error {
  readonly code: string;
}

interface ParserClass {
  new (): Parser;
  readonly REQUEST: number;
  readonly kOnMessageBegin: number;
  readonly kOnHeaders: number;
  readonly kOnHeadersComplete: number;
  readonly kOnBody: number;
  readonly kOnMessageComplete: number;
}

interface Draft {
  method: string;
  target: string;
  version: string;
  headers: string[];
  body: Buffer[];
  trailers: string[];
  upgrade: boolean;
  keepAlive: boolean;
  headWhole: boolean;
  whole: boolean;
}

const { HTTPParser, methods } = process.getBuiltinModule("_http_common" as "http") as unknown as {
  readonly HTTPParser: ParserClass;
  readonly methods: readonly string[];
};

/** Methods that llhttp knows; every other one it refuses. */
export const KNOWN_METHODS: readonly string[] = methods;

/** All requests of a connection, its bytes as latin1 text or as they are, in the pieces in which they arrive. */
export function readStream(...pieces: readonly (string | Buffer)[]): Reading {
  return ORACLE.read(pieces);
}

/** The first request of a connection. */
export function readRequest(...pieces: readonly (string | Buffer)[]): FirstRequest {
  const { requests, error } = readStream(...pieces);
  const [first] = requests;
  if (first?.whole === true) return { kind: "request", ...first };
  if (error !== undefined) return { kind: "refused", error };
  return { kind: "incomplete", head: first };
}

/** One parser, made new for each connection: what costs is to make its callbacks. */
class Oracle {
  readonly #parser = new HTTPParser();
  #drafts: Draft[] = [];
  #current: Draft = newDraft();

  constructor() {
    const parser = this.#parser;
    parser[HTTPParser.kOnMessageBegin] = () => {
      this.#current = newDraft();
      this.#drafts.push(this.#current);
    };
    // Called in between when there are many headers, and at the end for trailers.
    parser[HTTPParser.kOnHeaders] = (headers: string[], target: string) => {
      if (this.#current.headWhole) this.#current.trailers.push(...headers);
      else {
        this.#current.headers.push(...headers);
        this.#current.target += target;
      }
    };
    parser[HTTPParser.kOnHeadersComplete] = (
      major: number,
      minor: number,
      headers: string[] | undefined,
      method: number,
      target: string | undefined,
      _status: number,
      _statusText: string,
      upgrade: boolean,
      keepAlive: boolean,
    ) => {
      const draft = this.#current;
      draft.headers = headers ?? draft.headers;
      draft.target = target ?? draft.target;
      draft.method = methods[method] ?? "";
      draft.version = `${major}.${minor}`;
      draft.upgrade = upgrade;
      draft.keepAlive = keepAlive;
      draft.headWhole = true;
      return 0;
    };
    parser[HTTPParser.kOnBody] = (chunk: Buffer) => {
      this.#current.body.push(chunk);
    };
    parser[HTTPParser.kOnMessageComplete] = () => {
      this.#current.whole = true;
    };
  }

  read(pieces: readonly (string | Buffer)[]): Reading {
    this.#drafts = [];
    this.#parser.initialize(HTTPParser.REQUEST, {}, MAX_HEADER_BYTES, STRICT);
    let error: string | undefined;
    for (const piece of pieces) {
      const parsed = this.#parser.execute(typeof piece === "string" ? Buffer.from(piece, "latin1") : piece);
      const last = this.#drafts.at(-1);
      if (typeof parsed !== "number") error = parsed.code;
      if (error !== undefined || (last?.upgrade === true && last.whole)) break;
    }
    const requests = this.#drafts.filter((draft) => draft.headWhole).map(toRequest);
    return { requests, end: endOf(this.#drafts, error), error };
  }
}

const ORACLE = new Oracle();

function endOf(drafts: readonly Draft[], error: string | undefined): Reading["end"] {
  if (error !== undefined) return "refused";
  const last = drafts.at(-1);
  if (last === undefined) return "clean";
  if (!last.whole) return "incomplete";
  return last.upgrade ? "upgrade" : "clean";
}

function newDraft(): Draft {
  return {
    method: "",
    target: "",
    version: "",
    headers: [],
    body: [],
    trailers: [],
    upgrade: false,
    keepAlive: false,
    headWhole: false,
    whole: false,
  };
}

function toRequest(draft: Draft): ReadRequest {
  const { method, target, version, headers, trailers, upgrade, keepAlive, whole } = draft;
  const [only = NO_BODY] = draft.body;
  const body = draft.body.length < 2 ? only : Buffer.concat(draft.body);
  return { method, target, version, headers, body, trailers, upgrade, keepAlive, whole };
}
