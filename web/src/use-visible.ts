import { useSyncExternalStore } from "react";

/**
 * Whether the tab is in front. Streams stop behind it: a browser opens six connections to one host, and six
 * forgotten tabs would otherwise take them all.
 */
export function useVisible(): boolean {
  return useSyncExternalStore(subscribe, () => document.visibilityState === "visible");
}

function subscribe(listener: () => void): () => void {
  document.addEventListener("visibilitychange", listener);
  return () => document.removeEventListener("visibilitychange", listener);
}
