import { mkdtemp, rm } from "node:fs/promises";
import { createServer, request as httpRequest, type IncomingMessage, type ServerResponse } from "node:http";
import { type AddressInfo, connect, createServer as createTcpServer, type Socket } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Secret } from "@openfaas-cloud/shared/env.ts";
import { pino } from "pino";
import type { EdgeConfig, Timeouts } from "../../src/config.ts";
import { type Edge, type EdgeOptions, startEdge } from "../../src/edge.ts";
import type { Logger } from "../../src/logger.ts";
import { LOOPBACK, UpstreamRule } from "../../src/upstream-rule.ts";
import { CREDENTIAL } from "./feed-server.ts";

export const quiet = pino({ level: "silent" });
/** Replicas on this machine, where the tests have theirs. */
export const loopback = new UpstreamRule(LOOPBACK);

export interface TempDirectory extends AsyncDisposable {
  readonly path: string;
}

export async function tempDirectory(): Promise<TempDirectory> {
  const path = await mkdtemp(join(tmpdir(), "edge-"));
  return { path, [Symbol.asyncDispose]: () => rm(path, { recursive: true, force: true }) };
}

export interface TestEdge extends Edge {
  /** The value of a metric, given its whole line but the number. */
  metric(line: string): Promise<number>;
  /** All metrics, as Prometheus gets them. */
  scrape(): Promise<string>;
  /** A request with a Host of our choice. */
  call(host: string, path: string, options?: CallOptions): Promise<Answer>;
}

/** An edge with a data directory of its own, that has a table unless told not to wait for one. */
export async function testEdge(
  controlPlane: string,
  {
    logger = quiet,
    output,
    ...more
  }: Partial<Omit<EdgeConfig, "timeouts">> & {
    timeouts?: Partial<Timeouts>;
    wait?: boolean;
    logger?: Logger;
    /** Where the access log goes; nowhere without. */
    output?: EdgeOptions["output"];
  } = {},
): Promise<TestEdge> {
  const directory = more.dataDirectory === undefined ? await tempDirectory() : undefined;
  const edge = await startEdge(
    {
      host: "127.0.0.1",
      port: 0,
      descriptors: [],
      tls: undefined,
      httpsRedirectPort: undefined,
      trustedPeers: [],
      role: { kind: "only" },
      successor: false,
      adminHost: "127.0.0.1",
      adminPort: 0,
      adminDescriptors: [],
      dataDirectory: directory?.path ?? "",
      domains: { functions: "fn.test", system: "console.test" },
      controlPlaneUrl: controlPlane,
      feedCredential: new Secret(CREDENTIAL),
      upstreams: LOOPBACK,
      logLevel: "silent",
      accessLogEvery: 1,
      drainMs: 2_000,
      systemMaxConcurrency: 1_000,
      plainLane: process.env["EDGE_PLAIN_LANE"] !== "off",
      ...more,
      timeouts: {
        headersMs: 10_000,
        bodyIdleMs: 30_000,
        bodyDripMs: 10_000,
        writeIdleMs: 120_000,
        ...more.timeouts,
      },
    },
    logger,
    { output },
  );
  const scrape = async (): Promise<string> =>
    (await fetch(`http://127.0.0.1:${edge.adminPort}/metrics`)).text();
  const close = async (): Promise<void> => {
    await edge.close();
    await directory?.[Symbol.asyncDispose]();
  };
  if (more.wait !== false) {
    await until(
      async () => (await fetch(`http://127.0.0.1:${edge.adminPort}/readyz`)).status === 200,
      "a table",
    );
  }
  return {
    ...edge,
    close,
    [Symbol.asyncDispose]: close,
    scrape,
    metric: async (line) => {
      const found = (await scrape()).split("\n").find((candidate) => candidate.startsWith(`${line} `));
      return found === undefined ? 0 : Number(found.slice(line.length + 1));
    },
    call: (host, path, options) => call(edge.port, host, path, options),
  };
}

export interface CallOptions {
  readonly method?: string;
  readonly headers?: Record<string, string | string[]>;
  readonly body?: string | Buffer;
  readonly signal?: AbortSignal;
}

export interface Answer {
  readonly status: number;
  readonly headers: IncomingMessage["headers"];
  readonly rawHeaders: string[];
  readonly trailers: NodeJS.Dict<string>;
  readonly body: string;
}

