import { formatAge, formatFull } from "../format.ts";
import { useNow } from "../use-now.ts";

/** How long ago; the exact time is one hover, or one reading of `datetime`, away. */
export function Age({ at }: { at: number }) {
  const now = useNow(5_000);
  return (
    <time dateTime={new Date(at).toISOString()} title={formatFull(at)} className="text-nowrap">
      {formatAge(at, now)}
    </time>
  );
}
