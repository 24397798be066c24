import { Agent, request as httpRequest, type IncomingMessage, type ServerResponse } from "node:http";
import { request as httpsRequest, Agent as SecureAgent } from "node:https";
import { setTimeout as sleep } from "node:timers/promises";

const KEEP_ALIVE_CLIENTS = 16;
const FRESH_CLIENTS = 4;
/** Between two requests of one client, at most; well below what an edge that goes lets a connection be quiet. */
const THINKING_MS = 60;
const ANSWER_WITHIN_MS = 5_000;

export interface Failure {
  readonly sentMs: number;
  readonly what: string;
  readonly method: string;
}

/**
 * Clients that ask one after the other, half of it with a body, and try nothing again: some on connections that they keep, some on
 * a new one for each request. To be answered by `echo`.
 */
export class RestartLoad implements AsyncDisposable {
  readonly failures: Failure[] = [];
  /** Times at which answers came, newest last. */
  readonly answeredMs: number[] = [];
  readonly #port: number;
  readonly #host: string;
  readonly #trusted: readonly string[] | undefined;
  readonly #clients: Promise<void>[];
  readonly #agents: Agent[] = [];
  #sent = 0;
  #ended = false;

  /** @param trusted the certificates that clients believe, who come by https then */
  constructor(port: number, host: string, trusted?: readonly string[]) {
    this.#port = port;
    this.#host = host;
    this.#trusted = trusted;
    this.#clients = Array.from({ length: KEEP_ALIVE_CLIENTS + FRESH_CLIENTS }, (_, i) => {
      const options = { keepAlive: i < KEEP_ALIVE_CLIENTS, maxSockets: 1 };
      return this.#ask(trusted === undefined ? new Agent(options) : new SecureAgent(options));
    });
  }

  /** Requests sent so far. */
  get sent(): number {
    return this.#sent;
  }

  async end(): Promise<void> {
    this.#ended = true;
    await Promise.all(this.#clients);
    for (const agent of this.#agents) agent.destroy();
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.end();
  }

  async #ask(agent: Agent): Promise<void> {
    this.#agents.push(agent);
    while (!this.#ended) {
      await this.#exchange(agent);
      await sleep(Math.random() * THINKING_MS);
    }
  }

  async #exchange(agent: Agent): Promise<void> {
    this.#sent += 1;
    const id = `request-${this.#sent}`;
    const method = this.#sent % 2 === 0 ? "POST" : "GET";
    const sentMs = performance.now();
    const fail = (what: string): void => void this.failures.push({ sentMs, what, method });
    const body = method === "POST" ? id.repeat(50) : "";
    const { promise, resolve } = Promise.withResolvers<void>();
    const secure = this.#trusted && { ca: [...this.#trusted], servername: this.#host };
    const request = (secure === undefined ? httpRequest : httpsRequest)({
      ...secure,
      agent,
      method,
      host: "127.0.0.1",
      port: this.#port,
      path: `/f/${id}`,
      headers: { host: this.#host, ...(body === "" ? {} : { "content-length": body.length }) },
      signal: AbortSignal.timeout(ANSWER_WITHIN_MS),
    });
    request.on("error", (error) => {
      fail(`${error.message}${request.reusedSocket ? " on a kept connection" : ""}`);
      resolve();
    });
    request.on("response", (response) => {
      let text = "";
      response.setEncoding("utf8");
      response.on("data", (chunk: string) => {
        text += chunk;
      });
      response.on("error", (error) => {
        fail(`half an answer: ${error.message}`);
        resolve();
      });
      response.on("end", () => {
        if (response.statusCode !== 200 || text !== answerTo(method, `/${id}`, body.length)) {
          fail(`${response.statusCode} ${text.slice(0, 100)}`);
        } else this.answeredMs.push(performance.now());
        resolve();
      });
    });
    request.end(body);
    await promise;
  }
}

/** A function that says what it was asked, so that an answer to somebody else's request is noticed. */
export function echo(request: IncomingMessage, response: ServerResponse): void {
  let length = 0;
  request.on("data", (chunk: Buffer) => {
    length += chunk.length;
  });
  request.on("end", () => response.end(answerTo(request.method ?? "", request.url ?? "", length)));
}

function answerTo(method: string, path: string, length: number): string {
  return `${method} ${path} ${length}`;
}
