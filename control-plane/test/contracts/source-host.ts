import type { BranchName, CommitSha } from "@openfaas-cloud/shared/names.ts";
import { expect, test } from "vitest";
import type { RepositoryRef, SourceHost } from "../../src/ports/source-host/source-host.ts";
import { runGit } from "../support/git-client.ts";

/** A host with one repository that has a commit nobody has deployed yet. */
export interface SourceHostUnderTest extends AsyncDisposable {
  readonly host: SourceHost;
  readonly repository: RepositoryRef;
  readonly branch: BranchName;
  readonly before: CommitSha;
  readonly commit: CommitSha;
}

/** What every SourceHost promises. */
export function sourceHostContract(start: () => Promise<SourceHostUnderTest>): void {
  const options = () => ({ log: { write: () => undefined }, signal: new AbortController().signal });

  test("fetchCommit gives a git directory with the commit and its tree, however often it is asked", async () => {
    await using it = await start();
    for (let time = 0; time < 2; time++) {
      const { gitDir } = await it.host.fetchCommit(it.repository, it.commit, options());
      expect(await runGit(gitDir, ["--git-dir=.", "cat-file", "-t", it.commit])).toBe("commit");
      expect(await runGit(gitDir, ["--git-dir=.", "ls-tree", "-r", it.commit])).not.toBe("");
    }
  });

  test("fetchCommit rejects a commit that is not there, and one that is no commit", async () => {
    await using it = await start();
    const { gitDir } = await it.host.fetchCommit(it.repository, it.commit, options());
    const tree = await runGit(gitDir, ["--git-dir=.", "rev-parse", `${it.commit}^{tree}`]);
    for (const absent of ["1".repeat(40), tree] as CommitSha[]) {
      await expect(it.host.fetchCommit(it.repository, absent, options())).rejects.toMatchObject({
        kind: "source-missing",
      });
    }
  });

  test("fetchCommit ends with the signal's reason", async () => {
    await using it = await start();
    const reason = new Error("superseded");
    await expect(
      it.host.fetchCommit(it.repository, it.commit, { ...options(), signal: AbortSignal.abort(reason) }),
    ).rejects.toBe(reason);
  });

  test("reportStatus may be sent twice", async () => {
    await using it = await start();
    const status = {
      context: "stack-deploy",
      state: "success",
      description: "1 function is live",
      targetUrl: "http://system.localhost/runs/1",
      runId: "1",
    } as const;
    await it.host.reportStatus(it.repository, it.commit, { ...status, state: "pending" });
    await it.host.reportStatus(it.repository, it.commit, status);
    await it.host.reportStatus(it.repository, it.commit, status);
  });

  test("settlePush may be repeated, and comes too late without harm", async () => {
    await using it = await start();
    const { repository, branch, before, commit } = it;
    await it.host.settlePush({ repository, branch, before, commit });
    await it.host.settlePush({ repository, branch, before, commit });
    await it.host.settlePush({ repository, branch, before: undefined, commit });
  });

  test("tidy keeps what runs ask for", async () => {
    await using it = await start();
    await it.host.tidy(it.repository, async () => new Set([it.commit]), new AbortController().signal);
    await it.host.fetchCommit(it.repository, it.commit, options());
  });
}
