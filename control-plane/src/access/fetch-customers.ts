import { open } from "node:fs/promises";
import { errorMessage } from "@openfaas-cloud/shared/known-error.ts";
import type { Dispatcher } from "undici";
import type { Customers } from "../config.ts";

const MAX_BYTES = 1024 * 1024;
const MAX_REDIRECTS = 3;

/** The text of the list. Rejects, with what is wrong in words, where it is longer than 1 MiB or is not there to be read. */
export async function fetchCustomers(source: Customers, signal: AbortSignal): Promise<string> {
  const bytes =
    source.kind === "file" ? await readBounded(source.file) : await fetchBounded(source.url, signal);
  return bytes.toString("utf8");
}

async function readBounded(file: string): Promise<Buffer> {
  await using handle = await open(file);
  const { buffer, bytesRead } = await handle.read(Buffer.alloc(MAX_BYTES + 1), 0, MAX_BYTES + 1, 0);
  if (bytesRead > MAX_BYTES) throw tooLong();
  return buffer.subarray(0, bytesRead);
}

/** Redirects are followed at the same origin only: who else may say who is a customer is the operator's choice. */
async function fetchBounded(first: string, signal: AbortSignal): Promise<Buffer> {
  // Loaded only where a list is fetched.
  const { request } = await import("undici");
  let url = new URL(first);
  for (let redirects = 0; ; redirects++) {
    // This client decompresses nothing, so that what arrives is what is counted; compressed bytes are no list.
    const answer = await request(url, {
      headers: { "user-agent": "openfaas-cloud", accept: "text/plain", "accept-encoding": "identity" },
      signal,
    }).catch((error: unknown) => {
      throw new Error(`${url.host} is not answering (${errorMessage(error)})`, { cause: error });
    });
    const { statusCode, headers, body } = answer;
    // Whoever reads the body hears of its errors; once nobody does any more, they would end the process.
    body.on("error", () => undefined);
    if (statusCode === 200) return readBody(answer, url);
    await body.dump({ limit: 4096, signal }).catch(() => undefined);
    const location = [headers.location].flat()[0];
    const next = statusCode >= 301 && statusCode <= 308 && location ? URL.parse(location, url) : null;
    if (next === null) throw new Error(`${url.host} says ${statusCode}`);
    if (next.origin !== url.origin)
      throw new Error(`${url.host} sends on to ${next.origin}, which is not followed`);
    if (redirects === MAX_REDIRECTS) throw new Error(`${url.host} sends from one address to the next`);
    url = next;
  }
}

async function readBody({ headers, body }: Dispatcher.ResponseData, { host }: URL): Promise<Buffer> {
  const type = [headers["content-type"]].flat()[0] ?? "";
  const chunks: Buffer[] = [];
  let size = 0;
  try {
    if (/html/i.test(type)) throw new Error(`${host} answers with a page and no list (${type})`);
    for await (const chunk of body) {
      size += (chunk as Buffer).length;
      if (size > MAX_BYTES) throw tooLong();
      chunks.push(chunk as Buffer);
    }
  } catch (error) {
    body.destroy();
    throw error;
  }
  return Buffer.concat(chunks);
}

function tooLong(): Error {
  return new Error("it is longer than 1 MiB");
}
