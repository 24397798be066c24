import { useQuery } from "@tanstack/react-query";
import { Link, useParams } from "react-router";
import { Command } from "../components/command.tsx";
import { DeploymentCard } from "../components/deployment-card.tsx";
import { Failed } from "../components/failed.tsx";
import { FunctionState } from "../components/function-state.tsx";
import { GitCard } from "../components/git-card.tsx";
import { Icon } from "../components/icon.tsx";
import { LogViewer } from "../components/log-viewer.tsx";
import { NotFound } from "../components/not-found.tsx";
import { RowsSkeleton } from "../components/rows-skeleton.tsx";
import { RunTable } from "../components/run-table.tsx";
import { Trail } from "../components/trail.tsx";
import { UsageCard } from "../components/usage-card.tsx";
import { describeServing } from "../format.ts";
import { type FunctionDetail, refusalCode, useTRPC } from "../trpc.ts";
import { useFunctionLog } from "../use-log.ts";

const pollMs = 3_000;
const tailLines = 200;

export function FunctionPage() {
  const { owner = "", function: name = "" } = useParams();
  return <OneFunction key={`${owner}/${name}`} owner={owner} name={name} />;
}

function OneFunction({ owner, name }: { owner: string; name: string }) {
  const trpc = useTRPC();
  const detail = useQuery(trpc.functions.get.queryOptions({ owner, name }, { refetchInterval: pollMs }));
  const usage = useQuery(
    trpc.functions.usage.queryOptions({ owner, name }, { refetchInterval: pollMs, enabled: !detail.isError }),
  );

  if (refusalCode(detail.error) === "NOT_FOUND") return <NotFound reason={detail.error?.message ?? ""} />;
  return (
    <>
      <title>{`${name} · ${owner} · OpenFaaS Cloud`}</title>
      <Trail>
        <Link to={`/${owner}`}>{owner}</Link>
        <span>{name}</span>
      </Trail>
      <div className="d-flex flex-wrap align-items-center gap-3">
        <h1 className="h3 mb-0 text-break">{name}</h1>
        {detail.data && <FunctionState state={detail.data.state} />}
        {detail.data && (
          <a href={detail.data.url} target="_blank" rel="noreferrer" className="btn btn-primary ms-sm-auto">
            <Icon name="open" className="me-2" />
            Open
          </a>
        )}
      </div>
      {detail.data && (
        <p className="mt-2 mb-0 text-break">{describeServing(detail.data, usage.data?.hour, Date.now())}</p>
      )}
      {detail.isError && (
        <div className="mt-3">
          <Failed
            what={name}
            error={detail.error}
            retry={() => void detail.refetch()}
            shownFrom={detail.data && detail.dataUpdatedAt}
          />
        </div>
      )}
      {detail.isPending && (
        <div className="card mt-3">
          <RowsSkeleton rows={6} what={name} />
        </div>
      )}
      {detail.data && (
        <div className="row g-4 mt-0">
          <div className="col-lg-7 d-flex flex-column gap-4">
            <DeploymentCard detail={detail.data} />
            <TryIt detail={detail.data} />
          </div>
          <div className="col-lg-5 d-flex flex-column gap-4">
            {usage.data ? (
              <UsageCard usage={usage.data} />
            ) : (
              <div className="card">
                {usage.isError ? (
                  <div className="card-body">
                    <Failed what="the invocations" error={usage.error} retry={() => void usage.refetch()} />
                  </div>
                ) : (
                  <RowsSkeleton rows={6} what="the invocations" />
                )}
              </div>
            )}
            <GitCard detail={detail.data} />
          </div>
          <div className="col-12">
            <RuntimeLog owner={owner} name={name} />
          </div>
          <div className="col-12">
            <RunsOfRepository owner={owner} repository={detail.data.repository} />
          </div>
        </div>
      )}
    </>
  );
}

function TryIt({ detail }: { detail: FunctionDetail }) {
  const credential = detail.access === "public" ? "" : '-H "Authorization: Bearer $TOKEN" ';
  return (
    <section aria-labelledby="try">
      <h2 className="h5" id="try">
        Try it
      </h2>
      {detail.access !== "public" && (
        <p className="text-body-secondary mb-2">
          It does not answer everybody: put your access token in <code>$TOKEN</code>.
        </p>
      )}
      <Command text={`curl -i ${credential}${detail.url}`} what="a command that invokes the function" />
    </section>
  );
}

function RuntimeLog({ owner, name }: { owner: string; name: string }) {
  const log = useFunctionLog(owner, name, tailLines);
  return (
    <section aria-labelledby="log">
      <div className="d-flex align-items-baseline justify-content-between">
        <h2 className="h5" id="log">
          Runtime log
        </h2>
        <Link to={`/${owner}/${name}/function-log`}>Full page</Link>
      </div>
      <div className="card overflow-hidden">
        <LogViewer
          log={log}
          name={`Log of ${name}`}
          empty="The function has not written a line yet. Invoke it; what it writes appears here."
          fileName={`${owner}-${name}.log`}
        />
      </div>
    </section>
  );
}

function RunsOfRepository({ owner, repository }: { owner: string; repository: string }) {
  const trpc = useTRPC();
  const runs = useQuery(
    trpc.runs.list.queryOptions({ owner, repository, limit: 5 }, { refetchInterval: pollMs }),
  );
  if (runs.data?.runs.length === 0) return null;
  return (
    <section aria-labelledby="runs">
      <h2 className="h5 text-break" id="runs">
        Recent runs of {repository}
      </h2>
      {runs.isError && (
        <Failed
          what="the runs"
          error={runs.error}
          retry={() => void runs.refetch()}
          shownFrom={runs.data && runs.dataUpdatedAt}
        />
      )}
      <div className="card overflow-hidden">
        {runs.data === undefined ? (
          <RowsSkeleton rows={3} what="the runs" />
        ) : (
          <RunTable runs={runs.data.runs} />
        )}
      </div>
    </section>
  );
}
