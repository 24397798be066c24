import { Children, type ReactNode } from "react";

/** From the owner down to this page, which is the last child. */
export function Trail({ children }: { children: ReactNode }) {
  const steps = Children.toArray(children);
  return (
    <nav aria-label="Breadcrumb">
      <ol className="breadcrumb small mb-2">
        {steps.map((step, index) => {
          const last = index === steps.length - 1;
          return (
            // biome-ignore lint/suspicious/noArrayIndexKey: a step is its place in the trail
            <li key={index} className="breadcrumb-item text-break" aria-current={last ? "page" : undefined}>
              {step}
            </li>
          );
        })}
      </ol>
    </nav>
  );
}
