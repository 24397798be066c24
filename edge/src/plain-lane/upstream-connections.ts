import { connect, isIP, type Socket } from "node:net";
import { connect as connectTls } from "node:tls";
import type { DeadlineClock, Timed } from "../deadline-clock.ts";
import type { AnswerHead } from "./answer-head.ts";

const CONNECT_TIMEOUT_MS = 2_000;
/** Node's servers close an idle connection after 5 s and say so only sometimes. */
const IDLE_MS = 4_000;
const LONGEST_IDLE_MS = 60_000;
/** Given up so long before the upstream would, so that no request meets a connection that is being closed. */
const IDLE_MARGIN_MS = 1_000;

/** Who has a connection, and hears of what happens on it. */
export interface Holder {
  onConnected(): void;
  /** `bytes` are good until this returns. */
  onBytes(bytes: Buffer): void;
  onDrain(): void;
  /** Nothing more will come; `ended` where the upstream has said so itself, and has not just gone. */
  onClosed(ended: boolean): void;
}

type OpenSocket = (onBytes: (bytes: Buffer) => void, onConnected: () => void) => Socket;

/** A connection to one replica, for one request at a time. */
export class UpstreamConnection {
  readonly #socket: Socket;
  readonly #connections: UpstreamConnections;
  readonly #startedMs = performance.now();
  #connected = false;
  #closed = false;
  #holder: Holder | undefined;
  idleUntilMs = 0;
  /** Of the answer before: the next one's is often the same, and need not be read again then. */
  recentHead: AnswerHead | undefined;

  constructor(connections: UpstreamConnections, open: OpenSocket, holder: Holder) {
    this.#connections = connections;
    this.#holder = holder;
    const gone = (): void => this.fail();
    this.#socket = open(
      (bytes) => this.#onBytes(bytes),
      () => this.#onConnected(),
    )
      .on("drain", () => this.#holder?.onDrain())
      .on("end", () => this.#close(true))
      .on("error", gone)
      .on("close", gone);
  }

  get connected(): boolean {
    return this.#connected;
  }

  get closed(): boolean {
    return this.#closed;
  }

  /** Whether all that was written has left us. */
  get allSent(): boolean {
    return this.#socket.writableLength === 0;
  }

  isLate(nowMs: number): boolean {
    return !this.#connected && nowMs - this.#startedMs > CONNECT_TIMEOUT_MS;
  }

  lease(holder: Holder): void {
    this.#holder = holder;
  }

  /** @returns whether there is room for more; where not, the holder hears of it when there is */
  writeText(latin1: string): boolean {
    return this.#socket.write(latin1, "latin1");
  }

  write(bytes: Buffer): boolean {
    return this.#socket.write(bytes);
  }

  /** Holds both back until `uncork`, so that they leave as one. */
  cork(): void {
    this.#socket.cork();
  }

  uncork(): void {
    this.#socket.uncork();
  }

  pause(): void {
    this.#socket.pause();
  }

  resume(): void {
    this.#socket.resume();
  }

  /** The holder is done and the connection is as good as new. */
  giveBack(keepAliveS: number | undefined): void {
    this.#holder = undefined;
    // Its last bytes may have been more than the client took at once.
    this.#socket.resume();
    this.#connections.giveBack(this, keepAliveS);
  }

  destroy(): void {
    this.#holder = undefined;
    this.fail();
  }

  #onConnected(): void {
    this.#connected = true;
    this.#connections.connected(this);
    this.#holder?.onConnected();
  }

  #onBytes(bytes: Buffer): void {
    // What comes without having been asked for makes everything that would come after it doubtful.
    if (this.#holder === undefined) this.destroy();
    else this.#holder.onBytes(bytes);
  }

  /** Closes it, and tells the holder. */
  fail(): void {
    this.#close(false);
  }

  #close(ended: boolean): void {
    if (this.#closed) return;
    this.#closed = true;
    const holder = this.#holder;
    this.#holder = undefined;
    this.#socket.destroy();
    this.#connections.forget(this);
    holder?.onClosed(ended);
  }
}

export interface UpstreamConnectionsOptions {
  readonly origin: string;
  readonly clock: DeadlineClock;
  /**
   * Where all of them read into, one after the other: who is told of bytes copies what it keeps. A buffer for each read would
   * cost more than the rest of the reading.
   */
  readonly readBuffer: Buffer;
  /** Of all replicas together. */
  readonly counted: { plain: number };
}

