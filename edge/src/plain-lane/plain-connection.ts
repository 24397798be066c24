import type { Socket } from "node:net";
import type { Clients } from "../clients.ts";
import type { Client, Downstream } from "../exchange.ts";
import { handleRequest, type RequestParts } from "../handle-request.ts";
import type { HandOverReason } from "../metrics.ts";
import { record, recordBroken } from "../record.ts";
import { originLines } from "../request-fields.ts";
import { LINGER_MS, respondToBrokenClient } from "../respond-error.ts";
import { hasBareLineFeed, MAX_RECENT_CHARACTERS } from "./header-lines.ts";
import { PlainExchange } from "./plain-exchange.ts";
import type { PlainTransferParts } from "./plain-transfer.ts";
import { type PlainRequest, parseRequestHead } from "./request-head.ts";

export interface PlainConnectionParts extends RequestParts, PlainTransferParts {
  readonly clients: Clients;
  readonly headersMs: number;
  /** For as long a client may leave an answer unread. */
  readonly writeIdleMs: number;
  /** Gives a connection to the full lane, which reads `bytes` first. */
  readonly handOver: (socket: Socket, bytes: Buffer) => void;
  readonly onClosed: (connection: PlainConnection) => void;
}

const HEAD_END = Buffer.from("\r\n\r\n");
const MAX_HEAD_BYTES = 16 * 1024;
/** What a client may send ahead while an answer is under way. */
const MAX_AHEAD_BYTES = 64 * 1024;
/** Of what was sent ahead as many are served in one go, so that all other connections have their turn too. */
const AHEAD_AT_ONCE = 16;
const IDLE_MS = 60_000;
/** How long a client may go on sending a body that its function has not waited for, so that it gets to read the answer. */
const DISCARD_MS = 5_000;

type State =
  /** Before the first byte of a request. */
  | "idle"
  /** A head has begun. */
  | "head"
  | "busy"
  /** Answered, and nothing further is done before the client has read on. */
  | "unread"
  /** Answered, and what was sent ahead has its turn soon. */
  | "ahead"
  /** The last answer is given; what comes is thrown away. */
  | "lingering";

/** One client's connection, for as long as what comes is of the plain lane's narrow form. */
export class PlainConnection {
  readonly #socket: Socket;
  readonly #client: Client;
  readonly #parts: PlainConnectionParts;
  #state: State = "idle";
  #sinceMs = performance.now();
  #isFirst = true;
  /** Read, and not yet used: of a head, or sent ahead. */
  #held: Buffer | undefined;
  #exchange: PlainExchange | undefined;
  /** Programs often ask the same again, to the byte. */
  #recent: PlainRequest | undefined;
  /** The part of the body that came with the head. */
  #firstOfBody: Buffer | undefined;
  #bodyLeft = 0;
  #last = false;
  #servedAhead = 0;
  #lingerMs = DISCARD_MS;
  #originHost: string | undefined;
  #originText = "";

