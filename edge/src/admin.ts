import { createServer, type ServerResponse } from "node:http";
import { listen } from "./listen.ts";
import type { Metrics } from "./metrics.ts";

export interface AdminOptions {
  readonly host: string;
  readonly port: number;
  readonly metrics: Metrics;
  readonly isReady: () => boolean;
}

export interface AdminListener extends AsyncDisposable {
  readonly port: number;
}

/** What operators and probes ask, on a port of its own that the internet never sees. */
export async function listenForAdmin(options: AdminOptions): Promise<AdminListener> {
  const server = createServer((request, response) => {
    switch (request.method === "GET" ? request.url?.split("?", 1)[0] : undefined) {
      case "/healthz":
        return text(response, 200, "alive\n");
      case "/readyz":
        return options.isReady()
          ? text(response, 200, "ready\n")
          : text(response, 503, "no route table yet\n");
      case "/metrics":
        void options.metrics.render().then(
          (body) => text(response, 200, body, "text/plain; version=0.0.4; charset=utf-8"),
          () => text(response, 500, "metrics cannot be rendered\n"),
        );
        return;
      default:
        return text(response, 404, "not found\n");
    }
  });
  const port = await listen(server, { port: options.port, host: options.host });
  return {
    port,
    [Symbol.asyncDispose]: () =>
      new Promise((resolve) => {
        server.close(() => resolve());
        server.closeAllConnections();
      }),
  };
}

function text(response: ServerResponse, status: number, body: string, type = "text/plain"): void {
  response.writeHead(status, { "Content-Type": type }).end(body);
}
