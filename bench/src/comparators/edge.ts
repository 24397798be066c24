import { spawn } from "node:child_process";
import { once } from "node:events";
import { closeSync, openSync, truncateSync } from "node:fs";
import { mkdir } from "node:fs/promises";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import { ReadyMessage } from "@openfaas-cloud/shared/process-message.ts";
import { DEFAULT_ROUTE_LIMITS, FEED_SILENCE_MS, type Route } from "@openfaas-cloud/shared/route.ts";
import { CREDENTIAL, FeedServer } from "../../../edge/test/support/feed-server.ts";
import { EDGE_FLAGS, FEWER_ARENAS } from "../../../supervisor/src/plane-process.ts";
import { heldTo, serverProcess } from "../server-process.ts";
import { DOMAIN, PRIVATE_FUNCTION, PUBLIC_FUNCTION } from "../workload.ts";
import type { Bed, Comparator } from "./comparator.ts";

const MAIN = fileURLToPath(new URL("../../../edge/src/main.ts", import.meta.url));
/** As `npm start` sets it. */
const COMPILE_CACHE = fileURLToPath(new URL("../../../node_modules/.cache/compile", import.meta.url));
const START_MS = 60_000;
const LOOK_EVERY_MS = 20;
const FUNCTIONS_OF_AN_OWNER = 100;

export interface EdgeOptions {
  readonly name: string;
  readonly routes: number;
  readonly environment?: Readonly<Record<string, string>>;
}

/**
 * Our edge, as the supervisor starts it, and complete: every request is decided, counted, and written to the access log, which
 * goes to a file and is cut to nothing between rounds.
 */
export async function startEdge(options: EdgeOptions, bed: Bed): Promise<Comparator> {
  await using stack = new AsyncDisposableStack();
  const settings = { keys: [bed.key], revoked: [], listOwners: false };
  const feed = stack.use(await new FeedServer(routesOf(options.routes, bed), settings).listen());
  const heartbeat = setInterval(
    () => feed.send({ kind: "heartbeat", version: feed.version }),
    FEED_SILENCE_MS / 3,
  );
  stack.defer(() => clearInterval(heartbeat));

  const data = join(bed.folder, options.name);
  await mkdir(data);
  const log = join(bed.folder, `${options.name}.log`);
  // Appended to, so that nothing but what is new remains when it is cut.
  const logDescriptor = openSync(log, "a");
  const profile =
    bed.profiles === undefined
      ? []
      : ["--cpu-prof", `--cpu-prof-dir=${bed.profiles}`, `--cpu-prof-name=${options.name}.cpuprofile`];
  const { program, args } = heldTo(bed.cores.proxy, {
    program: process.execPath,
    args: [...EDGE_FLAGS, ...profile, MAIN],
  });
  const child = spawn(program, args, {
    env: {
      PATH: process.env["PATH"],
      NODE_COMPILE_CACHE: COMPILE_CACHE,
      ...FEWER_ARENAS,
      LOG_LEVEL: "info",
      EDGE_PORT: "0",
      EDGE_DATA: data,
      EDGE_DRAIN_MS: "1000",
      EDGE_WORKERS: String(bed.workers),
      FUNCTIONS_DOMAIN: DOMAIN,
      SYSTEM_DOMAIN: DOMAIN,
      CONTROL_PLANE_URL: feed.origin,
      FEED_CREDENTIAL: CREDENTIAL,
      ...options.environment,
    },
    stdio: ["ignore", logDescriptor, "inherit", "ipc"],
  });
  closeSync(logDescriptor);
  const server = stack.use(serverProcess(child));
  const [message] = await Promise.race([
    once(child, "message"),
    once(child, "exit").then(([code]) => {
      throw new Error(`the edge ended with ${code} before it was ready`);
    }),
  ]);
  const { port, adminPort } = ReadyMessage.parse(message);
  await hasTable(adminPort);

  const owned = stack.move();
  return {
    port,
    pids: [server.pid],
    settle: () => truncateSync(log),
    [Symbol.asyncDispose]: () => owned.disposeAsync(),
  };
}

async function hasTable(adminPort: number): Promise<void> {
  const deadline = performance.now() + START_MS;
  for (;;) {
    const answer = await fetch(`http://127.0.0.1:${adminPort}/readyz`);
    await answer.body?.cancel();
    if (answer.status === 200) return;
    if (performance.now() > deadline) throw new Error(`the edge had no table within ${START_MS} ms`);
    await sleep(LOOK_EVERY_MS);
  }
}

/** alice's two functions, which are asked for, among those of many others. */
function routesOf(count: number, { upstreamPort }: Bed): Route[] {
  const limits = { ...DEFAULT_ROUTE_LIMITS, maxConcurrency: 20_000 };
  const upstreams = [{ id: "replica-1", url: `http://127.0.0.1:${upstreamPort}` }];
  const route = (owner: string, name: string, access: Route["access"]): Route => ({
    owner: owner as Route["owner"],
    function: name as Route["function"],
    functionId: `id-${owner}-${name}`,
    revision: "r1",
    access,
    upstreams,
    limits,
  });
  return [
    route("alice", PUBLIC_FUNCTION, "public"),
    route("alice", PRIVATE_FUNCTION, "signed-in"),
    ...Array.from({ length: Math.max(0, count - 2) }, (_, i) =>
      route(`owner-${Math.floor(i / FUNCTIONS_OF_AN_OWNER)}`, `fn-${i % FUNCTIONS_OF_AN_OWNER}`, "public"),
    ),
  ];
}
