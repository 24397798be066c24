import { z } from "zod";
import type { CommitState, CommitStatus, SourceKey } from "../source-host.ts";
import type { GitHubApi, RequestBody } from "./api.ts";
import type { GitHubApp } from "./app.ts";
import { withinCharacters } from "./text.ts";

const MOST_DESCRIPTION = 140;

type StatusBody = RequestBody<"repos/create-commit-status">;

/** GitHub knows no neutral status; nothing is wrong with the commit, so nothing that is required may be held up by it. */
const STATES = {
  pending: "pending",
  success: "success",
  failure: "failure",
  neutral: "success",
} as const satisfies Record<CommitState, StatusBody["state"]>;

/** Shows a status as GitHub's statuses do: the newest of a context counts. */
export async function reportCommitStatus(
  { api, app }: { readonly api: GitHubApi; readonly app: GitHubApp },
  key: SourceKey,
  commit: string,
  { context, state, description, targetUrl }: CommitStatus,
  signal: AbortSignal,
): Promise<void> {
  const body = {
    context,
    state: STATES[state],
    description: withinCharacters(description, MOST_DESCRIPTION),
    target_url: targetUrl,
  } satisfies StatusBody;
  await app.withGrant(key, "statuses", signal, ({ repository, token }) =>
    api.read(
      {
        method: "POST",
        path: `/repos/${repository.full_name}/statuses/${commit}`,
        body,
        token,
        signal,
        isRepeatable: true,
      },
      z.object({ state: z.string() }),
    ),
  );
}
