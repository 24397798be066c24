import { useQuery } from "@tanstack/react-query";
import { useParams } from "react-router";
import { Failed } from "../components/failed.tsx";
import { LinkRepository } from "../components/link-repository.tsx";
import { NotFound } from "../components/not-found.tsx";
import { OwnerTabs } from "../components/owner-tabs.tsx";
import { RepositoryTable } from "../components/repository-table.tsx";
import { RowsSkeleton } from "../components/rows-skeleton.tsx";
import { usePerson } from "../session.tsx";
import { useTRPC } from "../trpc.ts";

const pollMs = 5_000;

/** What an owner deploys from, and how to add to it. */
export function RepositoriesPage() {
  const { owner = "" } = useParams();
  const found = usePerson().owners.find(({ slug }) => slug === owner);
  if (found === undefined) {
    return <NotFound reason={`There is no owner ${owner}, or you are not a member of it.`} />;
  }
  return <Repositories owner={owner} host={found.host} key={owner} />;
}

function Repositories({ owner, host }: { owner: string; host: string | undefined }) {
  const trpc = useTRPC();
  const repositories = useQuery(trpc.repositories.list.queryOptions({ owner }, { refetchInterval: pollMs }));
  const hosts = useQuery(trpc.hosts.list.queryOptions());
  const platform = useQuery(
    trpc.platform.about.queryOptions(undefined, { staleTime: Number.POSITIVE_INFINITY }),
  );
  const linkable = hosts.data?.filter(({ instance }) => host === undefined || instance === host);
  const title = `Repositories of ${owner}`;
  return (
    <>
      <title>{`${title} · OpenFaaS Cloud`}</title>
      <OwnerTabs owner={owner} />
      <h1 className="h3 mb-3 text-break">{title}</h1>
      {repositories.isError && (
        <Failed
          what="the repositories"
          error={repositories.error}
          retry={() => void repositories.refetch()}
          shownFrom={repositories.data && repositories.dataUpdatedAt}
        />
      )}
      {(repositories.data !== undefined || repositories.isPending) && (
        <section className="card mb-4 overflow-hidden" aria-label={title}>
          {repositories.data === undefined ? (
            <RowsSkeleton rows={3} what="the repositories" />
          ) : repositories.data.length === 0 ? (
            <p className="p-4 mb-0">None yet. Link the first one below; it appears here by itself.</p>
          ) : (
            <RepositoryTable repositories={repositories.data} />
          )}
        </section>
      )}
      <h2 className="h5 mb-3">Link a repository</h2>
      {hosts.isError && (
        <Failed what="the source hosts" error={hosts.error} retry={() => void hosts.refetch()} />
      )}
      {host !== undefined && linkable?.length === 0 && (
        <p>
          The platform does not follow <strong className="text-break">{host}</strong> any more, so that
          nothing of it deploys. Ask the operator of the platform.
        </p>
      )}
      <LinkRepository
        hosts={linkable ?? []}
        platform={host === undefined ? platform.data : undefined}
        owner={owner}
      />
    </>
  );
}
