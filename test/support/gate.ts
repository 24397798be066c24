import { createServer, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";

/** An address that answers only once the test lets it: what asks it waits there. */
export class TestGate implements AsyncDisposable {
  readonly url: string;
  readonly #server: ReturnType<typeof createServer>;
  readonly #waiting: ServerResponse[];

  private constructor(server: ReturnType<typeof createServer>, waiting: ServerResponse[]) {
    this.#server = server;
    this.#waiting = waiting;
    this.url = `http://127.0.0.1:${(server.address() as AddressInfo).port}/`;
  }

  static async open(): Promise<TestGate> {
    const waiting: ServerResponse[] = [];
    const server = createServer((_request, response) => waiting.push(response));
    await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
    return new TestGate(server, waiting);
  }

  /** How many wait now. */
  get waiting(): number {
    return this.#waiting.filter((response) => !response.destroyed).length;
  }

  /** Lets everybody pass who waits now. */
  release(): void {
    for (const response of this.#waiting.splice(0)) response.end();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#server.closeAllConnections();
    await new Promise((resolve) => this.#server.close(resolve));
  }
}
