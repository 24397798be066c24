import type { HeldRemoval } from "../trpc.ts";
import { Age } from "./age.tsx";
import { Icon } from "./icon.tsx";

interface HeldRemovalsProps {
  readonly held: readonly HeldRemoval[];
  readonly busy: boolean;
  readonly onConfirm: (id: string) => void;
}

/** So much at once is how a host looks that answers wrongly: an operator says whether it is right. */
export function HeldRemovals({ held, busy, onConfirm }: HeldRemovalsProps) {
  return held.map((one) => (
    <section key={one.id} className="alert alert-warning" aria-label={`Held back at ${one.instance}`}>
      <p className="mb-2">
        <Icon name="warning" className="me-2" />
        <strong>
          {one.instance} says that {one.repositories.length} repositories are not linked any more
        </strong>
        , with {one.functions} live functions. That is too much at once to be taken on trust, so they stay
        (since <Age at={one.engagedAt} />
        ).
      </p>
      <details className="mb-2">
        <summary>Which ones</summary>
        <ul className="mb-0">
          {one.repositories.map(({ name, reason }) => (
            <li key={name} className="text-break">
              {name}: {reason}
            </li>
          ))}
        </ul>
      </details>
      {one.confirmedAt === undefined ? (
        <button
          type="button"
          className="btn btn-sm btn-danger"
          disabled={busy}
          onClick={() => {
            if (window.confirm(`Take ${one.functions} functions of ${one.instance} away?`)) onConfirm(one.id);
          }}
        >
          It is right: take them away
        </button>
      ) : (
        <span role="status">Confirmed; they go with the next reading.</span>
      )}
    </section>
  ));
}
