import { useMutation, useQuery, useQueryClient } from "@tanstack/react-query";
import { useSubscription } from "@trpc/tanstack-react-query";
import { Link, useNavigate, useParams } from "react-router";
import { Age } from "../components/age.tsx";
import { Commit } from "../components/commit.tsx";
import { Duration } from "../components/duration.tsx";
import { Failed } from "../components/failed.tsx";
import { Icon } from "../components/icon.tsx";
import { IgnoredKeys } from "../components/ignored-keys.tsx";
import { LogViewer } from "../components/log-viewer.tsx";
import { NotFound } from "../components/not-found.tsx";
import { PhaseBar } from "../components/phase-bar.tsx";
import { RowsSkeleton } from "../components/rows-skeleton.tsx";
import { RunOutcome } from "../components/run-outcome.tsx";
import { RunStatus } from "../components/run-status.tsx";
import { StageTable } from "../components/stage-table.tsx";
import { Trail } from "../components/trail.tsx";
import { useConnection } from "../connection.ts";
import { authorName, firstLine } from "../format.ts";
import { hasEnded, phasesOf } from "../phases.ts";
import { type RunDetail, refusalCode, useTRPC } from "../trpc.ts";
import { useRunLog } from "../use-log.ts";
import { useVisible } from "../use-visible.ts";

const pollMs = 3_000;
const maxLines = 20_000;
const TRIGGERED = {
  push: "pushed",
  redeploy: "redeployed",
  link: "linked",
  reconcile: "found changed",
} as const;

export function RunPage() {
  const { id = "" } = useParams();
  return <Run key={id} id={id} />;
}

function Run({ id }: { id: string }) {
  const run = useRun(id);
  if (run.data === undefined && ["NOT_FOUND", "BAD_REQUEST"].includes(refusalCode(run.error) ?? "")) {
    return <NotFound reason="There is no such run, or you may not see it." />;
  }
  return (
    <>
      {run.isError && (
        <Failed
          what="the run"
          error={run.error}
          retry={() => void run.refetch()}
          shownFrom={run.data && run.dataUpdatedAt}
        />
      )}
      {run.data ? (
        <RunParts run={run.data} />
      ) : (
        <>
          <title>Run · OpenFaaS Cloud</title>
          <h1 className="h3">Run</h1>
          {run.isPending && (
            <div className="card">
              <RowsSkeleton rows={6} what="the run" />
            </div>
          )}
        </>
      )}
    </>
  );
}

/** Followed while it has not ended; asked for now and then as well, so that a broken stream is only slower. */
function useRun(id: string) {
  const trpc = useTRPC();
  const queryClient = useQueryClient();
  const visible = useVisible();
  const run = useQuery(
    trpc.runs.get.queryOptions(
      { id },
      {
        refetchInterval: ({ state }) =>
          state.data !== undefined && hasEnded(state.data.state) ? false : pollMs,
      },
    ),
  );
  const ended = run.data !== undefined && hasEnded(run.data.state);
  useSubscription(
    trpc.runs.follow.subscriptionOptions(
      { id },
      {
        enabled: run.data !== undefined && !ended && visible,
        onData: (detail) => queryClient.setQueryData(trpc.runs.get.queryKey({ id }), detail),
      },
    ),
  );
  return run;
}

