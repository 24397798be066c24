import type { Store } from "../../src/ports/store/store.ts";

/** Owners `a` and `b` with a repository each: `owner-a` has `repository-a`, and so on. */
export async function addOwners(store: Store): Promise<void> {
  for (const slug of ["a", "b"]) {
    await store
      .insertInto("owners")
      .values({
        id: `owner-${slug}`,
        source_host: "embedded",
        source_owner_id: slug,
        login: slug,
        slug,
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
      })
      .execute();
  }
}
