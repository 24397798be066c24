import type { ReactNode } from "react";

interface FormEndProps {
  readonly act: string;
  readonly busy: boolean;
  /** What was not done, and why. */
  readonly problem: string | undefined;
  /** What is said when all went well. */
  readonly children?: ReactNode;
}

/** The button of a form, and what came of it. Stays where the keyboard can be while it is under way. */
export function FormEnd({ act, busy, problem, children }: FormEndProps) {
  return (
    <div className="d-flex flex-wrap align-items-center gap-3 mt-3">
      <button className={`btn btn-primary ${busy ? "disabled" : ""}`} type="submit" aria-disabled={busy}>
        {act}
      </button>
      {children}
      {problem !== undefined && (
        <span className="text-danger-emphasis text-break" role="alert">
          {problem}
        </span>
      )}
    </div>
  );
}
