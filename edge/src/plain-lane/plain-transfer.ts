import { reasonPhrase, trailers } from "../answer-fields.ts";
import type { Forwarding } from "../forwarding.ts";
import { type Progress, Transfer, type TransferParts } from "../transfer.ts";
import type { Replica } from "../upstreams.ts";
import { type AnswerHead, parseAnswerHead } from "./answer-head.ts";
import { ChunkedDecoder } from "./chunked-decoder.ts";
import { hasBareLineFeed, MAX_RECENT_CHARACTERS } from "./header-lines.ts";
import type { HttpDate } from "./http-date.ts";
import type { PlainConnection } from "./plain-connection.ts";
import type { PlainExchange } from "./plain-exchange.ts";
import type { Holder, UpstreamConnection, UpstreamConnections } from "./upstream-connections.ts";

export interface PlainTransferParts extends TransferParts {
  readonly connectionsTo: (replica: Replica) => UpstreamConnections;
  readonly date: HttpDate;
}

const HEAD_END = Buffer.from("\r\n\r\n");
const MAX_HEAD_BYTES = 16 * 1024;
/** Up to here a copy into one string costs less than a write of two pieces. */
const ONE_WRITE_BYTES = 16 * 1024;

/** How the end of an answer's body is found. */
type Framing = "none" | "length" | "chunked" | "close";

/** Between two sockets: strings and buffers go from one to the other as they come. */
export class PlainTransfer extends Transfer implements Holder {
  readonly #exchange: PlainExchange;
  readonly #client: PlainConnection;
  readonly #parts: PlainTransferParts;
  #upstream: UpstreamConnection | undefined;
  #sent = false;
  #answered = false;
  #clientSinceMs: number | undefined;
  #upstreamSinceMs: number | undefined;
  /** An answer's head that has begun. */
  #held: Buffer | undefined;
  #framing: Framing | undefined;
  /** Of an answer with a length: what of it is still to come. */
  #left = 0;
  #chunked: ChunkedDecoder | undefined;
  #reusable = false;
  #keepAliveS: number | undefined;

  constructor(exchange: PlainExchange, forwarding: Forwarding, parts: PlainTransferParts) {
    super(exchange, forwarding, parts);
    this.#exchange = exchange;
    this.#client = exchange.connection;
    this.#parts = parts;
  }

  protected attempt(replica: Replica): void {
    this.#sent = false;
    this.#answered = false;
    this.#held = undefined;
    this.#upstreamSinceMs = this.begunMs;
    this.#upstream = this.#parts.connectionsTo(replica).lease(this);
    if (this.#upstream.connected) this.#send(this.#upstream);
  }

  onConnected(): void {
    if (this.#upstream !== undefined) this.#send(this.#upstream);
  }

  #send(upstream: UpstreamConnection): void {
    const text = this.#requestText();
    this.#sent = true;
    const first = this.#client.takeBody();
    if (first === undefined) {
      upstream.writeText(text);
    } else {
      this.#exchange.bytesReceived += first.length;
      const hasRoom = writeBoth(upstream, text, first);
      this.#awaitBody(hasRoom);
    }
  }

  #requestText(): string {
    const { path, credentials } = this.forwarding;
    const { plainRequest, requestId, downstream } = this.#exchange;
    const { head } = plainRequest;
    const text = plainRequest.forwarded(path, credentials);
    const origin = this.#client.originText(downstream, head.host ?? "");
    const callId = head.callId ?? requestId;
    // After what the client says, so that nothing of it can take these away.
    return (
      `${text}${origin}X-Request-Id: ${requestId}\r\nX-Call-Id: ${callId}\r\n` +
      `X-Start-Time: ${Date.now()}000000\r\n\r\n`
    );
  }

  /** A piece of the request's body. */
  body(bytes: Buffer): void {
    this.#exchange.bytesReceived += bytes.length;
    this.#awaitBody(this.#upstream?.write(bytes) ?? false);
  }

