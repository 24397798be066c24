import type { IncomingMessage } from "node:http";
import { Readable } from "node:stream";
import type { FullExchange } from "./full-exchange.ts";

/** How long a client may go on sending a body that nobody reads any more, before its connection is closed. */
const DISCARD_MS = 5_000;

export class BodyTooLarge extends Error {}
export class ClientGone extends Error {}

/**
 * A request's body on its way upstream. Stands between the client's stream and the HTTP client, which destroys what it is
 * given: that must not take the connection with it on which the answer is still to be written. Counts, and reads no faster
 * than the upstream takes.
 */
export class RequestBody extends Readable {
  readonly #exchange: FullExchange;
  readonly #request: IncomingMessage;
  readonly #maxBytes: number;
  #over = false;
  /** Since when the client keeps us waiting; `undefined` while the upstream does. */
  clientSinceMs: number | undefined;
  /** Since when the upstream keeps us waiting: for room while the body is under way, for its answer when it was sent. */
  upstreamSinceMs: number | undefined = performance.now();

  constructor(exchange: FullExchange, maxBytes: number) {
    // What is read of the client and not taken is held once, by the client's own stream.
    super({ highWaterMark: 0 });
    const { request } = exchange;
    this.#exchange = exchange;
    this.#request = request;
    this.#maxBytes = maxBytes;
    request
      .on("data", this.#onData)
      .on("end", this.#onEnd)
      .on("error", this.#onGone)
      .on("close", this.#onGone);
    request.pause();
    this.once("end", () => this.#waitForUpstream());
  }

  /** Whether a byte of it has been taken: then it cannot be sent a second time. */
  get begun(): boolean {
    return this.#exchange.bytesReceived > 0 || this.#over;
  }

  /** Whether all of it has come from the client. */
  get whole(): boolean {
    return this.#over;
  }

  override _read(): void {
    if (this.#over) return;
    this.#waitForClient();
    // All that is held as one, through #onData: chunks of a byte each would cost as much as any.
    if (this.#request.read() === null) this.#request.resume();
  }

  override pause(): this {
    if (!this.#over) this.#waitForUpstream();
    this.#request.pause();
    return super.pause();
  }

  override _destroy(error: Error | null, callback: (error?: Error | null) => void): void {
    const request = this.#request;
    request.off("data", this.#onData).off("end", this.#onEnd).off("close", this.#onGone);
    this.clientSinceMs = undefined;
    if (!this.#over && !request.destroyed) discardRest(request);
    callback(error);
  }

  #waitForClient(): void {
    this.clientSinceMs = performance.now();
    this.upstreamSinceMs = undefined;
  }

  #waitForUpstream(): void {
    this.clientSinceMs = undefined;
    this.upstreamSinceMs = performance.now();
  }

  readonly #onData = (chunk: Buffer): void => {
    this.#exchange.bytesReceived += chunk.length;
    if (this.#exchange.bytesReceived > this.#maxBytes) {
      this.destroy(new BodyTooLarge());
      return;
    }
    this.#waitForClient();
    if (this.push(chunk)) return;
    this.#waitForUpstream();
    this.#request.pause();
  };

  readonly #onEnd = (): void => {
    this.#over = true;
    this.#waitForUpstream();
    this.push(null);
  };

  readonly #onGone = (): void => {
    if (!this.#over) this.destroy(new ClientGone());
  };
}

/** Lets a client finish its sentence, so that it reads the answer; not for longer than that takes honest ones. */
function discardRest(request: IncomingMessage): void {
  request.resume();
  const timer = setTimeout(() => request.socket.destroy(), DISCARD_MS).unref();
  request.once("end", () => clearTimeout(timer)).once("close", () => clearTimeout(timer));
}
