import { once } from "node:events";
import { createServer, type IncomingMessage, type Server, type ServerResponse } from "node:http";
import type { AddressInfo, Socket } from "node:net";

export type Mood =
  | "good"
  /** Nobody listens. */
  | "refuses"
  /** Connections are reset as soon as they are open. */
  | "resets"
  /** A request is taken, and its connection reset. */
  | "takes and resets"
  /** A request is taken, and never answered. */
  | "hangs";

/** A replica that may be in any mood. Counts every request that it has taken whole, by `X-Seq`, since it may have executed it. */
export class FlappingReplica implements AsyncDisposable {
  readonly taken: number[] = [];
  readonly #host: string;
  readonly #sockets = new Set<Socket>();
  #server: Server;
  #port = 0;
  #mood: Mood = "good";

  private constructor(host: string) {
    this.#host = host;
    this.#server = this.#newServer();
  }

  /** At an address of its own (127.n.n.n): there nobody takes the port while it refuses. */
  static async listen(host: string): Promise<FlappingReplica> {
    const replica = new FlappingReplica(host);
    await replica.#listen();
    return replica;
  }

  get url(): string {
    return `http://${this.#host}:${this.#port}`;
  }

  async feel(mood: Mood): Promise<void> {
    const before = this.#mood;
    this.#mood = mood;
    if (mood === "refuses" && before !== "refuses") await this.#close();
    if (mood !== "refuses" && before === "refuses") {
      this.#server = this.#newServer();
      await this.#listen();
    }
    // Connections from before it are reset as well; but whatever hangs goes on to, in any other mood.
    if (mood === "resets") for (const socket of this.#sockets) socket.resetAndDestroy();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    if (this.#mood !== "refuses") await this.#close();
  }

  #newServer(): Server {
    // It never closes a connection that is merely idle: a request on its way would meet that, in a good mood too.
    const server = createServer({ keepAliveTimeout: 0 }, (request, response) =>
      this.#answer(request, response),
    );
    server.on("connection", (socket: Socket) => {
      socket.on("error", () => socket.destroy());
      if (this.#mood === "resets") {
        socket.resetAndDestroy();
        return;
      }
      this.#sockets.add(socket);
      socket.on("close", () => this.#sockets.delete(socket));
    });
    return server;
  }

  async #listen(): Promise<void> {
    this.#server.listen(this.#port, this.#host);
    await once(this.#server, "listening");
    this.#port = (this.#server.address() as AddressInfo).port;
  }

  async #close(): Promise<void> {
    const closed = once(this.#server, "close");
    this.#server.close();
    for (const socket of this.#sockets) socket.resetAndDestroy();
    await closed;
  }

  #answer(request: IncomingMessage, response: ServerResponse): void {
    request.on("error", () => undefined).resume();
    request.on("end", () => {
      this.taken.push(Number(request.headers["x-seq"]));
      if (this.#mood === "takes and resets") request.socket.resetAndDestroy();
      else if (this.#mood !== "hangs") response.end("good");
    });
  }
}
