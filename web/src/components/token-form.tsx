import { type FormEvent, useId } from "react";
import { Field } from "./field.tsx";
import { FormEnd } from "./form-end.tsx";

export const SCOPES = [
  { name: "read", means: "see what you see in the dashboard" },
  { name: "write", means: "redeploy, cancel, set secrets" },
  { name: "push", means: "push to this platform's own git" },
  { name: "invoke", means: "call functions that ask who is calling" },
] as const;
export type GrantedScope = (typeof SCOPES)[number]["name"];

export interface WantedToken {
  readonly name: string;
  readonly scopes: GrantedScope[];
  readonly expiresInDays: number | null;
}

interface TokenFormProps {
  readonly onSubmit: (wanted: WantedToken, form: HTMLFormElement) => void;
  readonly busy: boolean;
  readonly problem: string | undefined;
}

const LIFETIMES = [
  { days: 30, word: "30 days" },
  { days: 90, word: "90 days" },
  { days: 365, word: "a year" },
] as const;

export function TokenForm({ onSubmit, busy, problem }: TokenFormProps) {
  const id = useId();
  const submit = (event: FormEvent<HTMLFormElement>) => {
    event.preventDefault();
    if (busy) return;
    const form = event.currentTarget;
    const given = new FormData(form);
    const days = String(given.get("days"));
    onSubmit(
      {
        name: String(given.get("name")).trim(),
        scopes: SCOPES.map(({ name }) => name).filter((name) => given.get(name) === "on"),
        expiresInDays: days === "never" ? null : Number(days),
      },
      form,
    );
  };
  return (
    <form className="card card-body" onSubmit={submit}>
      <div className="row g-3">
        <Field label="What it is for" className="col-md-8">
          {(ids) => (
            <input
              {...ids}
              className="form-control"
              name="name"
              required
              maxLength={100}
              autoComplete="off"
            />
          )}
        </Field>
        <Field label="Expires after" className="col-md-4">
          {(ids) => (
            <select {...ids} className="form-select" name="days" defaultValue="90">
              {LIFETIMES.map(({ days, word }) => (
                <option key={days} value={days}>
                  {word}
                </option>
              ))}
              <option value="never">never</option>
            </select>
          )}
        </Field>
        <fieldset className="col-12">
          <legend className="form-label fs-6">It may</legend>
          {SCOPES.map(({ name, means }) => (
            <div key={name} className="form-check">
              <input
                className="form-check-input"
                type="checkbox"
                id={`${id}-${name}`}
                name={name}
                defaultChecked={name === "read"}
              />
              <label className="form-check-label" htmlFor={`${id}-${name}`}>
                <strong className="fw-semibold">{name}</strong>: {means}
              </label>
            </div>
          ))}
        </fieldset>
      </div>
      <FormEnd act="Make token" busy={busy} problem={problem && `Not made: ${problem}`} />
    </form>
  );
}
