import { useMutation, useQuery } from "@tanstack/react-query";
import { useSearchParams } from "react-router";
import { Failed } from "../components/failed.tsx";
import { HeldRemovals } from "../components/held-removals.tsx";
import { HostTable } from "../components/host-table.tsx";
import { LocalOnly } from "../components/local-only.tsx";
import { NewGitHubApp } from "../components/new-github-app.tsx";
import { NotFound } from "../components/not-found.tsx";
import { RowsSkeleton } from "../components/rows-skeleton.tsx";
import { usePerson } from "../session.tsx";
import { useTRPC } from "../trpc.ts";

const pollMs = 5_000;
const PROBLEMS: Readonly<Record<string, string>> = {
  stale: "That took too long, or was begun by somebody else. Begin again.",
  known: "This GitHub is a source host already.",
  refused: "GitHub does not know the App that it sent you back with. Begin again.",
  failed:
    "GitHub is not answering. Begin again in a moment; the App that it may have made can be deleted there.",
};

/** Where repositories come from besides the platform's own git. For operators. */
export function HostsPage() {
  const { isOperator } = usePerson();
  if (!isOperator) return <NotFound reason="This page is for the operators of the platform." />;
  return <Hosts />;
}

function Hosts() {
  const trpc = useTRPC();
  const [outcome] = useSearchParams();
  const hosts = useQuery(trpc.hosts.list.queryOptions());
  const platform = useQuery(
    trpc.platform.about.queryOptions(undefined, { staleTime: Number.POSITIVE_INFINITY }),
  );
  const status = useQuery(trpc.hosts.status.queryOptions(undefined, { refetchInterval: pollMs }));
  const confirm = useMutation(
    trpc.hosts.confirmRemoval.mutationOptions({ onSettled: () => void status.refetch() }),
  );
  const begin = useMutation(trpc.hosts.newGitHubApp.mutationOptions());
  const added = hosts.data?.find(({ instance }) => instance === outcome.get("added"));
  const problem = PROBLEMS[outcome.get("problem") ?? ""];
  return (
    <>
      <title>Source hosts · OpenFaaS Cloud</title>
      <h1 className="h3 mb-2">Source hosts</h1>
      <p className="text-body-secondary">
        Besides its own git, the platform deploys from these. GitLab, Bitbucket and GitHub Enterprise Server
        are added in the file that <code>CONTROL_PLANE_SOURCE_HOSTS</code> names.
      </p>
      {platform.data !== undefined && <LocalOnly address={platform.data.gitBaseUrl} />}
      {added !== undefined && (
        <div className="alert alert-success" role="status">
          <strong>{added.title} is added.</strong> Now{" "}
          {added.linkUrl === undefined ? (
            "link repositories there."
          ) : (
            <a href={added.linkUrl} className="alert-link">
              install the App on repositories
            </a>
          )}
        </div>
      )}
      {problem !== undefined && (
        <div className="alert alert-danger" role="alert">
          <strong>Not added.</strong> {problem}
        </div>
      )}
      {status.data !== undefined && (
        <HeldRemovals
          held={status.data.held}
          busy={confirm.isPending}
          onConfirm={(id) => confirm.mutate({ id })}
        />
      )}
      {confirm.isError && (
        <p className="text-danger-emphasis" role="alert">
          Not confirmed: {confirm.error.message}
        </p>
      )}
      {hosts.isError && (
        <Failed
          what="the source hosts"
          error={hosts.error}
          retry={() => void hosts.refetch()}
          shownFrom={hosts.data && hosts.dataUpdatedAt}
        />
      )}
      {(hosts.data !== undefined || hosts.isPending) && (
        <section className="card mb-4 overflow-hidden" aria-label="Source hosts">
          {hosts.data === undefined ? (
            <RowsSkeleton rows={2} what="the source hosts" />
          ) : hosts.data.length === 0 ? (
            <p className="p-4 mb-0">None yet: repositories are pushed to the platform's own git.</p>
          ) : (
            <HostTable hosts={hosts.data} health={status.data?.hosts ?? []} />
          )}
        </section>
      )}
      <NewGitHubApp
        prepare={(organization) => begin.mutateAsync(organization === undefined ? {} : { organization })}
        busy={begin.isPending}
        problem={begin.error?.message}
      />
    </>
  );
}
