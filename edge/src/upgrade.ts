import { type IncomingMessage, ServerResponse } from "node:http";
import type { Socket } from "node:net";
import type { Duplex } from "node:stream";
import type { Exchange } from "./exchange.ts";
import type { Upgraded } from "./forward.ts";

const KEEP_ALIVE_PROBE_MS = 60_000;

/** Which requests go the way of upgrades. Others that ask for one (h2c, say) are served as if they had not. */
export function isWebSocketUpgrade(request: IncomingMessage): boolean {
  const { headers } = request;
  return (
    request.method === "GET" &&
    request.httpVersion === "1.1" &&
    headers.upgrade?.toLowerCase() === "websocket" &&
    headers["transfer-encoding"] === undefined &&
    (headers["content-length"] ?? "0") === "0"
  );
}

/** An answer for a connection that the HTTP server has let go of, so that refusals and plain answers go the usual way. */
export function responseOn(socket: Duplex, request: IncomingMessage): ServerResponse {
  const response = new ServerResponse(request);
  const client = socket as Socket;
  response.shouldKeepAlive = false;
  response.assignSocket(client);
  // The response closes with the socket, which tells everybody else that the request is over.
  response.once("finish", () => client.destroySoon());
  return response;
}

/** Joins two connections after a 101, byte for byte, until either side ends or the replica goes away. */
export async function openTunnel(exchange: Exchange, upgraded: Upgraded): Promise<void> {
  const client = exchange.request.socket;
  const { socket: upstream, replica, lines } = upgraded;
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

  client.setTimeout(0);
  client.setKeepAlive(true, KEEP_ALIVE_PROBE_MS);
  client.write(switchingProtocols(lines), "latin1");
  if (exchange.upgradeHead !== undefined && exchange.upgradeHead.length > 0) {
    upstream.write(exchange.upgradeHead);
  }
  upstream.pipe(client);
  client.pipe(upstream);
  await ended.promise;
  forgetTunnel();
}

function switchingProtocols(lines: readonly string[]): string {
  let head = "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n";
  for (let i = 0; i < lines.length; i += 2) head += `${lines[i]}: ${lines[i + 1]}\r\n`;
  return `${head}\r\n`;
}
