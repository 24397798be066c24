import { type AddressInfo, createServer, type Socket } from "node:net";
import { boundaries, LENIENT, type LenientRequest, readLenient } from "./lenient-reading.ts";

/** One request as a forgiving function took it. */
export interface Execution {
  readonly number: number;
  /** The client as the edge names it: X-Forwarded-For. */
  readonly client: string;
  readonly method: string;
  readonly target: string;
  readonly headers: readonly string[];
  readonly body: Buffer;
  readonly framing: readonly string[];
}

/**
 * A function that reads as carelessly as functions do, answers each request with the number of its execution and the target it was asked for, and keeps what
 * it was sent: what a request became is looked up here by the number in its answer.
 */
export class RecordingUpstream implements AsyncDisposable {
  readonly #byClient = new Map<string, Execution[]>();
  readonly #sockets = new Set<Socket>();
  readonly #recordings: Recording[] = [];
  readonly #keepBytes: boolean;
  readonly #server = createServer({ noDelay: true }, (socket) => this.#serve(socket));
  #count = 0;

  /** `keepBytes`: everything received is kept, for `disagreements`. */
  constructor(options: { readonly keepBytes: boolean }) {
    this.#keepBytes = options.keepBytes;
  }

  async listen(): Promise<this> {
    await new Promise<void>((resolve) => this.#server.listen(0, "127.0.0.1", resolve));
    return this;
  }

  get url(): string {
    return `http://127.0.0.1:${(this.#server.address() as AddressInfo).port}`;
  }

  get count(): number {
    return this.#count;
  }

  /** What was executed for one client address, in order. */
  of(client: string): readonly Execution[] {
    return this.#byClient.get(client) ?? [];
  }

  /** Makes room: what was looked at is of no further use. */
  forget(client: string): void {
    this.#byClient.delete(client);
  }

  forgetAll(): void {
    this.#byClient.clear();
  }

  /** Connections on which two ways of reading find requests in different places. */
  disagreements(): string[] {
    return this.#recordings.flatMap((recording, i) => {
      const bytes = Buffer.concat(recording.chunks);
      const [first, ...others] = LENIENT;
      const expected = boundaries(bytes, first).join();
      return others
        .filter((how) => boundaries(bytes, how).join() !== expected)
        .map((how) => `connection ${i}: "${first.name}" and "${how.name}" part ways`);
    });
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const socket of this.#sockets) socket.destroy();
    await new Promise<void>((resolve) => this.#server.close(() => resolve()));
  }

  #serve(socket: Socket): void {
    const recording: Recording = { chunks: [] };
    if (this.#keepBytes) this.#recordings.push(recording);
    this.#sockets.add(socket);
    let pending: Buffer = Buffer.alloc(0);
    socket.on("error", () => socket.destroy());
    socket.on("close", () => this.#sockets.delete(socket));
    socket.on("data", (chunk: Buffer) => {
      if (this.#keepBytes) recording.chunks.push(chunk);
      pending = pending.length === 0 ? chunk : Buffer.concat([pending, chunk]);
      let at = 0;
      let answers = "";
      for (;;) {
        const request = readLenient(pending, at, LENIENT[0]);
        if (request === undefined) break;
        at = request.end;
        answers += this.#execute(request);
      }
      pending = pending.subarray(at);
      if (answers !== "") socket.write(answers, "latin1");
    });
  }

  #execute({ method, target, headers, body, framing }: LenientRequest): string {
    const number = this.#count++;
    const client = headerOf(headers, "x-forwarded-for") ?? "";
    const execution: Execution = { number, client, method, target, headers, body, framing };
    const known = this.#byClient.get(client);
    if (known === undefined) this.#byClient.set(client, [execution]);
    else known.push(execution);
    const text = String(number);
    return `HTTP/1.1 200 OK\r\nContent-Length: ${text.length}\r\nX-Execution: ${text}\r\nX-Target: ${target}\r\n\r\n${method === "HEAD" ? "" : text}`;
  }
}

interface Recording {
  readonly chunks: Buffer[];
}

/** The first value of a header, given its name in lower case. */
export function headerOf(headers: readonly string[], name: string): string | undefined {
  for (let i = 0; i < headers.length; i += 2) {
    if ((headers[i] ?? "").toLowerCase() === name) return headers[i + 1];
  }
  return undefined;
}
