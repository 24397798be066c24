import { git } from "../../git-command.ts";

/** Where the commits of runs are kept reachable, whatever becomes of their branch. */
export const KEPT_COMMITS = "refs/openfaas/commits/";
/** Looked at in one tidying; the next one sees the rest. 41 bytes each, so that the list is a small answer. */
const MOST_REFS = 10_000;
/** Files of single objects that a repository may have before they are packed. */
const LOOSE_OBJECTS = 1000;
const GC_MS = 600_000;

/** Lets go of the commits that nobody asks for any more, and packs what is left where that is worth it. */
export async function tidyKeptCommits(
  repository: { readonly gitDir: string; readonly env: Readonly<Record<string, string>> },
  findKept: () => Promise<ReadonlySet<string>>,
  signal: AbortSignal,
): Promise<void> {
  const refs = await git(
    ["for-each-ref", `--count=${MOST_REFS}`, "--format=%(objectname)", KEPT_COMMITS],
    repository,
  );
  const kept = await findKept();
  const forgotten = refs.split("\n").filter((commit) => commit !== "" && !kept.has(commit));
  if (forgotten.length > 0) {
    const deletions = forgotten.map((commit) => `delete ${KEPT_COMMITS}${commit} ${commit}\n`);
    await git(["update-ref", "--stdin"], { ...repository, signal, input: deletions.join("") });
  }
  await git(["-c", `gc.auto=${LOOSE_OBJECTS}`, "-c", "gc.autoDetach=false", "gc", "--auto", "--quiet"], {
    ...repository,
    signal,
    timeoutMs: GC_MS,
  });
}
