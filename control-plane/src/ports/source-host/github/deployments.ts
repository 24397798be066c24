import { z } from "zod";
import type { DeploymentReport, SourceKey } from "../source-host.ts";
import type { GitHubApi, RequestBody } from "./api.ts";
import type { GitHubApp, RepositoryGrant } from "./app.ts";

const ENVIRONMENT = "OpenFaaS Cloud";

const Deployment = z.object({ id: z.int().positive(), payload: z.unknown() });
const DeploymentStatus = z.object({
  state: z.string(),
  environment_url: z.string().nullish(),
  log_url: z.string().nullish(),
});
const Ours = z.object({ runId: z.string() });

interface Deployments {
  readonly api: GitHubApi;
  readonly grant: RepositoryGrant;
  readonly signal: AbortSignal;
}

/** Keeps GitHub's history of deployments: one for each run, found again by the run's id; what has ended stays so. */
export async function reportDeployed(
  { api, app }: { readonly api: GitHubApi; readonly app: GitHubApp },
  key: SourceKey,
  commit: string,
  report: DeploymentReport,
  signal: AbortSignal,
): Promise<void> {
  await app.withGrant(key, "deployments", signal, async (grant) => {
    const deployments = { api, grant, signal };
    const found = await findDeployment(deployments, commit, report.runId);
    const id = found ?? (await createDeployment(deployments, commit, report.runId));
    const newest = found === undefined ? undefined : await findNewestStatus(deployments, id);
    if (newest !== undefined && !saysMore(report, newest)) return;
    await createStatus(deployments, id, report);
  });
}

async function findDeployment(
  { api, grant, signal }: Deployments,
  commit: string,
  runId: string,
): Promise<number | undefined> {
  const pages = await api.readPages(
    {
      method: "GET",
      path: pathOf(grant),
      query: { sha: commit, environment: ENVIRONMENT },
      token: grant.token,
      signal,
    },
    z.array(Deployment),
  );
  return pages.flat().find(({ payload }) => Ours.safeParse(payload).data?.runId === runId)?.id;
}

async function createDeployment(
  { api, grant, signal }: Deployments,
  commit: string,
  runId: string,
): Promise<number> {
  const body = {
    ref: commit,
    environment: ENVIRONMENT,
    description: "Deploy to OpenFaaS",
    payload: { runId },
    auto_merge: false,
    // It is made live whatever else is to be checked: a push is what was asked for.
    required_contexts: [],
    production_environment: true,
  } satisfies RequestBody<"repos/create-deployment">;
  const call = { method: "POST", path: pathOf(grant), body, token: grant.token, signal } as const;
  return (await api.read(call, Deployment)).id;
}

async function findNewestStatus(
  { api, grant, signal }: Deployments,
  id: number,
): Promise<z.infer<typeof DeploymentStatus> | undefined> {
  const path = `${pathOf(grant)}/${id}/statuses`;
  const call = { method: "GET", path, query: { per_page: "1" }, token: grant.token, signal } as const;
  const [newest] = await api.read(call, z.array(DeploymentStatus));
  return newest;
}

async function createStatus(
  { api, grant, signal }: Deployments,
  id: number,
  { state, environmentUrl, logUrl }: DeploymentReport,
): Promise<void> {
  const body = {
    state,
    environment_url: environmentUrl,
    log_url: logUrl,
    auto_inactive: true,
  } satisfies RequestBody<"repos/create-deployment-status">;
  const path = `${pathOf(grant)}/${id}/statuses`;
  await api.read({ method: "POST", path, body, token: grant.token, signal }, DeploymentStatus);
}

function saysMore(report: DeploymentReport, newest: z.infer<typeof DeploymentStatus>): boolean {
  if (newest.state !== report.state) return report.state !== "in_progress";
  return newest.environment_url !== report.environmentUrl || newest.log_url !== report.logUrl;
}

function pathOf({ repository }: RepositoryGrant): string {
  return `/repos/${repository.full_name}/deployments`;
}
