import { createServer, type Server, type Socket } from "node:net";
import { gzipSync } from "node:zlib";
import type { Reply } from "./strict-client.ts";

/**
 * What a client may get of it. `refused`: the edge's own 502 or 504. `cut`: a connection that ends within the answer.
 * `passed`: a whole answer, which `check` finds fault with or not.
 */
export type Outcome = "refused" | "cut" | "passed";

export interface Behaviour {
  readonly name: string;
  readonly method?: "GET" | "HEAD" | "POST";
  readonly outcomes: readonly Outcome[];
  /** Writes what it likes to the connection it was asked on. */
  answer(socket: Socket): void;
  /** What is wrong with an answer that was passed on; `undefined` where nothing is. */
  check?(reply: Reply): string | undefined;
  /** Whether its connection may serve on, since nothing on it was amiss. */
  readonly keepsConnection?: boolean;
  /**
   * What is amiss comes after the answer was whole, so that a request that is quick enough meets it: HTTP/1.1 cannot tell
   * it from an answer. Whoever is asked next is asked when the connection is closed.
   */
  readonly spoilsLater?: boolean;
}

const OK = "HTTP/1.1 200 OK\r\n";
const HELLO = "Content-Length: 5\r\n\r\nhello";
const CHUNKED = `${OK}Transfer-Encoding: chunked\r\n\r\n`;

type Step = string | Buffer | "end" | "reset";

const END = "end";
const RESET = "reset";

function play(socket: Socket, steps: readonly Step[]): void {
  for (const step of steps) {
    if (step === END) socket.end();
    else if (step === RESET) socket.resetAndDestroy();
    else if (socket.writable) socket.write(typeof step === "string" ? Buffer.from(step, "latin1") : step);
  }
}

function says(...steps: Step[]): (socket: Socket) => void {
  return (socket) => play(socket, steps);
}

/** Goes on for ever, a piece every so many milliseconds; 0 for as fast as it is taken. */
function drips(first: string, piece: string, everyMs: number): (socket: Socket) => void {
  return (socket) => {
    socket.write(first);
    if (everyMs === 0) {
      flood(socket, piece);
      return;
    }
    const timer = setInterval(() => {
      if (socket.writable) socket.write(piece);
    }, everyMs);
    socket.on("close", () => clearInterval(timer));
  };
}

/** In turns: what is taken as fast as it is written would keep this process from everything else. */
function flood(socket: Socket, piece: string): void {
  if (!socket.writable) return;
  const hasRoom = Array.from({ length: 16 }, () => socket.write(piece)).at(-1);
  if (hasRoom) setImmediate(() => flood(socket, piece));
  else socket.once("drain", () => flood(socket, piece));
}

function bodyIs(expected: string): (reply: Reply) => string | undefined {
  return (reply) =>
    reply.status === 200 && reply.body.toString("latin1") === expected
      ? undefined
      : `status ${reply.status}, body ${JSON.stringify(reply.body.toString("latin1", 0, 100))}`;
}

const isHello = bodyIs("hello");

function lacks(...names: string[]): (reply: Reply) => string | undefined {
  return (reply) => {
    const present = names.filter((name) => reply.headers.has(name) || reply.trailers.has(name));
    return present.length === 0 ? isHello(reply) : `has ${present.join(", ")}`;
  };
}

const ONLY_REFUSED: readonly Outcome[] = ["refused"];
const NOT_WHOLE: readonly Outcome[] = ["refused", "cut"];
/** Parsers of good repute differ over these: let through in one reading, or not at all. */
const EITHER: readonly Outcome[] = ["refused", "passed"];
const ANY: readonly Outcome[] = ["refused", "cut", "passed"];

function refused(name: string, ...steps: Step[]): Behaviour {
  return { name, outcomes: ONLY_REFUSED, answer: says(...steps) };
}

function notWhole(name: string, ...steps: Step[]): Behaviour {
  return { name, outcomes: NOT_WHOLE, answer: says(...steps) };
}

