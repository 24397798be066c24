import { z } from "zod";
import type { HostAnswer, HostClient, HostRequest } from "../host-client.ts";
import { HostUnavailable } from "../host-errors.ts";

const PAGE_ITEMS = 100;
/** A list of more than this many pages is not read to its end, and so not at all. */
const MOST_PAGES = 200;

export type Found<T> =
  | { readonly kind: "found"; readonly value: T }
  /** GitLab itself says that there is no such thing, or none that the credential may see. */
  | { readonly kind: "absent" };

export interface Query {
  readonly [name: string]: string | number | boolean;
}

/**
 * GitLab's REST API, version 4, by one credential. Paths are below `/api/v4`.
 * https://docs.gitlab.com/api/rest/
 */
export interface GitLabApi {
  /**
   * @param absence GitLab's words for that there is no such thing: a 404 in other words, of a proxy or of a wrong address, says
   * nothing.
   */
  find<T>(path: string, absence: string, schema: z.ZodType<T>, signal: AbortSignal): Promise<Found<T>>;
  get<T>(path: string, schema: z.ZodType<T>, signal: AbortSignal): Promise<T>;
  /** Every item of a list, page after page; all of them, or it rejects. */
  list<T>(path: string, item: z.ZodType<T>, options: ListOptions<T>): Promise<readonly T[]>;
  post(path: string, body: Readonly<Record<string, unknown>>, signal: AbortSignal): Promise<Refusable>;
  /**
   * Sent again where its answer is lost: what nobody was told of has to end by itself.
   * @returns `undefined` where the credential may not make such a thing (403).
   */
  create<T>(
    path: string,
    body: Readonly<Record<string, unknown>>,
    schema: z.ZodType<T>,
    signal: AbortSignal,
  ): Promise<T | undefined>;
  delete(path: string, signal: AbortSignal): Promise<void>;
}

export interface ListOptions<T> {
  readonly query: Query;
  readonly signal: AbortSignal;
  /** Asks for what follows the page that ends with this item; the page's number does, where it is left out. */
  readonly next?: (last: T) => Query;
  /** GitLab's words for that it has no such list, which is then empty. */
  readonly absence?: string;
}

export type Refusable = { readonly kind: "taken" } | { readonly kind: "refused"; readonly message: string };

export function openGitLabApi(options: {
  readonly client: HostClient;
  /** Of the instance. */
  readonly url: string;
  /** For people: who is not answering. */
  readonly title: string;
  readonly credential: Readonly<Record<string, string>>;
  /** What it means that the credential is refused; `undefined` where the answer does not say so. */
  readonly refusal?: (answer: HostAnswer) => Error | undefined;
}): GitLabApi {
  const { client, url, title, credential, refusal } = options;

  async function send(path: string, request: Omit<HostRequest, "url">): Promise<HostAnswer> {
    const headers = { accept: "application/json", ...request.headers, ...credential };
    const answer = await client.send({ ...request, url: `${url}/api/v4${path}`, headers });
    const refused = refusal?.(answer);
    if (refused !== undefined) throw refused;
    return answer;
  }

  /** What an answer that is none to go by says of GitLab. */
  function useless({ status, text }: HostAnswer): HostUnavailable {
    const said = messageOf(text);
    const why =
      status === 401 || status === 403
        ? `refuses the token that it was asked with (${status}): check that it is valid and has the scope api`
        : `gave an answer that says nothing (${status})`;
    return new HostUnavailable(`${title} ${why}${said === undefined ? "" : `: ${said}`}.`, { status });
  }

  function read<T>(answer: HostAnswer, schema: z.ZodType<T>): T {
    if (answer.status < 200 || answer.status > 299) throw useless(answer);
    const parsed = schema.safeParse(jsonOf(answer.text));
    if (parsed.success) return parsed.data;
    throw new HostUnavailable(`${title} answered what cannot be read.`, {
      status: answer.status,
      cause: parsed.error,
    });
  }

  async function list<T>(path: string, item: z.ZodType<T>, options: ListOptions<T>): Promise<readonly T[]> {
    const { query, signal, next, absence } = options;
    const all: T[] = [];
    let following: Query = {};
    for (let page = 1; page <= MOST_PAGES; page++) {
      const asked = `${path}?${encode({ ...query, per_page: PAGE_ITEMS, ...following })}`;
      const answer = await send(asked, { method: "GET", signal });
      if (page === 1 && absence !== undefined && isAbsent(answer, absence)) return all;
      const items = read(answer, z.array(item));
      all.push(...items);
      const last = items.at(-1);
      // Only a page that is shorter than GitLab itself says its pages are is known to be the last.
      if (last === undefined || items.length < Number(answer.headers.get("x-per-page") ?? 0)) return all;
      following = next?.(last) ?? { page: page + 1 };
    }
    throw new HostUnavailable(`${title} has more than ${MOST_PAGES} pages of ${path}, too many to read.`);
  }

  return {
    list,
    async find(path, absence, schema, signal) {
      const answer = await send(path, { method: "GET", signal });
      return isAbsent(answer, absence) ? { kind: "absent" } : { kind: "found", value: read(answer, schema) };
    },
    async get(path, schema, signal) {
      return read(await send(path, { method: "GET", signal }), schema);
    },
    async create(path, body, schema, signal) {
      const answer = await send(path, { ...jsonPost(body, signal), isRepeatable: true });
      return answer.status === 403 ? undefined : read(answer, schema);
    },
    async delete(path, signal) {
      const answer = await send(path, { method: "DELETE", signal });
      // Nothing there is left to delete: an earlier try did.
      if (answer.status !== 404 && (answer.status < 200 || answer.status > 299)) throw useless(answer);
    },
    async post(path, body, signal) {
      const answer = await send(path, jsonPost(body, signal));
      if (answer.status >= 200 && answer.status <= 299) return { kind: "taken" };
      const message = messageOf(answer.text);
      if (answer.status !== 400 || message === undefined) throw useless(answer);
      return { kind: "refused", message };
    },
  };
}

function jsonPost(
  body: Readonly<Record<string, unknown>>,
  signal: AbortSignal,
): Pick<HostRequest, "method" | "headers" | "body" | "signal"> {
  return {
    method: "POST",
    headers: { "content-type": "application/json" },
    body: JSON.stringify(body),
    signal,
  };
}

function isAbsent({ status, text }: HostAnswer, absence: string): boolean {
  return status === 404 && messageOf(text) === absence;
}

/** What GitLab says of its refusal, on one line; `undefined` where the answer is none of its API's. */
export function messageOf(text: string): string | undefined {
  const parsed = z
    .object({ message: z.unknown().optional(), error: z.string().optional() })
    .safeParse(jsonOf(text));
  const said = parsed.success ? (parsed.data.message ?? parsed.data.error) : undefined;
  if (said === undefined) return undefined;
  return (typeof said === "string" ? said : JSON.stringify(said)).replaceAll(/\s+/g, " ").slice(0, 300);
}

function jsonOf(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}

function encode(query: Query): string {
  return new URLSearchParams(
    Object.entries(query).map(([name, value]): [string, string] => [name, String(value)]),
  ).toString();
}
