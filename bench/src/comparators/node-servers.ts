import { fileURLToPath } from "node:url";
import { freePort, type ServerProcess, startServer } from "../server-process.ts";
import { DOMAIN } from "../workload.ts";
import type { Bed, Comparator } from "./comparator.ts";

const NODE_PROXY = fileURLToPath(new URL("node-proxy-main.ts", import.meta.url));
const NODE_RELAY = fileURLToPath(new URL("node-relay-main.ts", import.meta.url));
const TOKEN_VERIFIER = fileURLToPath(new URL("token-verifier-main.ts", import.meta.url));

export function startNodeProxy(library: "http-proxy" | "http-proxy-3", bed: Bed): Promise<Comparator> {
  return startNodeServer((port) => [NODE_PROXY, library, port, `http://127.0.0.1:${bed.upstreamPort}`], bed);
}

export function startNodeRelay(bed: Bed): Promise<Comparator> {
  return startNodeServer((port) => [NODE_RELAY, port, String(bed.upstreamPort)], bed);
}

async function startNodeServer(args: (port: string) => string[], { cores }: Bed): Promise<Comparator> {
  const port = await freePort();
  const server = await startServer({
    program: process.execPath,
    args: args(String(port)),
    core: cores.proxy,
    port,
  });
  return { port, pids: [server.pid], [Symbol.asyncDispose]: () => server[Symbol.asyncDispose]() };
}

/** Answers 200 to a session token that counts and 401 to what does not: the service that an `auth_request` asks. */
export function startTokenVerifier(port: number, { key, cores }: Bed): Promise<ServerProcess> {
  return startServer({
    program: process.execPath,
    args: [TOKEN_VERIFIER, String(port), JSON.stringify(key), `system.${DOMAIN}`],
    core: cores.load,
    port,
  });
}