const FRAMING: readonly Behaviour[] = [
  notWhole("fewer bytes than it promised, then the end", `${OK}Content-Length: 10\r\n\r\nhello`, END),
  {
    name: "more bytes than it promised",
    outcomes: ["passed"],
    answer: says(`${OK}${HELLO} world`),
    check: isHello,
  },
  refused("two lengths that agree", `${OK}Content-Length: 5\r\n${HELLO}`),
  refused("two lengths that do not", `${OK}Content-Length: 7\r\n${HELLO}`),
  refused("a list of lengths", `${OK}Content-Length: 5, 5\r\n\r\nhello`),
  refused("a length with a sign", `${OK}Content-Length: +5\r\n\r\nhello`),
  refused("a negative length", `${OK}Content-Length: -5\r\n\r\nhello`),
  refused("a hexadecimal length", `${OK}Content-Length: 0x5\r\n\r\nhello`),
  refused("a length with a fraction", `${OK}Content-Length: 5.0\r\n\r\nhello`),
  refused("a length of thirty digits", `${OK}Content-Length: ${"9".repeat(30)}\r\n\r\nhello`),
  refused("an empty length", `${OK}Content-Length:\r\n\r\nhello`),
  {
    name: "a length with leading zeros",
    outcomes: EITHER,
    answer: says(`${OK}Content-Length: 0005\r\n\r\nhello`),
    check: (reply) =>
      reply.headers.get("content-length")?.[0] === "5" ? isHello(reply) : "the length as it was",
    keepsConnection: true,
  },
  refused(
    "a length beside chunks",
    `${OK}Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n`,
  ),
  refused("gzip, chunked", `${OK}Transfer-Encoding: gzip, chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n`),
  refused("chunked, chunked", `${OK}Transfer-Encoding: chunked, chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n`),
  refused(
    "chunked on two lines",
    `${OK}Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n`,
  ),
  refused("chunked, identity", `${OK}Transfer-Encoding: chunked, identity\r\n\r\nhello`, END),
  refused("identity", `${OK}Transfer-Encoding: identity\r\n\r\nhello`, END),
  refused("a coding nobody knows", `${OK}Transfer-Encoding: xchunked\r\n\r\nhello`, END),
  refused(
    "a coding with a vertical tab",
    `${OK}Transfer-Encoding: \x0bchunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n`,
  ),
  notWhole("a chunk size that is no number", `${CHUNKED}zz\r\nhello\r\n0\r\n\r\n`),
  notWhole("a chunk size with a sign", `${CHUNKED}+5\r\nhello\r\n0\r\n\r\n`),
  notWhole("a chunk size with 0x", `${CHUNKED}0x5\r\nhello\r\n0\r\n\r\n`),
  notWhole("a chunk size beyond 64 bits", `${CHUNKED}${"f".repeat(20)}\r\nhello\r\n0\r\n\r\n`),
  notWhole("a chunk longer than its size", `${CHUNKED}3\r\nhello\r\n0\r\n\r\n`),
  notWhole("a chunk without an end", `${CHUNKED}5\r\nhello`, END),
  notWhole("chunks without a last one", `${CHUNKED}5\r\nhello\r\n`, END),
  {
    name: "chunks whose lines end in a bare LF",
    outcomes: ANY,
    answer: says(`${CHUNKED}5\nhello\n0\n\n`),
    check: isHello,
  },
  {
    name: "a chunk extension of 10 KiB",
    outcomes: ANY,
    answer: says(`${CHUNKED}5;${"x".repeat(10_240)}\r\nhello\r\n0\r\n\r\n`),
    check: isHello,
    keepsConnection: true,
  },
  {
    name: "a chunk extension without an end",
    outcomes: NOT_WHOLE,
    answer: drips(`${CHUNKED}5;`, "x".repeat(16_384), 0),
  },
  {
    name: "trailers that frame, route and set state",
    outcomes: ["cut", "passed"],
    answer: says(
      `${CHUNKED}5\r\nhello\r\n0\r\nContent-Length: 0\r\nTransfer-Encoding: chunked\r\nSet-Cookie: a=1\r\nHost: evil\r\n` +
        "X-Request-Id: spoofed\r\nContent-Type: text/html\r\nX-Forwarded-For: 1.2.3.4\r\nX-Sum: 1\r\n\r\n",
    ),
    check: (reply) => {
      const names = [...reply.trailers.keys()];
      return names.every((name) => name === "x-sum") ? isHello(reply) : `trailers ${names.join(", ")}`;
    },
    keepsConnection: true,
  },
  {
    name: "trailers without an end",
    outcomes: NOT_WHOLE,
    answer: drips(`${CHUNKED}5\r\nhello\r\n0\r\n`, `X-Sum: ${"x".repeat(1_000)}\r\n`, 0),
  },
];

