import { randomBytes } from "node:crypto";
import type { Socket } from "node:net";
import type { Client, Exchange } from "./exchange.ts";
import { LeaveTaking } from "./leave-taking.ts";

/** Who is connected, and what of theirs is under way, whichever lane serves them. */
export class Clients {
  readonly #connections = new Map<Socket, Client>();
  readonly #inFlight = new Set<Exchange>();
  /** A random prefix for each run and a counter: as unique as a UUID, at a tenth of its cost. */
  readonly #idPrefix = randomBytes(6).toString("base64url").replaceAll(/[-_]/g, "0");
  #requestCount = 0;
  readonly #onConnections: (open: number) => void;
  #leaveTaking: LeaveTaking | undefined;

  /** @param onConnections told the number of connections whenever it has changed */
  constructor(onConnections: (open: number) => void) {
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
    const client = { address: plainAddress(socket.remoteAddress), scheme };
    this.#connections.set(socket, client);
    this.#leaveTaking?.add(client, socket);
    socket.once("close", () => {
      this.#connections.delete(socket);
      this.#leaveTaking?.gone(client);
      this.#onConnections(this.#connections.size);
    });
    this.#onConnections(this.#connections.size);
    return client;
  }

  /** Of a connection that is open, or was a moment ago. */
  clientOf(socket: Socket): Client {
    return this.#connections.get(socket) ?? { address: plainAddress(socket.remoteAddress), scheme: "http" };
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
  startDrain(): { readonly underWay: ReadonlySet<Exchange>; readonly leaveTaking: LeaveTaking } {
    const leaveTaking = new LeaveTaking(() => [...this.#inFlight].map(({ client }) => client));
    for (const [socket, client] of this.#connections) leaveTaking.add(client, socket);
    this.#leaveTaking = leaveTaking;
    return { underWay: this.#inFlight, leaveTaking };
  }
}

function plainAddress(address: string | undefined): string {
  if (address === undefined) return "unknown";
  return address.startsWith("::ffff:") ? address.slice(7) : address;
}
