import { randomBytes } from "node:crypto";
import type { Socket } from "node:net";
import type { Client } from "./exchange.ts";

/** Who is connected, and what of theirs is under way, whichever lane serves them. */
export class Clients {
  readonly #connections = new Map<Socket, Client>();
  #underWay = 0;
  /** A random prefix for each run and a counter: as unique as a UUID, at a tenth of its cost. */
  readonly #idPrefix = randomBytes(6).toString("base64url").replaceAll(/[-_]/g, "0");
  #requestCount = 0;
  #idle: PromiseWithResolvers<void> | undefined;
  #draining = false;

  get connections(): number {
    return this.#connections.size;
  }

  /** Requests whose answer is not given yet. */
  get underWay(): number {
    return this.#underWay;
  }

  /** Nothing new is wanted: what is answered from now on is the last on its connection. */
  get draining(): boolean {
    return this.#draining;
  }

  connected(socket: Socket, scheme: Client["scheme"]): Client {
    const client = { address: plainAddress(socket.remoteAddress), scheme };
    this.#connections.set(socket, client);
    socket.once("close", () => this.#connections.delete(socket));
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

  begun(): void {
    this.#underWay += 1;
  }

  over(): void {
    this.#underWay -= 1;
    if (this.#underWay === 0) this.#idle?.resolve();
  }

  /** From now on `draining`. Resolves when nothing is under way any more. */
  async drain(): Promise<void> {
    this.#draining = true;
    if (this.#underWay === 0) return;
    this.#idle = Promise.withResolvers();
    await this.#idle.promise;
  }

  /** Ends every connection, after what was written to it already. */
  endAll(): void {
    for (const socket of this.#connections.keys()) socket.destroySoon();
  }

  destroyAll(): void {
    for (const socket of this.#connections.keys()) socket.destroy();
  }
}

function plainAddress(address: string | undefined): string {
  if (address === undefined) return "unknown";
  return address.startsWith("::ffff:") ? address.slice(7) : address;
}