  constructor(socket: Socket, client: Client, parts: PlainConnectionParts) {
    this.#socket = socket;
    this.#client = client;
    this.#parts = parts;
    socket
      .on("data", this.#onData)
      .on("end", this.#onEnd)
      .on("drain", this.#onDrain)
      .on("error", this.#onError)
      .on("close", this.#onClose);
  }

  /** What of the request's body has not come yet, in bytes. */
  get bodyLeft(): number {
    return this.#bodyLeft;
  }

  /** Whether the connection ends with the answer whose head is written now; what that says is kept to. */
  endsWithAnswer(): boolean {
    this.#last ||= this.#parts.clients.draining;
    return this.#last;
  }

  get closed(): boolean {
    return this.#socket.destroyed;
  }

  get needsDrain(): boolean {
    return this.#socket.writableNeedDrain;
  }

  endAfterAnswer(): void {
    this.#last = true;
  }

  writeText(latin1: string): void {
    this.#socket.write(latin1, "latin1");
  }

  /** As one, where the socket takes them at once. */
  writePieces(before: string, data: Buffer, after: string): void {
    this.#socket.cork();
    if (before !== "") this.#socket.write(before, "latin1");
    this.#socket.write(data);
    if (after !== "") this.#socket.write(after, "latin1");
    this.#socket.uncork();
  }

  /** What upstreams are told of who asks. Made once for each host, which is nearly always one; anew for who is behind a peer. */
  originText(downstream: Downstream, host: string): string {
    if (downstream !== this.#client) return textOf(originLines(downstream, host, "1.1"));
    if (this.#originHost !== host) {
      this.#originHost = host;
      this.#originText = textOf(originLines(downstream, host, "1.1"));
    }
    return this.#originText;
  }

  /** The part of the body that came with the head; `undefined` where there is no body. */
  takeBody(): Buffer | undefined {
    const first = this.#firstOfBody;
    this.#firstOfBody = undefined;
    return first;
  }

  pause(): void {
    this.#socket.pause();
  }

  /** Reads on, unless the client has sent far ahead. */
  resume(): void {
    if ((this.#held?.length ?? 0) <= MAX_AHEAD_BYTES) this.#socket.resume();
  }

  destroy(): void {
    this.#socket.destroy();
  }

  /** Looked at now and then: nobody may keep a connection that is not used. */
  check(nowMs: number): void {
    const waitedMs = nowMs - this.#sinceMs;
    switch (this.#state) {
      case "head":
        if (waitedMs > this.#parts.headersMs) this.#refuseLateHead();
        break;
      case "idle":
        if (waitedMs > (this.#isFirst ? this.#parts.headersMs : IDLE_MS)) this.#socket.destroy();
        break;
      case "unread":
        if (waitedMs > this.#parts.writeIdleMs) this.#socket.destroy();
        break;
      case "lingering":
        if (waitedMs > this.#lingerMs) this.#socket.destroy();
        break;
      case "busy":
      case "ahead":
        break;
    }
  }

  readonly #onData = (bytes: Buffer): void => {
    switch (this.#state) {
      case "idle":
        this.#begin(bytes);
        break;
      case "head":
        this.#begin(this.#held === undefined ? bytes : Buffer.concat([this.#held, bytes]));
        break;
      case "busy":
      case "unread":
      case "ahead":
        this.#onMore(bytes);
        break;
      case "lingering":
        break;
    }
  };

  /** While a request is under way: its body, then what is sent ahead. */
  #onMore(bytes: Buffer): void {
    let ahead = bytes;
    if (this.#bodyLeft > 0) {
      const mine = bytes.length > this.#bodyLeft ? bytes.subarray(0, this.#bodyLeft) : bytes;
      this.#bodyLeft -= mine.length;
      this.#exchange?.transfer?.body(mine);
      ahead = bytes.subarray(mine.length);
    }
    if (ahead.length === 0) return;
    this.#held = this.#held === undefined ? ahead : Buffer.concat([this.#held, ahead]);
    if (this.#held.length > MAX_AHEAD_BYTES) this.#socket.pause();
  }

  #begin(bytes: Buffer): void {
    const end = bytes.indexOf(HEAD_END);
    if (end === -1 && bytes.length <= MAX_HEAD_BYTES) {
      if (hasBareLineFeed(bytes)) {
        this.#handOver(bytes, "form");
        return;
      }
      if (this.#state !== "head") this.#enter("head");
      this.#held = bytes;
      return;
    }
    if (end === -1 || end > MAX_HEAD_BYTES) {
      this.#handOver(bytes, "size");
      return;
    }
    const bodyAt = end + HEAD_END.length;
    const text = bytes.toString("latin1", 0, bodyAt);
    const request = this.#recent?.text === text ? this.#recent : parseRequestHead(text);
    this.#recent = text.length > MAX_RECENT_CHARACTERS ? undefined : request;
    if (request === undefined) {
      this.#handOver(bytes, "form");
      return;
    }
    const { head } = request;
    const { clients } = this.#parts;
    const length = head.contentLength ?? 0;
    const mine = Math.min(length, bytes.length - bodyAt);
    this.#held = bytes.length > bodyAt + mine ? bytes.subarray(bodyAt + mine) : undefined;
    this.#firstOfBody = length > 0 ? bytes.subarray(bodyAt, bodyAt + mine) : undefined;
    this.#bodyLeft = length - mine;
    this.#isFirst = false;
    if (head.connectionOptions.includes("close")) this.#last = true;
    // The rest is read when there is somebody to take it.
    if (this.#bodyLeft > 0) this.#socket.pause();
    this.#state = "busy";
    const exchange = new PlainExchange(request, this.#client, clients.newRequestId(), this, this.#parts);
    this.#exchange = exchange;
    clients.begun(exchange);
    handleRequest(exchange, this.#parts);
  }

  /** The exchange is over: what its client gets of it was written, or never will be. */
  over(exchange: PlainExchange): void {
    if (this.#exchange !== exchange) return;
    this.#exchange = undefined;
    record(exchange, this.#parts);
    this.#parts.clients.over(exchange);
    if (this.#socket.destroyed) return;
    if (this.#last || this.#bodyLeft > 0) {
      this.#linger(exchange.reason === undefined ? DISCARD_MS : LINGER_MS);
      return;
    }
    // Who goes takes what it has been given; what it has sent ahead finds the next edge.
    if (this.needsDrain && this.#parts.clients.draining) this.#linger(DISCARD_MS);
    else if (this.needsDrain) this.#waitForReader();
    else this.#goOn();
  }

  /** Answers that pile up would be held for a client that does not read them. */
  #waitForReader(): void {
    this.#enter("unread");
    this.#socket.pause();
  }

  #goOn(): void {
    if (this.#socket.isPaused()) this.resume();
    this.#enter(this.#held === undefined ? "idle" : "ahead");
    if (this.#held === undefined) return;
    this.#servedAhead += 1;
    // Not within this one, so that no number of requests sent ahead makes the stack deep.
    if (this.#servedAhead % AHEAD_AT_ONCE === 0) setImmediate(this.#beginAhead);
    else process.nextTick(this.#beginAhead);
  }

  readonly #beginAhead = (): void => {
    if (this.#state === "ahead" && this.#held !== undefined && !this.closed) this.#begin(this.#held);
  };

  /**
   * Closing on a client that is still sending resets the connection, and the answer may be lost with it: so our half ends,
   * and the other when the client has finished or has had its time. That begins when the answer has left us, for which the
   * client may need its time too.
   */
  #linger(lingerMs: number): void {
    this.#lingerMs = this.#parts.writeIdleMs;
    this.#held = undefined;
    this.#enter("lingering");
    this.#socket.end(() => {
      this.#lingerMs = lingerMs;
      this.#enter("lingering");
    });
    this.#socket.resume();
  }

  #enter(state: State): void {
    this.#state = state;
    this.#sinceMs = this.#parts.clock.nowMs;
  }

  #handOver(bytes: Buffer, reason: HandOverReason): void {
    this.#parts.metrics.handedOver[reason] += 1;
    const socket = this.#socket;
    socket
      .off("data", this.#onData)
      .off("end", this.#onEnd)
      .off("drain", this.#onDrain)
      .off("error", this.#onError)
      .off("close", this.#onClose);
    this.#parts.onClosed(this);
    this.#parts.handOver(socket, bytes);
  }

  #refuseLateHead(): void {
    const { clients } = this.#parts;
    // All that it sent was read, so that closing resets nothing; a client that drips on has had its time.
    this.#held = undefined;
    this.#enter("lingering");
    const status = respondToBrokenClient(this.#socket, { code: "ERR_HTTP_REQUEST_TIMEOUT" });
    if (status === undefined) return;
    const broken = {
      requestId: clients.newRequestId(),
      client: this.#client,
      lane: "plain",
      status,
    } as const;
    recordBroken(broken, this.#parts);
  }

  readonly #onDrain = (): void => {
    if (this.#state === "unread") this.#goOn();
    else this.#exchange?.transfer?.clientDrained();
  };

  readonly #onEnd = (): void => {
    // Who closes its half while it is owed an answer has given it up, as node:http sees it as well.
    const isOwed = this.#exchange !== undefined || this.#held !== undefined;
    if (isOwed) this.#socket.destroy();
    else this.#socket.destroySoon();
  };

  readonly #onError = (): void => {
    this.#socket.destroy();
  };

  readonly #onClose = (): void => {
    this.#parts.onClosed(this);
    const exchange = this.#exchange;
    if (exchange?.transfer !== undefined) exchange.transfer.clientGone();
    // It is not decided yet who is to answer.
    else exchange?.settled({ kind: "client-gone" });
  };
}

function textOf(lines: readonly string[]): string {
  let text = "";
  for (let i = 0; i < lines.length; i += 2) text += `${lines[i]}: ${lines[i + 1]}\r\n`;
  return text;
}
