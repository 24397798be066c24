import { spawn } from "node:child_process";
import { once } from "node:events";
import net from "node:net";
import { KnownError } from "@openfaas-cloud/shared/known-error.ts";

/** A socket that is bound, in libuv's terms. */
interface BoundSocket {
  readonly fd: number;
  getsockname(into: { port?: number }): number;
  close(): void;
}

/**
 * What `node:cluster` binds its workers' sockets with: unlike a `net.Server` it does not begin to accept. It has no public
 * name. @returns a libuv error, negative, where the address cannot be had at all; one in use shows as no port.
 */
type BindSocket = (host: string, port: number, family: 4 | 6, fd: -1, flags: 0) => BoundSocket | number;
const bindSocket = (net as unknown as { _createServerHandle: BindSocket })._createServerHandle;

/** Browsers ask the second one first for `*.localhost`: whoever had it could pass for the platform. */
const LOOPBACK = [
  ["127.0.0.1", 4],
  ["::1", 6],
] as const;
const ATTEMPTS = 20;

/**
 * Ends as soon as it has made the sockets at its descriptors listen. They go on listening for as long as anybody holds them,
 * and only what merely is bound can be taken over by another socket. Done by a process of its own, since one that listens
 * for itself accepts as well.
 */
const LISTEN_AND_LEAVE = `
  const net = require("node:net");
  let left = Number(process.argv[1]);
  for (let fd = 3; fd < 3 + Number(process.argv[1]); fd++) {
    net.createServer().on("error", () => process.exit(1)).listen({ fd }, () => --left || process.exit(0));
  }`;

/**
 * The port that people see, held for as long as the supervisor lives and handed to each edge it starts. It is never free
 * between two edges, for a function to take; and connections that come meanwhile wait in it for the next one.
 */
export class PublicPort implements Disposable {
  readonly port: number;
  readonly #sockets: readonly BoundSocket[];

  private constructor(port: number, sockets: readonly BoundSocket[]) {
    this.port = port;
    this.#sockets = sockets;
  }

  /**
   * @param port 0 for any that is free
   * @throws KnownError `port-unusable`
   */
  static async hold(port: number): Promise<PublicPort> {
    for (let attempt = 1; ; attempt++) {
      const held = PublicPort.#bind(port);
      if ("port" in held && (await makeListen(held.descriptors))) return held;
      const reason = "port" in held ? "is in use" : held.reason;
      if ("port" in held) held[Symbol.dispose]();
      // Free on one of the addresses and taken on the other: another port may be free on both.
      if (port !== 0 || attempt === ATTEMPTS) {
        throw new KnownError("port-unusable", `Port ${port} ${reason}. Choose another one with --port.`);
      }
    }
  }

  static #bind(port: number): PublicPort | { readonly reason: string } {
    const sockets: BoundSocket[] = [];
    const fail = (reason: string) => {
      for (const socket of sockets) socket.close();
      return { reason };
    };
    let held = port;
    for (const [host, family] of LOOPBACK) {
      const socket = bindSocket(host, held, family, -1, 0);
      if (typeof socket === "number") {
        // A machine without IPv6 has no second address for anybody to take.
        if (family === 6) continue;
        return fail(`cannot be used (${host}, error ${socket})`);
      }
      sockets.push(socket);
      const bound = portOf(socket);
      if (bound === 0 || (held !== 0 && bound !== held)) return fail(`is in use (${host})`);
      held = bound;
    }
    return new PublicPort(held, sockets);
  }

  get descriptors(): readonly number[] {
    return this.#sockets.map(({ fd }) => fd);
  }

  [Symbol.dispose](): void {
    for (const socket of this.#sockets) socket.close();
  }
}

function portOf(socket: BoundSocket): number {
  const name: { port?: number } = {};
  socket.getsockname(name);
  return name.port ?? 0;
}

async function makeListen(descriptors: readonly number[]): Promise<boolean> {
  const child = spawn(process.execPath, ["-e", LISTEN_AND_LEAVE, String(descriptors.length)], {
    env: {},
    stdio: ["ignore", "ignore", "ignore", ...descriptors],
  });
  const [code] = await once(child, "exit");
  return code === 0;
}
