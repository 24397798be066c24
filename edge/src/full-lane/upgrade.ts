import { type IncomingMessage, ServerResponse } from "node:http";
import type { Socket } from "node:net";
import type { Duplex } from "node:stream";

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
