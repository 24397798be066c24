import { setTimeout as delay } from "node:timers/promises";
import { rootCertificates } from "node:tls";
import { errorMessage } from "@openfaas-cloud/shared/known-error.ts";
import { Agent, errors, fetch, type RequestInit, type Response } from "undici";
import { HostUnavailable } from "./host-errors.ts";

const TRY_MS = 10_000;
const FIRST_PAUSE_MS = 500;
const MOST_TRIES = 3;
/** A host that asks for a longer pause than this is not waited for: whoever asked comes back later. */
const LONGEST_PAUSE_MS = 10_000;
const MAX_ANSWER_BYTES = 16 * 1024 * 1024;
const MAX_CONNECTIONS = 16;
/** Another try would bring the same. */
const TOO_LARGE = "UND_ERR_RES_EXCEEDED_MAX_SIZE";
/** What may be sent again although an answer may have been lost. */
const IDEMPOTENT: ReadonlySet<string> = new Set(["GET", "HEAD", "PUT", "DELETE"]);

export interface HostRequest {
  readonly method: "GET" | "POST" | "PUT" | "PATCH" | "DELETE";
  readonly url: URL | string;
  readonly headers?: Readonly<Record<string, string>>;
  /** Sent as it is; say what it is by `content-type`. */
  readonly body?: string;
  /** Although it is a POST or PATCH, it comes to the same when it is done twice. */
  readonly isRepeatable?: boolean;
  readonly signal: AbortSignal;
}

export interface HostAnswer {
  readonly status: number;
  readonly headers: Headers;
  readonly text: string;
}

/** Calls one source host: over few connections, each try within a deadline, and again where that can help. */
export interface HostClient extends AsyncDisposable {
  /**
   * Any answer below 500 but 429, redirects included, which are not followed.
   * @throws HostUnavailable for all else, after a bounded number of tries; the signal's reason where that aborted.
   */
  send(request: HostRequest): Promise<HostAnswer>;
}

export function openHostClient(options: {
  /** For people: who is not answering. */
  readonly title: string;
  /** PEM of certificate authorities to trust besides the well-known ones. */
  readonly ca?: string | undefined;
  readonly tryMs?: number;
  readonly firstPauseMs?: number;
}): HostClient {
  const { title, tryMs = TRY_MS, firstPauseMs = FIRST_PAUSE_MS } = options;
  const agent = new Agent({
    connections: MAX_CONNECTIONS,
    connect: { timeout: tryMs, ...trusted(options.ca) },
    maxResponseSize: MAX_ANSWER_BYTES,
  });

  async function once(request: HostRequest): Promise<HostAnswer> {
    const init: RequestInit = {
      method: request.method,
      headers: { "user-agent": "openfaas-cloud", ...request.headers },
      redirect: "manual",
      dispatcher: agent,
      signal: AbortSignal.any([request.signal, AbortSignal.timeout(tryMs)]),
      ...(request.body === undefined ? {} : { body: request.body }),
    };
    const response = await fetch(request.url, init);
    return {
      status: response.status,
      headers: new Headers([...response.headers]),
      text: await textOf(response),
    };
  }

  async function send(request: HostRequest): Promise<HostAnswer> {
    for (let tries = 1; ; tries++) {
      const failure = await once(request).then(
        (answer) => refusalOf(answer, title) ?? answer,
        (error: unknown) => lost(error, title),
      );
      if (!(failure instanceof HostUnavailable)) return failure;
      request.signal.throwIfAborted();
      const pauseMs = failure.retryAfterMs ?? jittered(firstPauseMs * 4 ** (tries - 1));
      if (tries === MOST_TRIES || pauseMs > LONGEST_PAUSE_MS || !mayRepeat(request, failure)) throw failure;
      await delay(pauseMs, undefined, { signal: request.signal }).catch(() =>
        request.signal.throwIfAborted(),
      );
    }
  }

  return { send, [Symbol.asyncDispose]: () => agent.destroy() };
}

/** The agent counts bytes as they come, and what comes may be a thousand times larger when it is unpacked. */
async function textOf({ body }: Response): Promise<string> {
  const chunks: Uint8Array[] = [];
  let size = 0;
  for await (const chunk of body ?? []) {
    size += chunk.length;
    if (size > MAX_ANSWER_BYTES)
      throw new Error("too large", { cause: new errors.ResponseExceededMaxSizeError() });
    chunks.push(chunk);
  }
  return new TextDecoder().decode(Buffer.concat(chunks));
}

function trusted(ca: string | undefined): { ca?: string[] } {
  // Node's own list is replaced by `ca` and not added to.
  return ca === undefined ? {} : { ca: [...rootCertificates, ca] };
}

/** Whether nothing can be done twice by it: what was refused before it was looked at was not done. */
function mayRepeat(
  { method, isRepeatable = false }: HostRequest,
  { status, cause }: HostUnavailable,
): boolean {
  if (codeOf(cause) === TOO_LARGE) return false;
  if (IDEMPOTENT.has(method) || isRepeatable || status === 429 || status === 403) return true;
  return codeOf(cause) === "ECONNREFUSED";
}

function refusalOf({ status, headers }: HostAnswer, title: string): HostUnavailable | undefined {
  const isLimited =
    status === 429 ||
    (status === 403 && (headers.has("retry-after") || headers.get("x-ratelimit-remaining") === "0"));
  if (isLimited) {
    const retryAfterMs = pauseAsked(headers) ?? 60_000;
    return new HostUnavailable(`${title} takes no more requests for now.`, { status, retryAfterMs });
  }
  if (status < 500) return undefined;
  return new HostUnavailable(`${title} is not answering: it says ${status}.`, {
    status,
    retryAfterMs: pauseAsked(headers),
  });
}

/** Retry-After (RFC 9110 §10.2.3) in either form, else the moment at which GitHub's limit is renewed. */
function pauseAsked(headers: Headers): number | undefined {
  const after = headers.get("retry-after");
  if (after !== null && /^\d{1,9}$/.test(after)) return Number(after) * 1000;
  if (after !== null && !Number.isNaN(Date.parse(after))) return Math.max(0, Date.parse(after) - Date.now());
  const reset = headers.get("x-ratelimit-reset");
  if (headers.get("x-ratelimit-remaining") !== "0" || reset === null || !/^\d{1,12}$/.test(reset))
    return undefined;
  return Math.max(0, Number(reset) * 1000 - Date.now());
}

function lost(error: unknown, title: string): HostUnavailable {
  const why = codeOf(error) ?? codeOf((error as { cause?: unknown }).cause) ?? "no answer in time";
  return new HostUnavailable(`${title} is not answering (${why}).`, { cause: innermost(error) });
}

function innermost(error: unknown): unknown {
  const cause = error instanceof Error ? error.cause : undefined;
  return cause === undefined ? new Error(errorMessage(error)) : cause;
}

function codeOf(error: unknown): string | undefined {
  const code = (error as { code?: unknown } | undefined)?.code;
  return typeof code === "string" ? code : undefined;
}

function jittered(ms: number): number {
  return ms * (0.5 + Math.random());
}
