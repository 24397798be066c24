/** The one schema, in the query builder's terms. Times are milliseconds since the epoch; ids are opaque text. */
import type { Generated } from "kysely";

export interface Schema {
  meta: { key: string; value: string };
  owners: OwnerRow;
  memberships: { person: string; owner_id: string };
  people: { subject: string; name: string; created_at: number };
  repositories: RepositoryRow;
  runs: RunRow;
  stages: StageRow;
  functions: FunctionRow;
  revisions: RevisionRow;
  access_tokens: {
    id: string;
    subject: string;
    name: string;
    /** SHA-256 of the token, hexadecimal: the token itself is random and long, so no slow hash is needed. */
    hash: string;
    created_at: number;
    expires_at: number | null;
    last_used_at: number | null;
  };
  sign_in_links: { hash: string; subject: string; expires_at: number; used_at: number | null };
  revoked_sessions: { jti: string; expires_at: number };
  secrets: { owner_id: string; name: string; sealed: string; updated_at: number };
  usage_edges: { edge: string; sequence: number; seen_at: number };
  usage_minutes: {
    function_id: string;
    /** Minutes since the epoch. */
    minute: number;
    /** Answers of any code. */
    total: number;
    /** JSON: status code → count. */
    codes: string;
    duration_sum_s: number;
    /** JSON: one count for each bucket of the duration histogram. */
    duration_counts: string;
  };
  audit_events: {
    id: Generated<number>;
    at: number;
    actor: string;
    action: string;
    object: string;
    result: string;
  };
}

export interface OwnerRow {
  id: string;
  source_host: string;
  source_owner_id: string;
  login: string;
  slug: string;
  created_at: number;
}

export interface RepositoryRow {
  id: string;
  owner_id: string;
  name: string;
  default_branch: string | null;
  created_at: number;
}

export interface RunRow {
  id: string;
  trigger: "push" | "redeploy";
  owner_id: string;
  repository_id: string;
  branch: string;
  before_sha: string | null;
  commit_sha: string;
  message: string;
  author: string;
  /** Subject of the person who caused it. */
  person: string;
  /** Rises by one with each trigger of one repository and branch: the fence of everything the run does. */
  generation: number;
  state: "queued" | "running" | "succeeded" | "failed" | "superseded" | "cancelled";
  reason_kind: string | null;
  reason: string | null;
  /** JSON: keys of the stack file without effect, with reasons. */
  ignored_keys: string;
  created_at: number;
  started_at: number | null;
  finished_at: number | null;
  lease_holder: string | null;
  lease_until: number | null;
  attempts: number;
  /** Why the run has to stop before its end; JSON of a StopReason. */
  stop_reason: string | null;
}

export interface StageRow {
  run_id: string;
  name: "checkout" | "plan" | "build" | "deploy" | "publish" | "prune";
  /** Empty for stages of the whole run. */
  function: string;
  state: "running" | "succeeded" | "failed" | "skipped";
  started_at: number;
  finished_at: number | null;
  detail: string | null;
}

export interface FunctionRow {
  id: string;
  owner_id: string;
  name: string;
  repository_id: string;
  branch: string;
  active_revision_id: string;
  /** Generation of the run that last published it. */
  generation: number;
  commit_sha: string;
  run_id: string;
  deployed_at: number;
}

export interface RevisionRow {
  id: string;
  function_id: string;
  owner_id: string;
  run_id: string;
  artifact_digest: string;
  artifact_reference: string;
  /** JSON of the FunctionSpec. */
  spec: string;
  /** Digest of artifact and spec: two revisions with the same one behave the same. */
  identity: string;
  created_at: number;
}
