import type { Route } from "@openfaas-cloud/shared/route.ts";
import type { Session } from "../authenticate.ts";
import type { DeadlineClock, Timed } from "../deadline-clock.ts";
import type { FunctionRecord } from "../function-records.ts";
import type { Upgraded } from "./forward.ts";
import type { FullExchange } from "./full-exchange.ts";

const KEEP_ALIVE_PROBE_MS = 60_000;
const LOOK_EVERY_MS = 1_000;

/** By what a tunnel was opened. */
export interface Pass {
  readonly route: Route;
  readonly session: Session | undefined;
}

export interface TunnelsOptions {
  readonly clock: DeadlineClock;
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
  readonly #open = new Map<Pass, () => void>();
  readonly #meters = new Set<() => void>();
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
    return this.#meters.size;
  }

  check(nowMs: number): void {
    if (nowMs < this.#nextLookMs) return;
    this.#nextLookMs = nowMs + LOOK_EVERY_MS;
    for (const read of this.#meters) read();
    this.endRevoked();
  }

  /** Ends those whose pass is not good any more. */
  endRevoked(): void {
    for (const [pass, end] of this.#open) {
      if (!this.#options.isGood(pass)) this.#revoke(pass, end);
    }
  }

  /**
   * Joins two connections after a 101, byte for byte, until either side ends, the replica goes away or the pass is good no
   * more. Settles then.
   */
  async open(exchange: FullExchange, upgraded: Upgraded): Promise<void> {
    const client = exchange.request.socket;
    const { socket: upstream, replica, lines } = upgraded;
    const early = exchange.early?.take();
    exchange.response.detachSocket(client);
    exchange.upgraded = true;

    const ended = Promise.withResolvers<void>();
    const end = (): void => {
      client.destroy();
      upstream.destroy();
      ended.resolve();
    };
    for (const side of [client, upstream]) side.on("error", end).on("close", end);
    if (client.destroyed || upstream.destroyed) end();
    const forgetTunnel = replica.addTunnel(end);
    const { route, session } = exchange;
    const pass = route === undefined ? undefined : { route, session };
    if (pass !== undefined) this.#open.set(pass, end);
    // The decision may have been taken back while the function thought about its 101.
    if (pass !== undefined && !this.#options.isGood(pass)) this.#revoke(pass, end);

    client.setTimeout(0);
    client.setKeepAlive(true, KEEP_ALIVE_PROBE_MS);
    client.write(switchingProtocols(lines), "latin1");
    const readMeter = this.#meter(exchange, early?.length ?? 0);
    this.#meters.add(readMeter);
    if (early !== undefined && early.length > 0) upstream.write(early);
    upstream.pipe(client);
    client.pipe(upstream);
    await ended.promise;
    this.#meters.delete(readMeter);
    readMeter();
    forgetTunnel();
    if (pass !== undefined) this.#open.delete(pass);
  }

  #meter({ request: { socket }, usage }: FullExchange, alreadyRead: number): () => void {
    let received = socket.bytesRead - alreadyRead;
    let sent = socket.bytesWritten;
    return () => {
      // What was still to be written when a socket was destroyed was counted before, and is not any more.
      const nowSent = Math.max(socket.bytesWritten, sent);
      this.#options.onBytes(usage, socket.bytesRead - received, nowSent - sent);
      received = socket.bytesRead;
      sent = nowSent;
    };
  }

  #revoke(pass: Pass, end: () => void): void {
    this.#open.delete(pass);
    this.#options.onRevoked();
    end();
  }
}

function switchingProtocols(lines: readonly string[]): string {
  let head = "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n";
  for (let i = 0; i < lines.length; i += 2) head += `${lines[i]}: ${lines[i + 1]}\r\n`;
  return `${head}\r\n`;
}
