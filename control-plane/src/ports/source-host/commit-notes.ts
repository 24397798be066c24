import type { CommitSha } from "@openfaas-cloud/shared/names.ts";
import { GitFailed, git } from "../../git-command.ts";
import { sanitiseLogText } from "../log-store/sanitise.ts";
import type { BareRepositories } from "./bare-repositories.ts";
import { KeyedQueue } from "./keyed-queue.ts";
import type { CommitStatus, RepositoryRef } from "./source-host.ts";

/** Below refs/notes: `git fetch origin refs/notes/openfaas:refs/notes/openfaas && git log --notes=openfaas`. */
const NOTES = "openfaas";

/** Commit statuses as git notes: one line for each context, the last state of it. */
export interface CommitNotes extends AsyncDisposable {
  /** Takes the status and returns; it is written once no push of the repository is under way. */
  report(repository: RepositoryRef, commit: CommitSha, status: CommitStatus): void;
}

export function openCommitNotes(
  repositories: BareRepositories,
  options: {
    readonly pushesEnded: (repositoryId: string) => Promise<void>;
    readonly onError: (error: unknown) => void;
  },
): CommitNotes {
  const queue = new KeyedQueue();
  /** By repository, then commit, then context: what is to be written, so that a run's statuses become one note. */
  const waiting = new Map<string, Map<CommitSha, Map<string, string>>>();

  function report(repository: RepositoryRef, commit: CommitSha, status: CommitStatus): void {
    const id = repository.repositoryId;
    const commits = waiting.get(id) ?? new Map<CommitSha, Map<string, string>>();
    const lines = commits.get(commit) ?? new Map<string, string>();
    lines.set(
      status.context,
      sanitiseLogText(`${status.state} — ${status.description} ${status.targetUrl}`).trimEnd(),
    );
    commits.set(commit, lines);
    if (waiting.has(id)) return;
    waiting.set(id, commits);
    queue.run(id, () => writeWaiting(id)).catch(options.onError);
  }

  async function writeWaiting(id: string): Promise<void> {
    await options.pushesEnded(id);
    const commits = waiting.get(id) ?? [];
    waiting.delete(id);
    for (const [commit, lines] of commits) await write(repositories.gitDirOf(id), commit, lines);
  }

  async function write(gitDir: string, commit: CommitSha, lines: ReadonlyMap<string, string>): Promise<void> {
    const run = { env: repositories.platformEnv, gitDir };
    const note = new Map([...parse(await show(commit)), ...lines]);
    const text = [...note].map(([context, state]) => `${context}: ${state}\n`).join("");
    await git(["notes", `--ref=${NOTES}`, "add", "--force", "--file=-", commit], { ...run, input: text });

    async function show(of: CommitSha): Promise<string> {
      try {
        return await git(["notes", `--ref=${NOTES}`, "show", of], run);
      } catch (error) {
        if (error instanceof GitFailed && error.exitCode === 1) return "";
        throw error;
      }
    }
  }

  return { report, [Symbol.asyncDispose]: () => queue.idle() };
}

function parse(note: string): [string, string][] {
  return note.split("\n").flatMap((line): [string, string][] => {
    const colon = line.indexOf(": ");
    return colon === -1 ? [] : [[line.slice(0, colon), line.slice(colon + 2)]];
  });
}
