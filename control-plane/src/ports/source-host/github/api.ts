import type { operations } from "@octokit/openapi-types";
import type { Secret } from "@openfaas-cloud/shared/env.ts";
import { z } from "zod";
import type { HostAnswer, HostClient, HostRequest } from "../host-client.ts";
import { HostUnavailable } from "../host-errors.ts";

const API_VERSION = "2022-11-28";
const PAGE_SIZE = 100;
const MOST_PAGES = 1000;

/** What an operation of GitHub's published description takes as its body. */
export type RequestBody<Operation extends keyof operations> = operations[Operation] extends {
  requestBody?: { content: { "application/json": infer Body } };
}
  ? Body
  : never;

export interface ApiCall {
  readonly method: HostRequest["method"];
  /** Below the API's address; every part that is not ours is encoded. */
  readonly path: string;
  readonly query?: Readonly<Record<string, string>>;
  readonly body?: unknown;
  /** An App's JWT, an installation's token or a person's. */
  readonly token: Secret | undefined;
  readonly signal: AbortSignal;
  /** Of the calls that are no reading: it comes to the same when it is done twice. */
  readonly isRepeatable?: boolean;
}

/** GitHub's REST API (docs.github.com/rest) of one GitHub: each answer is parsed, each list is read to its end. */
export class GitHubApi {
  readonly #client: HostClient;
  readonly #url: string;
  readonly title: string;

  /** @param options.url `https://api.github.com`, `https://github.example.com/api/v3`. */
  constructor(options: { readonly client: HostClient; readonly url: string; readonly title: string }) {
    this.#client = options.client;
    this.#url = options.url;
    this.title = options.title;
  }

  /** Whatever it says, but what says nothing about the call. @throws HostUnavailable */
  send(call: ApiCall): Promise<HostAnswer> {
    const url = new URL(`${this.#url}${call.path}`);
    for (const [name, value] of Object.entries(call.query ?? {})) url.searchParams.set(name, value);
    return this.sendTo(url, call);
  }

  /** @throws HostUnavailable for every answer that is no success of the expected form. */
  async read<Schema extends z.ZodType>(call: ApiCall, schema: Schema): Promise<z.infer<Schema>> {
    return this.parse(await this.send(call), schema, call);
  }

  /** Every page of a list. @throws HostUnavailable where one of them cannot be had. */
  async readPages<Schema extends z.ZodType>(call: ApiCall, schema: Schema): Promise<z.infer<Schema>[]> {
    const pages: z.infer<Schema>[] = [];
    let answer = await this.send({ ...call, query: { per_page: String(PAGE_SIZE), ...call.query } });
    for (;;) {
      pages.push(this.parse(answer, schema, call));
      const next = this.nextPage(answer);
      if (next === undefined) return pages;
      if (pages.length === MOST_PAGES) throw this.unexpected(answer, call);
      answer = await this.sendTo(next, call);
    }
  }

  /**
   * What stands on every page of a list that says its total. @throws HostUnavailable as well where it changed while it was
   * read, since what moved between two pages would be missing.
   */
  async readTotal<Schema extends z.ZodType, Item>(
    call: ApiCall,
    schema: Schema,
    look: (page: z.infer<Schema>) => { readonly total: number; readonly items: readonly Item[] },
  ): Promise<Item[]> {
    const pages = (await this.readPages(call, schema)).map(look);
    const items = pages.flatMap((page) => page.items);
    if (pages.every(({ total }) => total === items.length)) return items;
    throw new HostUnavailable(`${this.title} changed a list while it was read.`);
  }

  /** The page after this one, as the Link header (RFC 8288) names it; never on another host, which would get the token. */
  nextPage({ headers }: HostAnswer): URL | undefined {
    const next = /<([^<>]+)>\s*;[^<]*\brel="next"/.exec(headers.get("link") ?? "")?.[1];
    if (next === undefined) return undefined;
    const url = URL.parse(next);
    if (url?.origin === new URL(this.#url).origin) return url;
    throw new HostUnavailable(`${this.title} names a next page elsewhere.`);
  }

  parse<Schema extends z.ZodType>(
    answer: HostAnswer,
    schema: Schema,
    call: Pick<ApiCall, "method" | "path">,
  ): z.infer<Schema> {
    if (answer.status < 200 || answer.status > 299) throw this.unexpected(answer, call);
    const parsed = schema.safeParse(jsonOf(answer));
    if (parsed.success) return parsed.data;
    throw new HostUnavailable(`${this.title} answers otherwise than it is documented to.`, {
      status: answer.status,
      cause: new Error(`${call.method} ${call.path}: ${z.prettifyError(parsed.error)}`),
    });
  }

  unexpected(answer: HostAnswer, call: Pick<ApiCall, "method" | "path">): HostUnavailable {
    const { status, text } = answer;
    return new HostUnavailable(`${this.title} refuses what the platform asks: it says ${status}.`, {
      status,
      cause: new Error(`${call.method} ${call.path}: ${text.slice(0, 1000)}`),
    });
  }

  /** As `send`, to an address that the API gave. */
  sendTo(url: URL, { method, body, token, signal, isRepeatable = false }: ApiCall): Promise<HostAnswer> {
    return this.#client.send({
      method,
      url,
      signal,
      isRepeatable,
      headers: {
        accept: "application/vnd.github+json",
        "x-github-api-version": API_VERSION,
        ...(token === undefined ? {} : { authorization: `Bearer ${token.reveal()}` }),
        ...(body === undefined ? {} : { "content-type": "application/json" }),
      },
      ...(body === undefined ? {} : { body: JSON.stringify(body) }),
    });
  }
}

function jsonOf({ text }: HostAnswer): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}
