import { z } from "zod";
import { HostUnavailable } from "../host-errors.ts";
import type { BitbucketApi } from "./api.ts";

const MOST_PAGES = 1_000;
/** The most that it gives. */
const PAGE_LENGTH = 100;

/**
 * Everything of a list, over all its pages. The host says where the next one is; what would lead away from its API is refused,
 * since the credential goes with it. @param base of the API, with a slash at its end. Source: https://developer.atlassian.com/cloud/bitbucket/rest/intro/#pagination
 */
export async function* readPages<Schema extends z.ZodType>(
  api: BitbucketApi,
  { base, path, item }: { readonly base: string; readonly path: string; readonly item: Schema },
  signal: AbortSignal,
): AsyncGenerator<z.infer<Schema>, void, undefined> {
  const page = z.object({ values: z.array(item), next: z.url().optional() });
  let url = new URL(`${base}${path}`);
  url.searchParams.set("pagelen", String(PAGE_LENGTH));
  for (let pages = 0; pages < MOST_PAGES; pages++) {
    const { value } = await api.get(url, page, signal);
    yield* value.values;
    if (value.next === undefined) return;
    url = new URL(value.next);
    if (!url.href.startsWith(base)) {
      throw new HostUnavailable(
        `${api.title} says that its list goes on at ${url.origin}, which is refused.`,
      );
    }
  }
  throw new HostUnavailable(`${api.title} has a list of more than ${MOST_PAGES} pages, which is not read.`);
}
