import type { Socket } from "node:net";
import { setTimeout as sleep } from "node:timers/promises";
import type { Client } from "./exchange.ts";

/**
 * Without a byte for so long, a connection is taken for idle when this edge goes. It is not closed at once: its client may be
 * sending the next request at that moment, and would find it closed without knowing whether the request was served.
 */
const QUIET_MS = 1_000;
const LOOK_EVERY_MS = 100;
/** For what was written last to reach a client, once the time for all is over. */
const LAST_WORDS_MS = 500;

interface Quiet {
  readonly socket: Socket;
  sinceMs: number;
  /** What had been read by then; more means that a request's head is on its way. */
  bytesRead: number;
}

/**
 * The end of every connection of an edge that goes. Requests under way are finished; a connection without one may still bring its
 * next one, which whoever answers it makes the last; one that is quiet is closed.
 */
export class LeaveTaking {
  readonly #connections = new Map<Client, Quiet>();
  readonly #underWay: () => Iterable<Client>;
  readonly #allGone = Promise.withResolvers<void>();

  /** @param underWay whose requests are under way, at the time of asking */
  constructor(underWay: () => Iterable<Client>) {
    this.#underWay = underWay;
  }

  add(client: Client, socket: Socket): void {
    this.#connections.set(client, { socket, sinceMs: performance.now(), bytesRead: socket.bytesRead });
  }

  /** An answer has ended: from now on it is the client that is waited for. */
  answered(client: Client): void {
    const quiet = this.#connections.get(client);
    if (quiet === undefined) {
      this.#look();
      return;
    }
    quiet.sinceMs = performance.now();
    quiet.bytesRead = quiet.socket.bytesRead;
  }

  gone(client: Client): void {
    this.#connections.delete(client);
    this.#look();
  }

  /** Resolves when all connections are closed and what was under way on them is over, after `ms` and a little more at the latest. */
  async within(ms: number): Promise<void> {
    this.#look();
    // Right after the loop has read what had arrived, so that a request that is here already is seen.
    const looks = setInterval(() => setImmediate(() => this.#closeQuiet()), LOOK_EVERY_MS);
    await this.#goneWithin(ms);
    clearInterval(looks);
    for (const { socket } of this.#connections.values()) socket.destroySoon();
    await this.#goneWithin(LAST_WORDS_MS);
    for (const { socket } of this.#connections.values()) socket.destroy();
  }

  #look(): void {
    if (this.#connections.size === 0 && new Set(this.#underWay()).size === 0) this.#allGone.resolve();
  }

  #closeQuiet(): void {
    const busy = new Set(this.#underWay());
    const quietBeforeMs = performance.now() - QUIET_MS;
    for (const [client, { socket, sinceMs, bytesRead }] of this.#connections) {
      // Whose last answer is not taken yet is no quiet one.
      const isQuiet =
        sinceMs <= quietBeforeMs && socket.bytesRead === bytesRead && socket.writableLength === 0;
      if (isQuiet && !busy.has(client)) socket.destroySoon();
    }
  }

  async #goneWithin(ms: number): Promise<void> {
    const waited = new AbortController();
    const tooLong = sleep(ms, undefined, { signal: waited.signal }).catch(() => undefined);
    await Promise.race([this.#allGone.promise, tooLong]);
    waited.abort();
  }
}
