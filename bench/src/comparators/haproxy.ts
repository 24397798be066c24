import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import { getProgram } from "../programs.ts";
import { freePort, startServer } from "../server-process.ts";
import type { Bed, Comparator } from "./comparator.ts";

export async function startHaproxy(bed: Bed): Promise<Comparator> {
  const port = await freePort();
  const file = join(bed.folder, "haproxy.cfg");
  await writeFile(
    file,
    `global
    nbthread ${bed.workers}
    maxconn 8000
defaults
    mode http
    timeout connect 2s
    timeout client 75s
    timeout server 60s
    timeout http-request 10s
    http-reuse always
    option forwardfor
frontend functions
    bind 127.0.0.1:${port} backlog 16384
    http-request set-var(txn.owner) req.hdr(host),field(1,.)
    http-request set-header X-Forwarded-Host %[req.hdr(host)]
    http-request set-header X-Forwarded-Proto http
    http-request set-header X-Request-Id %[uuid]
    http-request set-path /function/%[var(txn.owner)]-%[path,bytes(1)]
    default_backend replicas
backend replicas
    server replica 127.0.0.1:${bed.upstreamPort} pool-max-conn -1
`,
  );
  const server = await startServer({
    program: getProgram("haproxy"),
    args: ["-db", "-f", file],
    core: bed.cores.proxy,
    port,
  });
  return { port, pids: [server.pid], [Symbol.asyncDispose]: () => server[Symbol.asyncDispose]() };
}
