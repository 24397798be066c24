import { z } from "zod";
import { HostUnavailable } from "../host-errors.ts";
import type { BitbucketApi } from "./api.ts";

const MOST_PAGES = 1_000;
/** The server gives fewer where it is configured to. */
const PAGE_LENGTH = 1_000;

/** Everything of a list, over all its pages. Source: https://developer.atlassian.com/server/bitbucket/rest/v906/intro/ */
export async function* readPages<Schema extends z.ZodType>(
  api: BitbucketApi,
  { url, item }: { readonly url: string; readonly item: Schema },
  signal: AbortSignal,
): AsyncGenerator<z.infer<Schema>, void, undefined> {
  const schema = z.object({
    values: z.array(item),
    isLastPage: z.boolean(),
    nextPageStart: z.number().int().nullish(),
  });
  const address = new URL(url);
  address.searchParams.set("limit", String(PAGE_LENGTH));
  let start = 0;
  for (let pages = 0; pages < MOST_PAGES; pages++) {
    address.searchParams.set("start", String(start));
    const { value: page, headers } = await api.get(address, schema, signal);
    if (userNameOf(headers) === undefined) {
      // To nobody in particular it shows what everybody may see, which is not all there is.
      throw new HostUnavailable(`${api.title} does not know whose token the platform has.`, { status: 401 });
    }
    yield* page.values;
    if (page.isLastPage) return;
    const next = page.nextPageStart ?? -1;
    if (next <= start) throw new HostUnavailable(`${api.title} has a list that does not go on.`);
    start = next;
  }
  throw new HostUnavailable(`${api.title} has a list of more than ${MOST_PAGES} pages, which is not read.`);
}

/** Whose credential a request came with: there is no resource that says it, but every answer does. */
export function userNameOf(headers: Headers): string | undefined {
  const name = headers.get("x-ausername");
  if (name === null || name === "" || name === "anonymous") return undefined;
  try {
    return decodeURIComponent(name);
  } catch {
    return name;
  }
}
