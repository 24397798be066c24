import type { Duplex } from "node:stream";

const MAX_HELD_BYTES = 64 * 1024;

/**
 * What a client sends before its upgrade is decided. Reads on, since only who reads learns that the client has left, and
 * closes the connection when it has; past a bound it stops to do so, and the first-byte deadline has to do.
 */
export class EarlyBytes {
  readonly #client: Duplex;
  readonly #chunks: Buffer[];
  #held: number;

  constructor(client: Duplex, head: Buffer) {
    this.#client = client;
    this.#chunks = [head];
    this.#held = head.length;
    client.on("data", this.#onData).on("end", this.#onEnd);
  }

  /** Hands over what came, and reads no more: the caller does, within the same turn. */
  take(): Buffer {
    this.#client.off("data", this.#onData).off("end", this.#onEnd);
    return Buffer.concat(this.#chunks);
  }

  readonly #onData = (chunk: Buffer): void => {
    this.#chunks.push(chunk);
    this.#held += chunk.length;
    if (this.#held >= MAX_HELD_BYTES) this.#client.pause();
  };

  readonly #onEnd = (): void => {
    this.#client.destroy();
  };
}