const HEADS: readonly Behaviour[] = [
  refused("three thousand header lines", `${OK}${"a: \r\n".repeat(3_000)}${HELLO}`),
  refused("a header of 1 MiB", `${OK}X-Long: ${"x".repeat(1_048_576)}\r\n${HELLO}`),
  {
    name: "headers without an end",
    outcomes: ONLY_REFUSED,
    answer: drips(OK, `X-More: ${"x".repeat(1_000)}\r\n`, 0),
  },
  refused("a NUL in a value", `${OK}X-A: a\0b\r\n${HELLO}`),
  refused("a CR in a value", `${OK}X-A: a\rSet-Cookie: b=1\r\n${HELLO}`),
  {
    name: "an LF in a value",
    outcomes: EITHER,
    answer: says(`${OK}X-A: a\nX-B: b\r\n${HELLO}`),
    check: isHello,
  },
  {
    name: "bare LF for every line end",
    outcomes: EITHER,
    answer: says("HTTP/1.1 200 OK\nContent-Length: 5\n\nhello"),
    check: isHello,
  },
  {
    name: "a folded line",
    outcomes: EITHER,
    answer: says(`${OK}X-A: a\r\n Content-Length: 7\r\n${HELLO}`),
    check: isHello,
    keepsConnection: true,
  },
  refused("a name with a space", `${OK}X A: a\r\n${HELLO}`),
  refused("a space before the colon", `${OK}Content-Length : 5\r\n\r\nhello`),
  refused("an empty name", `${OK}: a\r\n${HELLO}`),
  refused("a line without a colon", `${OK}what is this\r\n${HELLO}`),
  {
    name: "names that are properties of every object",
    outcomes: ["passed"],
    answer: says(`${OK}__proto__: a\r\nconstructor: b\r\ntoString: c\r\n${HELLO}`),
    check: isHello,
    keepsConnection: true,
  },
  {
    name: "a reason phrase of 1 MiB",
    outcomes: EITHER,
    answer: says(`HTTP/1.1 200 ${"x".repeat(1_048_576)}\r\n${HELLO}`),
    check: (reply) => (reply.reason.length <= 100 ? isHello(reply) : "a long reason phrase"),
    keepsConnection: true,
  },
  {
    name: "a reason phrase of 4 KiB",
    outcomes: EITHER,
    answer: says(`HTTP/1.1 200 ${"x".repeat(4_096)}\r\n${HELLO}`),
    check: (reply) => (reply.reason.length <= 100 ? isHello(reply) : "a long reason phrase"),
    keepsConnection: true,
  },
  {
    name: "no reason phrase",
    outcomes: ["passed"],
    answer: says(`HTTP/1.1 200\r\n${HELLO}`),
    check: isHello,
    keepsConnection: true,
  },
  refused("status 000", `HTTP/1.1 000 None\r\n${HELLO}`),
  refused("status 099", `HTTP/1.1 099 Less\r\n${HELLO}`),
  refused("status 600", `HTTP/1.1 600 More\r\n${HELLO}`),
  refused("status 999", `HTTP/1.1 999 Most\r\n${HELLO}`),
  refused("status abc", `HTTP/1.1 abc Letters\r\n${HELLO}`),
  refused("status 20", `HTTP/1.1 20 Short\r\n${HELLO}`),
  refused("status 2000", `HTTP/1.1 2000 Long\r\n${HELLO}`),
  refused("status -200", `HTTP/1.1 -200 Less\r\n${HELLO}`),
  refused("HTTP/0.9", "<html>hello</html>", END),
  refused("the preface of HTTP/2", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"),
  refused("a settings frame of HTTP/2", Buffer.from("000012040000000000000300000064000400100000", "hex")),
  refused("a version nobody knows", `HTTP/7.3 200 OK\r\n${HELLO}`),
  refused("http in lower case", `http/1.1 200 OK\r\n${HELLO}`),
  refused("a request for an answer", "GET / HTTP/1.1\r\nHost: evil\r\n\r\n"),
  refused("a greeting of SSH", "SSH-2.0-OpenSSH_9.2\r\n"),
  refused("bytes without sense", Buffer.from([0, 255, 13, 10, 13, 10, 1, 2, 3, 254])),
];

const INTERIM: readonly Behaviour[] = [
  {
    name: "interim answers without an end",
    outcomes: ONLY_REFUSED,
    answer: drips("", "HTTP/1.1 103 Early Hints\r\n\r\n", 0),
  },
  {
    name: "an interim answer now and then",
    outcomes: ONLY_REFUSED,
    answer: drips("", "HTTP/1.1 102 Processing\r\n\r\n", 30),
  },
  refused(
    "101 to nobody who asked",
    "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n",
  ),
  refused("101 and then an answer", `HTTP/1.1 101 Switching Protocols\r\n\r\n${OK}${HELLO}`),
  {
    name: "100 to nobody who asked",
    outcomes: EITHER,
    answer: says(`HTTP/1.1 100 Continue\r\n\r\n${OK}${HELLO}`),
    check: isHello,
    keepsConnection: true,
  },
  {
    name: "hints before the answer",
    outcomes: ["passed"],
    answer: says(`HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n${OK}${HELLO}`),
    check: lacks("link"),
    keepsConnection: true,
  },
];

const ENDS: readonly Behaviour[] = [
  refused("nothing, and the end", END),
  refused("nothing, and a reset", RESET),
  refused("half a status line", "HTTP/1.1 2", END),
  refused("half a header line", `${OK}Content-Le`, END),
  refused("a head without its end", `${OK}Content-Length: 5\r\n`, END),
  notWhole("a head and the end", `${OK}Content-Length: 5\r\n\r\n`, END),
  notWhole("a head and a reset", `${OK}Content-Length: 5\r\n\r\n`, RESET),
  notWhole("half a body and a reset", `${OK}Content-Length: 5\r\n\r\nhe`, RESET),
  { name: "nothing at all", outcomes: ONLY_REFUSED, answer: () => undefined },
  { name: "a head that drips", outcomes: ONLY_REFUSED, answer: drips("HTTP/1.1 200 OK\r\nX-A: ", "x", 20) },
  {
    name: "a body that drips",
    outcomes: NOT_WHOLE,
    answer: drips(`${OK}Content-Length: 5000\r\n\r\n`, "x", 20),
  },
  { name: "chunks that drip", outcomes: NOT_WHOLE, answer: drips(CHUNKED, "1\r\nx\r\n", 20) },
  {
    name: "a reset in the middle of a request's body",
    method: "POST",
    outcomes: ONLY_REFUSED,
    answer: says(RESET),
  },
  {
    name: "an answer to HTTP/1.0 until the end of the connection",
    outcomes: ["passed"],
    answer: says("HTTP/1.0 200 OK\r\n\r\nhello", END),
    check: isHello,
  },
  {
    name: "chunks on HTTP/1.0",
    outcomes: EITHER,
    answer: says("HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n", END),
    check: isHello,
  },
];

const SURPLUS: readonly Behaviour[] = [
  {
    name: "two answers at once",
    outcomes: ["passed"],
    answer: says(`${OK}${HELLO}${OK}Content-Length: 6\r\n\r\nsecond`),
    check: isHello,
  },
  {
    name: "an answer, and another one to nobody",
    outcomes: ["passed"],
    spoilsLater: true,
    answer: (socket) => {
      socket.write(`${OK}${HELLO}`, () => socket.write(`${OK}Content-Length: 6\r\n\r\nsecond`));
    },
    check: isHello,
  },
  {
    name: "a body to HEAD",
    method: "HEAD",
    outcomes: ["passed"],
    answer: says(`${OK}${HELLO}`),
    check: ({ status }) => (status === 200 ? undefined : `status ${status}`),
  },
  {
    name: "chunks to HEAD",
    method: "HEAD",
    outcomes: ["passed"],
    answer: says(`${CHUNKED}5\r\nhello\r\n0\r\n\r\n`),
    check: ({ status }) => (status === 200 ? undefined : `status ${status}`),
  },
  ...[204, 304].map(
    (status): Behaviour => ({
      name: `${status} with a body`,
      outcomes: ["passed"],
      answer: says(`HTTP/1.1 ${status} X\r\n${HELLO}`),
      check: (reply) => (reply.status === status ? undefined : `status ${reply.status}`),
    }),
  ),
  {
    name: "304 with a length that nothing has",
    outcomes: ["passed"],
    answer: says("HTTP/1.1 304 Not Modified\r\nContent-Length: 99999999\r\n\r\n"),
    check: (reply) => (reply.status === 304 ? undefined : `status ${reply.status}`),
    keepsConnection: true,
  },
  {
    name: "204 in chunks",
    outcomes: ["passed"],
    answer: says("HTTP/1.1 204 No Content\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"),
    check: (reply) =>
      reply.status === 204 && !reply.headers.has("transfer-encoding")
        ? undefined
        : `status ${reply.status}, or framed`,
  },
  {
    name: "empty lines before the answer",
    outcomes: EITHER,
    answer: says(`\r\n\r\n${OK}${HELLO}`),
    check: isHello,
    keepsConnection: true,
  },
];

const BOMB = gzipSync(Buffer.alloc(8 * 1024 * 1024), { level: 9 });

const CONTENT: readonly Behaviour[] = [
  {
    name: "cookies of the platform and for others",
    outcomes: ["passed"],
    answer: says(
      `${OK}Set-Cookie: __Host-openfaas_cloud_token=stolen; Path=/; Secure\r\n` +
        "Set-Cookie: =__Host-openfaas_cloud_token=stolen\r\nSet-Cookie: a=1; Domain=fn.test\r\n" +
        `Set-Cookie: a=1; domain=.console.test\r\nSet-Cookie: own=1; Path=/\r\n${HELLO}`,
    ),
    check: (reply) => {
      const cookies = reply.headers.get("set-cookie") ?? [];
      return cookies.length === 1 && cookies[0] === "own=1; Path=/"
        ? isHello(reply)
        : `cookies ${cookies.join(" | ")}`;
    },
    keepsConnection: true,
  },
  {
    name: "cookies of everybody cleared",
    outcomes: ["passed"],
    answer: says(`${OK}Clear-Site-Data: "cache", "cookies"\r\nClear-Site-Data: "*"\r\n${HELLO}`),
    check: lacks("clear-site-data"),
    keepsConnection: true,
  },
  {
    name: "the platform's own headers",
    outcomes: ["passed"],
    answer: says(`${OK}X-Request-Id: spoofed\r\nX-Call-Id: spoofed\r\n${HELLO}`),
    check: ownHeadersStand,
    keepsConnection: true,
  },
  {
    name: "a Connection that lists our headers",
    outcomes: ["passed"],
    answer: says(
      `${OK}Connection: keep-alive, X-Request-Id, X-Call-Id, Content-Length, Date, X-Hop\r\nX-Hop: 1\r\n${HELLO}`,
    ),
    check: (reply) => ownHeadersStand(reply) ?? lacks("x-hop")(reply),
    keepsConnection: true,
  },
  {
    name: "headers for its own hop",
    outcomes: ["passed"],
    answer: says(
      `${OK}Upgrade: h2c\r\nProxy-Authenticate: Basic\r\nKeep-Alive: timeout=x\r\nProxy-Connection: keep-alive\r\n${HELLO}`,
    ),
    check: lacks("upgrade", "proxy-authenticate", "proxy-connection"),
    keepsConnection: true,
  },
  {
    name: "a gzip bomb",
    outcomes: ["passed"],
    answer: says(`${OK}Content-Encoding: gzip\r\nContent-Length: ${BOMB.length}\r\n\r\n`, BOMB),
    check: (reply) => (reply.body.equals(BOMB) ? undefined : "not as it came"),
    keepsConnection: true,
  },
  {
    name: "a redirection to itself",
    outcomes: ["passed"],
    answer: says("HTTP/1.1 302 Found\r\nLocation: /loop\r\nContent-Length: 0\r\n\r\n"),
    check: (reply) =>
      reply.status === 302 && reply.headers.get("location")?.[0] === "/loop" ? undefined : "not as it came",
    keepsConnection: true,
  },
  {
    name: "its own 502",
    outcomes: ["passed"],
    answer: says("HTTP/1.1 502 Bad Gateway\r\nContent-Length: 5\r\n\r\nhello"),
    check: (reply) =>
      reply.status === 502 && reply.body.toString() === "hello" ? undefined : "not as it came",
    keepsConnection: true,
  },
];

export const BEHAVIOURS: readonly Behaviour[] = [
  ...FRAMING,
  ...HEADS,
  ...INTERIM,
  ...ENDS,
  ...SURPLUS,
  ...CONTENT,
];

function ownHeadersStand(reply: Reply): string | undefined {
  for (const name of ["x-request-id", "x-call-id"]) {
    const values = reply.headers.get(name) ?? [];
    if (values.length !== 1 || values[0] === "spoofed") return `${name}: ${values.join(" | ")}`;
  }
  return isHello(reply);
}

/** A connection that the function was asked on, and what became of it. */
interface Asked {
  readonly behaviour: Behaviour;
  readonly socket: Socket;
  readonly atMs: number;
}

/**
 * A function with all of them: `/x/<number>` behaves so, `/good/<nonce>` well. Keeps what it was asked, byte for byte,
 * and which connections were asked on again after they should have been let go of.
 */
export class HostileFunction implements AsyncDisposable {
  /** Heads it received. */
  readonly heads: string[] = [];
  /** Behaviours after which the connection they had spoilt was used again. */
  readonly reused: string[] = [];
  readonly #spoilt = new Map<Socket, Asked>();
  readonly #sockets = new Set<Socket>();
  readonly #server: Server;
  /** Speaks before it is asked. */
  readonly #greeting: string | undefined;

  private constructor(greeting: string | undefined) {
    this.#greeting = greeting;
    this.#server = createServer((socket) => this.#serve(socket));
  }

  static async listen(greeting?: string): Promise<HostileFunction> {
    const made = new HostileFunction(greeting);
    await new Promise<void>((resolve) => made.#server.listen(0, "127.0.0.1", resolve));
    return made;
  }

  get port(): number {
    const address = this.#server.address();
    if (address === null || typeof address === "string") throw new Error("not listening");
    return address.port;
  }

  get url(): string {
    return `http://127.0.0.1:${this.port}`;
  }

  /** Behaviours whose connection is open although it should have been let go of so long ago. */
  stillOpen(forMs: number): string[] {
    const nowMs = performance.now();
    return [...this.#spoilt.values()]
      .filter(({ socket, atMs }) => !socket.destroyed && nowMs - atMs > forMs)
      .map(({ behaviour }) => behaviour.name);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const socket of this.#sockets) socket.destroy();
    await new Promise<void>((resolve) => this.#server.close(() => resolve()));
  }

  #serve(socket: Socket): void {
    this.#sockets.add(socket);
    socket.setNoDelay(true);
    socket.on("error", () => socket.destroy());
    socket.on("close", () => {
      this.#sockets.delete(socket);
      this.#spoilt.delete(socket);
    });
    if (this.#greeting !== undefined) socket.write(this.#greeting);
    let received = "";
    socket.on("data", (chunk) => {
      received += chunk.toString("latin1");
      for (let end = received.indexOf("\r\n\r\n"); end !== -1; end = received.indexOf("\r\n\r\n")) {
        const head = received.slice(0, end);
        received = received.slice(end + 4);
        // Bodies of this goal hold no line that looks like a request's first one.
        if (/^[A-Z]+ \//.test(head)) this.#answer(socket, head);
      }
    });
  }

  #answer(socket: Socket, head: string): void {
    this.heads.push(head);
    const before = this.#spoilt.get(socket);
    if (before !== undefined) this.reused.push(before.behaviour.name);
    const [, number] = /^[A-Z]+ \/x\/(\d+)/.exec(head) ?? [];
    const behaviour = number === undefined ? undefined : BEHAVIOURS[Number(number)];
    if (behaviour === undefined) {
      const nonce = /^[A-Z]+ \/good\/([^ ]*)/.exec(head)?.[1] ?? "";
      socket.write(`HTTP/1.1 200 OK\r\nContent-Length: ${nonce.length}\r\n\r\n${nonce}`);
      return;
    }
    if (behaviour.keepsConnection !== true) {
      this.#spoilt.set(socket, { behaviour, socket, atMs: performance.now() });
    }
    behaviour.answer(socket);
  }
}
