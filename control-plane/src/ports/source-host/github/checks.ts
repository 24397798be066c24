import { z } from "zod";
import type { CommitState, CommitStatus, SourceKey } from "../source-host.ts";
import type { GitHubApi, RequestBody } from "./api.ts";
import type { GitHubApp, RepositoryGrant } from "./app.ts";
import { linesOf, withinBytes } from "./text.ts";

/** GitHub's limits for a check run's texts and for the annotations of one call (docs.github.com: "Create a check run"). */
const MOST_TEXT_BYTES = 65_535;
const ANNOTATIONS_A_CALL = 50;
const MOST_ANNOTATIONS = 500;
const MOST_ANNOTATION_BYTES = 8192;

type CheckBody = Omit<RequestBody<"checks/create">, "head_sha"> & {
  readonly status: "queued" | "in_progress" | "completed";
};
type CheckAnnotation = NonNullable<NonNullable<CheckBody["output"]>["annotations"]>[number];

const CheckRun = z.object({
  id: z.int().positive(),
  external_id: z.string().nullish(),
  status: z.string(),
  output: z.object({ annotations_count: z.int().nonnegative() }),
});
type CheckRun = z.infer<typeof CheckRun>;
const CheckRuns = z.object({ check_runs: z.array(CheckRun) });

/**
 * Shows a status as a check run: one for each run and context, found again by its external id and changed, so that what is sent
 * twice shows once. What has ended stays so. GitHub's own button asks to run it again.
 */
export async function reportCheck(
  { api, app, appId }: { readonly api: GitHubApi; readonly app: GitHubApp; readonly appId: number },
  key: SourceKey,
  commit: string,
  status: CommitStatus,
  signal: AbortSignal,
): Promise<void> {
  await app.withGrant(key, "checks", signal, async (grant) => {
    const checks = { api, grant, signal };
    const externalId = `${status.runId}/${status.context}`;
    const found = await findCheck(checks, { commit, appId, name: status.context, externalId });
    if (found?.status === "completed" && status.state === "pending") return;
    const body = { ...bodyOf(status), external_id: externalId };
    await write(checks, { commit, found }, body, annotationsOf(status));
  });
}

interface Checks {
  readonly api: GitHubApi;
  readonly grant: RepositoryGrant;
  readonly signal: AbortSignal;
}

async function findCheck(
  { api, grant, signal }: Checks,
  wanted: {
    readonly commit: string;
    readonly appId: number;
    readonly name: string;
    readonly externalId: string;
  },
): Promise<CheckRun | undefined> {
  const { commit, appId, name, externalId } = wanted;
  const pages = await api.readPages(
    {
      method: "GET",
      path: `${pathOf(grant)}/commits/${commit}/check-runs`,
      query: { check_name: name, app_id: String(appId), filter: "all" },
      token: grant.token,
      signal,
    },
    CheckRuns,
  );
  return pages.flatMap((page) => page.check_runs).find(({ external_id }) => external_id === externalId);
}

/** GitHub adds the annotations of a call to those that are there, so that only those go that are not. */
async function write(
  { api, grant, signal }: Checks,
  { commit, found }: { readonly commit: string; readonly found: CheckRun | undefined },
  body: CheckBody,
  annotations: readonly CheckAnnotation[],
): Promise<void> {
  let id = found?.id;
  let sent = found?.output.annotations_count ?? 0;
  do {
    const some = annotations.slice(sent, sent + ANNOTATIONS_A_CALL);
    sent += ANNOTATIONS_A_CALL;
    const written = await api.read(
      {
        method: id === undefined ? "POST" : "PATCH",
        path: `${pathOf(grant)}/check-runs${id === undefined ? "" : `/${id}`}`,
        body: {
          ...body,
          ...(id === undefined ? { head_sha: commit } : {}),
          output: { ...body.output, annotations: some },
        },
        token: grant.token,
        signal,
      },
      z.object({ id: z.int().positive() }),
    );
    id = written.id;
  } while (sent < annotations.length);
}

function bodyOf({ context, state, description, targetUrl, detail }: CommitStatus): CheckBody {
  const log = detail?.logTail ?? "";
  const common = {
    name: context,
    details_url: targetUrl,
    output: {
      title: context === "stack-deploy" ? "Deploy to OpenFaaS" : `Build ${context}`,
      summary: withinBytes(plain(description), MOST_TEXT_BYTES),
      ...(log === "" ? {} : { text: logText(log) }),
    },
    ...(detail === undefined ? {} : { started_at: iso(detail.startedAt) }),
  };
  // A run that has begun to do something says since when.
  if (state === "pending") return { ...common, status: detail === undefined ? "queued" : "in_progress" };
  return {
    ...common,
    status: "completed",
    conclusion: conclusionOf(state),
    completed_at: iso(detail?.finishedAt ?? Date.now()),
  };
}

/** `neutral` lets a commit be merged where the check is required, as nothing is wrong with it. */
function conclusionOf(state: Exclude<CommitState, "pending">): "success" | "failure" | "neutral" {
  return state;
}

function annotationsOf({ detail }: CommitStatus): CheckAnnotation[] {
  return (detail?.annotations ?? []).slice(0, MOST_ANNOTATIONS).map(({ path, line, level, message }) => ({
    path,
    start_line: line,
    end_line: line,
    annotation_level: level,
    message: withinBytes(message, MOST_ANNOTATION_BYTES),
  }));
}

/** The log as a block of code that nothing in it can end; its last part, where all of it is more than GitHub takes. */
export function logText(log: string, mostBytes = MOST_TEXT_BYTES): string {
  const longestRun = Math.max(2, ...[...log.matchAll(/`+/g)].map(([run]) => run.length));
  // Whoever prints that many wants to fill the page with them.
  const fence = "`".repeat(Math.min(longestRun, 98) + 1);
  const shown = longestRun > 98 ? log.replaceAll(/`{99,}/g, "`") : log;
  const whole = `${fence}\n${shown}\n${fence}`;
  const size = Buffer.byteLength(whole);
  if (size <= mostBytes) return whole;
  const head = `The log is longer than GitHub shows: of ${Buffer.byteLength(shown)} bytes, the last of at most ${mostBytes} follow.\n\n`;
  const room = mostBytes - Buffer.byteLength(head) - 2 * fence.length - 2;
  return `${head}${fence}\n${linesOf(shown, Math.max(0, room))}\n${fence}`;
}

/** Text that Markdown shows as it is. */
function plain(text: string): string {
  return text.replaceAll(/[\\`*_{}[\]()<>#+\-.!|~&@]/g, "\\$&");
}

function pathOf({ repository }: RepositoryGrant): string {
  return `/repos/${repository.full_name}`;
}

function iso(at: number): string {
  return new Date(at).toISOString();
}
