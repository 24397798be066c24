import type { Duplex } from "node:stream";
import type { Dispatcher } from "undici";
import { bodyTooLarge } from "../admit.ts";
import type { DeadlineClock, Timed } from "../deadline-clock.ts";
import type { Forwarding, Outcome } from "../forwarding.ts";
import { responseHeaders, trailers } from "../headers.ts";
import type { Refusal } from "../refusal.ts";
import { BODY_IDLE, CLIENT_STALLED } from "../refusal-texts.ts";
import { noteFailure, pickReplica, type Replica } from "../upstreams.ts";
import type { FullExchange } from "./full-exchange.ts";
import { BodyTooLarge, ClientGone, RequestBody } from "./request-body.ts";

/** Takes over both connections after a 101. */
export type OnUpgraded = (upgraded: Upgraded) => void;

export interface Upgraded {
  readonly socket: Duplex;
  readonly replica: Replica;
  readonly lines: readonly string[];
}

export interface ForwardParts {
  readonly clock: DeadlineClock;
  readonly onRetry: () => void;
  readonly onEjection: () => void;
}

/** What stands before a function that is down says so in these words; they count like a connection that failed. */
const GATEWAY_FAILURES = new Set([502, 503, 504]);
const IDEMPOTENT = new Set(["GET", "HEAD", "OPTIONS", "PUT", "DELETE"]);

const NOT_FORWARDABLE: Refusal = {
  status: 400,
  code: "header-invalid",
  message: "A header of this request cannot be forwarded.",
};

/** Sends a request upstream and its answer back, both as streams. Settles when the client has the whole answer, or will not. */
export function forward(
  exchange: FullExchange,
  forwarding: Forwarding,
  parts: ForwardParts,
  onUpgraded: OnUpgraded | undefined,
): Promise<Outcome> {
  const { promise, resolve } = Promise.withResolvers<Outcome>();
  new Transfer(exchange, forwarding, parts, onUpgraded, resolve).begin();
  return promise;
}

/** One request's way through at most two attempts. */
class Transfer implements Timed {
  readonly #exchange: FullExchange;
  readonly #forwarding: Forwarding;
  readonly #parts: ForwardParts;
  /** Its presence asks the upstream to upgrade. */
  readonly #onUpgraded: OnUpgraded | undefined;
  readonly #settle: (outcome: Outcome) => void;
  readonly #body: RequestBody | undefined;
  readonly #begunMs = performance.now();
  readonly #totalDeadlineMs: number;
  #attempt: Attempt | undefined;
  #retried = false;
  #settled = false;
  #answerBegun = false;
  #upstreamDone = false;
  #bodyBytesSeen = false;
  /** Since when the client leaves us with what it has not read. */
  #unreadSinceMs: number | undefined;

  constructor(
    exchange: FullExchange,
    forwarding: Forwarding,
    parts: ForwardParts,
    onUpgraded: OnUpgraded | undefined,
    settle: (outcome: Outcome) => void,
  ) {
    this.#exchange = exchange;
    this.#forwarding = forwarding;
    this.#parts = parts;
    this.#onUpgraded = onUpgraded;
    this.#settle = settle;
    const { hasBody, maxBodyBytes, totalMs } = forwarding;
    this.#body = hasBody ? new RequestBody(exchange, maxBodyBytes) : undefined;
    this.#totalDeadlineMs = totalMs === null ? Number.POSITIVE_INFINITY : exchange.startedMs + totalMs;
    // An error of the body reaches us through the attempt; one that nobody asks about any more is of no interest.
    this.#body?.on("error", () => this.#onBodyError());
  }