function RunParts({ run }: { run: RunDetail }) {
  const log = useRunLog(run.id, maxLines);
  const title = firstLine(run.message) || "No commit message";
  return (
    <>
      <title>{`${title} · ${run.owner}/${run.repository} · OpenFaaS Cloud`}</title>
      <Trail>
        <Link to={`/${run.owner}`}>{run.owner}</Link>
        <span>{run.repository}</span>
        <span>Run</span>
      </Trail>
      <div className="d-flex flex-wrap align-items-start gap-3 mb-2">
        <h1 className="h3 mb-0 text-break run-title">{title}</h1>
        <RunActions run={run} />
      </div>
      <div className="d-flex flex-wrap align-items-center column-gap-3 row-gap-1 mb-4 text-body-secondary">
        <RunStatus state={run.state} />
        <span className="text-break">
          <Commit commit={run.commit} /> of {run.branch}
        </span>
        <span className="text-break">by {authorName(run.author)}</span>
        <span>
          {TRIGGERED[run.trigger]} <Age at={run.createdAt} />
        </span>
        {run.startedAt !== undefined && (
          <span>
            {hasEnded(run.state) ? "took" : "running for"}{" "}
            <Duration from={run.startedAt} to={run.finishedAt} />
          </span>
        )}
      </div>
      <RunOutcome run={run} />
      <section className="card mb-4 overflow-hidden" aria-labelledby="stages">
        <h2 className="card-header h6 mb-0" id="stages">
          Stages
        </h2>
        <PhaseBar phases={phasesOf(run)} />
        {run.stages.length > 0 && <StageTable stages={run.stages} />}
      </section>
      <section className="mb-4" aria-labelledby="log">
        <h2 className="h5" id="log">
          Log
        </h2>
        <div className="card overflow-hidden">
          <LogViewer
            log={log}
            name="Log of the run"
            empty={
              hasEnded(run.state)
                ? "This run wrote no line."
                : "Nothing yet. Lines appear as the run writes them."
            }
            fileName={`${run.owner}-${run.repository}-${run.commit.slice(0, 7)}.log`}
          />
        </div>
      </section>
      {run.ignoredKeys.length > 0 && <IgnoredKeys keys={run.ignoredKeys} />}
    </>
  );
}

function RunActions({ run }: { run: RunDetail }) {
  const trpc = useTRPC();
  const queryClient = useQueryClient();
  const navigate = useNavigate();
  const connection = useConnection();
  const cancel = useMutation(
    trpc.runs.cancel.mutationOptions({
      onSuccess: () => queryClient.invalidateQueries(trpc.runs.get.queryFilter({ id: run.id })),
    }),
  );
  const redeploy = useMutation(
    trpc.runs.redeploy.mutationOptions({ onSuccess: ({ id }) => navigate(`/runs/${id}`) }),
  );
  const lost = connection.kind === "lost";
  const failed = cancel.error ?? redeploy.error;
  return (
    <div className="ms-sm-auto">
      {hasEnded(run.state) ? (
        <button
          type="button"
          className="btn btn-outline-secondary text-nowrap"
          disabled={lost || redeploy.isPending}
          title={lost ? "Not connected" : `Run commit ${run.commit.slice(0, 7)} again`}
          onClick={() => window.confirm(redeployQuestion(run)) && redeploy.mutate({ id: run.id })}
        >
          <Icon name="redo" className="me-2" />
          {redeploy.isPending ? "Redeploying …" : "Redeploy"}
        </button>
      ) : (
        <button
          type="button"
          className="btn btn-outline-danger text-nowrap"
          disabled={lost || cancel.isPending || cancel.isSuccess}
          title={lost ? "Not connected" : "Stop this run; what is live stays live"}
          onClick={() => cancel.mutate({ id: run.id })}
        >
          <Icon name="stopped" className="me-2" />
          {cancel.isPending || cancel.isSuccess ? "Cancelling …" : "Cancel run"}
        </button>
      )}
      {failed !== null && (
        <p className="small text-danger-emphasis mt-1 mb-0" role="alert">
          {refusalCode(failed) === undefined ? "The control plane did not answer." : failed.message}
        </p>
      )}
    </div>
  );
}

/** A redeploy of an old commit is a step back, which should not happen by a slip. */
function redeployQuestion({ commit, repository, branch }: RunDetail): string {
  return `Deploy ${commit.slice(0, 7)} of ${repository} again? It replaces what is live from ${branch}, and removes functions that its stack file does not name.`;
}
