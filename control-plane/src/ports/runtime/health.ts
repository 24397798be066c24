import { request } from "node:http";
import { setTimeout as delay } from "node:timers/promises";
import { listeningPorts } from "../../sandbox/process-table.ts";
import type { SandboxedProcess } from "../../sandbox/sandbox.ts";

/** What the last look at a replica showed. */
export type Sight =
  | { readonly kind: "healthy" }
  | { readonly kind: "silent" }
  | { readonly kind: "status"; readonly code: number }
  /** Something answered, but it is no process of the replica. */
  | { readonly kind: "foreign" };

/** Close together at first: most functions are there within a tenth of a second. */
const PAUSES_MS = [5, 5, 5, 10, 10, 10, 10, 10, 15, 15, 25, 25, 50, 50, 100, 150];
const LONGEST_PAUSE_MS = 250;
/** For a whole answer's head, however slowly it comes. */
const ANSWER_MS = 2000;

/** Looks until the replica is healthy, telling what it saw each time; resolves early, without saying so, on abort. */
export async function untilHealthy(
  target: { readonly process: Pick<SandboxedProcess, "pids">; readonly port: number; readonly path: string },
  options: { readonly onSight: (sight: Sight) => void; readonly signal: AbortSignal },
): Promise<void> {
  for (let look = 0; !options.signal.aborted; look++) {
    const sight = await lookAt(target, options.signal);
    if (options.signal.aborted) return;
    options.onSight(sight);
    if (sight.kind === "healthy") return;
    await pause(PAUSES_MS[look] ?? LONGEST_PAUSE_MS, options.signal);
  }
}

/** Waits; an abort ends the wait. */
export async function pause(ms: number, signal: AbortSignal): Promise<void> {
  await delay(ms, undefined, { signal }).catch(() => undefined);
}

async function lookAt(
  target: {
    readonly process: Pick<SandboxedProcess, "pids">;
    readonly port: number;
    readonly path: string;
  },
  signal: AbortSignal,
): Promise<Sight> {
  const code = await fetchStatus(target.port, target.path, signal);
  if (code === undefined) return { kind: "silent" };
  // The port was free when it was given; since then any process of the machine could have taken it.
  if (listeningPorts(target.process.pids())?.has(target.port) === false) return { kind: "foreign" };
  return code >= 200 && code < 300 ? { kind: "healthy" } : { kind: "status", code };
}

function fetchStatus(port: number, path: string, signal: AbortSignal): Promise<number | undefined> {
  const { promise, resolve } = Promise.withResolvers<number | undefined>();
  const ending = AbortSignal.any([signal, AbortSignal.timeout(ANSWER_MS)]);
  const options = { host: "127.0.0.1", port, path, agent: false, signal: ending };
  const asked = request(options, (response) => {
    response.destroy();
    resolve(response.statusCode);
  });
  asked.on("error", () => resolve(undefined));
  asked.end();
  return promise;
}
