import { Socket } from "node:net";
import type { Duplex } from "node:stream";
import type { Route } from "@openfaas-cloud/shared/route.ts";
import type { Session } from "../authenticate.ts";
import type { DeadlineClock, Timed } from "../deadline-clock.ts";
import type { FunctionRecord } from "../function-records.ts";
import type { FullExchange } from "./full-exchange.ts";
import type { Upgraded } from "./full-transfer.ts";

const KEEP_ALIVE_PROBE_MS = 60_000;
const LOOK_EVERY_MS = 1_000;
/** How long one side may go on when the other has ended: for its last words, since no WebSocket has a half. */
const HALF_CLOSED_MS = 5_000;

/** By what a tunnel was opened. */
export interface Pass {
  readonly route: Route;
  readonly session: Session | undefined;
}

export interface TunnelsOptions {
  readonly clock: DeadlineClock;
  /** For as long either side may leave unread what the other has sent. */
  readonly writeIdleMs: number;
  /** Whether the table, the keys and the clock of now would let this pass in. */
  readonly isGood: (pass: Pass) => boolean;
  readonly onRevoked: () => void;
  /** What went through a tunnel since it was told last: at its end, and once a second before. */
  readonly onBytes: (usage: FunctionRecord | undefined, received: number, sent: number) => void;
}

/**
 * The tunnels under way. One to a function lasts no longer than the decision that opened it holds: it is looked at again
 * with each table, and once a second, since sessions end. The control plane judges its own.
 */
export class Tunnels implements Timed, Disposable {
  /** Of the deadline clock. */
  rosterIndex = -1;
  readonly #options: TunnelsOptions;
  readonly #open = new Set<Tunnel>();
  #nextLookMs = 0;

  constructor(options: TunnelsOptions) {
    this.#options = options;
    options.clock.watch(this);
  }

  [Symbol.dispose](): void {
    this.#options.clock.forget(this);
  }

  /** Tunnels open now, the control plane's own included. */
  get count(): number {
    return this.#open.size;
  }

  check(nowMs: number): void {
    if (nowMs < this.#nextLookMs) return;
    this.#nextLookMs = nowMs + LOOK_EVERY_MS;
    for (const tunnel of this.#open) tunnel.check(nowMs);
    this.endRevoked();
  }

  /** Ends those whose pass is not good any more. */
  endRevoked(): void {
    for (const tunnel of this.#open) this.#endIfRevoked(tunnel);
  }

  /**
   * Joins two connections after a 101, byte for byte, until either side ends, the replica goes away or the pass is good no
   * more. Settles then.
   */
  async open(exchange: FullExchange, upgraded: Upgraded): Promise<void> {
    const client = exchange.request.socket;
    const early = exchange.early?.take();
    exchange.response.detachSocket(client);
    exchange.upgraded = true;
    const tunnel = new Tunnel(exchange, upgraded, early?.length ?? 0, this.#options);
    this.#open.add(tunnel);
    const forgetTunnel = upgraded.replica.addTunnel(() => tunnel.end());
    // The decision may have been taken back while the function thought about its 101.
    this.#endIfRevoked(tunnel);
    if (!tunnel.isOver) {
      client.setTimeout(0);
      client.setKeepAlive(true, KEEP_ALIVE_PROBE_MS);
      client.write(switchingProtocols(upgraded.lines), "latin1");
      tunnel.join(early);
    }
    await tunnel.ended;
    this.#open.delete(tunnel);
    forgetTunnel();
  }

  #endIfRevoked(tunnel: Tunnel): void {
    const { pass } = tunnel;
    if (pass === undefined || tunnel.isOver || this.#options.isGood(pass)) return;
    this.#options.onRevoked();
    tunnel.end();
  }
}

/** Two connections that carry each other's bytes. */
class Tunnel {
  readonly pass: Pass | undefined;
  readonly #client: Socket;
  readonly #upstream: Duplex;
  readonly #usage: FunctionRecord | undefined;
  readonly #options: TunnelsOptions;
  readonly #ended = Promise.withResolvers<void>();
  /** Since when one of them has said all that it had to say. */
  #halfClosedMs: number | undefined;
  /** Of the client's connection, as far as it was told. */
  #received: number;
  #sent: number;
  readonly #unread: readonly Unread[];
  isOver = false;

  /** @param early how much the client has sent already, in bytes */
  constructor(exchange: FullExchange, upgraded: Upgraded, early: number, options: TunnelsOptions) {
    const { route, session, usage } = exchange;
    this.pass = route === undefined ? undefined : { route, session };
    this.#client = exchange.request.socket;
    this.#upstream = upgraded.socket;
    this.#usage = usage;
    this.#options = options;
    this.#unread = [new Unread(this.#client), new Unread(this.#upstream)];
    const halfClosed = (): void => {
      this.#halfClosedMs ??= performance.now();
    };
    for (const side of [this.#client, this.#upstream]) {
      side.on("error", () => this.end());
      side.on("close", () => this.end());
      side.on("end", halfClosed);
    }
    // Told from here on, short of what it said early: earlier requests of the connection have counted their own.
    this.#received = this.#client.bytesRead - early;
    this.#sent = this.#client.bytesWritten;
    if (this.#client.destroyed || this.#upstream.destroyed) this.end();
  }

  get ended(): Promise<void> {
    return this.#ended.promise;
  }

  /** @param early what the client has sent already */
  join(early: Buffer | undefined): void {
    // The head of the 101 is none of its bytes.
    this.#sent = this.#client.bytesWritten;
    if (early !== undefined && early.length > 0) this.#upstream.write(early);
    this.#upstream.pipe(this.#client);
    this.#client.pipe(this.#upstream);
  }

  check(nowMs: number): void {
    this.#tellBytes();
    if (this.#halfClosedMs !== undefined && nowMs - this.#halfClosedMs > HALF_CLOSED_MS) this.end();
    else if (this.#unread.some((side) => side.forMs(nowMs) > this.#options.writeIdleMs)) this.end();
  }

  end(): void {
    if (this.isOver) return;
    this.isOver = true;
    this.#client.destroy();
    this.#upstream.destroy();
    this.#tellBytes();
    this.#ended.resolve();
  }

  #tellBytes(): void {
    const { bytesRead, bytesWritten } = this.#client;
    // What was still to be written when a socket was destroyed was counted before, and is not any more.
    const sent = Math.max(bytesWritten, this.#sent);
    this.#options.onBytes(this.#usage, bytesRead - this.#received, sent - this.#sent);
    this.#received = bytesRead;
    this.#sent = sent;
  }
}

/** How long one side has taken nothing of what waits for it. */
class Unread {
  readonly #side: Duplex;
  /** What was ever written to it, and how much of that is still held. */
  #written = 0;
  #held = 0;
  #sinceMs = 0;

  constructor(side: Duplex) {
    this.#side = side;
  }

  forMs(nowMs: number): number {
    const { writableLength } = this.#side;
    // A piece is held until the kernel has taken all of it, so that what is held can be the same and never the same bytes.
    const written = this.#side instanceof Socket ? this.#side.bytesWritten : 0;
    const taken = written - writableLength !== this.#written - this.#held;
    if (writableLength === 0 || taken) this.#sinceMs = nowMs;
    this.#written = written;
    this.#held = writableLength;
    return nowMs - this.#sinceMs;
  }
}

function switchingProtocols(lines: readonly string[]): string {
  let head = "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n";
  for (let i = 0; i < lines.length; i += 2) head += `${lines[i]}: ${lines[i + 1]}\r\n`;
  return `${head}\r\n`;
}
