import { useInfiniteQuery } from "@tanstack/react-query";
import { useParams } from "react-router";
import { AuditTable } from "../components/audit-table.tsx";
import { Failed } from "../components/failed.tsx";
import { NotFound } from "../components/not-found.tsx";
import { OwnerTabs } from "../components/owner-tabs.tsx";
import { RowsSkeleton } from "../components/rows-skeleton.tsx";
import { usePerson } from "../session.tsx";
import { useTRPC, useTRPCClient } from "../trpc.ts";

/** What was done to what is an owner's. For its admins. */
export function AuditPage() {
  const { owner = "" } = useParams();
  const role = usePerson().owners.find(({ slug }) => slug === owner)?.role;
  if (role === undefined)
    return <NotFound reason={`There is no owner ${owner}, or you are not a member of it.`} />;
  return role === "admin" ? (
    <Audit owner={owner} key={owner} />
  ) : (
    <NotFound reason={`What was done at ${owner} is for its admins to see.`} />
  );
}

function Audit({ owner }: { owner: string }) {
  const trpc = useTRPC();
  const client = useTRPCClient();
  const events = useInfiniteQuery({
    queryKey: [...trpc.audit.list.queryKey({ owner }), "pages"],
    queryFn: ({ pageParam, signal }) =>
      client.audit.list.query(
        { owner, ...(pageParam === undefined ? {} : { before: pageParam }) },
        { signal },
      ),
    initialPageParam: undefined as number | undefined,
    getNextPageParam: (last) => last.next,
  });
  const shown = events.data?.pages.flatMap((page) => page.events);
  const title = `Audit trail of ${owner}`;
  return (
    <>
      <title>{`${title} · OpenFaaS Cloud`}</title>
      <OwnerTabs owner={owner} />
      <h1 className="h3 mb-2 text-break">{title}</h1>
      <p className="text-body-secondary">
        Every act of a person and what followed from it. Nothing in it can be changed without a trace.
      </p>
      {events.isError && (
        <Failed
          what="the audit trail"
          error={events.error}
          retry={() => void events.refetch()}
          shownFrom={events.data && events.dataUpdatedAt}
        />
      )}
      {(shown !== undefined || events.isPending) && (
        <section className="card overflow-hidden" aria-label={title}>
          {shown === undefined ? (
            <RowsSkeleton rows={5} what="the audit trail" />
          ) : shown.length === 0 ? (
            <p className="p-4 mb-0">{events.hasNextPage ? "Nothing lately." : "Nothing was done yet."}</p>
          ) : (
            <AuditTable events={shown} />
          )}
        </section>
      )}
      {events.hasNextPage && (
        <button
          type="button"
          className="btn btn-outline-secondary mt-3"
          disabled={events.isFetchingNextPage}
          onClick={() => void events.fetchNextPage()}
        >
          {events.isFetchingNextPage ? "Loading older events …" : "Show older events"}
        </button>
      )}
    </>
  );
}
