import { useMutation, useQuery, useQueryClient } from "@tanstack/react-query";
import { Failed } from "../components/failed.tsx";
import { NewToken } from "../components/new-token.tsx";
import { RowsSkeleton } from "../components/rows-skeleton.tsx";
import { SessionTable } from "../components/session-table.tsx";
import { TokenForm } from "../components/token-form.tsx";
import { TokenTable } from "../components/token-table.tsx";
import { usePerson } from "../session.tsx";
import { useTRPC } from "../trpc.ts";
import { useRowFocus } from "../use-row-focus.ts";

/** What belongs to the person: for whom they act, their access tokens, where they are signed in. */
export function AccountPage() {
  const person = usePerson();
  return (
    <>
      <title>Account · OpenFaaS Cloud</title>
      <h1 className="h3 mb-2 text-break">Account of {person.name}</h1>
      <p className="text-body-secondary">
        {person.owners.length === 0
          ? "You act for no owner yet: none of yours has a linked repository."
          : `You are ${person.owners.map(({ slug, role }) => `${role} of ${slug}`).join(", ")}.`}
        {person.isOperator && " You are an operator of this platform."}
      </p>
      <Tokens />
      <Sessions />
    </>
  );
}

function Tokens() {
  const trpc = useTRPC();
  const queryClient = useQueryClient();
  const tokens = useQuery(trpc.tokens.list.queryOptions());
  const rows = useRowFocus(tokens.data);
  const reload = () => queryClient.invalidateQueries({ queryKey: trpc.tokens.list.queryKey() });
  const create = useMutation(trpc.tokens.create.mutationOptions({ onSuccess: reload }));
  const revoke = useMutation(trpc.tokens.revoke.mutationOptions({ onSuccess: reload }));
  return (
    <section className="mb-5" aria-labelledby="tokens" ref={rows.section}>
      <h2 className="h5 mb-3" id="tokens" tabIndex={-1}>
        Access tokens
      </h2>
      {tokens.isError && (
        <Failed
          what="your access tokens"
          error={tokens.error}
          retry={() => void tokens.refetch()}
          shownFrom={tokens.data && tokens.dataUpdatedAt}
        />
      )}
      {(tokens.data !== undefined || tokens.isPending) && (
        <div className="card mb-3 overflow-hidden">
          {tokens.data === undefined ? (
            <RowsSkeleton rows={2} what="your access tokens" />
          ) : tokens.data.length === 0 ? (
            <p className="p-4 mb-0">You have none. A program that acts for you needs one.</p>
          ) : (
            <TokenTable
              tokens={tokens.data}
              busy={revoke.isPending}
              onRevoke={(id) => {
                rows.rowGoes();
                revoke.mutate({ id });
              }}
            />
          )}
        </div>
      )}
      {revoke.isError && (
        <p className="text-danger-emphasis" role="alert">
          Not revoked: {revoke.error.message}
        </p>
      )}
      {create.isSuccess && (
        <NewToken key={create.data.id} name={create.variables.name} token={create.data.token} />
      )}
      <TokenForm
        busy={create.isPending}
        problem={create.error?.message}
        onSubmit={(wanted, form) => create.mutate(wanted, { onSuccess: () => form.reset() })}
      />
    </section>
  );
}

function Sessions() {
  const trpc = useTRPC();
  const queryClient = useQueryClient();
  const sessions = useQuery(trpc.session.list.queryOptions());
  const rows = useRowFocus(sessions.data);
  const end = useMutation(
    trpc.session.end.mutationOptions({
      onSuccess: () => queryClient.invalidateQueries({ queryKey: trpc.session.list.queryKey() }),
    }),
  );
  const endAll = useMutation(
    trpc.session.signOutEverywhere.mutationOptions({
      onSuccess: () => queryClient.setQueryData(trpc.session.current.queryKey(), null),
    }),
  );
  const problem = end.error ?? endAll.error;
  return (
    <section aria-labelledby="sessions" ref={rows.section}>
      <div className="d-flex flex-wrap align-items-center gap-3 mb-3">
        <h2 className="h5 mb-0 me-auto" id="sessions" tabIndex={-1}>
          Where you are signed in
        </h2>
        <button
          type="button"
          className="btn btn-sm btn-outline-danger"
          disabled={endAll.isPending}
          onClick={() => endAll.mutate()}
        >
          Sign out everywhere
        </button>
      </div>
      {sessions.isError && (
        <Failed
          what="your sessions"
          error={sessions.error}
          retry={() => void sessions.refetch()}
          shownFrom={sessions.data && sessions.dataUpdatedAt}
        />
      )}
      {problem !== null && (
        <p className="text-danger-emphasis" role="alert">
          Not signed out: {problem.message}
        </p>
      )}
      {(sessions.data !== undefined || sessions.isPending) && (
        <div className="card overflow-hidden">
          {sessions.data === undefined ? (
            <RowsSkeleton rows={2} what="your sessions" />
          ) : (
            <SessionTable
              sessions={sessions.data}
              busy={end.isPending}
              onEnd={(id) => {
                rows.rowGoes();
                end.mutate({ id });
              }}
            />
          )}
        </div>
      )}
    </section>
  );
}
