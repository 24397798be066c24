import type { IncomingMessage, ServerResponse } from "node:http";
import type { Socket } from "node:net";
import type { Duplex } from "node:stream";

/** How many requests a client may send ahead of their answers. Who sends more is served these, and its connection closed. */
const MAX_AHEAD = 100;
/** Of what those that wait hold: their heads, and what node:http has read of their bodies. */
const MAX_AHEAD_BYTES = 64 * 1024;

/** Serves one request, and gives the response that tells when it is over; none where it has ended the connection. */
type Serve = () => ServerResponse | undefined;

interface Waiting {
  readonly serve: Serve;
  bytes: number;
}

/** Where one connection is: one request is being served, and others came behind it. */
interface Line {
  readonly waiting: Waiting[];
  waitingBytes: number;
  /** The request that was read last: what breaks now breaks in its body, or behind it. */
  newest: IncomingMessage;
  /** Nothing that is read from here on is served, and the connection ends with what is. */
  closed: boolean;
}

/**
 * Requests of one connection are served one after the other. The parser reads on while one is under way; what it finds waits
 * here, since an earlier answer may end the connection, and then nothing behind it may be executed (RFC 9112 §9.6). The same
 * holds for a request that asks for a tunnel, which needs the connection for itself, and for bytes that are no request, whose
 * refusal must not stand in the place of an earlier answer.
 */
export class Turns {
  readonly #lines = new WeakMap<Duplex, Line>();

  take(request: IncomingMessage, serve: Serve): void {
    const { socket } = request;
    const line = this.#lines.get(socket);
    if (line === undefined) {
      const fresh: Line = { waiting: [], waitingBytes: 0, newest: request, closed: false };
      this.#lines.set(socket, fresh);
      this.#serve(socket, fresh, serve);
    } else if (!line.closed) {
      // Whatever comes behind a request comes behind its body: what is held of that is known only now.
      const last = line.waiting.at(-1);
      if (last !== undefined) weigh(line, last, line.newest.readableLength);
      if (line.waiting.length === MAX_AHEAD || line.waitingBytes + headBytesOf(request) > MAX_AHEAD_BYTES) {
        line.closed = true;
        stopParsing(socket);
        return;
      }
      line.newest = request;
      this.#wait(line, serve, headBytesOf(request));
    }
  }

  #wait(line: Line, serve: Serve, bytes: number): void {
    const waiting = { serve, bytes: 0 };
    line.waiting.push(waiting);
    weigh(line, waiting, bytes);
  }

  /** For what cannot be read as a request: `refuse` answers it when its turn comes, and ends the connection. */
  refuse(socket: Duplex, refuse: () => void): void {
    const line = this.#lines.get(socket);
    if (line === undefined || socket.destroyed) {
      refuse();
      return;
    }
    if (line.closed) return;
    if (!line.newest.complete) {
      // It broke in the body of a request: of the one under way, or of the last that waits, which is not worth serving then.
      const broken = line.waiting.pop();
      if (broken !== undefined) weigh(line, broken, -broken.bytes);
      else {
        refuse();
        return;
      }
    }
    line.closed = true;
    const answer = (): undefined => {
      refuse();
    };
    this.#wait(line, answer, 0);
  }

  #serve(socket: Socket, line: Line, serve: Serve): void {
    const response = serve();
    response?.once("close", () => {
      const goesOn = response.writableFinished && response.shouldKeepAlive;
      const next = goesOn ? line.waiting.shift() : undefined;
      if (next !== undefined) {
        weigh(line, next, -next.bytes);
        this.#serve(socket, line, next.serve);
      } else if (goesOn && !line.closed) this.#lines.delete(socket);
      else {
        // Bytes may still come in until it is closed.
        line.closed = true;
        socket.destroySoon();
      }
    });
  }
}

/** A paused socket is not enough: node:http reads on whenever one of those that wait is served. */
function stopParsing(socket: Socket): void {
  socket
    .removeAllListeners("data")
    .on("data", () => socket.pause())
    .pause();
}

function weigh(line: Line, waiting: Waiting, bytes: number): void {
  waiting.bytes += bytes;
  line.waitingBytes += bytes;
}

function headBytesOf({ url = "", rawHeaders }: IncomingMessage): number {
  let bytes = url.length;
  for (const part of rawHeaders) bytes += part.length;
  return bytes;
}
