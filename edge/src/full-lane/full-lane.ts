import { createServer, type IncomingMessage, type Server, type ServerResponse } from "node:http";
import type { Socket } from "node:net";
import type { Duplex } from "node:stream";
import type { Clients } from "../clients.ts";
import { handleRequest, type RequestParts } from "../handle-request.ts";
import { record, recordBroken } from "../record.ts";
import { currentAnswer, respondToBrokenClient } from "../respond-error.ts";
import type { TransferParts } from "../transfer.ts";
import { closeInStages } from "./close-in-stages.ts";
import { EarlyBytes } from "./early-bytes.ts";
import { type Arrival, FullExchange, type FullExchangeParts } from "./full-exchange.ts";
import type { Tunnels } from "./tunnels.ts";
import { Turns } from "./turns.ts";
import { isWebSocketUpgrade, responseOn } from "./upgrade.ts";

const KEEP_ALIVE_IDLE_MS = 60_000;
/** How late a head that is late may be noticed, at most. */
const CONNECTIONS_SCAN_MS = 500;
const MAX_HEADER_BYTES = 16 * 1024;
/**
 * Held of a body before its sender is made to wait. Sockets are read in pieces of up to 64 KiB, and the piece that goes
 * beyond is held too: with this at the default of 64 KiB that would be two of them.
 */
const HELD_BYTES = 16 * 1024;

export interface FullLaneParts extends RequestParts, TransferParts {
  readonly clients: Clients;
  readonly tunnels: Tunnels;
  /** For the whole of a request's head. */
  readonly headersMs: number;
  /** For as long a client may leave an answer unread. */
  readonly writeIdleMs: number;
}

/**
 * Serves whatever HTTP/1 has, on node:http and undici. Its server listens for all clients; `accept` takes one connection, from
 * its first byte on or from where another lane left it.
 */
export class FullLane {
  readonly server: Server;
  readonly #parts: FullLaneParts;
  readonly #exchangeParts: FullExchangeParts;
  readonly #serveConnection: (socket: Socket) => void;
  readonly #exchanges = new WeakMap<ServerResponse, FullExchange>();

  constructor(parts: FullLaneParts) {
    this.#parts = parts;
    this.#exchangeParts = {
      ...parts,
      openTunnel: (exchange, upgraded) => {
        const ended = parts.tunnels.open(exchange, upgraded);
        // A tunnel has no end to wait for.
        if (parts.clients.draining) exchange.request.socket.destroy();
        return ended;
      },
      onUpgraded: (exchange, tunnel) => {
        record(exchange, parts);
        void tunnel.then(() => parts.clients.over(exchange));
      },
    };
    this.server = this.#createServer();
    // Node's own listener for connections, called by us and not by the event: who serves a connection is decided before.
    const [listener] = this.server.listeners("connection") as ((this: Server, socket: Socket) => void)[];
    if (listener === undefined) throw new Error("node:http serves no connections");
    this.server.removeAllListeners("connection");
    this.#serveConnection = (socket) => listener.call(this.server, socket);
  }

  accept(socket: Socket): void {
    closeInStages(socket);
    this.#serveConnection(socket);
  }

  #begin(arrival: Arrival): ServerResponse {
    const { clients } = this.#parts;
    const { request, response } = arrival;
    const client = clients.clientOf(request.socket);
    const exchange = new FullExchange(arrival, client, clients.newRequestId(), this.#exchangeParts);
    clients.begun(exchange);
    this.#exchanges.set(response, exchange);
    if (clients.draining) response.shouldKeepAlive = false;
    // Both can fail after we are done with them; who cares is told by 'close'.
    response.on("error", ignore);
    response.once("close", () => {
      record(exchange, this.#parts);
      clients.over(exchange);
    });
    handleRequest(exchange, this.#parts);
    return response;
  }

  #refuseBroken(socket: Socket, error: NodeJS.ErrnoException): void {
    const { clients } = this.#parts;
    const answer = currentAnswer(socket);
    const status = respondToBrokenClient(socket, error);
    if (status === undefined) return;
    const exchange = answer && this.#exchanges.get(answer);
    // Whose connection ends within its body has left, whatever we would have to say to it.
    const hasLeft = error.code === "HPE_INVALID_EOF_STATE";
    if (exchange !== undefined) {
      if (!hasLeft) exchange.brokenOff(status);
    } else {
      const client = clients.clientOf(socket);
      recordBroken({ requestId: clients.newRequestId(), client, lane: "full", status }, this.#parts);
    }
  }

  #createServer(): Server {
    const server = createServer({
      headersTimeout: this.#parts.headersMs,
      // Bodies are bounded by the deadline clock, per route.
      requestTimeout: 0,
      keepAliveTimeout: KEEP_ALIVE_IDLE_MS,
      connectionsCheckingInterval: CONNECTIONS_SCAN_MS,
      maxHeaderSize: MAX_HEADER_BYTES,
      highWaterMark: HELD_BYTES,
      // A missing Host is refused in target.ts, in our words.
      requireHostHeader: false,
      insecureHTTPParser: false,
      noDelay: true,
      shouldUpgradeCallback: isWebSocketUpgrade,
    });
    const turns = new Turns();
    const begin = (request: IncomingMessage, response: ServerResponse): void =>
      turns.take(request, () => this.#begin({ request, response }));
    server.on("request", begin);
    server.on("checkExpectation", begin);
    server.on("checkContinue", (request, response) =>
      turns.take(request, () => this.#begin({ request, response, expectsContinue: true })),
    );
    server.on("upgrade", (request, socket: Duplex, head) => {
      socket.on("error", ignore);
      const early = new EarlyBytes(socket, head);
      turns.take(request, () => this.#begin({ request, response: responseOn(socket, request), early }));
    });
    server.on("connect", (request, socket: Duplex) => {
      socket.on("error", ignore);
      turns.take(request, () => this.#begin({ request, response: responseOn(socket, request) }));
    });
    server.on("clientError", (error, socket) => {
      turns.refuse(socket, () => {
        // Whatever `accept` is given is one.
        this.#refuseBroken(socket as Socket, error);
      });
    });
    return server;
  }
}

function ignore(): void {
  // Said to whoever listens for 'close'.
}
