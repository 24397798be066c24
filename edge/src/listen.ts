import { once } from "node:events";
import { createServer, type ListenOptions, type Server } from "node:net";

type Where = ListenOptions | { readonly fd: number };

export interface Listening {
  readonly port: number;
  /** Accepts nobody any more; who was accepted stays. */
  stopAccepting(): void;
}

/** Resolves with the port once it is open; rejects where it cannot be. */
export async function listen(server: Server, where: Where): Promise<number> {
  server.listen(where);
  await once(server, "listening");
  const address = server.address();
  if (address === null || typeof address === "string") throw new Error("not a TCP listener");
  return address.port;
}

/**
 * Accepts clients for one server at sockets that whoever started this process holds (sd_listen_fds(3)). They outlive the
 * process: nobody else can have their port, and who connects while there is no edge waits for the next one.
 */
export async function listenAt(server: Server, descriptors: readonly number[]): Promise<Listening> {
  const [first = -1, ...others] = descriptors;
  const doors = others.map((fd) => {
    // As an HTTP server accepts for itself.
    const door = createServer({ allowHalfOpen: true, noDelay: true }, (socket) => {
      server.emit("connection", socket);
    });
    return { door, fd };
  });
  const port = await listen(server, { fd: first });
  for (const { door, fd } of doors) await listen(door, { fd });
  return {
    port,
    stopAccepting: () => {
      for (const { door } of doors) door.close();
    },
  };
}
