import { KnownError } from "@openfaas-cloud/shared/known-error.ts";
import type { EdgeSockets } from "../edge.ts";
import { ChildEdge } from "./child-edge.ts";

const SERVING_MS = 60_000;

/** This program started anew, as it is on the disk now, on the sockets of this process. */
export class Successor {
  readonly #process: ChildEdge;
  #told = false;

  constructor(sockets: EdgeSockets) {
    this.#process = new ChildEdge({ environment: { EDGE_SUCCESSOR: "1" }, sockets });
  }

  get pid(): number | undefined {
    return this.#process.pid;
  }

  /**
   * Resolves when it serves; from then on it is left alone and lives on when this process ends.
   * @throws KnownError `no-successor` where it does not get there in time, or is told to go before: then it is gone
   */
  async serving(): Promise<void> {
    const tooLate = setTimeout(() => this.kill(), SERVING_MS);
    try {
      await this.#process.serving;
    } catch (error) {
      const message = `the successor had no routes after ${SERVING_MS} ms or ended before, this edge serves on`;
      throw new KnownError("no-successor", message, { cause: error });
    } finally {
      clearTimeout(tooLate);
    }
    if (this.#told) throw new KnownError("no-successor", "the successor was told to go before it served");
    this.#process.leaveAlone();
  }

  /** SIGTERM, and SIGKILL after `graceMs`. Resolves when it has ended. */
  drain(graceMs: number): Promise<void> {
    this.#told = true;
    return this.#process.drain(graceMs);
  }

  kill(): void {
    this.#process.kill();
  }
}
