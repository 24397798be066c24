import { Agent, request } from "node:http";

/** Keep-alive connections of the canary, each with one request under way. */
const CONNECTIONS = 2;

export interface CanaryReport {
  readonly answered: number;
  /** Answers that were not to what was asked, and requests that failed. */
  readonly swapped: readonly string[];
}

/**
 * An honest client that shares the function, and the edge's connections to it, with whoever is at work beside it: it asks
 * again and again, and must be answered each time what it asked, and nothing else.
 */
export class Canary implements Disposable {
  readonly #agent = new Agent({ keepAlive: true, maxSockets: CONNECTIONS });
  readonly #swapped: string[] = [];
  readonly #running: Promise<void>[];
  #answered = 0;
  #stopped = false;

  constructor(port: number) {
    this.#running = Array.from({ length: CONNECTIONS }, (_, i) => this.#run(port, i));
  }

  async stop(): Promise<CanaryReport> {
    this.#stopped = true;
    await Promise.all(this.#running);
    return { answered: this.#answered, swapped: this.#swapped };
  }

  [Symbol.dispose](): void {
    this.#stopped = true;
    this.#agent.destroy();
  }

  async #run(port: number, connection: number): Promise<void> {
    for (let i = 0; !this.#stopped; i++) {
      const path = `/canary-${connection}-${i}`;
      const got = await this.#ask(port, path).catch((error: Error) => error.message);
      this.#answered += 1;
      if (got !== `200 ${path}`) this.#swapped.push(`${path}: ${got}`);
    }
  }

  #ask(port: number, path: string): Promise<string> {
    const { promise, resolve, reject } = Promise.withResolvers<string>();
    const headers = { host: "alice.fn.test" };
    request({ host: "127.0.0.1", port, path: `/hello${path}`, headers, agent: this.#agent })
      .on("response", (response) => {
        response.resume();
        response.on("end", () => resolve(`${response.statusCode} ${response.headers["x-target"]}`));
        response.on("error", reject);
      })
      .on("error", reject)
      .end();
    return promise;
  }
}
