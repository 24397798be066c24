import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import { getProgram } from "../programs.ts";
import { freePort, startServer } from "../server-process.ts";
import { DOMAIN } from "../workload.ts";
import type { Bed, Comparator } from "./comparator.ts";

export async function startCaddy(bed: Bed): Promise<Comparator> {
  const port = await freePort();
  const file = join(bed.folder, "Caddyfile");
  const ownerLabel = DOMAIN.split(".").length;
  await writeFile(
    file,
    `{
	admin off
	auto_https off
	log {
		level ERROR
	}
}
http://*.${DOMAIN}:${port} {
	bind 127.0.0.1
	@function path_regexp function ^/([a-z0-9-]+)(/.*)?$
	rewrite @function /function/{http.request.host.labels.${ownerLabel}}-{http.regexp.function.1}{http.regexp.function.2}
	reverse_proxy 127.0.0.1:${bed.upstreamPort} {
		header_up X-Request-Id {http.request.uuid}
		transport http {
			keepalive 75s
			keepalive_idle_conns 16384
			keepalive_idle_conns_per_host 16384
		}
	}
}
`,
  );
  const server = await startServer({
    program: getProgram("caddy"),
    args: ["run", "--config", file, "--adapter", "caddyfile"],
    core: bed.cores.proxy,
    port,
    environment: {
      HOME: bed.folder,
      XDG_CONFIG_HOME: bed.folder,
      XDG_DATA_HOME: bed.folder,
      // Go counts the cores of the machine, whichever it is held to.
      GOMAXPROCS: String(bed.workers),
    },
  });
  return { port, pids: [server.pid], [Symbol.asyncDispose]: () => server[Symbol.asyncDispose]() };
}
