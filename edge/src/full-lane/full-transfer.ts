import type { Duplex } from "node:stream";
import { TLSSocket } from "node:tls";
import type { Dispatcher } from "undici";
import { reasonPhrase, responseHeaders, trailers } from "../answer-fields.ts";
import type { Forwarding } from "../forwarding.ts";
import { NOT_FORWARDABLE } from "../refusal-texts.ts";
import { identityLines, requestHeaders } from "../request-fields.ts";
import { type Progress, Transfer, type TransferParts } from "../transfer.ts";
import type { Replica } from "../upstreams.ts";
import type { FullExchange } from "./full-exchange.ts";
import { BodyTooLarge, ClientGone, RequestBody } from "./request-body.ts";

/** Takes over both connections after a 101. */
export type OnUpgraded = (upgraded: Upgraded) => void;

export interface Upgraded {
  readonly socket: Duplex;
  readonly replica: Replica;
  readonly lines: readonly string[];
}

const NOTHING_SENT: Progress = { sent: false, answered: false };

/** By undici, between the streams of node:http. */
export class FullTransfer extends Transfer {
  readonly #exchange: FullExchange;
  /** Its presence asks the upstream to upgrade. */
  readonly #onUpgraded: OnUpgraded | undefined;
  readonly #body: RequestBody | undefined;
  #attempt: Attempt | undefined;
  #bodyBytesSeen = false;

  constructor(
    exchange: FullExchange,
    forwarding: Forwarding,
    parts: TransferParts,
    onUpgraded: OnUpgraded | undefined,
  ) {
    super(exchange, forwarding, parts);
    this.#exchange = exchange;
    this.#onUpgraded = onUpgraded;
    this.#body = exchange.head?.hasBody
      ? new RequestBody(exchange, this.destination.maxBodyBytes)
      : undefined;
    // An error of the body reaches us through the attempt; one that nobody asks about any more is of no interest.
    this.#body?.on("error", () => this.#onBodyError());
  }

  override begin(): void {
    this.#exchange.response.on("close", this.#onClose).on("drain", this.#onDrain);
    super.begin();
  }

