import { createServer, type ServerResponse } from "node:http";
import { Readable } from "node:stream";
import { pipeline } from "node:stream/promises";
import { must } from "@openfaas-cloud/shared/must.ts";
import { type Door, type Listening, listenAt } from "./listen.ts";

/** A scrape that is not read in this time is ended: it holds a list of all functions. */
const SCRAPE_MS = 60_000;

export interface AdminOptions extends Door {
  /** In Prometheus' text format, in pieces. */
  readonly renderMetrics: () => AsyncIterable<string>;
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
        return void scrape(response, options.renderMetrics());
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

/** As a stream that is made no faster than it is read. Where it fails the connection is cut, so that half is not taken for all. */
async function scrape(response: ServerResponse, metrics: AsyncIterable<string>): Promise<void> {
  response.writeHead(200, { "Content-Type": "text/plain; version=0.0.4; charset=utf-8" });
  const pieces = Readable.from(metrics, { highWaterMark: 1 });
  await pipeline(pieces, response, { signal: AbortSignal.timeout(SCRAPE_MS) }).catch(() => {
    response.destroy();
  });
}

function text(response: ServerResponse, status: number, body: string): void {
  response.writeHead(status, { "Content-Type": "text/plain" }).end(body);
}
