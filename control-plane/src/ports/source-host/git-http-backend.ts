import { type ChildProcess, spawn } from "node:child_process";
import type { IncomingMessage, ServerResponse } from "node:http";
import type { Duplex, Readable, Writable } from "node:stream";
import { must } from "@openfaas-cloud/shared/must.ts";

/** Longest head a CGI answer may have. */
const MAX_HEAD_BYTES = 16 * 1024;

/** What of a CGI answer's head goes to the client. */
const PASSED_HEADERS: ReadonlySet<string> = new Set(["content-type", "cache-control", "expires", "pragma"]);

/**
 * What a hostile pack can make git take: KiB of address space, 512-byte blocks of one file. A machine that allows less
 * already makes the line fail, which is as good.
 */
const LIMITS = 'ulimit -v 2097152 2>/dev/null; ulimit -f 2097152 2>/dev/null; ulimit -c 0; exec "$@"';

export interface GitService {
  readonly program: string;
  readonly env: Readonly<Record<string, string>>;
  readonly root: string;
  /** Path below `root`, beginning with `/`: the repository's folder and the service. */
  readonly path: string;
  readonly query: string;
  readonly remoteUser: string;
  /** Gives the child a descriptor 3 for its hooks. */
  readonly withHooks: boolean;
}

/** One git-http-backend, in a process group of its own. */
export interface GitBackend {
  readonly hooks: Duplex | undefined;
  /** All processes that share its output have ended, and the answer was sent as far as the client took it. */
  readonly ended: Promise<void>;
  /** Lets it go on without the client. */
  detach(): void;
  kill(): void;
}

/**
 * Serves a request by `git http-backend`, as CGI (RFC 3875): bodies are streamed both ways, no faster than the slower side.
 * `onClientGone` is called when the client leaves before the answer is complete.
 */
export function serveByGit(
  request: IncomingMessage,
  response: ServerResponse,
  service: GitService,
  onClientGone: (backend: GitBackend) => void,
): GitBackend {
  const child = spawn("/bin/sh", ["-c", LIMITS, "sh", service.program], {
    cwd: service.root,
    env: { ...service.env, ...cgiEnvironment(request, service) },
    stdio: ["pipe", "pipe", "ignore", service.withHooks ? "pipe" : "ignore"],
    detached: true,
  });
  const stdin = must<Writable>(child.stdin, "the standard input of git");
  const stdout = must<Readable>(child.stdout, "the standard output of git");
  // git may refuse before it has read everything.
  stdin.on("error", () => request.resume());
  request.pipe(stdin);

  const answer = readHead(stdout, response);
  let over = false;
  const ended = new Promise<void>((resolve) => {
    child.once("error", () => resolve());
    child.once("close", (_code, signal) => {
      over = true;
      // An answer that was cut off must not look complete.
      if (signal !== null) response.destroy();
      else if (answer.begun()) response.end();
      else refuseBroken(response);
      resolve();
    });
  });
  const backend: GitBackend = {
    hooks: service.withHooks ? (must(child.stdio[3], "the hooks' descriptor") as Duplex) : undefined,
    ended,
    detach() {
      stdout.unpipe(response);
      stdout.resume();
      response.destroy();
    },
    kill() {
      // The group's number may be somebody else's by then.
      if (!over) killGroup(child);
    },
  };
  response.once("close", () => {
    if (!response.writableFinished && !over) onClientGone(backend);
  });
  return backend;
}

function cgiEnvironment(request: IncomingMessage, service: GitService): Record<string, string> {
  const { headers } = request;
  const protocol = headers["git-protocol"];
  const env: Record<string, string> = {
    GATEWAY_INTERFACE: "CGI/1.1",
    SERVER_PROTOCOL: "HTTP/1.1",
    REQUEST_METHOD: request.method ?? "GET",
    GIT_PROJECT_ROOT: service.root,
    GIT_HTTP_EXPORT_ALL: "1",
    PATH_INFO: service.path,
    QUERY_STRING: service.query,
    REMOTE_USER: service.remoteUser,
    CONTENT_TYPE: headers["content-type"] ?? "",
  };
  // Without a length git reads to the end of its input, which is how a chunked body arrives.
  if (headers["content-length"] !== undefined) env["CONTENT_LENGTH"] = headers["content-length"];
  if (headers["content-encoding"] !== undefined) env["HTTP_CONTENT_ENCODING"] = headers["content-encoding"];
  if (typeof protocol === "string" && /^[\w=:.-]{1,100}$/.test(protocol)) env["GIT_PROTOCOL"] = protocol;
  return env;
}

/** Sends on what git answers: its head once that is complete, then its body as it comes. */
function readHead(stdout: Readable, response: ServerResponse): { begun(): boolean } {
  let head = Buffer.alloc(0);
  let begun = false;
  const onData = (chunk: Buffer) => {
    head = Buffer.concat([head, chunk]);
    const end = head.indexOf("\r\n\r\n");
    if (end === -1 && head.length <= MAX_HEAD_BYTES) return;
    stdout.off("data", onData);
    begun = end !== -1;
    if (!begun || response.destroyed) {
      stdout.resume();
      return;
    }
    const { status, headers } = parseHead(head.subarray(0, end).toString("latin1"));
    response.writeHead(status, headers);
    response.write(head.subarray(end + 4));
    stdout.pipe(response, { end: false });
  };
  stdout.on("data", onData);
  return { begun: () => begun };
}

function parseHead(head: string): { status: number; headers: Record<string, string> } {
  const headers: Record<string, string> = {};
  let status = 200;
  for (const line of head.split("\r\n")) {
    const colon = line.indexOf(":");
    const name = line.slice(0, colon).toLowerCase();
    const value = line.slice(colon + 1).trim();
    if (name === "status") status = Number.parseInt(value, 10) || 500;
    else if (PASSED_HEADERS.has(name)) headers[name] = value;
  }
  return { status, headers };
}

function refuseBroken(response: ServerResponse): void {
  if (response.headersSent || response.destroyed) return;
  response
    .writeHead(500, { "content-type": "text/plain" })
    .end("The platform could not run git. Try again.\n");
}

function killGroup(child: ChildProcess): void {
  if (child.pid === undefined) return;
  try {
    process.kill(-child.pid, "SIGKILL");
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== "ESRCH") throw error;
  }
}