  #awaitBody(hasRoom: boolean): void {
    const toCome = this.#client.bodyLeft > 0 && hasRoom;
    this.#clientSinceMs = toCome ? performance.now() : undefined;
    this.#upstreamSinceMs = toCome ? undefined : performance.now();
    if (hasRoom) this.#client.resume();
    else this.#client.pause();
  }

  onDrain(): void {
    this.#awaitBody(true);
  }

  onClosed(ended: boolean): void {
    this.#upstream = undefined;
    if (this.#framing === "close" && ended) this.#end();
    else this.attemptFailed(this.progress);
  }

  onBytes(bytes: Buffer): void {
    this.#answered = true;
    if (this.#framing !== undefined) {
      this.#relay("", bytes);
      return;
    }
    let from = 0;
    const all = this.#held === undefined ? bytes : Buffer.concat([this.#held, bytes]);
    this.#held = undefined;
    while (this.#framing === undefined && !this.settled) {
      const end = all.indexOf(HEAD_END, from);
      const size = (end === -1 ? all.length : end) - from;
      const rest = all.subarray(from);
      if (size > MAX_HEAD_BYTES || (end === -1 && hasBareLineFeed(rest))) {
        this.broken();
        return;
      }
      if (end === -1) {
        this.#held = Buffer.from(rest);
        return;
      }
      const head = this.#readHead(all.toString("latin1", from, end + HEAD_END.length));
      from = end + HEAD_END.length;
      // An interim answer is for this hop; one to an upgrade that nobody asked for is none.
      if (head === undefined || head.status === 101) this.broken();
      else if (head.status < 200) this.interimAnswer();
      else this.#onHead(head, all.subarray(from));
    }
  }

  /** Answers of one function are often alike to the byte, as long as their `Date` is the same. */
  #readHead(text: string): AnswerHead | undefined {
    const upstream = this.#upstream;
    if (upstream?.recentHead?.text === text) return upstream.recentHead;
    const head = parseAnswerHead(text, this.destination.domains);
    if (upstream !== undefined) upstream.recentHead = text.length > MAX_RECENT_CHARACTERS ? undefined : head;
    return head;
  }

  #onHead(head: AnswerHead, rest: Buffer): void {
    const { fields } = head;
    if (fields.chunked && head.minorVersion === "0") {
      this.broken();
      return;
    }
    this.answeredWith(head.status);
    const framing = this.#framingOf(head);
    this.#framing = framing;
    this.#left = framing === "length" ? Number(fields.contentLength) : 0;
    if (framing === "chunked") this.#chunked = new ChunkedDecoder();
    this.#reusable = head.minorVersion === "1" && !fields.closes && framing !== "close";
    this.#keepAliveS = fields.keepAliveS;
    // A body that is still coming will not be read to its end.
    if (this.#client.bodyLeft > 0) this.#client.endAfterAnswer();
    this.#relay(this.#answerText(head, framing), rest);
  }

  #framingOf({ status, fields }: AnswerHead): Framing {
    if (this.#exchange.method === "HEAD" || status === 204 || status === 304) return "none";
    if (fields.chunked) return "chunked";
    return fields.contentLength === undefined ? "close" : "length";
  }

  #answerText({ status, reason, fields, passed }: AnswerHead, framing: Framing): string {
    const { head, requestId } = this.#exchange;
    const date = fields.hasDate ? "" : `Date: ${this.#parts.date.now()}\r\n`;
    const text =
      `${this.#exchange.answerLine(status, reasonPhrase(reason))}${passed}${date}` +
      `X-Request-Id: ${requestId}\r\nX-Call-Id: ${head?.callId ?? requestId}\r\n`;
    if (framing === "chunked" || framing === "close") return `${text}Transfer-Encoding: chunked\r\n\r\n`;
    const length = status === 204 ? undefined : fields.contentLength;
    return length === undefined ? `${text}\r\n` : `${text}Content-Length: ${length}\r\n\r\n`;
  }

  /** Sends on what came of the body, after `text`. */
  #relay(text: string, bytes: Buffer): void {
    switch (this.#framing) {
      case "length":
        this.#relayLength(text, bytes);
        break;
      case "chunked":
        this.#relayChunked(text, bytes);
        break;
      case "close":
        this.#write(bytes.length === 0 ? text : `${text}${bytes.length.toString(16)}\r\n`, bytes, "\r\n");
        break;
      default:
        if (bytes.length > 0) this.#reusable = false;
        this.#write(text, NOTHING, "");
        this.#end();
    }
  }

  #relayLength(text: string, bytes: Buffer): void {
    const isAll = bytes.length >= this.#left;
    const mine = bytes.length > this.#left ? bytes.subarray(0, this.#left) : bytes;
    // More than it promised: what it is the beginning of, nobody asked for.
    if (bytes.length > this.#left) this.#reusable = false;
    this.#left -= mine.length;
    this.#write(text, mine, "");
    if (isAll) this.#end();
  }

  /** Decodes and frames anew, so that no framing but our own reaches the client. */
  #relayChunked(text: string, bytes: Buffer): void {
    const decoder = this.#chunked;
    if (decoder === undefined) return;
    const pieces: Buffer[] = [];
    const end = decoder.decode(bytes, (start, stop) => pieces.push(bytes.subarray(start, stop)));
    const [only] = pieces;
    const data = pieces.length === 1 && only !== undefined ? only : Buffer.concat(pieces);
    if (decoder.broken) {
      if (text !== "") this.#write(text, NOTHING, "");
      this.broken();
      return;
    }
    const head = data.length === 0 ? text : `${text}${data.length.toString(16)}\r\n`;
    const tail = `${data.length === 0 ? "" : "\r\n"}${decoder.done ? lastChunk(decoder.trailers) : ""}`;
    if (end < bytes.length) this.#reusable = false;
    this.#write(head, data, tail);
    if (decoder.done) this.#end();
  }

  #write(before: string, data: Buffer, after: string): void {
    if (this.settled) return;
    this.#exchange.bytesSent += data.length;
    const tail = data.length === 0 && after === "\r\n" ? "" : after;
    if (data.length <= ONE_WRITE_BYTES) {
      const text = data.length === 0 ? before + tail : before + data.toString("latin1") + tail;
      if (text !== "") this.#client.writeText(text);
    } else {
      this.#client.writePieces(before, Buffer.from(data), tail);
    }
    if (!this.#client.needsDrain) return;
    this.unreadSinceMs ??= performance.now();
    this.#upstream?.pause();
  }

  #end(): void {
    if (this.settled) return;
    if (this.#framing === "close") this.#client.writeText("0\r\n\r\n");
    this.upstreamDone = true;
    this.leaveReplica();
    const upstream = this.#upstream;
    this.#upstream = undefined;
    const isAsNew = this.#reusable && this.#client.bodyLeft === 0 && upstream?.allSent === true;
    if (isAsNew) upstream.giveBack(this.#keepAliveS);
    else upstream?.destroy();
    if (this.#client.needsDrain) this.unreadSinceMs ??= performance.now();
    else this.finish({ kind: "answered" });
  }

  /** The client has read on. */
  clientDrained(): void {
    this.unreadSinceMs = undefined;
    if (this.upstreamDone) this.finish({ kind: "answered" });
    else this.#upstream?.resume();
  }

  clientGone(): void {
    this.finish({ kind: "client-gone" });
  }

  protected abort(): void {
    this.#upstream?.destroy();
    this.#upstream = undefined;
  }

  protected get progress(): Progress {
    return { sent: this.#sent, answered: this.#answered };
  }

  protected release(): void {
    this.#clientSinceMs = undefined;
  }

  protected cut(): void {
    this.#client.destroy();
  }

  protected get isClientsTurn(): boolean {
    return true;
  }

  /** A body that was not sent is at hand still: it is taken only when there is a connection for it. */
  protected get bodyBegun(): boolean {
    return this.#sent;
  }

  protected get bodyWhole(): boolean {
    return this.#client.bodyLeft === 0;
  }

  protected get clientSinceMs(): number | undefined {
    return this.#clientSinceMs;
  }

  protected get upstreamSinceMs(): number | undefined {
    return this.#upstreamSinceMs;
  }
}

const NOTHING = Buffer.alloc(0);

function writeBoth(upstream: UpstreamConnection, text: string, body: Buffer): boolean {
  if (body.length <= ONE_WRITE_BYTES) return upstream.writeText(text + body.toString("latin1"));
  upstream.cork();
  upstream.writeText(text);
  const hasRoom = upstream.write(body);
  upstream.uncork();
  return hasRoom;
}

function lastChunk(raw: readonly string[]): string {
  if (raw.length === 0) return "0\r\n\r\n";
  const lines = trailers(raw).map(([name, value]) => `${name}: ${value}\r\n`);
  return `0\r\n${lines.join("")}\r\n`;
}
