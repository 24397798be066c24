import { spawn } from "node:child_process";
import { once } from "node:events";
import net, { type BoundSocket } from "node:net";
import { KnownError } from "@openfaas-cloud/shared/known-error.ts";

/** Browsers ask the second one first for `*.localhost`: whoever had it could pass for the platform. */
const LOOPBACK = ["127.0.0.1", "::1"] as const;
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
    let held = port;
    for (const host of LOOPBACK) {
      try {
        // Of the module's object: a Node that is too old for it has to live long enough to be told so (main.ts).
        const socket = new net.BoundSocket({ host, port: held });
        sockets.push(socket);
        held = socket.address().port;
      } catch (error) {
        const code = error instanceof Error && "code" in error ? String(error.code) : String(error);
        const inUse = code === "EADDRINUSE";
        // A machine without IPv6 has no second address for anybody to take.
        if (!inUse && host === "::1") continue;
        for (const socket of sockets) socket.close();
        return { reason: inUse ? `is in use (${host})` : `cannot be used (${host}, ${code})` };
      }
    }
    return new PublicPort(held, sockets);
  }

  get descriptors(): readonly number[] {
    return this.#sockets.map((socket) => socket.fd());
  }

  [Symbol.dispose](): void {
    for (const socket of this.#sockets) socket.close();
  }
}

async function makeListen(descriptors: readonly number[]): Promise<boolean> {
  const child = spawn(process.execPath, ["-e", LISTEN_AND_LEAVE, String(descriptors.length)], {
    env: {},
    stdio: ["ignore", "ignore", "ignore", ...descriptors],
  });
  const [code] = await once(child, "exit");
  return code === 0;
}
