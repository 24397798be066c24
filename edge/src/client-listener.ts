import type { Socket } from "node:net";
import { setTimeout as sleep } from "node:timers/promises";
import type { Clients } from "./clients.ts";
import type { Client } from "./exchange.ts";
import type { FullLane } from "./full-lane/full-lane.ts";
import type { PlainLane } from "./plain-lane/plain-lane.ts";

/** What is left of a connection that was told to end. */
const LAST_WORDS_MS = 500;

/** Where clients come in: decides which lane serves a connection, and sees them out. */
export class ClientListener {
  readonly #clients: Clients;
  readonly #plainLane: PlainLane | undefined;
  readonly #fullLane: FullLane;

  constructor(clients: Clients, fullLane: FullLane, plainLane: PlainLane | undefined) {
    this.#clients = clients;
    this.#plainLane = plainLane;
    this.#fullLane = fullLane;
    fullLane.server.on("connection", (socket) => this.accept(socket, "http"));
  }

  accept(socket: Socket, scheme: Client["scheme"]): void {
    const client = this.#clients.connected(socket, scheme);
    if (this.#plainLane === undefined) this.#fullLane.accept(socket);
    else this.#plainLane.accept(socket, client);
  }

  /** Accepts no more, lets what is under way finish within `drainMs`, and closes every connection. */
  async drain(drainMs: number): Promise<void> {
    const closed = new Promise<void>((resolve) => this.#fullLane.server.close(() => resolve()));
    const idle = this.#clients.drain();
    this.#plainLane?.drain();
    this.#fullLane.drain();
    const waited = new AbortController();
    await Promise.race([
      this.#clients.idle,
      sleep(drainMs, undefined, { signal: waited.signal }).catch(ignore),
    ]);
    waited.abort();
    this.#clients.endAll();
    await Promise.race([closed, sleep(LAST_WORDS_MS)]);
    this.#clients.destroyAll();
    await closed;
  }
}

function ignore(): void {
  // An abort only ends the wait early.
}
