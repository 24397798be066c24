import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import { getProgram } from "../programs.ts";
import { freePort, type ServerProcess, startServer } from "../server-process.ts";
import { ANSWERS, DOMAIN, type Size } from "../workload.ts";
import type { Bed, Comparator } from "./comparator.ts";
import { startTokenVerifier } from "./node-servers.ts";

export interface NginxOptions {
  /** A line of JSON for each request, written in batches. */
  readonly accessLog?: boolean;
  /** Asks a verifier of session tokens with `auth_request`, and keeps its verdicts. */
  readonly auth?: boolean;
}

/** nginx as a proxy for any owner and function, over connections that it keeps. */
export async function startNginx(name: string, bed: Bed, options: NginxOptions = {}): Promise<Comparator> {
  await using stack = new AsyncDisposableStack();
  const port = await freePort();
  const authPort = options.auth ? await freePort() : undefined;
  if (authPort !== undefined) stack.use(await startTokenVerifier(authPort, bed));
  const http = `
    ${options.accessLog ? jsonLog(join(bed.folder, `${name}-access.log`)) : "access_log off;"}
    ${authPort === undefined ? "" : verdicts(join(bed.folder, `${name}-verdicts`), authPort)}
    upstream functions {
      server 127.0.0.1:${bed.upstreamPort};
      keepalive 1024;
      keepalive_requests 1000000000;
    }
    server {
      listen 127.0.0.1:${port} backlog=16384;
      server_name "~^(?<owner>[a-z0-9-]+)\\.${DOMAIN.replaceAll(".", "\\.")}$";
      location / {
        ${authPort === undefined ? "" : "auth_request /_verdict;"}
        rewrite "^/([a-z0-9-]+)(/.*)?$" /function/$owner-$1$2 break;
        proxy_pass http://functions;
        proxy_http_version 1.1;
        proxy_set_header Connection "";
        proxy_set_header Host $host;
        proxy_set_header X-Forwarded-For $remote_addr;
        proxy_set_header X-Forwarded-Host $host;
        proxy_set_header X-Forwarded-Proto $scheme;
        proxy_set_header X-Request-Id $request_id;
      }
      ${authPort === undefined ? "" : VERDICT_LOCATION}
    }`;
  const server = stack.use(
    await runNginx({ name, folder: bed.folder, core: bed.cores.proxy, workers: bed.workers, port, http }),
  );
  const owned = stack.move();
  return { port, pids: [server.pid], [Symbol.asyncDispose]: () => owned.disposeAsync() };
}

function jsonLog(file: string): string {
  return `
    log_format json escape=json '{"time":"$time_iso8601","requestId":"$request_id","method":"$request_method",'
      '"host":"$host","path":"$uri","status":$status,"bytes":$body_bytes_sent,"durationMs":$request_time,'
      '"upstream":"$upstream_addr"}';
    access_log ${file} json buffer=64k flush=1s;`;
}

function verdicts(folder: string, port: number): string {
  return `
    proxy_cache_path ${folder} levels=1:2 keys_zone=verdicts:10m max_size=100m inactive=10m;
    upstream verifier { server 127.0.0.1:${port}; keepalive 64; }`;
}

const VERDICT_LOCATION = `
      location = /_verdict {
        internal;
        proxy_pass http://verifier;
        proxy_http_version 1.1;
        proxy_set_header Connection "";
        proxy_pass_request_body off;
        proxy_set_header Content-Length "";
        proxy_cache verdicts;
        proxy_cache_key $http_authorization;
        proxy_cache_valid 200 1m;
        proxy_cache_valid 401 5s;
      }`;

/** The function behind all of them: two bodies from memory, whatever the method. */
export async function startUpstream(options: {
  readonly folder: string;
  readonly core: number | undefined;
  readonly port?: number;
}): Promise<ServerProcess & { readonly port: number }> {
  const port = options.port ?? (await freePort());
  const http = `
    access_log off;
    geo $pattern100 { default "${ANSWERS["100"]}"; }
    geo $pattern1k { default "${ANSWERS["10k"].slice(0, 1000)}"; }
    server {
      listen 127.0.0.1:${port} backlog=16384;
      default_type text/plain;
      location / { return 200 ${answer("100")}; }
      location ~ /10k$ { return 200 ${answer("10k")}; }
    }`;
  return Object.assign(await runNginx({ name: "upstream", ...options, workers: 1, port, http }), { port });
}

/** Put together from pieces: a word of nginx's configuration ends at 4 KiB. */
function answer(size: Size): string {
  const { length } = ANSWERS[size];
  const thousands = Math.floor(length / 1000);
  const hundreds = Math.floor((length % 1000) / 100);
  const rest = ANSWERS[size].slice(0, length % 100);
  // biome-ignore lint/suspicious/noTemplateCurlyInString: variables of nginx
  return `"${"${pattern1k}".repeat(thousands)}${"${pattern100}".repeat(hundreds)}${rest}"`;
}

async function runNginx(options: {
  name: string;
  folder: string;
  core: number | undefined;
  workers: number;
  port: number;
  http: string;
}): Promise<ServerProcess> {
  const { name, folder, core, workers, port, http } = options;
  const at = (file: string) => join(folder, `${name}-${file}`);
  const isRoot = process.getuid?.() === 0;
  await writeFile(
    at("nginx.conf"),
    `daemon off;
${isRoot ? "user root;" : ""}
worker_processes ${workers};
worker_rlimit_nofile 20000;
pid ${at("pid")};
error_log ${at("error.log")} error;
events { worker_connections 16384; }
http {
    server_tokens off;
    keepalive_timeout 75s;
    keepalive_requests 1000000000;
    client_body_temp_path ${at("body")};
    proxy_temp_path ${at("proxy")};
    fastcgi_temp_path ${at("fastcgi")};
    uwsgi_temp_path ${at("uwsgi")};
    scgi_temp_path ${at("scgi")};
${http}
}
`,
  );
  return startServer({
    program: getProgram("nginx"),
    args: ["-c", at("nginx.conf"), "-e", at("error.log")],
    core,
    port,
  });
}
