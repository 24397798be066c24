import { useConnection } from "../connection.ts";
import { formatClock } from "../format.ts";
import { refusalCode } from "../trpc.ts";
import { Icon } from "./icon.tsx";

interface FailedProps {
  /** `the functions`: what could not be loaded. */
  readonly what: string;
  readonly error: { readonly message: string };
  readonly retry: () => void;
  /** When what still stands on the page was loaded; `undefined` where nothing was. */
  readonly shownFrom?: number | undefined;
}

export function Failed({ what, error, retry, shownFrom }: FailedProps) {
  const connection = useConnection();
  // The banner says it for the whole page.
  if (connection.kind === "lost" && shownFrom !== undefined) return null;
  return (
    <div className="alert alert-danger d-flex flex-wrap gap-3 align-items-center" role="alert">
      <Icon name="failure" />
      <div className="flex-grow-1 text-break">
        <strong>Could not load {what}.</strong>{" "}
        {refusalCode(error) === undefined ? "The control plane did not answer." : error.message}
        {shownFrom !== undefined && ` Shown is what was true at ${formatClock(shownFrom, Date.now())}.`}
      </div>
      <button type="button" className="btn btn-sm btn-outline-danger" onClick={retry}>
        <Icon name="redo" className="me-1" />
        Retry
      </button>
    </div>
  );
}
