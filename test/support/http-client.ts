import http from "node:http";
import type { LookupFunction } from "node:net";

export interface Answer {
  readonly status: number;
  readonly headers: http.IncomingHttpHeaders;
  readonly body: string;
}

/** A client for whom every host is this machine: not every resolver knows `*.localhost`. */
export class HttpClient implements Disposable {
  readonly #agent = new http.Agent({ keepAlive: true });

  get(url: string, options: { headers?: Record<string, string>; timeoutMs?: number } = {}): Promise<Answer> {
    const { headers = {}, timeoutMs = 10_000 } = options;
    const { promise, resolve, reject } = Promise.withResolvers<Answer>();
    const signal = AbortSignal.timeout(timeoutMs);
    const request = http.get(
      url,
      { agent: this.#agent, lookup: thisMachine, headers, signal },
      (response) => {
        const chunks: Buffer[] = [];
        response.on("data", (chunk: Buffer) => chunks.push(chunk));
        response.on("error", reject);
        response.on("end", () =>
          resolve({
            status: response.statusCode ?? 0,
            headers: response.headers,
            body: Buffer.concat(chunks).toString("utf8"),
          }),
        );
      },
    );
    request.on("error", reject);
    return promise;
  }

  [Symbol.dispose](): void {
    this.#agent.destroy();
  }
}

const thisMachine: LookupFunction = (_host, options, found) => {
  if (options.all) found(null, [{ address: "127.0.0.1", family: 4 }]);
  else found(null, "127.0.0.1", 4);
};
