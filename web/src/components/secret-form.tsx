import { type FormEventHandler, useId } from "react";

interface SecretFormProps {
  readonly onSubmit: FormEventHandler<HTMLFormElement>;
  readonly busy: boolean;
  readonly problem: string | undefined;
  readonly done: string | undefined;
}

export function SecretForm({ onSubmit, busy, problem, done }: SecretFormProps) {
  const id = useId();
  return (
    <form className="card card-body" onSubmit={onSubmit}>
      <div className="row g-3">
        <div className="col-md-4">
          <label className="form-label" htmlFor={`${id}-name`}>
            Name
          </label>
          <input
            className="form-control font-monospace"
            id={`${id}-name`}
            name="name"
            required
            maxLength={253}
            pattern="[a-z0-9]([a-z0-9._\-]*[a-z0-9])?"
            title="a-z, 0-9, '.', '_' and '-'"
            autoComplete="off"
            spellCheck={false}
          />
        </div>
        <div className="col-md-8">
          <label className="form-label" htmlFor={`${id}-value`}>
            Value
          </label>
          <textarea
            className="form-control font-monospace"
            id={`${id}-value`}
            name="value"
            required
            minLength={8}
            rows={3}
            autoComplete="off"
            spellCheck={false}
            aria-describedby={`${id}-help`}
          />
          <div className="form-text" id={`${id}-help`}>
            8 bytes at least. A name that is set already gets the new value.
          </div>
        </div>
      </div>
      <div className="d-flex flex-wrap align-items-center gap-3 mt-3">
        <button className="btn btn-primary" type="submit" disabled={busy}>
          Set secret
        </button>
        <span role="status">{problem === undefined && done}</span>
        {problem !== undefined && (
          <span className="text-danger-emphasis text-break" role="alert">
            Not set: {problem}
          </span>
        )}
      </div>
    </form>
  );
}
