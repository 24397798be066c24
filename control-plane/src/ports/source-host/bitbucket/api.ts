import { z } from "zod";
import type { HostAnswer, HostClient, HostRequest } from "../host-client.ts";
import { HostUnavailable } from "../host-errors.ts";

export interface Found<T> {
  readonly value: T;
  readonly headers: Headers;
}

/** Reads and writes JSON at one Bitbucket, as one account. */
export class BitbucketApi {
  /** For people: who answers. */
  readonly title: string;
  readonly #client: HostClient;
  readonly #authorization: string;
  readonly #onUnauthorized: () => Error;

  constructor(options: {
    readonly title: string;
    readonly client: HostClient;
    readonly authorization: string;
    /** What a 401 means for whoever's credential it is. */
    readonly onUnauthorized?: () => Error;
  }) {
    this.title = options.title;
    this.#client = options.client;
    this.#authorization = options.authorization;
    this.#onUnauthorized =
      options.onUnauthorized ??
      (() => new HostUnavailable(`${this.title} does not take the platform's token.`, { status: 401 }));
  }

  /**
   * What is there, or `undefined` where the host says 404.
   * @throws HostUnavailable with the status for every other answer than 200, and where that one is not understood.
   */
  async find<Schema extends z.ZodType>(
    url: URL | string,
    schema: Schema,
    signal: AbortSignal,
  ): Promise<Found<z.infer<Schema>> | undefined> {
    const answer = await this.#send({ method: "GET", url, signal });
    if (answer.status === 404) return undefined;
    if (answer.status !== 200) throw this.#refusal(answer, url);
    return { value: this.#parse(answer, schema, url), headers: answer.headers };
  }

  /** As `find`, for what is there by all that we know. */
  async get<Schema extends z.ZodType>(
    url: URL | string,
    schema: Schema,
    signal: AbortSignal,
  ): Promise<Found<z.infer<Schema>>> {
    const found = await this.find(url, schema, signal);
    if (found === undefined) throw this.#refusal({ status: 404 }, url);
    return found;
  }

  async post(url: URL | string, body: unknown, signal: AbortSignal): Promise<void> {
    const headers = { "content-type": "application/json" };
    const answer = await this.#send({ method: "POST", url, headers, body: JSON.stringify(body), signal });
    if (answer.status < 200 || answer.status > 299) throw this.#refusal(answer, url);
  }

  async #send(request: HostRequest): Promise<HostAnswer> {
    const answer = await this.#client.send({
      ...request,
      headers: { accept: "application/json", authorization: this.#authorization, ...request.headers },
    });
    if (answer.status === 401) throw this.#onUnauthorized();
    return answer;
  }

  #parse<Schema extends z.ZodType>({ text }: HostAnswer, schema: Schema, url: URL | string): z.infer<Schema> {
    try {
      return schema.parse(JSON.parse(text));
    } catch (error) {
      throw new HostUnavailable(`What ${this.title} answers at ${pathOf(url)} is not understood.`, {
        status: 200,
        cause: error instanceof z.ZodError ? new Error(z.prettifyError(error)) : error,
      });
    }
  }

  #refusal({ status }: Pick<HostAnswer, "status">, url: URL | string): HostUnavailable {
    const why = status === 403 ? "does not let the platform see" : `says ${status} to`;
    return new HostUnavailable(`${this.title} ${why} ${pathOf(url)}.`, { status });
  }
}

/** Queries are left out: they say nothing that the path does not, and are long. */
function pathOf(url: URL | string): string {
  return new URL(url).pathname;
}