export function call(port: number, host: string, path: string, options: CallOptions = {}): Promise<Answer> {
  const { promise, resolve, reject } = Promise.withResolvers<Answer>();
  const request = httpRequest({
    host: "127.0.0.1",
    port,
    path,
    method: options.method ?? "GET",
    headers: { host, ...options.headers },
    ...(options.signal === undefined ? {} : { signal: options.signal }),
    agent: false,
  });
  request.on("error", reject);
  request.on("response", (response) => {
    const chunks: Buffer[] = [];
    response.on("data", (chunk: Buffer) => chunks.push(chunk));
    response.on("error", reject);
    response.on("end", () =>
      resolve({
        status: response.statusCode ?? 0,
        headers: response.headers,
        rawHeaders: response.rawHeaders,
        trailers: response.trailers,
        body: Buffer.concat(chunks).toString(),
      }),
    );
  });
  request.end(options.body);
  return promise;
}

export interface Upstream extends AsyncDisposable {
  readonly url: string;
  readonly requests: {
    method: string;
    url: string;
    rawHeaders: string[];
    headers: IncomingMessage["headers"];
  }[];
  readonly sockets: Set<Socket>;
}

/** A function: a real server, which remembers what it was asked. Without a handler it answers with its own port. */
export async function upstream(
  handler: (request: IncomingMessage, response: ServerResponse) => void = (request, response) => {
    request.resume();
    request.on("end", () => response.end(`from ${request.socket.localPort}`));
  },
  onUpgrade?: (request: IncomingMessage, socket: Socket, head: Buffer) => void,
): Promise<Upstream> {
  const requests: Upstream["requests"] = [];
  const sockets = new Set<Socket>();
  const server = createServer((request, response) => {
    note(request);
    handler(request, response);
  });
  const note = ({ method = "", url = "", rawHeaders, headers }: IncomingMessage): void => {
    requests.push({ method, url, rawHeaders, headers });
  };
  if (onUpgrade !== undefined) {
    server.on("upgrade", (request, socket, head) => {
      note(request);
      onUpgrade(request, socket as Socket, head);
    });
  }
  server.on("connection", (socket) => {
    sockets.add(socket);
    socket.on("close", () => sockets.delete(socket));
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    requests,
    sockets,
    async [Symbol.asyncDispose]() {
      for (const socket of sockets) socket.destroy();
      await new Promise<void>((resolve) => server.close(() => resolve()));
    },
  };
}

/** A function that speaks whatever bytes the test wants. */
export async function rawUpstream(
  onConnection: (socket: Socket) => void,
): Promise<Omit<Upstream, "requests">> {
  const sockets = new Set<Socket>();
  const server = createTcpServer((socket) => {
    sockets.add(socket);
    socket.on("error", () => socket.destroy());
    socket.on("close", () => sockets.delete(socket));
    onConnection(socket);
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    sockets,
    async [Symbol.asyncDispose]() {
      for (const socket of sockets) socket.destroy();
      await new Promise<void>((resolve) => server.close(() => resolve()));
    },
  };
}

/** The URL of a port where nobody listens: one that the system gives to nobody who asks for any, as a port just closed may be. */
export async function deadUrl(): Promise<string> {
  return "http://127.0.0.1:2";
}

export interface RawClient extends Disposable {
  readonly socket: Socket;
  /** Everything received so far. */
  readonly text: () => string;
  readonly closed: Promise<void>;
}

export function rawClient(port: number, bytes: string): RawClient {
  const socket = connect(port, "127.0.0.1");
  let text = "";
  socket.on("data", (chunk) => {
    text += chunk.toString("latin1");
  });
  socket.on("error", () => socket.destroy());
  const closed = new Promise<void>((resolve) => socket.once("close", () => resolve()));
  socket.write(bytes, "latin1");
  return { socket, text: () => text, closed, [Symbol.dispose]: () => void socket.destroy() };
}

/** Sends bytes, and gives what came until the other side closed. */
export async function exchangeRaw(port: number, bytes: string): Promise<string> {
  using client = rawClient(port, bytes);
  await client.closed;
  return client.text();
}

/** Waits for a condition, not for a time; the deadline only ends a wait that is in vain. */
export async function until(
  condition: () => boolean | Promise<boolean>,
  what: string,
  withinMs = 5_000,
): Promise<void> {
  const deadline = performance.now() + withinMs;
  while (!(await condition())) {
    if (performance.now() > deadline) throw new Error(`waited ${withinMs} ms in vain for ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
}
