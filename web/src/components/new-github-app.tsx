import { type FormEvent, useId, useRef } from "react";
import type { GitHubAppForm } from "../trpc.ts";
import { Icon } from "./icon.tsx";

interface NewGitHubAppProps {
  /** Asks for what is to be posted to GitHub. */
  readonly prepare: (organization: string | undefined) => Promise<GitHubAppForm>;
  readonly busy: boolean;
  readonly problem: string | undefined;
}

/** GitHub makes the App from what this platform posts to it, and sends the operator back. */
export function NewGitHubApp({ prepare, busy, problem }: NewGitHubAppProps) {
  const id = useId();
  const posted = useRef<HTMLFormElement>(null);
  const submit = async (event: FormEvent<HTMLFormElement>) => {
    event.preventDefault();
    const organization = String(new FormData(event.currentTarget).get("organization")).trim();
    const { action, manifest } = await prepare(organization === "" ? undefined : organization);
    const form = posted.current;
    const field = form?.elements.namedItem("manifest");
    if (form === null || !(field instanceof HTMLInputElement)) return;
    form.action = action;
    field.value = manifest;
    form.submit();
  };
  return (
    <section className="card card-body mb-4" aria-labelledby={`${id}-title`}>
      <h2 className="h5" id={`${id}-title`}>
        Add GitHub
      </h2>
      <p className="text-body-secondary">
        GitHub makes an App for this platform, with the permissions it needs and no others, and brings you
        back here. Nothing has to be copied.
      </p>
      <form
        onSubmit={(event) => void submit(event).catch(() => undefined)}
        className="row g-3 align-items-end"
      >
        <div className="col-md-6">
          <label className="form-label" htmlFor={`${id}-organization`}>
            Organisation that the App is to belong to
          </label>
          <input
            className="form-control"
            id={`${id}-organization`}
            name="organization"
            placeholder="empty: your own account"
            pattern="[A-Za-z0-9\-]{1,100}"
            title="An organisation's login"
            autoComplete="off"
            spellCheck={false}
          />
        </div>
        <div className="col-md-auto">
          <button type="submit" className="btn btn-primary" disabled={busy}>
            Create the GitHub App
            <Icon name="open" className="ms-2" />
          </button>
        </div>
      </form>
      {problem !== undefined && (
        <p className="text-danger-emphasis mt-3 mb-0" role="alert">
          Not begun: {problem}
        </p>
      )}
      <form ref={posted} method="post" hidden>
        <input type="hidden" name="manifest" />
      </form>
    </section>
  );
}
