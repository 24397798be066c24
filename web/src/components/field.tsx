import { type ReactNode, useId } from "react";

interface FieldProps {
  readonly label: string;
  readonly className: string;
  readonly help?: string;
  readonly children: (ids: { readonly id: string; readonly "aria-describedby"?: string }) => ReactNode;
}

/** A control with its label and, where there is one, its help. */
export function Field({ label, className, help, children }: FieldProps) {
  const id = useId();
  return (
    <div className={className}>
      <label className="form-label" htmlFor={id}>
        {label}
      </label>
      {children(help === undefined ? { id } : { id, "aria-describedby": `${id}-help` })}
      {help !== undefined && (
        <div className="form-text" id={`${id}-help`}>
          {help}
        </div>
      )}
    </div>
  );
}
