import type { RunDetail } from "../trpc.ts";

/** What the author wrote that has no effect here, so that nobody has to find out. */
export function IgnoredKeys({ keys }: { keys: RunDetail["ignoredKeys"] }) {
  return (
    <section className="card" aria-labelledby="ignored">
      <h2 className="card-header h6 mb-0" id="ignored">
        Ignored keys of the stack file
      </h2>
      <dl className="card-body mb-0 facts facts-wide">
        {keys.map(({ key, reason }) => (
          <div key={key} className="fact">
            <dt>
              <code className="text-break">{key}</code>
            </dt>
            <dd>{reason}</dd>
          </div>
        ))}
      </dl>
    </section>
  );
}
