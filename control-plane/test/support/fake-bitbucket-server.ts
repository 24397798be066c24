import { once } from "node:events";
import { createServer, type IncomingMessage, type Server, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import { z } from "zod";
import type { Trouble } from "../contracts/remote-host.ts";
import { FakeGit, type GitAccess } from "./fake-git.ts";

/** One call that came in, with what was answered. */
export interface Call {
  readonly method: string;
  /** As it was written, with the query. */
  readonly target: string;
  readonly authorization: string | undefined;
  readonly body: string;
  readonly status: number;
}

export interface Asked {
  readonly url: URL;
  /** Named groups of the route's pattern, decoded. */
  readonly params: Readonly<Record<string, string>>;
  readonly authorization: string | undefined;
  /** As the route's schema made it. */
  readonly body: unknown;
}

export interface Answer {
  readonly status: number;
  readonly headers?: Readonly<Record<string, string>>;
  /** JSON, or text where it is a string. */
  readonly body?: unknown;
}

export interface Route {
  readonly method: "GET" | "POST";
  /** Of the path as it is written, below the server's own. */
  readonly path: RegExp;
  readonly query?: z.ZodType;
  /** `form` is parsed before its schema sees it. */
  readonly body?: { readonly as: "json" | "form"; readonly schema: z.ZodType };
  /** By status: what the vendor says that it answers. */
  readonly answers: Readonly<Record<number, z.ZodType>>;
  answer(asked: Asked): Promise<Answer> | Answer;
}

/** Which repository of `git` a path names to whoever asks. */
export type Admit = (
  path: string,
  access: GitAccess | undefined,
) => { readonly id: string } | "refused" | "absent";

/**
 * The listening half of a fake of a vendor: keeps a ledger of every call, and holds each call and each answer to the vendor's
 * description. What does not fit is answered 500, and makes the test fail in the end.
 */
export class FakeVendorServer implements AsyncDisposable {
  readonly git: FakeGit;
  readonly calls: Call[] = [];
  readonly #server: Server;
  readonly #violations: string[] = [];
  #routes: readonly Route[] = [];
  #admit: Admit = () => "absent";
  #trouble: Trouble | undefined;
  #untilTrouble = 0;

  private constructor(git: FakeGit) {
    this.git = git;
    this.#server = createServer((request, response) => void this.#handle(request, response));
  }

  static async open(): Promise<FakeVendorServer> {
    const it = new FakeVendorServer(await FakeGit.open());
    it.#server.listen(0, "127.0.0.1");
    await once(it.#server, "listening");
    return it;
  }

  get origin(): string {
    return `http://127.0.0.1:${(this.#server.address() as AddressInfo).port}`;
  }

  serve(routes: readonly Route[], admit: Admit): void {
    this.#routes = routes;
    this.#admit = admit;
  }

  trouble(trouble: Trouble | undefined): void {
    this.#trouble = trouble;
    this.#untilTrouble = trouble?.after ?? 0;
  }

  async #handle(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const chunks: Buffer[] = [];
    const isTroubled = this.#trouble !== undefined && this.#untilTrouble-- <= 0;
    if (isTroubled) return this.#answerTroubled(response);
    if (this.git.serve(request, response, this.#admit)) return;
    for await (const chunk of request) chunks.push(chunk);
    const body = Buffer.concat(chunks).toString();
    const answer = await this.#answer(request, body).catch((error: unknown) =>
      this.#violated(request, error),
    );
    this.calls.push({
      method: request.method ?? "",
      target: request.url ?? "",
      authorization: request.headers.authorization,
      body,
      status: answer.status,
    });
    const isText = typeof answer.body === "string";
    response
      .writeHead(answer.status, {
        ...(answer.body === undefined ? {} : { "content-type": isText ? "text/html" : "application/json" }),
        ...answer.headers,
      })
      .end(isText ? answer.body : answer.body === undefined ? undefined : JSON.stringify(answer.body));
  }

  #answerTroubled(response: ServerResponse): void {
    const trouble = this.#trouble;
    if (trouble?.kind !== "answer") return;
    const retry = trouble.retryAfterS === undefined ? {} : { "retry-after": String(trouble.retryAfterS) };
    response.writeHead(trouble.status, { "content-type": "text/html", ...retry }).end("<p>trouble</p>");
  }

  async #answer(request: IncomingMessage, body: string): Promise<Answer> {
    const url = new URL(request.url ?? "/", this.origin);
    const onPath = this.#routes.flatMap((route) => {
      const match = route.path.exec(url.pathname);
      return match === null ? [] : [{ route, groups: match.groups ?? {} }];
    });
    const found = onPath.find(({ route }) => route.method === request.method);
    if (found === undefined) throw new Error("the vendor describes no such call");
    const { route, groups } = found;
    (route.query ?? z.strictObject({})).parse(valuesOf(url.searchParams));
    const asked = {
      url,
      params: Object.fromEntries(
        Object.entries(groups).map(([name, value]) => [name, decodeURIComponent(value)]),
      ),
      authorization: request.headers.authorization,
      body: parseBody(route, request, body),
    };
    const answer = await route.answer(asked);
    const described = route.answers[answer.status];
    if (described === undefined) throw new Error(`the vendor never answers ${answer.status} there`);
    described.parse(answer.body);
    return answer;
  }

  #violated({ method, url }: IncomingMessage, error: unknown): Answer {
    const why = error instanceof z.ZodError ? z.prettifyError(error) : String(error);
    this.#violations.push(`${method} ${url}: ${why}`);
    return { status: 500, body: "not as described" };
  }

  /** @throws where a call or an answer was not as the vendor describes it. */
  async [Symbol.asyncDispose](): Promise<void> {
    this.#server.closeAllConnections();
    await new Promise((resolve) => this.#server.close(resolve));
    await this.git[Symbol.asyncDispose]();
    if (this.#violations.length > 0) throw new Error(this.#violations.join("\n"));
  }
}

function parseBody({ body: described }: Route, request: IncomingMessage, body: string): unknown {
  if (described === undefined) return undefined;
  const wanted = described.as === "json" ? "application/json" : "application/x-www-form-urlencoded";
  if (request.headers["content-type"] !== wanted) throw new Error(`the body is to be ${wanted}`);
  return described.schema.parse(
    described.as === "json" ? JSON.parse(body) : valuesOf(new URLSearchParams(body)),
  );
}

/** Each value, or all of them where the name comes more than once. */
function valuesOf(params: URLSearchParams): Record<string, string | string[]> {
  return Object.fromEntries(
    [...new Set(params.keys())].map((name) => {
      const values = params.getAll(name);
      return [name, values.length === 1 ? (values[0] ?? "") : values];
    }),
  );
}
