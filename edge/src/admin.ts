import { createServer, type ServerResponse } from "node:http";
import { must } from "@openfaas-cloud/shared/must.ts";
import { type Door, type Listening, listenAt } from "./listen.ts";

export interface AdminOptions extends Door {
  readonly renderMetrics: () => Promise<string>;
  /** `undefined` while requests are served. */
  readonly whyNotReady: () => string | undefined | Promise<string | undefined>;
}

export interface AdminListener extends Pick<Listening, "port" | "stopAccepting">, AsyncDisposable {
  readonly descriptor: number;
}

/** What operators and probes ask, on a port of its own that the internet never sees. */
export async function listenForAdmin(options: AdminOptions): Promise<AdminListener> {
  const server = createServer((request, response) => {
    switch (request.method === "GET" ? request.url?.split("?", 1)[0] : undefined) {
      case "/healthz":
        return text(response, 200, "alive\n");
      case "/readyz":
        void Promise.resolve(options.whyNotReady()).then((reason) =>
          reason === undefined ? text(response, 200, "ready\n") : text(response, 503, `${reason}\n`),
        );
        return;
      case "/metrics":
        void options.renderMetrics().then(
          (body) => text(response, 200, body, "text/plain; version=0.0.4; charset=utf-8"),
          () => text(response, 500, "metrics cannot be rendered\n"),
        );
        return;
      default:
        return text(response, 404, "not found\n");
    }
  });
  const { port, descriptors, stopAccepting } = await listenAt(server, options);
  return {
    port,
    descriptor: must(descriptors[0], "the admin socket"),
    stopAccepting,
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
