import { lookup } from "node:dns/promises";
import { once } from "node:events";
import { BoundSocket, createServer, type ListenOptions, Server } from "node:net";

/** What LISTEN_FDNAMES calls inherited sockets (sd_listen_fds_with_names(3)). Any other name means http, and none at all. */
export const HTTP_SOCKET = "http";
export const HTTPS_SOCKET = "https";

type Where = ListenOptions | { readonly fd: number };

/** Where to listen: at sockets that this process was started with, or else at an address. */
export interface Door {
  readonly host: string;
  readonly port: number;
  readonly descriptors: readonly number[];
}

export interface Listening {
  readonly port: number;
  /** What is listened at, as descriptors to start another process with; they are gone once nobody is accepted any more. */
  readonly descriptors: readonly number[];
  /** Accepts nobody any more; who was accepted stays. */
  stopAccepting(): void;
}

/** Resolves with the port once it is open; rejects where it cannot be. */
async function listen(server: Server, where: Where): Promise<number> {
  server.listen(where);
  await once(server, "listening");
  const address = server.address();
  if (address === null || typeof address === "string") throw new Error("not a TCP listener");
  return address.port;
}

/**
 * Binds an address without listening at it, for other processes that do. What they accept from is this one socket, so that it
 * stays theirs while they come and go.
 */
export async function bind(host: string, port: number): Promise<BoundSocket> {
  const { address } = await lookup(host);
  return new BoundSocket({ host: address, port });
}

/**
 * Accepts for one server. Sockets that were inherited (sd_listen_fds(3)) outlive the process: nobody else can have their port,
 * and who connects while there is no edge waits for the next one.
 */
export async function listenAt(server: Server, { host, port, descriptors }: Door): Promise<Listening> {
  if (descriptors.length === 0) {
    const bound = await bind(host, port);
    const descriptor = bound.fd();
    return {
      port: await listen(server, { handle: bound }),
      descriptors: [descriptor],
      stopAccepting: () => stopAccepting(server),
    };
  }
  const [first = -1, ...others] = descriptors;
  const doors = others.map((fd) => {
    // As an HTTP server accepts for itself.
    const door = createServer({ allowHalfOpen: true, noDelay: true }, (socket) => {
      server.emit("connection", socket);
    });
    return { door, fd };
  });
  const opened = await listen(server, { fd: first });
  for (const { door, fd } of doors) await listen(door, { fd });
  return {
    port: opened,
    descriptors,
    stopAccepting: () => {
      stopAccepting(server);
      for (const { door } of doors) door.close();
    },
  };
}

/** An HTTP server's own `close` cuts idle connections as well, with the requests that may be on their way on them. */
function stopAccepting(server: Server): void {
  Server.prototype.close.call(server);
}