/** The connections of the plain lane to one replica. Idle ones wait for the next request, the last used first. */
export class UpstreamConnections implements Timed {
  /** Of the deadline clock. */
  rosterIndex = -1;
  readonly #open: OpenSocket;
  readonly #clock: DeadlineClock;
  readonly #counted: UpstreamConnectionsOptions["counted"];
  readonly #all = new Set<UpstreamConnection>();
  readonly #connecting = new Set<UpstreamConnection>();
  readonly #idle: UpstreamConnection[] = [];
  #closing = false;
  readonly #allClosed = Promise.withResolvers<void>();

  constructor({ origin, clock, readBuffer, counted }: UpstreamConnectionsOptions) {
    this.#open = opener(new URL(origin), readBuffer);
    this.#clock = clock;
    this.#counted = counted;
  }

  /** A connection for this holder: an idle one, or one that is being made. */
  lease(holder: Holder): UpstreamConnection {
    const { nowMs } = this.#clock;
    for (let idle = this.#idle.pop(); idle !== undefined; idle = this.#idle.pop()) {
      if (!idle.closed && idle.idleUntilMs > nowMs) {
        idle.lease(holder);
        return idle;
      }
      idle.destroy();
    }
    const made = new UpstreamConnection(this, this.#open, holder);
    if (this.#all.size === 0) this.#clock.watch(this);
    this.#all.add(made);
    this.#counted.plain += 1;
    this.#connecting.add(made);
    return made;
  }

  connected(connection: UpstreamConnection): void {
    this.#connecting.delete(connection);
  }

  giveBack(connection: UpstreamConnection, keepAliveS: number | undefined): void {
    const allowedMs = keepAliveS === undefined ? IDLE_MS : keepAliveS * 1_000 - IDLE_MARGIN_MS;
    if (this.#closing || allowedMs <= 0) {
      connection.destroy();
      return;
    }
    connection.idleUntilMs = this.#clock.nowMs + Math.min(allowedMs, LONGEST_IDLE_MS);
    this.#idle.push(connection);
  }

  forget(connection: UpstreamConnection): void {
    if (this.#all.delete(connection)) this.#counted.plain -= 1;
    this.#connecting.delete(connection);
    const at = this.#idle.indexOf(connection);
    if (at !== -1) this.#idle.splice(at, 1);
    if (this.#all.size > 0) return;
    this.#clock.forget(this);
    if (this.#closing) this.#allClosed.resolve();
  }

  check(nowMs: number): void {
    // The last used is at the end, so that those before a good one may be bad, and none after it is looked for.
    for (
      let oldest = this.#idle[0];
      oldest !== undefined && oldest.idleUntilMs <= nowMs;
      oldest = this.#idle[0]
    ) {
      oldest.destroy();
    }
    for (const connection of this.#connecting) if (connection.isLate(nowMs)) connection.fail();
  }

  /** Lets requests under way finish; resolves when the last connection is closed. */
  async close(): Promise<void> {
    this.#closing = true;
    for (const idle of this.#idle.splice(0)) idle.destroy();
    if (this.#all.size > 0) await this.#allClosed.promise;
  }

  destroy(): void {
    this.#closing = true;
    for (const connection of [...this.#all]) connection.fail();
  }
}

function opener(origin: URL, buffer: Buffer): OpenSocket {
  const host = origin.hostname.replace(/^\[|\]$/g, "");
  if (origin.protocol === "https:") {
    // No address is asked for by SNI (RFC 6066 §3).
    const named = isIP(host) === 0 ? { servername: host } : {};
    const options = { host, port: Number(origin.port || 443), ...named, ALPNProtocols: ["http/1.1"] };
    return (onBytes, onConnected) => {
      const socket = connectTls(options).on("data", onBytes).on("secureConnect", onConnected);
      return socket.setNoDelay(true);
    };
  }
  const options = { host, port: Number(origin.port || 80), noDelay: true };
  return (onBytes, onConnected) => {
    const callback = (length: number): boolean => {
      onBytes(buffer.subarray(0, length));
      return true;
    };
    return connect({ ...options, onread: { buffer, callback } }).on("connect", onConnected);
  };
}