  begin(): void {
    const { response } = this.#exchange;
    response.on("close", this.#onClose).on("drain", this.#onDrain);
    this.#parts.clock.watch(this);
    this.#try(undefined);
  }

  check(nowMs: number): void {
    const { bodyIdleMs, writeIdleMs, failures } = this.#forwarding;
    const exchange = this.#exchange;
    // Without a socket it is an earlier answer on the connection that is not read, and not this one.
    if (this.#unreadSinceMs !== undefined && exchange.response.socket === null) this.#unreadSinceMs = nowMs;
    if (isPast(this.#body?.clientSinceMs, bodyIdleMs, nowMs)) this.#fail(BODY_IDLE);
    else if (isPast(this.#unreadSinceMs, writeIdleMs, nowMs)) this.#fail(CLIENT_STALLED);
    else if (nowMs > this.#totalDeadlineMs || this.#isAnswerLate(nowMs)) {
      if (this.#isUpstreamsFault(nowMs)) this.#countFailure(this.#attempt?.replica);
      this.#fail(failures.late);
    }
  }

  /** Since when the upstream has everything it needs to go on; `undefined` while it waits for the client too. */
  get #upstreamSinceMs(): number | undefined {
    return this.#body === undefined ? this.#begunMs : this.#body.upstreamSinceMs;
  }

  #isAnswerLate(nowMs: number): boolean {
    return !this.#answerBegun && isPast(this.#upstreamSinceMs, this.#forwarding.firstByteMs, nowMs);
  }

  /** A client that sends slowly must not get a healthy replica ejected: it is the one that used the time up. */
  #isUpstreamsFault(nowMs: number): boolean {
    if (this.#answerBegun || this.#body?.whole === false) return false;
    if (this.#isAnswerLate(nowMs)) return true;
    const { startedMs } = this.#exchange;
    return isPast(this.#upstreamSinceMs, (nowMs - startedMs) / 2, nowMs);
  }

  #try(failed: Replica | undefined): void {
    const { path, headers } = this.#forwarding;
    const exchange = this.#exchange;
    const replica = pickReplica(this.#forwarding.replicas(), failed);
    if (replica === undefined) {
      this.#fail(this.#forwarding.failures.absent);
      return;
    }
    exchange.upstream = replica.id;
    this.#attempt = new Attempt(this, replica);
    replica.inFlight += 1;
    replica.dispatch(
      {
        method: exchange.method,
        path,
        headers,
        body: this.#body ?? null,
        upgrade: this.#onUpgraded === undefined ? null : "websocket",
      },
      this.#attempt,
    );
  }

  /** The head of the answer. Whatever is wrong with it is found before a byte goes to the client. */
  answer(attempt: Attempt, status: number, raw: readonly string[], statusText: string | undefined): void {
    const { domains, responseLines } = this.#forwarding;
    const exchange = this.#exchange;
    const head = status > 599 ? undefined : responseHeaders(raw, domains);
    if (head === undefined) {
      this.#countFailure(attempt.replica);
      this.#fail(this.#forwarding.failures.broken);
      return;
    }
    if (GATEWAY_FAILURES.has(status)) this.#countFailure(attempt.replica);
    else attempt.replica.succeeded();
    this.#answerBegun = true;
    const lines = [...head.lines, ...responseLines];
    if (head.contentLength !== undefined && status !== 204) lines.push("Content-Length", head.contentLength);
    try {
      exchange.response.writeHead(status, printable(statusText), lines);
    } catch {
      this.#fail(this.#forwarding.failures.broken);
      return;
    }
    // What comes with the head in one packet leaves in one; a head that comes alone, as of an event stream, does not wait.
    process.nextTick(() => {
      if (!this.#bodyBytesSeen && !this.#settled && !exchange.response.writableEnded)
        exchange.response.flushHeaders();
    });
  }

  data(attempt: Attempt, chunk: Buffer): void {
    const exchange = this.#exchange;
    this.#bodyBytesSeen = true;
    exchange.bytesSent += chunk.length;
    if (exchange.response.write(chunk)) return;
    this.#unreadSinceMs ??= performance.now();
    attempt.controller?.pause();
  }

  end(attempt: Attempt, rawTrailers: readonly string[]): void {
    const { response } = this.#exchange;
    this.#upstreamDone = true;
    this.#release(attempt);
    const kept = trailers(rawTrailers);
    if (kept.length > 0 && response.chunkedEncoding) response.addTrailers(kept);
    response.end();
    if (!response.writableFinished) this.#unreadSinceMs ??= performance.now();
  }

  upgraded(attempt: Attempt, raw: readonly string[], socket: Duplex): void {
    this.#release(attempt);
    const head = responseHeaders(raw, this.#forwarding.domains);
    const onUpgraded = this.#onUpgraded;
    if (head === undefined || onUpgraded === undefined) {
      socket.destroy();
      this.#fail(this.#forwarding.failures.broken);
      return;
    }
    attempt.replica.succeeded();
    this.#upstreamDone = true;
    this.#finish({ kind: "answered" });
    onUpgraded({
      socket,
      replica: attempt.replica,
      lines: [...head.lines, ...this.#forwarding.responseLines],
    });
  }

  failed(attempt: Attempt, error: Error): void {
    this.#release(attempt);
    if (this.#settled) return;
    if (error instanceof BodyTooLarge) this.#fail(bodyTooLarge(this.#forwarding.maxBodyBytes));
    else if (error instanceof ClientGone) this.#finish({ kind: "client-gone" });
    else if (codeOf(error) === "UND_ERR_INVALID_ARG") this.#fail(NOT_FORWARDABLE);
    else this.#upstreamFailed(attempt);
  }

  #upstreamFailed(attempt: Attempt): void {
    if (this.#answerBegun) {
      this.#fail(this.#forwarding.failures.broken);
      return;
    }
    this.#countFailure(attempt.replica);
    if (this.#mayRetry(attempt)) {
      this.#retried = true;
      this.#parts.onRetry();
      this.#try(attempt.replica);
      return;
    }
    const { unreachable, broken } = this.#forwarding.failures;
    this.#fail(attempt.sent ? broken : unreachable);
  }

  /** Once, and only where it cannot be executed twice: nothing was sent, or sending it again is the same as sending it once. */
  #mayRetry(attempt: Attempt): boolean {
    if (this.#retried || this.#onUpgraded !== undefined) return false;
    if (!attempt.sent) return this.#body === undefined || (!this.#body.begun && !this.#body.destroyed);
    return IDEMPOTENT.has(this.#exchange.method) && this.#body === undefined && !attempt.answered;
  }

  #countFailure(replica: Replica | undefined): void {
    if (replica !== undefined && noteFailure(replica, this.#forwarding.replicas())) this.#parts.onEjection();
  }

  /** Over without the upstream's answer, or with a piece of it: then the client must not take the piece for the whole. */
  #fail(refusal: Refusal): void {
    if (this.#settled) return;
    const exchange = this.#exchange;
    const begun = this.#answerBegun && exchange.response.headersSent;
    if (begun) exchange.reason = refusal.code;
    this.#finish(begun ? { kind: "cut" } : { kind: "refused", refusal });
    if (begun) exchange.response.destroy();
  }

  #finish(outcome: Outcome): void {
    if (this.#settled) return;
    this.#settled = true;
    this.#parts.clock.forget(this);
    const { response } = this.#exchange;
    response.off("close", this.#onClose).off("drain", this.#onDrain);
    if (!this.#upstreamDone) this.#attempt?.abort();
    this.#body?.destroy();
    this.#settle(outcome);
  }

  #release(attempt: Attempt): void {
    if (attempt.over) return;
    attempt.over = true;
    attempt.replica.inFlight -= 1;
  }

  #onBodyError(): void {
    const error = this.#body?.errored;
    if (error instanceof BodyTooLarge) this.#fail(bodyTooLarge(this.#forwarding.maxBodyBytes));
    if (error instanceof ClientGone) this.#finish({ kind: "client-gone" });
  }

  readonly #onClose = (): void => {
    const { response } = this.#exchange;
    const whole = this.#upstreamDone && response.writableFinished;
    this.#finish(whole ? { kind: "answered" } : { kind: "client-gone" });
  };

  readonly #onDrain = (): void => {
    this.#unreadSinceMs = this.#upstreamDone ? performance.now() : undefined;
    this.#attempt?.controller?.resume();
  };
}

/** What one replica does with a request, as the HTTP client tells it. */
class Attempt implements Dispatcher.DispatchHandler {
  readonly replica: Replica;
  readonly #transfer: Transfer;
  controller: Dispatcher.DispatchController | undefined;
  /** Written to a connection: from here on it may have been executed. */
  sent = false;
  /** The answer has begun, if only with its first byte. */
  answered = false;
  over = false;
  #aborted = false;

  constructor(transfer: Transfer, replica: Replica) {
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
    if (status < 200 || this.#aborted) return;
    this.#transfer.answer(this, status, latin1(controller.rawHeaders), statusText);
  }

  onResponseData(_controller: Dispatcher.DispatchController, chunk: Buffer): void {
    if (!this.#aborted) this.#transfer.data(this, chunk);
  }

  onResponseEnd(controller: Dispatcher.DispatchController): void {
    if (!this.#aborted) this.#transfer.end(this, latin1(controller.rawTrailers));
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
    this.#transfer.failed(this, error);
  }
}

/** Header bytes as they came: latin1 there and back keeps every byte, whatever they were meant to be. */
function latin1(raw: Dispatcher.DispatchController["rawHeaders"]): string[] {
  if (!Array.isArray(raw)) return [];
  return raw.map((part) => (typeof part === "string" ? part : part.toString("latin1")));
}

function isPast(sinceMs: number | undefined, allowedMs: number, nowMs: number): boolean {
  return sinceMs !== undefined && nowMs - sinceMs > allowedMs;
}

function printable(statusText: string | undefined): string {
  return statusText !== undefined && /^[\t\x20-\x7e]*$/.test(statusText) ? statusText : "";
}

function codeOf(error: Error): string | undefined {
  return (error as NodeJS.ErrnoException).code;
}
