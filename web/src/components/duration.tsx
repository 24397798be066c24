import { formatDuration } from "../format.ts";
import { useNow } from "../use-now.ts";

/** Ticks until what it measures has finished. */
export function Duration({ from, to }: { from: number | undefined; to: number | undefined }) {
  const now = useNow(from !== undefined && to === undefined ? 1_000 : undefined);
  if (from === undefined) return <span className="text-body-secondary">–</span>;
  return <span className="text-nowrap">{formatDuration((to ?? now) - from)}</span>;
}
