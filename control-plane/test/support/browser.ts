import type { Answer, HttpClient } from "../../../test/support/http-client.ts";

const MOST_REDIRECTS = 5;

export interface Visited extends Answer {
  readonly url: string;
}

/** What a browser does with cookies and redirects, for hosts that are all the one server behind this port. */
export class Browser {
  readonly #http: HttpClient;
  readonly #port: number;
  /** By host name: none of ours has a Domain. */
  readonly #cookies = new Map<string, Map<string, string>>();

  constructor(http: HttpClient, port: number) {
    this.#http = http;
    this.#port = port;
  }

  cookiesOf(host: string): ReadonlyMap<string, string> {
    return this.#cookies.get(host) ?? new Map();
  }

  setCookie(host: string, name: string, value: string): void {
    const cookies = this.#cookies.get(host) ?? new Map<string, string>();
    this.#cookies.set(host, cookies.set(name, value));
  }

  /** As it goes from page to page: the answer as it is, redirects among them. */
  get(url: string, headers: Readonly<Record<string, string>> = {}): Promise<Answer> {
    return this.#send("GET", url, headers);
  }

  post(url: string, body: unknown): Promise<Answer> {
    return this.#send("POST", url, { "sec-fetch-site": "same-origin" }, body);
  }

  /** As somebody who clicks: on to where redirects lead. */
  async follow(url: string): Promise<Visited> {
    for (let next = url, i = 0; i < MOST_REDIRECTS; i++) {
      const answer = await this.get(next);
      const { location } = answer.headers;
      if (location === undefined) return { ...answer, url: next };
      next = new URL(location, next).href;
    }
    throw new Error(`${url} leads on and on`);
  }

  /** As the dashboard's own page. */
  call(kind: "query" | "mutation", procedure: string, input?: unknown, headers = {}): Promise<Answer> {
    const url = `http://system.cloud.test:8080/api/trpc/${procedure}`;
    const own = { "sec-fetch-site": "same-origin", ...headers };
    if (kind === "mutation") return this.#send("POST", url, own, input ?? null);
    const query = input === undefined ? "" : `?input=${encodeURIComponent(JSON.stringify(input))}`;
    return this.#send("GET", url + query, own);
  }

  /** What the procedure answers. @throws Error for anything but a 200 */
  async ask<T>(kind: "query" | "mutation", procedure: string, input?: unknown): Promise<T> {
    const { status, body } = await this.call(kind, procedure, input);
    if (status !== 200) throw new Error(`${procedure} answered ${status}: ${body}`);
    return (JSON.parse(body) as { result: { data: T } }).result.data;
  }

  async #send(
    method: "GET" | "POST",
    url: string,
    headers: Readonly<Record<string, string>>,
    body?: unknown,
  ): Promise<Answer> {
    const { host, hostname, pathname, search } = new URL(url);
    const held = [...this.cookiesOf(hostname)].map(([name, value]) => `${name}=${value}`).join("; ");
    const sent = { host, ...(held === "" ? {} : { cookie: held }), ...headers };
    const there = `http://127.0.0.1:${this.#port}${pathname}${search}`;
    const answer =
      method === "GET"
        ? await this.#http.get(there, { headers: sent })
        : await this.#http.post(there, body, { headers: sent });
    for (const cookie of answer.headers["set-cookie"] ?? []) this.#keep(hostname, cookie);
    return answer;
  }

  #keep(host: string, cookie: string): void {
    const [pair = "", ...attributes] = cookie.split("; ");
    const [name = "", value = ""] = pair.split("=");
    if (attributes.some((it) => /^domain=/i.test(it))) throw new Error(`${name} reaches beyond its host`);
    this.setCookie(host, name, value);
    if (attributes.includes("Max-Age=0")) this.#cookies.get(host)?.delete(name);
  }
}
