import type { Socket } from "node:net";
import type { Clients } from "../clients.ts";
import type { Client } from "../exchange.ts";
import type { RequestParts } from "../handle-request.ts";
import type { TransferParts } from "../transfer.ts";
import { HttpDate } from "./http-date.ts";
import { PlainConnection, type PlainConnectionParts } from "./plain-connection.ts";

const LOOK_EVERY_MS = 200;
/** What a client that does not read leaves us with is as much; of twice as much the throughput is the same, measured. */
const READ_BYTES = 32 * 1024;

export interface PlainLaneParts extends RequestParts, TransferParts {
  readonly clients: Clients;
  readonly headersMs: number;
  readonly writeIdleMs: number;
  /** Serves a connection with all that HTTP/1 has. */
  readonly acceptInFull: (socket: Socket) => void;
}

/**
 * Serves the narrow form of HTTP/1.1 that almost every request has, between sockets, without node:http and undici. What it
 * does not recognise at once goes to the full lane with its connection, which stays there.
 */
export class PlainLane implements Disposable {
  readonly #parts: PlainConnectionParts;
  readonly #connections = new Set<PlainConnection>();
  readonly #timer: NodeJS.Timeout;

  constructor(parts: PlainLaneParts) {
    const readBuffer = Buffer.allocUnsafeSlow(READ_BYTES);
    this.#parts = {
      ...parts,
      date: new HttpDate(),
      connectionsTo: (replica) => replica.plainConnections(parts.clock, readBuffer),
      handOver: (socket, bytes) => {
        socket.pause();
        socket.unshift(bytes);
        parts.acceptInFull(socket);
        socket.resume();
      },
      onClosed: (connection) => this.#connections.delete(connection),
    };
    // One look at all of them: a timer for each would cost every request two moves of it.
    this.#timer = setInterval(() => {
      const nowMs = performance.now();
      for (const connection of this.#connections) connection.check(nowMs);
    }, LOOK_EVERY_MS).unref();
  }

  get connections(): number {
    return this.#connections.size;
  }

  accept(socket: Socket, client: Client): void {
    this.#connections.add(new PlainConnection(socket, client, this.#parts));
  }

  [Symbol.dispose](): void {
    clearInterval(this.#timer);
  }
}
