import { sql } from "kysely";
import type { Store } from "./store.ts";

/** Each step runs once, in order, in a transaction of its own. Steps are only ever added. */
const STEPS: readonly (readonly string[])[] = [
  [
    `create table owners (id text primary key, source_host text not null, source_owner_id text not null,
      login text not null, slug text not null unique, created_at bigint not null,
      unique (source_host, source_owner_id))`,
    `create table people (subject text primary key, name text not null, created_at bigint not null)`,
    `create table memberships (person text not null references people (subject),
      owner_id text not null references owners (id), primary key (person, owner_id))`,
    `create table repositories (id text primary key, owner_id text not null references owners (id),
      name text not null, default_branch text, created_at bigint not null, unique (owner_id, name))`,
    `create table runs (id text primary key, "trigger" text not null, owner_id text not null references owners (id),
      repository_id text not null references repositories (id), branch text not null, before_sha text,
      commit_sha text not null, message text not null, author text not null, person text not null,
      generation bigint not null, state text not null, reason_kind text, reason text, ignored_keys text not null,
      created_at bigint not null, started_at bigint, finished_at bigint, lease_holder text, lease_until bigint,
      attempts integer not null, stop_reason text, unique (repository_id, branch, generation))`,
    `create index runs_by_state on runs (state, created_at)`,
    `create index runs_by_owner on runs (owner_id, id)`,
    `create index runs_by_commit on runs (repository_id, commit_sha)`,
    `create table stages (run_id text not null references runs (id), name text not null, function text not null,
      state text not null, started_at bigint not null, finished_at bigint, detail text,
      primary key (run_id, name, function))`,
    `create table functions (id text primary key, owner_id text not null references owners (id), name text not null,
      repository_id text not null references repositories (id), branch text not null, active_revision_id text not null,
      generation bigint not null, commit_sha text not null, run_id text not null, deployed_at bigint not null,
      unique (owner_id, name))`,
    `create index functions_by_repository on functions (repository_id)`,
    `create table revisions (id text primary key, function_id text not null, owner_id text not null,
      run_id text not null, artifact_digest text not null, artifact_reference text not null, spec text not null,
      identity text not null, created_at bigint not null)`,
    `create index revisions_by_function on revisions (function_id)`,
    `create table access_tokens (id text primary key, subject text not null references people (subject),
      name text not null, hash text not null unique, created_at bigint not null, expires_at bigint,
      last_used_at bigint)`,
    `create table sign_in_links (hash text primary key, subject text not null references people (subject),
      expires_at bigint not null, used_at bigint)`,
    `create table revoked_sessions (jti text primary key, expires_at bigint not null)`,
    `create table secrets (owner_id text not null references owners (id), name text not null, sealed text not null,
      updated_at bigint not null, primary key (owner_id, name))`,
    `create table usage_edges (edge text primary key, sequence bigint not null, seen_at bigint not null)`,
    `create table usage_minutes (function_id text not null, minute bigint not null, total bigint not null, codes text not null,
      duration_sum_s double precision not null, duration_counts text not null, primary key (function_id, minute))`,
    `create index usage_by_minute on usage_minutes (minute)`,
    `create table audit_events (id integer primary key, at bigint not null, actor text not null, action text not null,
      object text not null, result text not null)`,
  ],
  [
    `alter table owners add column kind text not null default 'person'`,
    `alter table memberships add column role text not null default 'admin'`,
    `alter table people add column login text not null default ''`,
    `alter table repositories add column source_host text not null default 'embedded'`,
    `alter table repositories add column source_id text`,
    `alter table repositories add column installation text`,
    `alter table repositories add column full_name text not null default ''`,
    `alter table repositories add column web_url text not null default ''`,
    `alter table repositories add column private integer not null default 0`,
    `alter table repositories add column unlinked_at bigint`,
    `alter table repositories add column unlinked_reason text`,
    `alter table repositories add column looked_at bigint`,
    `create unique index repositories_by_source on repositories (source_host, source_id)`,
    `alter table runs add column unconfirmed integer not null default 0`,
    // Made anew, since a name is taken only by what is routed: a column's own constraint cannot be taken back.
    `alter table functions rename to functions_before`,
    `create table functions (id text primary key, owner_id text not null references owners (id), name text not null,
      repository_id text not null references repositories (id), branch text not null, active_revision_id text not null,
      generation bigint not null, commit_sha text not null, run_id text not null, deployed_at bigint not null,
      unrouted_at bigint)`,
    `insert into functions select id, owner_id, name, repository_id, branch, active_revision_id, generation, commit_sha,
      run_id, deployed_at, null from functions_before`,
    `drop table functions_before`,
    `create unique index functions_by_name on functions (owner_id, name) where unrouted_at is null`,
    `create index functions_by_repository on functions (repository_id)`,
    `create index functions_unrouted on functions (unrouted_at) where unrouted_at is not null`,
    `create index repositories_unlinked on repositories (unlinked_at) where unlinked_at is not null`,
    `create table removal_brakes (id text primary key, instance text not null, installation text, reasons text not null,
      functions integer not null, engaged_at bigint not null, confirmed_at bigint, confirmed_by text)`,
    `alter table access_tokens add column scopes text not null default '["read","write","push","invoke","sign-in"]'`,
    `create table person_grants (subject text primary key references people (subject), instance text not null,
      sealed text not null, checked_at bigint not null)`,
    `alter table access_tokens add column epoch integer not null default 0`,
    `create index access_tokens_by_person on access_tokens (subject)`,
    `create table sessions (jti text primary key, session text not null, subject text not null references people (subject),
      created_at bigint not null, ends_at bigint not null, issued_at bigint not null, seen_at bigint,
      renew_at bigint not null, expires_at bigint not null, replaced_at bigint, address text not null,
      user_agent text not null)`,
    `create index sessions_by_person on sessions (subject)`,
    `create index sessions_by_session on sessions (session)`,
    `create index sessions_by_end on sessions (expires_at)`,
    `create index sessions_replaced on sessions (replaced_at) where replaced_at is not null`,
    `create table sign_ins (hash text primary key, instance text not null, browser_hash text not null,
      code_verifier text not null, return_to text not null, address text not null, expires_at bigint not null)`,
    `create index sign_ins_by_end on sign_ins (expires_at)`,
    `create table source_hosts (instance text primary key, kind text not null, sealed text not null,
      created_at bigint not null)`,
    `create table deliveries (id text primary key, instance text not null, delivery_id text not null, event text not null,
      body bytea, lane text, received_at bigint not null, state text not null, result text,
      attempts integer not null, next_at bigint, done_at bigint, unique (instance, delivery_id))`,
    `create index deliveries_waiting on deliveries (instance, lane, id) where state = 'stored'`,
    `create index deliveries_by_time on deliveries (received_at)`,
    `alter table audit_events add column owner_id text`,
    `alter table audit_events add column address text not null default ''`,
    `alter table audit_events add column details text not null default '{}'`,
    `alter table audit_events add column hash text`,
    `create index audit_by_owner on audit_events (owner_id, id)`,
    `alter table runs add column annotations text not null default '[]'`,
    `alter table runs add column reported text not null default '{}'`,
    `alter table runs add column reported_at bigint`,
    // What ended before there were reports is not told anew.
    `update runs set reported_at = finished_at where finished_at is not null`,
    `create index runs_unreported on runs (id) where reported_at is null`,
    `create trigger audit_events_are_appended before insert on audit_events
      when new.hash is null or new.id <> (select coalesce(max(id), 0) + 1 from audit_events)
      begin select raise(abort, 'audit events are appended, each with its hash'); end`,
    `create trigger audit_events_are_not_changed before update on audit_events
      begin select raise(abort, 'audit events are never changed'); end`,
    `create trigger audit_events_are_kept before delete on audit_events
      begin select raise(abort, 'audit events are never deleted'); end`,
  ],
  [
    `create index revoked_sessions_by_end on revoked_sessions (expires_at)`,
    `create index sign_in_links_by_end on sign_in_links (expires_at)`,
    `create index memberships_by_owner on memberships (owner_id)`,
    `create index person_grants_by_host on person_grants (instance, checked_at)`,
    `create index access_tokens_by_use on access_tokens (last_used_at) where last_used_at is not null`,
    `create index deliveries_unsorted on deliveries (id) where state = 'stored' and lane is null`,
    `alter table runs add column end_recorded integer not null default 0`,
    // What ended before is in the trail, or was never told.
    `update runs set end_recorded = 1 where finished_at is not null`,
    `create index runs_unrecorded on runs (id) where end_recorded = 0`,
  ],
];

export async function migrate(store: Store): Promise<void> {
  await sql`create table if not exists meta (key text primary key, value text not null)`.execute(store);
  for (let step = await schemaVersion(store); step < STEPS.length; step++) {
    await store.transaction().execute(async (transaction) => {
      for (const statement of STEPS[step] ?? []) await sql.raw(statement).execute(transaction);
      await transaction
        .insertInto("meta")
        .values({ key: "schema_version", value: String(step + 1) })
        .onConflict((conflict) => conflict.column("key").doUpdateSet({ value: String(step + 1) }))
        .execute();
    });
  }
}

async function schemaVersion(store: Store): Promise<number> {
  const row = await store
    .selectFrom("meta")
    .select("value")
    .where("key", "=", "schema_version")
    .executeTakeFirst();
  return Number(row?.value ?? 0);
}
