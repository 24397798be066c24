import { lookup } from "node:dns/promises";
import { once } from "node:events";
import { BoundSocket, createServer, isIPv6, type ListenOptions, Server } from "node:net";
import { errorMessage, KnownError } from "@openfaas-cloud/shared/known-error.ts";

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
 * @throws KnownError `cannot-listen`
 */
export async function bind(host: string, port: number): Promise<BoundSocket> {
  return await at(host, port, async () => {
    const { address } = await lookup(host);
    return new BoundSocket({ host: address, port });
  });
}

/**
 * Accepts for one server. Sockets that were inherited (sd_listen_fds(3)) outlive the process: nobody else can have their port,
 * and who connects while there is no edge waits for the next one.
 * @throws KnownError `cannot-listen`
 */
export async function listenAt(server: Server, { host, port, descriptors }: Door): Promise<Listening> {
  if (descriptors.length === 0) {
    const bound = await bind(host, port);
    const descriptor = bound.fd();
    return {
      port: await at(host, port, () => listen(server, { handle: bound })),
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
  const opened = await inherit(server, first);
  for (const { door, fd } of doors) await inherit(door, fd);
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

async function at<T>(host: string, port: number, open: () => Promise<T>): Promise<T> {
  try {
    return await open();
  } catch (error) {
    throw cannotListen(isIPv6(host) ? `[${host}]:${port}` : `${host}:${port}`, error, OTHERWISE);
  }
}

async function inherit(server: Server, fd: number): Promise<number> {
  try {
    return await listen(server, { fd });
  } catch (error) {
    throw cannotListen(`The socket inherited as descriptor ${fd}`, error, OTHERWISE_INHERITED);
  }
}

const PORTS = "EDGE_PORT, EDGE_TLS_PORT, EDGE_ADMIN_PORT";
const HOSTS = "EDGE_HOST, EDGE_ADMIN_HOST";

/** By the error's code: why it cannot be, and what to do. */
const REASONS: ReadonlyMap<string, string> = new Map([
  ["EADDRINUSE", `it is in use. Stop what listens there, or choose another port (${PORTS}).`],
  ["EACCES", `this user may not open that port. Choose one from 1024 on (${PORTS}).`],
  ["EADDRNOTAVAIL", `it is no address of this machine. Choose one that is (${HOSTS}).`],
  ["ENOTFOUND", `that host is not known. Choose one that this machine has an address for (${HOSTS}).`],
  ["EAI_AGAIN", `whoever knows that host did not answer. Give its address instead (${HOSTS}).`],
]);

const OTHERWISE = `Choose another host or port (${HOSTS}, ${PORTS}).`;
const OTHERWISE_INHERITED = "Look at LISTEN_FDS, and at who hands the sockets over.";

function cannotListen(what: string, error: unknown, otherwise: string): KnownError {
  const code = error instanceof Error && "code" in error ? String(error.code) : "";
  const reason = REASONS.get(code) ?? `${errorMessage(error)}. ${otherwise}`;
  return new KnownError("cannot-listen", `${what} cannot be listened at: ${reason}`, { cause: error });
}
