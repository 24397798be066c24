import { type Agent, type ClientRequest, request as httpRequest } from "node:http";
import { setTimeout as sleep } from "node:timers/promises";

export interface DeliveryAnswer {
  readonly status: number;
  readonly body: string;
  readonly headers: Readonly<Record<string, string | readonly string[] | undefined>>;
  /** From the last byte of the body to the answer's end, or from the request's head where the answer came before that. */
  readonly ms: number;
}

export interface Sending {
  readonly headers: Readonly<Record<string, string | string[]>>;
  /** Sent one after the other. */
  readonly pieces: Iterable<Buffer> | AsyncIterable<Buffer>;
  readonly pauseMs?: number;
  readonly method?: string;
}

/** Sends one delivery and takes the answer, also where that comes before all was sent. */
export function sendDelivery(
  url: string,
  { headers, pieces, pauseMs = 0, method = "POST" }: Sending,
  agent: Agent,
): Promise<DeliveryAnswer> {
  return new Promise((resolve, reject) => {
    let since = performance.now();
    let answered = false;
    const request = httpRequest(url, { method, headers, agent }, (response) => {
      answered = true;
      const chunks: Buffer[] = [];
      response.on("data", (chunk: Buffer) => chunks.push(chunk));
      response.on("error", reject);
      response.on("end", () => {
        const body = Buffer.concat(chunks).toString();
        const ms = performance.now() - since;
        resolve({ status: response.statusCode ?? 0, body, headers: response.headers, ms });
        if (!request.writableFinished) request.destroy();
      });
    });
    request.on("error", (error) => {
      if (!answered) reject(error);
    });
    void (async () => {
      for await (const piece of pieces) {
        if (answered || request.destroyed) return;
        if (!request.write(piece)) await drained(request);
        if (pauseMs > 0) await sleep(pauseMs);
      }
      since = performance.now();
      request.end();
    })().catch((error: Error) => request.destroy(error));
  });
}

/** Or answered, or broken off. */
function drained(request: ClientRequest): Promise<void> {
  const { promise, resolve } = Promise.withResolvers<void>();
  const events = ["drain", "response", "close"];
  for (const event of events) request.once(event, resolve);
  return promise.finally(() => {
    for (const event of events) request.off(event, resolve);
  });
}
