import { Agent, createServer, type IncomingMessage, type ServerResponse } from "node:http";
import type { Socket } from "node:net";
import { must } from "@openfaas-cloud/shared/must.ts";
import httpProxy from "http-proxy";
import { createProxyServer } from "http-proxy-3";

// A process of its own: `node-proxy-main.ts <library> <port> <upstream>`. A Node proxy as its library's documentation has it,
// with connections that are kept.
const [, , library, port, target] = process.argv;
const options = {
  target: must(target, "an upstream"),
  agent: new Agent({ keepAlive: true, maxFreeSockets: 16_384 }),
  xfwd: true,
};
const forward = library === "http-proxy-3" ? withSuccessor() : withOriginal();

createServer((request, response) => {
  const owner = request.headers.host?.split(".", 1)[0];
  request.url = `/function/${owner}-${(request.url ?? "/").slice(1)}`;
  forward(request, response);
}).listen({ port: Number(port), host: "127.0.0.1", backlog: 16_384 });

function withOriginal() {
  const proxy = httpProxy.createProxyServer(options);
  proxy.on("error", (_error, _request, response) => answerFailure(response));
  return (request: IncomingMessage, response: ServerResponse) => proxy.web(request, response);
}

function withSuccessor() {
  const proxy = createProxyServer(options);
  proxy.on("error", (_error, _request, response) => answerFailure(response));
  return (request: IncomingMessage, response: ServerResponse) => proxy.web(request, response);
}

function answerFailure(response: ServerResponse | Socket): void {
  if ("writeHead" in response) response.writeHead(502).end();
}
