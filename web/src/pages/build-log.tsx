import { useQuery } from "@tanstack/react-query";
import { Navigate, useSearchParams } from "react-router";
import { Failed } from "../components/failed.tsx";
import { NotFound } from "../components/not-found.tsx";
import { parseRepoPath } from "../old-links.ts";
import { refusalCode, useTRPC } from "../trpc.ts";

/** Links of the original OpenFaaS Cloud name a commit; here they lead to its run. */
export function BuildLogPage() {
  const [search] = useSearchParams();
  const repository = parseRepoPath(search.get("repoPath") ?? "");
  const commit = search.get("commitSHA");
  if (!repository || !commit) {
    return <NotFound reason="A link to a build log names a repository and a commit; this one does not." />;
  }
  return <RunOfCommit {...repository} commit={commit.toLowerCase()} />;
}

function RunOfCommit(props: { owner: string; repository: string; commit: string }) {
  const trpc = useTRPC();
  const run = useQuery(trpc.runs.ofCommit.queryOptions(props));
  if (run.data !== undefined) return <Navigate to={`/runs/${run.data.id}`} replace />;
  if (refusalCode(run.error) === "NOT_FOUND") return <NotFound reason={run.error?.message ?? ""} />;
  return (
    <>
      <title>Build log · OpenFaaS Cloud</title>
      <h1 className="h3">Build log</h1>
      {run.isError ? (
        <Failed what="the run of this commit" error={run.error} retry={() => void run.refetch()} />
      ) : (
        <p role="status">Looking for the run of this commit …</p>
      )}
    </>
  );
}
