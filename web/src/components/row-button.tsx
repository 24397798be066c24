interface RowButtonProps {
  readonly act: string;
  /** What it is done to, for whoever does not see the row. */
  readonly to: string;
  readonly busy: boolean;
  /** What is asked first. */
  readonly question?: string;
  readonly onPress: () => void;
}

/** Does away with what its row is about. Stays where the keyboard can be while that is under way. */
export function RowButton({ act, to, busy, question, onPress }: RowButtonProps) {
  const press = () => {
    if (!busy && (question === undefined || window.confirm(question))) onPress();
  };
  return (
    <button
      type="button"
      className={`btn btn-sm btn-outline-danger ${busy ? "disabled" : ""}`}
      aria-disabled={busy}
      onClick={press}
    >
      {act}
      <span className="visually-hidden"> {to}</span>
    </button>
  );
}

/** Above a column of such buttons. */
export function ActionsHeader({ className }: { readonly className: string }) {
  return (
    <th scope="col" className={className}>
      <span className="visually-hidden">Actions</span>
    </th>
  );
}
