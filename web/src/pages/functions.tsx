import { useInfiniteQuery, useQuery } from "@tanstack/react-query";
import { useId, useState } from "react";
import { Link, useParams } from "react-router";
import { Failed } from "../components/failed.tsx";
import { FirstPush } from "../components/first-push.tsx";
import { FunctionTable } from "../components/function-table.tsx";
import { Icon } from "../components/icon.tsx";
import { NotFound } from "../components/not-found.tsx";
import { OwnerTabs } from "../components/owner-tabs.tsx";
import { RowsSkeleton } from "../components/rows-skeleton.tsx";
import { RunTable } from "../components/run-table.tsx";
import { formatPlural } from "../format.ts";
import { usePerson } from "../session.tsx";
import { type FunctionSummary, type Person, type Platform, useTRPC, useTRPCClient } from "../trpc.ts";

const pollMs = 3_000;

/** All functions of the person, or those of one owner. */
export function FunctionsPage() {
  const { owner } = useParams();
  const { owners } = usePerson();
  if (owner !== undefined && !owners.some(({ slug }) => slug === owner)) {
    return <NotFound reason={`There is no owner ${owner}, or you are not a member of it.`} />;
  }
  return <Functions key={owner ?? ""} owner={owner} owners={owners} />;
}

function Functions({ owner, owners }: { owner: string | undefined; owners: Person["owners"] }) {
  const trpc = useTRPC();
  const client = useTRPCClient();
  const ofOwner = owner === undefined ? {} : { owner };
  const functions = useQuery(trpc.functions.list.queryOptions(ofOwner, { refetchInterval: pollMs }));
  const platform = useQuery(
    trpc.platform.about.queryOptions(undefined, { staleTime: Number.POSITIVE_INFINITY }),
  );
  const runs = useInfiniteQuery({
    queryKey: [...trpc.runs.list.queryKey(ofOwner), "pages"],
    queryFn: ({ pageParam, signal }) =>
      client.runs.list.query(
        { ...ofOwner, limit: 10, ...(pageParam === undefined ? {} : { before: pageParam }) },
        { signal },
      ),
    initialPageParam: undefined as string | undefined,
    getNextPageParam: (last) => last.next,
    refetchInterval: pollMs,
  });
  const [filter, setFilter] = useState("");
  const filterId = useId();

  const recent = runs.data?.pages.flatMap((page) => page.runs);
  const nothingLive = functions.data?.length === 0;
  const shown = functions.data?.filter((item) => matches(item, filter));
  const shownOwner = owner ?? (owners.length === 1 ? owners[0]?.slug : undefined);
  // Whose repositories live elsewhere links them there.
  const pushesHere = owners.find(
    ({ slug, host }) => host === undefined && (owner === undefined || slug === owner),
  )?.slug;
  const title = owner === undefined ? "Functions" : `Functions of ${owner}`;
  return (
    <>
      <title>{`${title} · OpenFaaS Cloud`}</title>
      {shownOwner !== undefined && <OwnerTabs owner={shownOwner} />}
      <div className="d-flex flex-wrap align-items-center gap-3 mb-3">
        <h1 className="h3 mb-0 me-auto text-break">{title}</h1>
        {!nothingLive && (
          <div className="filter">
            <label htmlFor={filterId} className="visually-hidden">
              Filter functions
            </label>
            <input
              id={filterId}
              type="search"
              className="form-control"
              placeholder="Filter functions"
              value={filter}
              onChange={(event) => setFilter(event.target.value)}
            />
          </div>
        )}
      </div>
      {functions.isError && (
        <Failed
          what="the functions"
          error={functions.error}
          retry={() => void functions.refetch()}
          shownFrom={functions.data && functions.dataUpdatedAt}
        />
      )}
      {nothingLive && recent !== undefined && (
        <section className="card mb-4" aria-labelledby="first-push">
          <div className="card-body p-4">
            <h2 className="h4" id="first-push">
              {recent.length === 0 ? "Push your first function" : "Nothing is live yet"}
            </h2>
            <p role="status" className="text-body-secondary">
              {recent.length === 0 ? (
                <>
                  <Icon name="repeat" className="turning me-2" />
                  Waiting for your first push. It appears here by itself.
                </>
              ) : (
                "Your push arrived; see how far it has come below."
              )}
            </p>
            {recent.length === 0 && platform.data !== undefined && (
              <FirstStep platform={platform.data} pushesHere={pushesHere} linksFor={shownOwner} />
            )}
          </div>
        </section>
      )}
      {!nothingLive && (functions.data !== undefined || functions.isPending) && (
        <section className="card mb-4 overflow-hidden" aria-label={title}>
          {shown === undefined ? (
            <RowsSkeleton rows={4} what="the functions" />
          ) : shown.length === 0 ? (
            <p className="p-4 mb-0">
              No function matches <strong className="text-break">{filter}</strong>.{" "}
              <button type="button" className="btn btn-link p-0 align-baseline" onClick={() => setFilter("")}>
                Show all {formatPlural(functions.data?.length ?? 0, "function")}
              </button>
            </p>
          ) : (
            <FunctionTable functions={shown} />
          )}
        </section>
      )}
      {runs.isError && (
        <Failed
          what="the runs"
          error={runs.error}
          retry={() => void runs.refetch()}
          shownFrom={runs.data && runs.dataUpdatedAt}
        />
      )}
      {recent?.length !== 0 && (recent !== undefined || runs.isPending) && (
        <section aria-labelledby="runs">
          <h2 className="h5 mb-3" id="runs">
            Recent runs
          </h2>
          <div className="card overflow-hidden">
            {recent === undefined ? <RowsSkeleton rows={4} what="the runs" /> : <RunTable runs={recent} />}
          </div>
          {runs.hasNextPage && (
            <button
              type="button"
              className="btn btn-outline-secondary mt-3"
              disabled={runs.isFetchingNextPage}
              onClick={() => void runs.fetchNextPage()}
            >
              {runs.isFetchingNextPage ? "Loading older runs …" : "Show older runs"}
            </button>
          )}
        </section>
      )}
      {platform.data !== undefined && (
        <p className="small text-body-secondary mt-4 mb-0">{platform.data.isolation.text}</p>
      )}
    </>
  );
}

interface FirstStepProps {
  readonly platform: Platform;
  /** An owner who pushes to the platform's own git; `undefined` where there is none. */
  readonly pushesHere: string | undefined;
  readonly linksFor: string | undefined;
}

function FirstStep({ platform, pushesHere, linksFor }: FirstStepProps) {
  if (pushesHere !== undefined) return <FirstPush platform={platform} owner={pushesHere} />;
  if (linksFor === undefined) return null;
  return (
    <Link to={`/repositories/${linksFor}`} className="btn btn-primary">
      Link a repository
    </Link>
  );
}

function matches(item: FunctionSummary, filter: string): boolean {
  const wanted = filter.trim().toLowerCase();
  return [item.name, item.owner, item.repository, item.branch, item.commit, item.state].some((value) =>
    value.toLowerCase().includes(wanted),
  );
}
