import { closeSync } from "node:fs";
import { get } from "node:http";
import { errorMessage } from "@openfaas-cloud/shared/known-error.ts";
import { must } from "@openfaas-cloud/shared/must.ts";
import { listenForAdmin } from "../admin.ts";
import type { EdgeConfig } from "../config.ts";
import type { RunningEdge } from "../edge.ts";
import { family } from "../exposition.ts";
import { bind, type Door } from "../listen.ts";
import type { Logger } from "../logger.ts";
import { ChildEdge } from "./child-edge.ts";
import { MergedMetrics } from "./merged-metrics.ts";
import { WorkerSlot } from "./worker-slot.ts";

const READY_MS = 60_000;
/** A worker that has drained has so long for its last words. Less than a supervisor gives the edge. */
const LAST_WORDS_MS = 1_500;
/** A worker that is silent for so long when it is asked is none to send requests to. */
const SILENT_MS = 1_000;

export interface Primary extends RunningEdge {
  /** Replaces the workers one after the other by new ones, of the program that is on the disk now. Returns at once. */
  replaceWorkers(): void;
  /** Ends all workers at once. */
  kill(): void;
}

/**
 * Several workers as one edge. This process holds their sockets and accepts nobody: who connects waits in a socket for whichever
 * worker comes first, also while one of them is dead or being replaced.
 */
export async function startPrimary(config: EdgeConfig, workers: number, logger: Logger): Promise<Primary> {
  await using stack = new AsyncDisposableStack();
  const held = await holdSockets(config);

  const counts = new WorkerCounts();
  const serving = Promise.withResolvers<void>();
  const launch = (slot: number): ChildEdge =>
    counts.follow(
      new ChildEdge({
        environment: {
          EDGE_WORKER: String(slot),
          EDGE_SUCCESSOR: "",
          EDGE_ADMIN_HOST: "127.0.0.1",
          EDGE_ADMIN_PORT: "0",
        },
        sockets: { http: held.http, https: held.https },
        onConnections: () => tellFewest(),
      }),
    );
  const slots: readonly WorkerSlot[] = Array.from(
    { length: workers },
    (_, i) =>
      new WorkerSlot({
        slot: i + 1,
        launch: () => launch(i + 1),
        readyMs: READY_MS,
        graceMs: config.drainMs + LAST_WORDS_MS,
        logger,
        onChanged: () => {
          tellFewest();
          if (slots.every(({ ready: worker }) => worker?.serves)) serving.resolve();
        },
        onRestart: () => counts.restarted(),
      }),
  );
  const ready = (): ChildEdge[] => slots.flatMap(({ ready: worker }) => worker ?? []);
  const tellFewest = (): void => tellFewestOfOthers(ready());

  let closing = false;
  const admin = stack.use(
    await listenForAdmin({
      host: config.adminHost,
      port: config.adminPort,
      descriptors: config.adminDescriptors,
      renderMetrics: () => counts.render(ready().length),
      whyNotReady: async () => {
        if (closing) return "draining";
        return (await isAnyReady(ready())) ? undefined : "no worker serves";
      },
    }),
  );
  stack.defer(async () => {
    // First, so that nobody waits in a socket that no worker will ever accept from.
    held.letGo();
    await Promise.all(slots.map((slot) => slot.stop()));
  });
  const [first] = await Promise.all(slots.map((slot) => slot.start()));
  const { port } = must(first, "a worker");
  logger.info({ port, adminPort: admin.port, workers }, "edge listening");

  const replaceAll = async (): Promise<void> => {
    logger.info("replacing workers");
    try {
      for (const slot of slots) if (!closing) await slot.replace();
      logger.info("workers replaced");
    } catch (error) {
      if (!closing) logger.error({ error: errorMessage(error) }, "workers are not replaced any further");
    }
  };
  let replacing: Promise<void> | undefined;
  let again = false;

  const owned = stack.move();
  const close = (): Promise<void> => {
    closing = true;
    return owned.disposeAsync();
  };
  return {
    port,
    adminPort: admin.port,
    sockets: { http: held.http, https: held.https, admin: admin.descriptor },
    // Whichever processes these are by then.
    serving: serving.promise,
    leaveAdminPort: () => admin.stopAccepting(),
    replaceWorkers: () => {
      // Who asks while it goes on may mean a program that is newer still.
      if (replacing !== undefined) again = true;
      else replacing = replaceAll().then(replaceAgain);
    },
    kill: () => {
      for (const slot of slots) slot.kill();
    },
    close,
    [Symbol.asyncDispose]: close,
  };

  function replaceAgain(): Promise<void> | undefined {
    replacing = undefined;
    if (!again || closing) return undefined;
    again = false;
    replacing = replaceAll().then(replaceAgain);
    return replacing;
  }
}

