import type { IncomingMessage, ServerResponse } from "node:http";
import { type Client, Exchange, type OwnAnswer } from "../exchange.ts";
import type { RawHeaders } from "../field-kinds.ts";
import type { Forwarding } from "../forwarding.ts";
import { LINGER_MS } from "../respond-error.ts";
import type { TransferParts } from "../transfer.ts";
import type { EarlyBytes } from "./early-bytes.ts";
import { FullTransfer, type OnUpgraded, type Upgraded } from "./full-transfer.ts";

export interface FullExchangeParts extends TransferParts {
  /** For as long a client may leave an answer unread. */
  readonly writeIdleMs: number;
  /** Turns an upgraded exchange into a tunnel; settles when the tunnel has ended. */
  readonly openTunnel: (exchange: FullExchange, upgraded: Upgraded) => Promise<void>;
  /** Nothing more will be said of the exchange; it is over when its tunnel is. */
  readonly onUpgraded: (exchange: FullExchange, tunnel: Promise<void>) => void;
}

export interface Arrival {
  readonly request: IncomingMessage;
  readonly response: ServerResponse;
  /** What comes after the head of an upgrade request; its presence means that this is one. */
  readonly early?: EarlyBytes;
  /** The client waits for a `100 Continue` before it sends the body. */
  readonly expectsContinue?: boolean;
}

/** A request that node:http has read. */
export class FullExchange extends Exchange {
  readonly lane = "full";
  readonly request: IncomingMessage;
  readonly response: ServerResponse;
  readonly early: EarlyBytes | undefined;
  readonly #expectsContinue: boolean;
  readonly #parts: FullExchangeParts;
  /** The answer was a 101, and the connection is a tunnel now. */
  upgraded = false;
  #brokenOffWith: number | undefined;

  constructor(arrival: Arrival, client: Client, requestId: string, parts: FullExchangeParts) {
    const { request, response, early, expectsContinue } = arrival;
    const { method = "", url = "", httpVersion } = request;
    super({ method, rawTarget: url, httpVersion }, client, requestId);
    this.request = request;
    this.response = response;
    this.early = early;
    this.#expectsContinue = expectsContinue ?? false;
    this.#parts = parts;
  }

  get rawHeaders(): RawHeaders {
    return this.request.rawHeaders;
  }

  get status(): number {
    if (this.upgraded) return 101;
    if (this.#brokenOffWith !== undefined) return this.#brokenOffWith;
    return this.response.headersSent ? this.response.statusCode : 499;
  }

  get answered(): boolean {
    return this.upgraded || this.response.writableFinished;
  }

  /** Its body was no HTTP, and it was answered with this status for that. */
  brokenOff(status: number): void {
    this.#brokenOffWith = status;
    this.reason = "request-invalid";
  }

  respond({ status, lines, body, close }: OwnAnswer): void {
    const { request, response } = this;
    if (response.headersSent || response.destroyed) {
      response.destroy();
      return;
    }
    this.#endAfterUpgradeAsked();
    // Node calls a request without a body complete only after it has told us of it.
    const whole = request.complete || this.head?.hasBody === false;
    const last = close || !whole;
    // Said to the server as well, so that it serves nothing that may stand behind this request.
    if (last) response.shouldKeepAlive = false;
    const framing = ["Content-Length", String(body.length), ...(last ? ["Connection", "close"] : [])];
    response.writeHead(status, [...lines, ...framing]);
    if (this.method !== "HEAD") this.bytesSent += body.length;
    const unread = setTimeout(() => response.destroy(), this.#parts.writeIdleMs).unref();
    response.once("close", () => clearTimeout(unread));
    if (whole) response.end(body);
    else this.#endLingering(body);
  }

  forward(forwarding: Forwarding): void {
    this.#endAfterUpgradeAsked();
    if (this.#expectsContinue) this.response.writeContinue();
    const onUpgraded: OnUpgraded = (upgraded) => {
      const tunnel = this.#parts.openTunnel(this, upgraded).then(() => this.permit?.[Symbol.dispose]());
      this.#parts.onUpgraded(this, tunnel);
    };
    new FullTransfer(this, forwarding, this.#parts, this.early && onUpgraded).begin();
  }

  /** After a request that asked for an upgrade and got none, Node parses nothing further on the connection. */
  #endAfterUpgradeAsked(): void {
    if (this.head?.asksUpgrade === true && this.early === undefined) this.response.shouldKeepAlive = false;
  }

  /**
   * Closing on a client that is still sending resets the connection, and the answer may be lost with it. So the answer goes
   * out whole, and the connection closes when the client has finished or has had its time.
   */
  #endLingering(body: Buffer): void {
    const { request, response } = this;
    if (this.method === "HEAD") response.flushHeaders();
    else response.write(body);
    const end = (): void => {
      clearTimeout(timer);
      response.end();
    };
    const timer = setTimeout(end, LINGER_MS);
    request.once("end", end).once("error", end).once("close", end).resume();
  }
}
