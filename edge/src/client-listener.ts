import type { Socket } from "node:net";
import type { Clients } from "./clients.ts";
import type { Client } from "./exchange.ts";
import { FullExchange } from "./full-lane/full-exchange.ts";
import type { FullLane } from "./full-lane/full-lane.ts";
import type { PlainLane } from "./plain-lane/plain-lane.ts";

/** Where clients come in: decides which lane serves a connection, and sees them out. */
export class ClientListener {
  readonly #clients: Clients;
  readonly #plainLane: PlainLane | undefined;
  readonly #fullLane: FullLane;

  constructor(clients: Clients, fullLane: FullLane, plainLane: PlainLane | undefined) {
    this.#clients = clients;
    this.#plainLane = plainLane;
    this.#fullLane = fullLane;
    fullLane.server.on("connection", (socket) => this.#serve(socket, clients.connected(socket, "http")));
  }

  /** A connection that is to become secure: it counts from now on, and is served when it is. */
  expectSecure(socket: Socket): void {
    this.#clients.connected(socket, "https");
  }

  acceptSecure(socket: Socket, secure: Socket): void {
    this.#serve(secure, this.#clients.secured(socket, secure));
  }

  #serve(socket: Socket, client: Client): void {
    if (this.#plainLane === undefined) this.#fullLane.accept(socket);
    else this.#plainLane.accept(socket, client);
  }

  /**
   * Lets what is under way finish within `drainMs`, and closes every connection. Nobody may be accepted any more; an HTTP
   * server's own `close` would cut idle connections, with the requests that may be on their way on them.
   */
  async drain(drainMs: number): Promise<void> {
    const { underWay, leaveTaking } = this.#clients.startDrain();
    for (const exchange of underWay) {
      if (!(exchange instanceof FullExchange)) continue;
      // A tunnel has no end to wait for.
      if (exchange.upgraded) exchange.request.socket.destroy();
      // What an answer that has begun has promised is kept.
      else if (!exchange.response.headersSent) exchange.response.shouldKeepAlive = false;
    }
    await leaveTaking.within(drainMs);
    // Ends its watch over late heads.
    this.#fullLane.server.close();
  }
}
