import type { CommitSha } from "@openfaas-cloud/shared/names.ts";
import { HostUnavailable } from "../host-errors.ts";
import type { CommitState, CommitStatus, SourceKey } from "../source-host.ts";
import type { GitLabApi } from "./api.ts";
import { idOf } from "./facts.ts";

/** Of a description, in characters. */
const MOST_CHARACTERS = 255;
/** What versions before 18.3 say to a status that is in this state already. */
const NO_TRANSITION = /^Cannot transition status via :\w+ from :(?<state>\w+)/;

const STATES: Readonly<Record<CommitState, string>> = {
  pending: "running",
  success: "success",
  failure: "failed",
  neutral: "canceled",
};

/**
 * Sets the status with this name on the commit. https://docs.gitlab.com/api/commits/#set-commit-pipeline-status
 * @throws HostUnavailable
 */
export async function postStatus(
  api: GitLabApi,
  { key, commit, signal }: { key: SourceKey; commit: CommitSha; signal: AbortSignal },
  { context, state, description, targetUrl }: CommitStatus,
): Promise<void> {
  const outcome = await api.post(
    `/projects/${idOf(key)}/statuses/${commit}`,
    { state: STATES[state], name: context, target_url: targetUrl, description: shorten(description) },
    signal,
  );
  if (outcome.kind === "taken") return;
  if (NO_TRANSITION.exec(outcome.message)?.groups?.["state"] === STATES[state]) return;
  throw new HostUnavailable(`GitLab does not take the status ${context}: ${outcome.message}`, {
    status: 400,
  });
}

function shorten(text: string): string {
  const characters = [...text];
  return characters.length <= MOST_CHARACTERS
    ? text
    : `${characters.slice(0, MOST_CHARACTERS - 1).join("")}…`;
}
