import type { FormEvent } from "react";
import { Field } from "./field.tsx";
import { FormEnd } from "./form-end.tsx";

interface SecretFormProps {
  readonly onSubmit: (form: HTMLFormElement) => void;
  readonly busy: boolean;
  readonly problem: string | undefined;
  readonly done: string | undefined;
}

export function SecretForm({ onSubmit, busy, problem, done }: SecretFormProps) {
  const submit = (event: FormEvent<HTMLFormElement>) => {
    event.preventDefault();
    if (!busy) onSubmit(event.currentTarget);
  };
  return (
    <form className="card card-body" onSubmit={submit}>
      <div className="row g-3">
        <Field label="Name" className="col-md-4">
          {(ids) => (
            <input
              {...ids}
              className="form-control font-monospace"
              name="name"
              required
              maxLength={253}
              pattern="[a-z0-9]([a-z0-9._\-]*[a-z0-9])?"
              title="a-z, 0-9, '.', '_' and '-'"
              autoComplete="off"
              spellCheck={false}
            />
          )}
        </Field>
        <Field
          label="Value"
          className="col-md-8"
          help="8 bytes at least. A name that is set already gets the new value."
        >
          {(ids) => (
            <textarea
              {...ids}
              className="form-control font-monospace"
              name="value"
              required
              minLength={8}
              rows={3}
              autoComplete="off"
              spellCheck={false}
            />
          )}
        </Field>
      </div>
      <FormEnd act="Set secret" busy={busy} problem={problem && `Not set: ${problem}`}>
        <span role="status">{problem === undefined && done}</span>
      </FormEnd>
    </form>
  );
}
