import { randomBytes } from "node:crypto";
import type { Socket } from "node:net";
import type { Client, Exchange } from "./exchange.ts";
import { LeaveTaking } from "./leave-taking.ts";
import { Roster } from "./roster.ts";
import { connectedClient, type TrustedPeers } from "./trusted-peers.ts";

/** Who is connected, and what of theirs is under way, whichever lane serves them. */
export class Clients {
  readonly #trusted: TrustedPeers;
  readonly #connections = new Map<Socket, Client>();
  readonly #inFlight = new Roster<Exchange>();
  /** A random prefix for each run and a counter: as unique as a UUID, at a tenth of its cost. */
  readonly #idPrefix = randomBytes(6).toString("base64url").replaceAll(/[-_]/g, "0");
  #requestCount = 0;
  readonly #onConnections: (open: number) => void;
  #leaveTaking: LeaveTaking | undefined;

  /** @param onConnections told the number of connections whenever it has changed */
  constructor(trusted: TrustedPeers, onConnections: (open: number) => void) {
    this.#trusted = trusted;
    this.#onConnections = onConnections;
  }

  get connections(): number {
    return this.#connections.size;
  }

  get inFlight(): number {
    return this.#inFlight.size;
  }

  /** Nothing new is wanted: what is answered from now on is the last on its connection. */
  get draining(): boolean {
    return this.#leaveTaking !== undefined;
  }

  connected(socket: Socket, scheme: Client["scheme"]): Client {
    const client = connectedClient(socket.remoteAddress, scheme, this.#trusted);
    this.#follow(socket, client);
    this.#onConnections(this.#connections.size);
    return client;
  }

  /** From now on its connection is `secure`, which has taken over the socket. */
  secured(socket: Socket, secure: Socket): Client {
    const client = this.clientOf(socket);
    this.#connections.delete(socket);
    this.#follow(secure, client);
    return client;
  }

  #follow(socket: Socket, client: Client): void {
    this.#connections.set(socket, client);
    this.#leaveTaking?.add(client, socket);
    socket.once("close", () => {
      // Not where another one has taken it over.
      if (!this.#connections.delete(socket)) return;
      this.#leaveTaking?.gone(client);
      this.#onConnections(this.#connections.size);
    });
  }

  /** Of a connection that is open, or was a moment ago. */
  clientOf(socket: Socket): Client {
    return this.#connections.get(socket) ?? connectedClient(socket.remoteAddress, "http", this.#trusted);
  }

  newRequestId(): string {
    this.#requestCount += 1;
    return `${this.#idPrefix}-${this.#requestCount.toString(36)}`;
  }

  begun(exchange: Exchange): void {
    this.#inFlight.add(exchange);
  }

  over(exchange: Exchange): void {
    this.#inFlight.delete(exchange);
    this.#leaveTaking?.answered(exchange.client);
  }

  /** From now on `draining`: tells what is under way, and how the connections take their leave. */
  startDrain(): { readonly underWay: Iterable<Exchange>; readonly leaveTaking: LeaveTaking } {
    const leaveTaking = new LeaveTaking(() => [...this.#inFlight].map(({ client }) => client));
    for (const [socket, client] of this.#connections) leaveTaking.add(client, socket);
    this.#leaveTaking = leaveTaking;
    return { underWay: this.#inFlight, leaveTaking };
  }
}
