import { STATUS_CODES } from "node:http";
import { type Client, Exchange, type OwnAnswer } from "../exchange.ts";
import type { RawHeaders } from "../field-kinds.ts";
import type { Forwarding, Outcome } from "../forwarding.ts";
import type { PlainConnection } from "./plain-connection.ts";
import { PlainTransfer, type PlainTransferParts } from "./plain-transfer.ts";
import type { PlainRequest } from "./request-head.ts";

/** A request that the plain lane has read. */
export class PlainExchange extends Exchange {
  readonly lane = "plain";
  readonly connection: PlainConnection;
  readonly plainRequest: PlainRequest;
  readonly #parts: PlainTransferParts;
  #status: number | undefined;
  #answered = false;
  #transfer: PlainTransfer | undefined;

  constructor(
    request: PlainRequest,
    client: Client,
    requestId: string,
    connection: PlainConnection,
    parts: PlainTransferParts,
  ) {
    super({ method: request.method, rawTarget: request.rawTarget, httpVersion: "1.1" }, client, requestId);
    this.head = request.head;
    this.plainRequest = request;
    this.connection = connection;
    this.#parts = parts;
  }

  get rawHeaders(): RawHeaders {
    return this.plainRequest.rawHeaders;
  }

  get status(): number {
    return this.#status ?? 499;
  }

  get answered(): boolean {
    return this.#answered;
  }

  get transfer(): PlainTransfer | undefined {
    return this.#transfer;
  }

  respond({ status, lines, body, close }: OwnAnswer): void {
    const { connection } = this;
    if (this.#status !== undefined || connection.closed) {
      connection.destroy();
      connection.over(this);
      return;
    }
    if (close || connection.bodyLeft > 0) connection.endAfterAnswer();
    let text = this.answerLine(status, STATUS_CODES[status] ?? "");
    for (let i = 0; i < lines.length; i += 2) text += `${lines[i]}: ${lines[i + 1]}\r\n`;
    text += `Date: ${this.#parts.date.now()}\r\nContent-Length: ${body.length}\r\n\r\n`;
    if (this.method !== "HEAD") {
      text += body.toString("latin1");
      this.bytesSent += body.length;
    }
    connection.writeText(text);
    this.#answered = true;
    connection.over(this);
  }

  forward(forwarding: Forwarding): void {
    if (this.connection.closed) {
      this.settled({ kind: "client-gone" });
      return;
    }
    this.#transfer = new PlainTransfer(this, forwarding, this.#parts);
    this.#transfer.begin();
  }

  override settled(outcome: Outcome): void {
    this.#transfer = undefined;
    this.#answered = outcome.kind === "answered";
    super.settled(outcome);
    if (outcome.kind !== "refused") this.connection.over(this);
  }

  /** The beginning of an answer: its first line, and those about the connection and the time. */
  answerLine(status: number, reason: string): string {
    this.#status = status;
    const isLast = this.connection.endsWithAnswer();
    return `HTTP/1.1 ${status} ${reason}\r\n${isLast ? "Connection: close\r\n" : ""}`;
  }
}
