import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { KnownError } from "@openfaas-cloud/shared/known-error.ts";
import { must } from "@openfaas-cloud/shared/must.ts";
import type { ReadyMessage } from "@openfaas-cloud/shared/process-message.ts";
import type { EdgeSockets } from "../edge.ts";
import { HTTP_SOCKET, HTTPS_SOCKET } from "../listen.ts";
import type { FromEdge, FromPrimary } from "./edge-message.ts";

const FIRST_DESCRIPTOR = 3;

export interface ChildEdgePlan {
  /** What it is told besides what this process was told; an empty variable is as good as none. */
  readonly environment: Readonly<Record<string, string>>;
  /** Given to it from descriptor 3 on (sd_listen_fds(3)). Without one for the admin port it opens its own. */
  readonly sockets: Omit<EdgeSockets, "admin"> & Partial<EdgeSockets>;
  /** It says how many connections it has. */
  onConnections?(): void;
}

/**
 * Another process of this program, as it is on the disk now: one life of it. It ends by itself when this process does, unless
 * it is a successor.
 */
export class ChildEdge {
  /** Rejects where it ended before. */
  readonly ready: Promise<ReadyMessage>;
  /** Has a table to serve from. Rejects where it ended before. */
  readonly serving: Promise<void>;
  /** How it ended, when nothing more can be heard from it. */
  readonly ended: Promise<string>;
  /** Whether it has a table to serve from. */
  serves = false;
  /** Its client connections. */
  connections = 0;
  /** The port of its `/metrics`, once it is ready. */
  adminPort: number | undefined;
  /** What it had counted when it went; `undefined` where it was killed. */
  lastCounts: string | undefined;
  readonly #child: ChildProcess;
  #toldFewest: number | undefined;
  #drained: Promise<void> | undefined;

  constructor({ environment, sockets, onConnections }: ChildEdgePlan) {
    const program = must(process.argv[1], "the program's path");
    const { http, https, admin } = sockets;
    const clients = [...http, ...https];
    const handedOver = {
      LISTEN_FDS: String(clients.length),
      LISTEN_FDNAMES: [...http.map(() => HTTP_SOCKET), ...https.map(() => HTTPS_SOCKET)].join(":"),
      EDGE_ADMIN_FD: admin === undefined ? "" : String(FIRST_DESCRIPTOR + clients.length),
    };
    const child = spawn(process.execPath, [...process.execArgv, program], {
      // A process group of its own: Ctrl-C reaches this process alone, which ends the others in their order.
      detached: true,
      env: { ...process.env, ...environment, ...handedOver },
      stdio: ["ignore", "inherit", "inherit", ...clients, ...(admin === undefined ? [] : [admin]), "ipc"],
    });
    this.#child = child;
    const ready = Promise.withResolvers<ReadyMessage>();
    const serving = Promise.withResolvers<void>();
    child.on("message", (message: FromEdge) => {
      switch (message.kind) {
        case "ready":
          this.adminPort = message.adminPort;
          return ready.resolve(message);
        case "serving":
          this.serves = true;
          return serving.resolve();
        case "connections":
          this.connections = message.open;
          return onConnections?.();
        case "last-counts":
          this.lastCounts = message.metrics;
      }
    });
    this.ready = ready.promise;
    this.serving = serving.promise;
    this.ended = end(child);
    void this.ended.then((how) => {
      const error = new KnownError("edge-ended", `the process ended (${how})`);
      ready.reject(error);
      serving.reject(error);
    });
    for (const promise of [this.ready, this.serving]) promise.catch(ignore);
  }

  get pid(): number | undefined {
    return this.#child.pid;
  }

  /** So many connections has the one of the other workers that has the fewest. */
  tellFewest(open: number): void {
    if (open === this.#toldFewest || !this.#child.connected) return;
    this.#toldFewest = open;
    this.#child.send({ kind: "fewest", open } satisfies FromPrimary, ignore);
  }

  /** SIGTERM, and SIGKILL after `graceMs`. Resolves when it has ended. */
  drain(graceMs: number): Promise<void> {
    // Once: it obeys a second signal at once.
    this.#drained ??= this.#drain(graceMs);
    return this.#drained;
  }

  async #drain(graceMs: number): Promise<void> {
    this.#child.kill("SIGTERM");
    const tooLong = setTimeout(() => this.kill(), graceMs);
    await this.ended;
    clearTimeout(tooLong);
  }

  kill(): void {
    this.#child.kill("SIGKILL");
  }

  /** Lets it live on when this process ends. */
  leaveAlone(): void {
    this.#child.disconnect();
    this.#child.unref();
  }
}

async function end(child: ChildProcess): Promise<string> {
  const how = await new Promise<string>((resolve) => {
    child.once("exit", (code, signal) => resolve(signal === null ? `exit code ${code}` : `signal ${signal}`));
    // Only one that was never started ends by an error; a message that could not be sent is none of its life.
    child.on("error", (error) => child.pid === undefined && resolve(error.message));
  });
  // What it said last may be read after its end.
  if (child.connected) await once(child, "disconnect");
  return how;
}

function ignore(): void {
  // Said by the process's end.
}