  protected attempt(replica: Replica): void {
    const { path } = this.forwarding;
    this.#attempt = new Attempt(this, replica);
    replica.dispatch(
      {
        method: this.#exchange.method,
        path,
        headers: requestHeaders(this.#exchange, this.forwarding.credentials),
        body: this.#body ?? null,
        upgrade: this.#onUpgraded === undefined ? null : "websocket",
      },
      this.#attempt,
    );
  }

  protected abort(): void {
    this.#attempt?.abort();
  }

  protected get progress(): Progress {
    return this.#attempt ?? NOTHING_SENT;
  }

  protected release(): void {
    this.#exchange.response.off("close", this.#onClose).off("drain", this.#onDrain);
    this.#body?.destroy();
  }

  protected cut(): void {
    const { response } = this.#exchange;
    const { socket } = response;
    // To HTTP/1.0 the end of the connection is the end of the answer: only a reset tells that it was cut.
    if (this.#exchange.httpVersion === "1.0" && socket !== null && !(socket instanceof TLSSocket)) {
      socket.resetAndDestroy();
      return;
    }
    // A head that still waited for its first bytes goes out before: half an answer says more than none.
    const waits = !this.#bodyBytesSeen && socket?.writableLength === 0;
    if (!waits) response.destroy();
    else {
      response.flushHeaders();
      socket.destroySoon();
    }
  }

  protected get isClientsTurn(): boolean {
    return this.#exchange.response.socket !== null;
  }

  protected get bodyBegun(): boolean {
    return this.#body !== undefined && (this.#body.begun || this.#body.destroyed);
  }

  protected get bodyWhole(): boolean {
    return this.#body?.whole !== false;
  }

  protected get clientSinceMs(): number | undefined {
    return this.#body?.clientSinceMs;
  }

  protected get upstreamSinceMs(): number | undefined {
    return this.#body === undefined ? this.begunMs : this.#body.upstreamSinceMs;
  }

  protected override get mayRepeat(): boolean {
    return this.#onUpgraded === undefined;
  }

  interim(status: number): void {
    // undici takes any number under 200 for an interim answer.
    if (status < 100) this.broken();
    else this.interimAnswer();
  }

  /** The head of the answer. Whatever is wrong with it is found before a byte goes to the client. */
  answer(status: number, raw: readonly string[], statusText: string | undefined): void {
    const { response } = this.#exchange;
    const head = status > 599 ? undefined : responseHeaders(raw, this.destination.domains);
    if (head === undefined) {
      this.broken();
      return;
    }
    const lines = [...head.lines, ...identityLines(this.#exchange)];
    if (head.contentLength !== undefined && status !== 204) lines.push("Content-Length", head.contentLength);
    try {
      response.writeHead(status, reasonPhrase(statusText), lines);
    } catch {
      this.broken();
      return;
    }
    this.answeredWith(status);
    if (status === 204 || status === 304) {
      // No body follows, whatever Content-Length says of the one that would; undici takes that for a broken answer.
      this.end([]);
      return;
    }
    // What comes with the head in one packet leaves in one; a head that comes alone, as of an event stream, does not wait.
    process.nextTick(() => {
      if (!this.#bodyBytesSeen && !this.settled && !response.writableEnded) response.flushHeaders();
    });
  }

  data(attempt: Attempt, chunk: Buffer): void {
    const exchange = this.#exchange;
    this.#bodyBytesSeen = true;
    exchange.bytesSent += chunk.length;
    if (exchange.response.write(chunk)) return;
    this.unreadSinceMs ??= performance.now();
    attempt.controller?.pause();
  }

  end(rawTrailers: readonly string[]): void {
    if (this.upstreamDone) return;
    const { response } = this.#exchange;
    this.upstreamDone = true;
    this.leaveReplica();
    const kept = trailers(rawTrailers);
    if (kept.length > 0 && response.chunkedEncoding) response.addTrailers(kept);
    response.end();
    if (!response.writableFinished) this.unreadSinceMs ??= performance.now();
  }

  upgraded(attempt: Attempt, raw: readonly string[], socket: Duplex): void {
    const head = responseHeaders(raw, this.destination.domains);
    const onUpgraded = this.#onUpgraded;
    if (head === undefined || onUpgraded === undefined) {
      socket.destroy();
      this.fail(this.destination.failures.broken);
      return;
    }
    attempt.replica.succeeded();
    this.upstreamDone = true;
    this.finish({ kind: "upgraded" });
    onUpgraded({
      socket,
      replica: attempt.replica,
      lines: [...head.lines, ...identityLines(this.#exchange)],
    });
  }

  failed(attempt: Attempt, error: Error): void {
    if (attempt !== this.#attempt || this.settled || this.upstreamDone) return;
    if (error instanceof BodyTooLarge) this.bodyTooLarge();
    else if (error instanceof ClientGone) this.finish({ kind: "client-gone" });
    else if (codeOf(error) === "UND_ERR_INVALID_ARG") this.fail(NOT_FORWARDABLE);
    else this.attemptFailed(attempt);
  }

  #onBodyError(): void {
    const error = this.#body?.errored;
    if (error instanceof BodyTooLarge) this.bodyTooLarge();
    if (error instanceof ClientGone) this.finish({ kind: "client-gone" });
  }

  readonly #onClose = (): void => {
    const whole = this.upstreamDone && this.#exchange.response.writableFinished;
    this.finish(whole ? { kind: "answered" } : { kind: "client-gone" });
  };

  readonly #onDrain = (): void => {
    this.unreadSinceMs = this.upstreamDone ? performance.now() : undefined;
    this.#attempt?.controller?.resume();
  };
}

/** What one replica does with a request, as the HTTP client tells it. */
class Attempt implements Dispatcher.DispatchHandler {
  readonly replica: Replica;
  readonly #transfer: FullTransfer;
  controller: Dispatcher.DispatchController | undefined;
  sent = false;
  answered = false;
  #aborted = false;

  constructor(transfer: FullTransfer, replica: Replica) {
    this.#transfer = transfer;
    this.replica = replica;
  }

  abort(): void {
    this.#aborted = true;
    this.controller?.abort(new Error("not wanted any more"));
  }

  onRequestStart(controller: Dispatcher.DispatchController): void {
    this.controller = controller;
    if (this.#aborted) controller.abort(new Error("not wanted any more"));
    else this.sent = true;
  }

  onResponseStarted(): void {
    this.answered = true;
  }

  onResponseStart(
    controller: Dispatcher.DispatchController,
    status: number,
    _headers: unknown,
    statusText?: string,
  ): void {
    if (this.#aborted) return;
    if (status < 200) this.#transfer.interim(status);
    else this.#transfer.answer(status, latin1(controller.rawHeaders), statusText);
  }

  onResponseData(_controller: Dispatcher.DispatchController, chunk: Buffer): void {
    if (!this.#aborted) this.#transfer.data(this, chunk);
  }

  onResponseEnd(controller: Dispatcher.DispatchController): void {
    if (!this.#aborted) this.#transfer.end(latin1(controller.rawTrailers));
  }

  onRequestUpgrade(
    controller: Dispatcher.DispatchController,
    _status: number,
    _headers: unknown,
    socket: Duplex,
  ): void {
    if (this.#aborted) socket.destroy();
    else this.#transfer.upgraded(this, latin1(controller.rawHeaders), socket);
  }

  onResponseError(_controller: Dispatcher.DispatchController, error: Error): void {
    if (!this.#aborted) this.#transfer.failed(this, error);
  }
}

/** Header bytes as they came: latin1 there and back keeps every byte, whatever they were meant to be. */
function latin1(raw: Dispatcher.DispatchController["rawHeaders"]): string[] {
  if (!Array.isArray(raw)) return [];
  return raw.map((part) => (typeof part === "string" ? part : part.toString("latin1")));
}

function codeOf(error: Error): string | undefined {
  return (error as NodeJS.ErrnoException).code;
}
