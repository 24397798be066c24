import { createContext, use, useSyncExternalStore } from "react";

/** Whether the control plane answers: `lost` says since when what is shown may be old. */
export type ConnectionState =
  | { readonly kind: "connected" }
  | { readonly kind: "lost"; readonly lastAnswerAt: number | undefined };

/** What the edge says in the place of a control plane that it cannot reach. */
const edgeAnswered: ReadonlySet<number> = new Set([502, 503, 504]);

/** Watches every call, so that no call of its own is needed to know. */
export class Connection {
  #state: ConnectionState = { kind: "connected" };
  #lastAnswerAt: number | undefined;
  readonly #listeners = new Set<() => void>();

  readonly fetch = async (input: RequestInfo | URL, init?: object): Promise<Response> => {
    try {
      const response = await globalThis.fetch(input, init);
      if (edgeAnswered.has(response.status)) this.#lost();
      else this.#answered();
      return response;
    } catch (error) {
      if (!(error instanceof DOMException && error.name === "AbortError")) this.#lost();
      throw error;
    }
  };

  readonly subscribe = (listener: () => void): (() => void) => {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  };

  readonly state = (): ConnectionState => this.#state;

  #answered(): void {
    this.#lastAnswerAt = Date.now();
    if (this.#state.kind === "lost") this.#become({ kind: "connected" });
  }

  #lost(): void {
    if (this.#state.kind === "connected") this.#become({ kind: "lost", lastAnswerAt: this.#lastAnswerAt });
  }

  #become(state: ConnectionState): void {
    this.#state = state;
    for (const listener of this.#listeners) listener();
  }
}

export const ConnectionContext = createContext(new Connection());

export function useConnection(): ConnectionState {
  const connection = use(ConnectionContext);
  return useSyncExternalStore(connection.subscribe, connection.state);
}
