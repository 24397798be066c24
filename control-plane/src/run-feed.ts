/**
 * `stop`: somebody asked for the end of a run that is under way; `ended`: the queue ended a run that nobody executes;
 * `progress`: anything else of it changed.
 */
export type RunNews = "progress" | "stop" | "ended";

type Listener = (runId: string, news: RunNews) => void;

/** Says within this process that something of a run changed; who listens reads the store. */
export class RunFeed {
  readonly #listeners = new Set<Listener>();

  changed(runId: string, news: RunNews = "progress"): void {
    for (const listener of this.#listeners) listener(runId, news);
  }

  onChange(listener: Listener): Disposable {
    this.#listeners.add(listener);
    return { [Symbol.dispose]: () => this.#listeners.delete(listener) };
  }

  /** Yields at once and then after each change of the run, as often as the reader takes it; ends with `signal`. */
  async *changesOf(runId: string, signal: AbortSignal): AsyncGenerator<void> {
    let pending = true;
    let wake: (() => void) | undefined;
    using _ = this.onChange((id) => {
      if (id !== runId) return;
      pending = true;
      wake?.();
    });
    const onAbort = () => wake?.();
    signal.addEventListener("abort", onAbort);
    try {
      while (!signal.aborted) {
        if (pending) {
          pending = false;
          yield;
        } else {
          await new Promise<void>((resolve) => {
            wake = resolve;
            if (pending || signal.aborted) resolve();
          });
        }
      }
    } finally {
      signal.removeEventListener("abort", onAbort);
    }
  }
}
