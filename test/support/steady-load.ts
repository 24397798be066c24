import { errorMessage } from "@openfaas-cloud/shared/known-error.ts";
import { HttpClient } from "./http-client.ts";

export interface LoadResult {
  readonly sent: number;
  /** Answers other than 200, and requests that got none, each with what went wrong. */
  readonly failures: readonly string[];
  readonly latenciesMs: readonly number[];
  /** Every different body, in the order in which they were first seen. */
  readonly bodies: readonly string[];
}

/** Requests at a steady rate, sent whether or not those before them were answered. */
export class SteadyLoad {
  readonly #client = new HttpClient();
  readonly #inFlight = new Set<Promise<void>>();
  readonly #failures: string[] = [];
  readonly #latenciesMs: number[] = [];
  readonly #bodies = new Set<string>();
  readonly #timer: NodeJS.Timeout;
  readonly #startedAt = performance.now();
  #sent = 0;

  constructor(url: string, perSecond: number) {
    const intervalMs = 1000 / perSecond;
    this.#timer = setInterval(() => {
      // By the clock and not by ticks: a timer that comes late must not lower the rate.
      while (this.#sent * intervalMs <= performance.now() - this.#startedAt) this.#send(url);
    }, intervalMs);
  }

  get sent(): number {
    return this.#sent;
  }

  saw(body: string): boolean {
    return this.#bodies.has(body);
  }

  async end(): Promise<LoadResult> {
    clearInterval(this.#timer);
    await Promise.all(this.#inFlight);
    this.#client[Symbol.dispose]();
    return {
      sent: this.#sent,
      failures: this.#failures,
      latenciesMs: this.#latenciesMs,
      bodies: [...this.#bodies],
    };
  }

  #send(url: string): void {
    this.#sent++;
    const at = performance.now();
    const request = this.#client.get(url).then(
      ({ status, body }) => {
        this.#latenciesMs.push(performance.now() - at);
        if (status === 200) this.#bodies.add(body);
        else this.#failures.push(`${status} ${body.slice(0, 200)}`);
      },
      (error: unknown) => void this.#failures.push(errorMessage(error)),
    );
    const settled = request.finally(() => this.#inFlight.delete(settled));
    this.#inFlight.add(settled);
  }
}
