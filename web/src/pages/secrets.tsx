import { useMutation, useQuery, useQueryClient } from "@tanstack/react-query";
import { useParams } from "react-router";
import { Failed } from "../components/failed.tsx";
import { NotFound } from "../components/not-found.tsx";
import { OwnerTabs } from "../components/owner-tabs.tsx";
import { RowsSkeleton } from "../components/rows-skeleton.tsx";
import { SecretForm } from "../components/secret-form.tsx";
import { SecretTable } from "../components/secret-table.tsx";
import { useOwners } from "../session.tsx";
import { useTRPC } from "../trpc.ts";
import { useRowFocus } from "../use-row-focus.ts";

/** An owner's secrets: names are shown, values can only be written. */
export function SecretsPage() {
  const { owner = "" } = useParams();
  const owners = useOwners();
  if (!owners.includes(owner)) {
    return <NotFound reason={`There is no owner ${owner}, or you are not a member of it.`} />;
  }
  return <Secrets owner={owner} key={owner} />;
}

function Secrets({ owner }: { owner: string }) {
  const trpc = useTRPC();
  const queryClient = useQueryClient();
  const secrets = useQuery(trpc.secrets.list.queryOptions({ owner }));
  const reload = () => queryClient.invalidateQueries({ queryKey: trpc.secrets.list.queryKey({ owner }) });
  const set = useMutation(trpc.secrets.set.mutationOptions({ onSuccess: reload }));
  const remove = useMutation(trpc.secrets.remove.mutationOptions({ onSuccess: reload }));

  const rows = useRowFocus(secrets.data);

  const submit = (form: HTMLFormElement) => {
    const given = new FormData(form);
    set.mutate(
      { owner, name: String(given.get("name")).trim(), value: String(given.get("value")) },
      { onSuccess: () => form.reset() },
    );
  };
  const title = `Secrets of ${owner}`;
  return (
    <>
      <title>{`${title} · OpenFaaS Cloud`}</title>
      <OwnerTabs owner={owner} />
      <h1 className="h3 mb-2 text-break">{title}</h1>
      <p className="text-body-secondary">
        A function that names one under <code>secrets:</code> in its stack file finds it as the file{" "}
        <code>/var/openfaas/secrets/&lt;name&gt;</code> from its next push on. Values are never shown again.
      </p>
      {secrets.isError && (
        <Failed
          what="the secrets"
          error={secrets.error}
          retry={() => void secrets.refetch()}
          shownFrom={secrets.data && secrets.dataUpdatedAt}
        />
      )}
      {(secrets.data !== undefined || secrets.isPending) && (
        <section ref={rows.section} tabIndex={-1} className="card mb-4 overflow-hidden" aria-label={title}>
          {secrets.data === undefined ? (
            <RowsSkeleton rows={2} what="the secrets" />
          ) : secrets.data.length === 0 ? (
            <p className="p-4 mb-0">There is none yet. Set the first one below.</p>
          ) : (
            <SecretTable
              secrets={secrets.data}
              busy={remove.isPending}
              onRemove={(name) => {
                rows.rowGoes();
                remove.mutate({ owner, name });
              }}
            />
          )}
        </section>
      )}
      {remove.isError && (
        <p className="text-danger-emphasis" role="alert">
          Not removed: {remove.error.message}
        </p>
      )}
      <h2 className="h5 mb-3">Set a secret</h2>
      <SecretForm
        onSubmit={submit}
        busy={set.isPending}
        problem={set.error?.message}
        done={set.isSuccess ? `${set.variables.name} is set.` : undefined}
      />
    </>
  );
}
