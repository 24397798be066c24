import { createHash } from "node:crypto";
import { createServer, type IncomingMessage, type ServerResponse } from "node:http";
import type { AddressInfo, Socket } from "node:net";

export interface Arrival {
  /** As the client counted it, by `X-Seq`. */
  readonly seq: number;
  readonly target: string;
}

/**
 * A replica that says who it is: `<name>` for a request, a line now and then for `/stream`, and what it hears for a WebSocket,
 * after its name. Keeps the number of every request that reached it.
 */
export class Target implements AsyncDisposable {
  readonly name: string;
  readonly arrivals: Arrival[] = [];
  readonly #streams = new Set<() => void>();
  readonly #sockets = new Set<Socket>();
  readonly #server = createServer((request, response) => this.#answer(request, response));

  private constructor(name: string) {
    this.name = name;
    this.#server.on("connection", (socket: Socket) => {
      this.#sockets.add(socket);
      socket.on("close", () => this.#sockets.delete(socket));
    });
    this.#server.on("upgrade", (request, socket: Socket) => this.#upgrade(request, socket));
  }

  static async listen(name: string): Promise<Target> {
    const target = new Target(name);
    await new Promise<void>((resolve) => target.#server.listen(0, "127.0.0.1", resolve));
    return target;
  }

  get url(): string {
    return `http://127.0.0.1:${(this.#server.address() as AddressInfo).port}`;
  }

  /** Ends every stream under way, with a last line. */
  finishStreams(): void {
    for (const finish of this.#streams) finish();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const socket of this.#sockets) socket.destroy();
    await new Promise<void>((resolve) => this.#server.close(() => resolve()));
  }

  #answer(request: IncomingMessage, response: ServerResponse): void {
    this.arrivals.push({ seq: Number(request.headers["x-seq"]), target: this.name });
    if (request.url === "/stream") {
      this.#stream(response);
      return;
    }
    request.resume().on("end", () => response.end(this.name));
  }

  #stream(response: ServerResponse): void {
    let count = 0;
    response.writeHead(200, { "Content-Type": "text/plain" });
    const write = (): void => void response.write(`${this.name} ${count++}\n`);
    write();
    const timer = setInterval(write, 100);
    const finish = (): void => {
      clearInterval(timer);
      response.end(`${this.name} end after ${count}\n`);
      this.#streams.delete(finish);
    };
    this.#streams.add(finish);
    response.on("close", () => {
      clearInterval(timer);
      this.#streams.delete(finish);
    });
  }

  #upgrade(request: IncomingMessage, socket: Socket): void {
    const accept = createHash("sha1")
      .update(`${request.headers["sec-websocket-key"]}258EAFA5-E914-47DA-95CA-C5AB0DC85B11`)
      .digest("base64");
    socket.write(
      `HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Accept: ${accept}\r\n\r\n` +
        `[${this.name}]`,
    );
    socket.on("error", () => socket.destroy());
    socket.pipe(socket);
  }
}

/** Whether a stream came whole: every line of one target in order, and its last one. */
export function isWholeStream(text: string): boolean {
  const lines = text.split("\n").filter((line) => line !== "");
  const last = /^(.+) end after (\d+)$/.exec(lines.at(-1) ?? "");
  if (last === null || Number(last[2]) !== lines.length - 1) return false;
  return lines.slice(0, -1).every((line, i) => line === `${last[1]} ${i}`);
}
