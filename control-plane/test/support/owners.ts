import { EMBEDDED } from "../../src/ports/source-host/source-host.ts";
import type { Store } from "../../src/ports/store/store.ts";

/** A run of the owner's repository that waits in the queue; with `succeeded`, one that has ended. */
export async function addRun(
  store: Store,
  run: { readonly id: string; readonly owner: string; readonly state?: "queued" | "succeeded" },
): Promise<void> {
  const { id, owner, state = "queued" } = run;
  const others = await store.selectFrom("runs").select("id").execute();
  await store
    .insertInto("runs")
    .values({
      id,
      trigger: "push",
      owner_id: `owner-${owner}`,
      repository_id: `repository-${owner}`,
      branch: "main",
      before_sha: null,
      commit_sha: "a".repeat(40),
      message: "a change",
      author: "somebody",
      person: "local",
      generation: others.length + 1,
      state,
      reason_kind: null,
      reason: null,
      ignored_keys: "[]",
      created_at: 0,
      started_at: null,
      finished_at: null,
      lease_holder: null,
      lease_until: null,
      attempts: 0,
      stop_reason: null,
    })
    .execute();
}

/** Owners `a` and `b` with a repository each: `owner-a` has `repository-a`, and so on. */
export async function addOwners(store: Store): Promise<void> {
  for (const slug of ["a", "b"]) await addOwner(store, slug, { host: EMBEDDED, sourceId: null });
}

/** An organisation of `git.test` with a repository: as `addOwners`, with ids of the host. */
export async function addRemoteOwner(store: Store, slug: string): Promise<void> {
  await addOwner(store, slug, { host: "git.test", sourceId: `source-${slug}` });
}

async function addOwner(
  store: Store,
  slug: string,
  { host, sourceId }: { readonly host: string; readonly sourceId: string | null },
): Promise<void> {
  await store
    .insertInto("owners")
    .values({
      id: `owner-${slug}`,
      source_host: host,
      source_owner_id: slug,
      login: slug,
      slug,
      kind: host === EMBEDDED ? "person" : "organization",
      created_at: 0,
    })
    .execute();
  await store
    .insertInto("repositories")
    .values({
      id: `repository-${slug}`,
      owner_id: `owner-${slug}`,
      name: "repo",
      default_branch: "main",
      created_at: 0,
      source_host: host,
      source_id: sourceId,
    })
    .execute();
}
