/** The one schema, in the query builder's terms. Times are milliseconds since the epoch; ids are opaque text. */
import type { ColumnType } from "kysely";
import type { Role } from "../../role.ts";

/** The store fills these in where they are left out. */
type WithDefaults<Row, Keys extends keyof Row> = Omit<Row, Keys> & {
  [Key in Keys]: ColumnType<Row[Key], Row[Key] | undefined, Row[Key]>;
};

export interface Schema {
  meta: { key: string; value: string };
  owners: WithDefaults<OwnerRow, "kind">;
  memberships: WithDefaults<{ person: string; owner_id: string; role: Role }, "role">;
  people: WithDefaults<PersonRow, "login">;
  person_grants: PersonGrantRow;
  sessions: SessionRow;
  sign_ins: SignInRow;
  source_hosts: { instance: string; kind: string; sealed: string; created_at: number };
  deliveries: DeliveryRow;
  removal_brakes: RemovalBrakeRow;
  repositories: WithDefaults<
    RepositoryRow,
    | "source_host"
    | "source_id"
    | "installation"
    | "full_name"
    | "web_url"
    | "private"
    | "unlinked_at"
    | "unlinked_reason"
    | "looked_at"
  >;
  runs: WithDefaults<RunRow, "annotations" | "reported" | "reported_at" | "unconfirmed" | "end_recorded">;
  stages: StageRow;
  functions: WithDefaults<FunctionRow, "unrouted_at">;
  revisions: RevisionRow;
  access_tokens: WithDefaults<AccessTokenRow, "epoch">;
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
  audit_events: AuditEventRow;
}

export interface PersonRow {
  /** `local`, or the instance of a source host and its own id of the account: `github.com:583231`. */
  subject: string;
  name: string;
  /** On the source host; that of the local person is empty. */
  login: string;
  created_at: number;
}

export interface AccessTokenRow {
  id: string;
  subject: string;
  name: string;
  /** SHA-256 of the token, hexadecimal: the token itself is random and long, so no slow hash is needed. */
  hash: string;
  /** JSON: what it may be used for. */
  scopes: string;
  /** Part of the id that edges know it by: rises when its person may do less, so that what they remember of it ends. */
  epoch: number;
  created_at: number;
  expires_at: number | null;
  last_used_at: number | null;
}

export interface AuditEventRow {
  /** From 1, without a gap. */
  id: number;
  at: number;
  actor: string;
  action: string;
  object: string;
  result: string;
  /** Of whom it is; `null` for what belongs to the platform. */
  owner_id: string | null;
  /** Address it came from; empty where it came from the platform itself. */
  address: string;
  /** JSON: old and new values of settings, never secrets. */
  details: string;
  /** SHA-256, hexadecimal, over this event and the hash before it; `null` in what was written before there were hashes. */
  hash: string | null;
}

export interface OwnerRow {
  id: string;
  source_host: string;
  source_owner_id: string;
  login: string;
  slug: string;
  kind: "person" | "organization";
  created_at: number;
}

export interface RepositoryRow {
  id: string;
  owner_id: string;
  /** Within the owner, and unique there. */
  name: string;
  default_branch: string | null;
  created_at: number;
  /** Instance, as its owner's. */
  source_host: string;
  /** The host's own id; `null` for the embedded host, and for a repository that went to another owner. */
  source_id: string | null;
  /** The grant by which we may see it, for hosts that have one. */
  installation: string | null;
  /** As the host writes it in URLs; empty for the embedded host. */
  full_name: string;
  web_url: string;
  /** 1 where not everybody may read it. */
  private: number;
  /** When the host said that it is not linked any more; its functions are not routed from then on, and go after the grace. */
  unlinked_at: number | null;
  /** Why, for people. */
  unlinked_reason: string | null;
  /** When the host was asked for what is known of it: an answer to an earlier question changes nothing any more. */
  looked_at: number | null;
}

export interface PersonGrantRow {
  subject: string;
  instance: string;
  /** JSON of a PersonGrant, sealed. */
  sealed: string;
  /** When the host last said what the person may do. */
  checked_at: number;
}

/** One token of a session. A session goes through several, since each is replaced by another one every few minutes. */
export interface SessionRow {
  jti: string;
  /** The same for all tokens of one sign-in. */
  session: string;
  subject: string;
  /** When the person signed in. */
  created_at: number;
  /** When the whole session is over, whatever is done in it. */
  ends_at: number;
  issued_at: number;
  /** `null` until the browser brings it for the first time. */
  seen_at: number | null;
  /** From when on another token is to take its place. */
  renew_at: number;
  /** When the token ends of itself. */
  expires_at: number;
  /** When another one of the session was brought that was issued later; it counts for a moment after that. */
  replaced_at: number | null;
  address: string;
  user_agent: string;
}

/** A sign-in that somebody began and has not come back from. */
export interface SignInRow {
  /** SHA-256 of the state. */
  hash: string;
  instance: string;
  /** SHA-256 of what the browser that began it holds. */
  browser_hash: string;
  code_verifier: string;
  /** Relative. */
  return_to: string;
  /** Where the browser is, so that nobody fills the table alone. */
  address: string;
  expires_at: number;
}

export interface DeliveryRow {
  /** Sorts by arrival. */
  id: string;
  instance: string;
  /** The host's own id of the delivery, or one that follows from ours where it gives none. Unique within the instance. */
  delivery_id: string;
  event: string;
  /** As it came, gzipped; `null` once it was worked off. */
  body: Uint8Array | null;
  /** Deliveries of one lane are worked off in the order they came; `null` until the body was read for it. */
  lane: string | null;
  received_at: number;
  state: "stored" | "done" | "ignored" | "failed";
  /** What came of it, for people. */
  result: string | null;
  attempts: number;
  next_at: number | null;
  done_at: number | null;
}

/** What a reading of a source host says is gone, and is left alone since it is too much at once. */
export interface RemovalBrakeRow {
  id: string;
  instance: string;
  /** `null` where the whole host was read. */
  installation: string | null;
  /** JSON: id of the repository → why it is gone, for people. */
  reasons: string;
  /** How many functions would have gone with them. */
  functions: number;
  engaged_at: number;
  confirmed_at: number | null;
  /** Subject. */
  confirmed_by: string | null;
}

export interface RunRow {
  id: string;
  trigger: "push" | "redeploy" | "link" | "reconcile";
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
  /** JSON of Annotations: what is told of lines of its stack file. */
  annotations: string;
  created_at: number;
  started_at: number | null;
  finished_at: number | null;
  lease_holder: string | null;
  lease_until: number | null;
  attempts: number;
  /** Why the run has to stop before its end; JSON of a StopReason. */
  stop_reason: string | null;
  /** JSON: which final reports its source host has taken, and what they said. */
  reported: string;
  /** When the last of them was taken: nothing more is to be told of this run. */
  reported_at: number | null;
  /** 1 where its end is in the audit trail. */
  end_recorded: number;
  /** 1 where only a delivery says that the commit is the branch's, since the host did not answer: it is asked again first. */
  unconfirmed: number;
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
  /**
   * Since when no route leads to it and none of its replicas runs; it is deleted after the grace. Its name may be another's
   * meanwhile. Every publication sets it back to `null`.
   */
  unrouted_at: number | null;
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
