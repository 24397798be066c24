import { errorMessage } from "@openfaas-cloud/shared/known-error.ts";
import type { RunningEdge } from "../edge.ts";
import type { LineOutput } from "../line-output.ts";
import type { Logger } from "../logger.ts";
import type { Successor } from "./successor.ts";

export interface SuccessionOptions {
  readonly edge: Pick<RunningEdge, "sockets" | "leaveAdminPort">;
  /** Where this edge and its successor both write. */
  readonly output: Pick<LineOutput, "shared">;
  /** From a successor being told to go to it being killed. */
  readonly graceMs: number;
  readonly logger: Logger;
}

/** How this edge is followed by a new process, of the program that is on the disk by then. */
export class Succession {
  readonly #options: SuccessionOptions;
  #starting = false;
  #stopped = false;
  /** As long as it does not serve. */
  #next: Successor | undefined;

  constructor(options: SuccessionOptions) {
    this.#options = options;
  }

  /** Tells whether a new process serves in the place of this one. */
  async handOver(): Promise<boolean> {
    if (this.#starting || this.#stopped) return false;
    this.#starting = true;
    const { edge, output, logger } = this.#options;
    const sharedBefore = output.shared;
    try {
      // Loaded when it is needed, which in most processes it never is.
      const { Successor } = await import("./successor.ts");
      if (this.#stopped) return false;
      output.shared = true;
      this.#next = new Successor(edge.sockets);
      const { pid } = this.#next;
      logger.info({ pid }, "starting a successor");
      await this.#next.serving();
      logger.info({ pid }, "the successor serves");
      edge.leaveAdminPort();
      return true;
    } catch (error) {
      if (!this.#stopped) logger.error({ error: errorMessage(error) }, "no successor");
      output.shared = sharedBefore;
      return false;
    } finally {
      this.#starting = false;
      this.#next = undefined;
    }
  }

  /** This edge goes: a successor that does not serve yet goes with it, since nobody would know of it. */
  async stop(): Promise<void> {
    this.#stopped = true;
    await this.#next?.drain(this.#options.graceMs);
  }

  kill(): void {
    this.#next?.kill();
  }
}
