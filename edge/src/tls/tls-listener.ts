import { randomBytes } from "node:crypto";
import type { Socket } from "node:net";
import { createServer, type Server, type TLSSocket } from "node:tls";
import { countersFor } from "../exposition.ts";
import { contextOptions } from "./certificate.ts";
import type { CertificateSet } from "./certificate-set.ts";

/** A handshake that is not finished takes 50 KiB. One more than so many, and the oldest has had its time. */
const MAX_HANDSHAKES = 2_000;
/** Who gets hold of a ticket key can read the TLS 1.2 sessions resumed by it: none is in use for longer. */
const TICKET_KEY_MS = 3_600_000;
const TICKET_KEY_BYTES = 48;

export const HANDSHAKE_FAILURES = [
  "timeout",
  "not-tls",
  "version",
  "alpn",
  "gone",
  "crowded-out",
  "other",
] as const;
export type HandshakeFailure = (typeof HANDSHAKE_FAILURES)[number];

export interface TlsListenerOptions {
  readonly certificates: CertificateSet;
  /** For the whole of a handshake. */
  readonly handshakeMs: number;
  readonly maxHandshakes?: number;
  /** A connection was accepted, which is to become secure. */
  readonly onConnection: (socket: Socket) => void;
  /** It has become so, and goes on as `secure`. */
  readonly onSecure: (socket: Socket, secure: TLSSocket) => void;
}

/**
 * Turns connections into secure ones. Which certificate one is shown is looked up by the name it asks for; a set that
 * replaces another counts for the handshakes after it, and connections that stand are left alone.
 */
export class TlsListener implements AsyncDisposable {
  readonly server: Server;
  readonly failures = countersFor(HANDSHAKE_FAILURES);
  readonly #options: TlsListenerOptions;
  /** In the order they came; by both ends, since nothing else leads from a secure socket to the one it took over. */
  readonly #handshakes = new Map<string, Socket>();
  /** Of those that Node is yet to tell of, as connections that were lost. */
  #crowdedOut = 0;
  readonly #ticketTimer: NodeJS.Timeout;
  #certificates: CertificateSet;

  constructor(options: TlsListenerOptions) {
    this.#options = options;
    this.#certificates = options.certificates;
    this.server = this.#createServer();
    this.#ticketTimer = setInterval(
      () => this.server.setTicketKeys(randomBytes(TICKET_KEY_BYTES)),
      TICKET_KEY_MS,
    ).unref();
  }

  get handshakes(): number {
    return this.#handshakes.size;
  }

  use(certificates: CertificateSet): void {
    const ticketKeys = this.server.getTicketKeys();
    this.server.setSecureContext({ ...contextOptions(certificates.default), ticketKeys });
    this.#certificates = certificates;
  }

  /** Ends the handshakes under way; who is through has another owner, and is gone by now. */
  async [Symbol.asyncDispose](): Promise<void> {
    clearInterval(this.#ticketTimer);
    const closed = new Promise<void>((resolve) => this.server.close(() => resolve()));
    for (const socket of this.#handshakes.values()) socket.destroy();
    await closed;
  }

  #createServer(): Server {
    const server = createServer({
      ...contextOptions(this.#certificates.default),
      ALPNProtocols: ["http/1.1"],
      SNICallback: (serverName, chosen) => {
        const certificate = this.#certificates.find(serverName);
        chosen(null, certificate && this.#certificates.contextOf(certificate));
      },
      handshakeTimeout: this.#options.handshakeMs,
      noDelay: true,
    });
    server.prependListener("connection", (socket) => {
      // Whoever accepted it: who ends its half in the midst of a handshake would be waited for otherwise.
      socket.allowHalfOpen = false;
    });
    server.on("connection", (socket) => this.#begin(socket));
    server.on("secureConnection", (secure) => this.#end(secure));
    // Node tells that a handshake has failed or is late, and leaves the connection to us.
    server.on("tlsClientError", (error: NodeJS.ErrnoException, socket) => {
      this.#failed(failureOf(error.code));
      socket.destroy();
    });
    return server;
  }

  #failed(reason: HandshakeFailure): void {
    const wasCrowdedOut = reason === "gone" && this.#crowdedOut > 0;
    if (wasCrowdedOut) this.#crowdedOut -= 1;
    this.failures[wasCrowdedOut ? "crowded-out" : reason] += 1;
  }

  #begin(socket: Socket): void {
    this.#options.onConnection(socket);
    const ends = endsOf(socket);
    this.#handshakes.set(ends, socket);
    socket.once("close", () => {
      if (this.#handshakes.get(ends) === socket) this.#handshakes.delete(ends);
    });
    if (this.#handshakes.size > (this.#options.maxHandshakes ?? MAX_HANDSHAKES)) this.#crowdOutOldest();
  }

  #end(secure: TLSSocket): void {
    const ends = endsOf(secure);
    const socket = this.#handshakes.get(ends);
    this.#handshakes.delete(ends);
    // Closed in the same turn.
    if (socket === undefined) secure.destroy();
    else this.#options.onSecure(socket, secure);
  }

  #crowdOutOldest(): void {
    for (const [ends, socket] of this.#handshakes) {
      this.#handshakes.delete(ends);
      this.#crowdedOut += 1;
      socket.destroy();
      return;
    }
  }
}

function endsOf({ remoteAddress, remotePort, localAddress, localPort }: Socket): string {
  return `${remoteAddress} ${remotePort} ${localAddress} ${localPort}`;
}

function failureOf(code: string | undefined): HandshakeFailure {
  switch (code) {
    case "ERR_TLS_HANDSHAKE_TIMEOUT":
      return "timeout";
    case "ERR_SSL_HTTP_REQUEST":
    case "ERR_SSL_WRONG_VERSION_NUMBER":
      return "not-tls";
    case "ERR_SSL_UNSUPPORTED_PROTOCOL":
    case "ERR_SSL_VERSION_TOO_LOW":
      return "version";
    case "ERR_SSL_NO_APPLICATION_PROTOCOL":
      return "alpn";
    case "ECONNRESET":
      return "gone";
    default:
      return "other";
  }
}
