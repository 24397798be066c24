import { randomInt } from "node:crypto";
import { createServer } from "node:net";

/** Below the range that Linux takes the ports of outgoing connections from (32768 and up), so that none is in the way. */
const FIRST = 20_000;
const LAST = 32_767;
const ATTEMPTS = 1000;

/** Hands out loopback ports, none twice at a time. */
export class PortLeases {
  readonly #taken = new Set<number>();

  /** Marks a port as taken that a former platform handed out. */
  take(port: number): void {
    this.#taken.add(port);
  }

  release(port: number): void {
    this.#taken.delete(port);
  }

  async lease(): Promise<number> {
    for (let attempt = 0; attempt < ATTEMPTS; attempt++) {
      const port = randomInt(FIRST, LAST + 1);
      if (this.#taken.has(port)) continue;
      this.#taken.add(port);
      if (await isPortFree(port)) return port;
      this.#taken.delete(port);
    }
    throw new Error(`no free port between ${FIRST} and ${LAST}`);
  }
}

export async function isPortFree(port: number): Promise<boolean> {
  const { promise, resolve } = Promise.withResolvers<boolean>();
  const server = createServer();
  server.once("error", () => resolve(false));
  server.listen({ port, host: "127.0.0.1", exclusive: true }, () => server.close(() => resolve(true)));
  return promise;
}
