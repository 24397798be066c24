import http from "node:http";
import type { LookupFunction } from "node:net";

export interface Answer {
  readonly status: number;
  readonly headers: http.IncomingHttpHeaders;
  readonly body: string;
}

export interface RequestOptions {
  readonly headers?: Readonly<Record<string, string>>;
  readonly timeoutMs?: number;
}

/** A client for whom every host is this machine: not every resolver knows `*.localhost`. */
export class HttpClient implements Disposable {
  readonly #agent = new http.Agent({ keepAlive: true });

  get(url: string, options: RequestOptions = {}): Promise<Answer> {
    return this.#send("GET", url, options);
  }

  /** A JSON body. */
  post(url: string, body: unknown, options: RequestOptions = {}): Promise<Answer> {
    const headers = { ...options.headers, "content-type": "application/json" };
    return this.#send("POST", url, { ...options, headers }, JSON.stringify(body));
  }

  #send(method: string, url: string, options: RequestOptions, body?: string): Promise<Answer> {
    const { headers = {}, timeoutMs = 10_000 } = options;
    const { promise, resolve, reject } = Promise.withResolvers<Answer>();
    const signal = AbortSignal.timeout(timeoutMs);
    const request = http.request(
      url,
      { method, agent: this.#agent, lookup: thisMachine, headers, signal },
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
    request.end(body);
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
