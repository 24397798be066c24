import { createHash } from "node:crypto";
import { createServer, type IncomingMessage, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import { type AccessTokenAnswer, AccessTokenQuestion } from "@openfaas-cloud/shared/access-token.ts";
import {
  AppliedReport,
  DEFAULT_ROUTE_LIMITS,
  type FeedMessage,
  Route,
  type RouteChange,
  type RouteSettings,
  type RouteSnapshot,
  UsageReport,
} from "@openfaas-cloud/shared/route.ts";
import { digestOf, headChecksumOf } from "@openfaas-cloud/shared/route-digest.ts";

const NEWLINE = Buffer.from("\n");

export const CREDENTIAL = "feed-credential-for-tests";
export const NO_KEYS: RouteSettings = { keys: [], revoked: [], listOwners: false };

/** A route as short as a test needs it: `route("alice/hello", ["http://127.0.0.1:1"])`. */
export function route(
  name: `${string}/${string}`,
  urls: readonly string[],
  more: Partial<Omit<Route, "limits">> & { limits?: Partial<Route["limits"]> } = {},
): Route {
  const [owner, functionName] = name.split("/");
  return Route.parse({
    owner,
    function: functionName,
    functionId: `id-${owner}-${functionName}`,
    revision: "r1",
    access: "public",
    upstreams: urls.map((url) => ({ id: `replica-${new URL(url).port}`, url })),
    ...more,
    limits: { ...DEFAULT_ROUTE_LIMITS, ...more.limits },
  });
}

export function snapshotOf(routes: readonly Route[], more: Partial<RouteSnapshot> = {}): RouteSnapshot {
  const settings = more.settings ?? NO_KEYS;
  const snapshot: RouteSnapshot = {
    kind: "snapshot",
    epoch: "epoch-1",
    version: 1,
    checksum: digestOf(settings, routes).hex(),
    forced: false,
    routes: [...routes],
    ...more,
    settings,
  };
  return { headChecksum: headChecksumOf(snapshot), ...snapshot };
}

/** The control plane's side of the contract: one table, told to whoever follows. Serves the system host's paths as well. */
export class FeedServer implements AsyncDisposable {
  readonly applied: (AppliedReport & { atMs: number })[] = [];
  readonly usage: UsageReport[] = [];
  readonly paths: string[] = [];
  connections = 0;
  refusedCredentials = 0;
  /** Answers usage reports with this; `undefined` where it accepts them and does not answer. */
  usageStatus: number | undefined = 204;
  /** Reports that are not answered and still waited for. */
  heldReports = 0;
  /** By digest: what is answered about access tokens; any other is unknown. */
  readonly accessTokens = new Map<string, AccessTokenAnswer>();
  /** Digests that were asked about. */
  readonly questions: string[] = [];
  /** Stands in for the answer to such a question. */
  onQuestion: ((digest: string, response: ServerResponse) => void) | undefined;
  /** Replaces the snapshot a connection begins with. */
  poison: ((snapshot: RouteSnapshot) => unknown) | undefined;
  onSystemRequest: (request: IncomingMessage, response: ServerResponse) => void = (request, response) => {
    request.resume();
    response.end(`control plane: ${request.method} ${request.url}`);
  };
  epoch = "epoch-1";
  version = 1;
  #settings: RouteSettings;
  #routes = new Map<string, Route>();
  readonly #streams = new Set<ServerResponse>();
  readonly #server = createServer((request, response) => this.#answer(request, response));

  constructor(routes: readonly Route[] = [], settings: RouteSettings = NO_KEYS) {
    this.#settings = settings;
    for (const entry of routes) this.#routes.set(nameOf(entry), entry);
  }

  async listen(port = 0): Promise<this> {
    await new Promise<void>((resolve) => this.#server.listen(port, "127.0.0.1", resolve));
    return this;
  }

  get port(): number {
    return (this.#server.address() as AddressInfo).port;
  }

  get origin(): string {
    return `http://127.0.0.1:${this.port}`;
  }

  get snapshot(): RouteSnapshot {
    return snapshotOf([...this.#routes.values()], {
      epoch: this.epoch,
      version: this.version,
      settings: this.#settings,
    });
  }

  /** Makes an access token known: alice's, unless told otherwise. */
  knowToken(token: string, more: Partial<AccessTokenAnswer & { kind: "known" }> = {}): void {
    this.accessTokens.set(createHash("sha256").update(token).digest("hex"), {
      kind: "known",
      id: `id-of-${token}`,
      sub: "local:alice",
      name: "Alice",
      organizations: ["alice"],
      expiresInMs: null,
      ...more,
    });
  }

  forgetToken(token: string): void {
    this.accessTokens.delete(createHash("sha256").update(token).digest("hex"));
  }

  /** Publishes a change and tells its version. */
  change(what: {
    upserts?: readonly Route[];
    removals?: readonly Route[];
    settings?: RouteSettings;
  }): number {
    for (const entry of what.removals ?? []) this.#routes.delete(nameOf(entry));
    for (const entry of what.upserts ?? []) this.#routes.set(nameOf(entry), entry);
    if (what.settings !== undefined) this.#settings = what.settings;
    this.version += 1;
    const change: RouteChange = {
      kind: "change",
      version: this.version,
      checksum: this.snapshot.checksum,
      upserts: [...(what.upserts ?? [])],
      removals: (what.removals ?? []).map((gone) => ({ owner: gone.owner, function: gone.function })),
      ...(what.settings === undefined ? {} : { settings: what.settings }),
    };
    this.send(change);
    return this.version;
  }

  /** Raw, to every stream. */
  send(message: FeedMessage | object | string): void {
    const line = typeof message === "string" ? message : JSON.stringify(message);
    for (const stream of this.#streams) stream.write(`${line}\n`);
  }

  /** Bytes as they are, and the end of the line. */
  sendRaw(bytes: Buffer): void {
    for (const stream of this.#streams) stream.write(Buffer.concat([bytes, NEWLINE]));
  }

  /** Whether somebody listens at present. */
  get isHeard(): boolean {
    return this.#streams.size > 0;
  }

  /** Cuts every stream. */
  cut(): void {
    for (const stream of this.#streams) stream.destroy();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#server.closeAllConnections();
    await new Promise<void>((resolve) => this.#server.close(() => resolve()));
  }

  #answer(request: IncomingMessage, response: ServerResponse): void {
    const path = request.url?.split("?", 1)[0] ?? "";
    this.paths.push(`${request.method} ${request.url}`);
    if (!path.startsWith("/internal/")) {
      this.onSystemRequest(request, response);
      return;
    }
    if (request.headers.authorization !== `Bearer ${CREDENTIAL}`) {
      this.refusedCredentials += 1;
      response.writeHead(401).end();
      return;
    }
    if (path === "/internal/route-feed") {
      this.#stream(response);
      return;
    }
    const chunks: Buffer[] = [];
    request.on("data", (chunk: Buffer) => chunks.push(chunk));
    request.on("end", () => {
      const body: unknown = JSON.parse(Buffer.concat(chunks).toString());
      if (path === "/internal/route-feed/applied") {
        this.applied.push({ ...AppliedReport.parse(body), atMs: performance.now() });
        response.writeHead(204).end();
      } else if (path === "/internal/access-tokens") {
        const { digest } = AccessTokenQuestion.parse(body);
        this.questions.push(digest);
        if (this.onQuestion !== undefined) this.onQuestion(digest, response);
        else response.end(JSON.stringify(this.accessTokens.get(digest) ?? { kind: "unknown" }));
      } else {
        this.usage.push(UsageReport.parse(body));
        if (this.usageStatus === undefined) this.#hold(response);
        else response.writeHead(this.usageStatus).end();
      }
    });
  }

  #hold(response: ServerResponse): void {
    this.heldReports += 1;
    response.once("close", () => {
      this.heldReports -= 1;
    });
  }

  #stream(response: ServerResponse): void {
    this.connections += 1;
    this.#streams.add(response);
    response.on("close", () => this.#streams.delete(response));
    response.writeHead(200, { "Content-Type": "application/x-ndjson" });
    const first = this.poison === undefined ? this.snapshot : this.poison(this.snapshot);
    const isText = typeof first === "string" || Buffer.isBuffer(first);
    response.write(isText ? first : JSON.stringify(first));
    response.write(NEWLINE);
  }
}

function nameOf(entry: Route): string {
  return `${entry.owner}/${entry.function}`;
}