interface HeldSockets {
  readonly http: readonly number[];
  readonly https: readonly number[];
  letGo(): void;
}

async function holdSockets(config: EdgeConfig): Promise<HeldSockets> {
  const { host, tls } = config;
  const http = await hold(config);
  const https = tls === undefined ? undefined : await hold({ host, ...tls });
  const letGo = (): void => {
    http.letGo();
    https?.letGo();
  };
  return { http: http.descriptors, https: https?.descriptors ?? [], letGo };
}

async function hold({
  host,
  port,
  descriptors,
}: Door): Promise<{ descriptors: readonly number[]; letGo(): void }> {
  if (descriptors.length > 0) {
    const letGo = (): void => {
      for (const fd of descriptors) closeSync(fd);
    };
    return { descriptors, letGo };
  }
  const bound = await bind(host, port);
  return { descriptors: [bound.fd()], letGo: () => bound.close() };
}

/** What all workers have counted, those that are gone included. */
class WorkerCounts {
  readonly #merged = new MergedMetrics();
  /** What each living one had counted when it was asked last. */
  readonly #living = new Map<ChildEdge, string>();
  #restarts = 0;

  follow(worker: ChildEdge): ChildEdge {
    this.#living.set(worker, "");
    void worker.ended.then(() => {
      const counts = worker.lastCounts ?? this.#living.get(worker) ?? "";
      this.#living.delete(worker);
      this.#merged.addPast(counts, [...this.#living.values()]);
    });
    return worker;
  }

  restarted(): void {
    this.#restarts += 1;
  }

  async *render(ready: number): AsyncGenerator<string> {
    await Promise.all(
      [...this.#living.keys()].map(async (worker) => {
        const answer = await ask(worker, "/metrics");
        // It may have ended meanwhile, and be counted among the past.
        if (answer?.status === 200 && this.#living.has(worker)) this.#living.set(worker, answer.body);
      }),
    );
    yield this.#merged.render([...this.#living.values()]);
    yield family("ofc_edge_workers", "gauge", "Workers that accept.", [["", ready]]);
    yield family("ofc_edge_worker_restarts_total", "counter", "Workers that ended unasked.", [
      ["", this.#restarts],
    ]);
  }
}

function tellFewestOfOthers(workers: readonly ChildEdge[]): void {
  for (const worker of workers) {
    const others = workers.filter((other) => other !== worker).map(({ connections }) => connections);
    worker.tellFewest(Math.min(...others, Number.MAX_SAFE_INTEGER));
  }
}

async function isAnyReady(workers: readonly ChildEdge[]): Promise<boolean> {
  const answers = await Promise.all(workers.map((worker) => ask(worker, "/readyz")));
  return answers.some((answer) => answer?.status === 200);
}

/** `undefined` where it does not answer. */
function ask({ adminPort }: ChildEdge, path: string): Promise<{ status: number; body: string } | undefined> {
  return new Promise((resolve) => {
    if (adminPort === undefined) return resolve(undefined);
    // As silence: a whole answer may take longer, since metrics are many and made between requests.
    const timeout = SILENT_MS;
    const request = get({ host: "127.0.0.1", port: adminPort, path, agent: false, timeout }, (response) => {
      let body = "";
      response.setEncoding("utf8");
      response.on("data", (chunk: string) => {
        body += chunk;
      });
      response.on("end", () => resolve({ status: response.statusCode ?? 0, body }));
      response.on("error", () => resolve(undefined));
    });
    request.on("timeout", () => request.destroy());
    request.on("error", () => resolve(undefined));
  });
}
