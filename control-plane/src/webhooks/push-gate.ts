import type { BranchName } from "@openfaas-cloud/shared/names.ts";
import { CommitSha, type OwnerSlug, shortCommit } from "@openfaas-cloud/shared/names.ts";
import { findAccessToken } from "../access/credentials.ts";
import type { Memberships } from "../access/memberships.ts";
import { sha256 } from "../ids.ts";
import type { AuditSink } from "../ports/audit-sink/audit-sink.ts";
import type { LogStore } from "../ports/log-store/log-store.ts";
import { sanitiseLogText } from "../ports/log-store/sanitise.ts";
import type { Queue } from "../ports/queue/queue.ts";
import type { GitPerson, PushGate, PushVerdict } from "../ports/source-host/push-gate.ts";
import { EMBEDDED } from "../ports/source-host/source-host.ts";
import { findOwner, ownersOf } from "../ports/store/owners.ts";
import { ensureRepository, findRepository, refOf, setDefaultBranch } from "../ports/store/repositories.ts";
import type { Store } from "../ports/store/store.ts";
import { isAtLeast } from "../role.ts";
import type { RunFeed } from "../run-feed.ts";
import type { Urls } from "../urls.ts";

/** How long after its run's end a push waits for the rest of the log. */
const LOG_END_MS = 5_000;

/**
 * What a push to the embedded source host causes: who may push, which branch deploys, and the trigger that is stored
 * before the push is acknowledged.
 */
export function openPushGate(options: {
  readonly store: Store;
  readonly queue: Queue;
  readonly feed: RunFeed;
  readonly logs: LogStore;
  readonly audit: AuditSink;
  readonly urls: Urls;
  readonly memberships: Pick<Memberships, "ensure">;
}): PushGate {
  const { store, queue, audit, memberships } = options;

  return {
    async authenticate(token) {
      const found = await findAccessToken(store, sha256(token));
      if (!found) return undefined;
      const { subject, name, scopes } = found;
      const write = scopes.includes("push");
      return { subject, name, may: { read: write || scopes.includes("read"), write } };
    },

    async mayAccess(person: GitPerson, owner: OwnerSlug, access) {
      if (!person.may[access]) return false;
      const owners = await ownersOf(store, person.subject);
      const wanted = access === "write" ? "developer" : "viewer";
      // Owners of other hosts push there, and their repositories are cloned from there.
      return owners.some(
        ({ slug, source_host, role }) =>
          slug === owner && source_host === EMBEDDED && isAtLeast(role, wanted),
      );
    },

    async whyNot(person, slug) {
      // What a host said last may be old, since nobody was about.
      await memberships.ensure(person.subject);
      const owner = (await ownersOf(store, person.subject)).find((candidate) => candidate.slug === slug);
      if (!owner) return undefined;
      return owner.source_host === EMBEDDED
        ? `You are a ${owner.role} of ${slug}, and to push is for a developer.`
        : `The repositories of ${slug} live at ${owner.source_host}: push there. Each push to one that is linked is deployed from there.`;
    },

    async findRepository(owner, name) {
      const row = await findRepository(store, owner, name);
      if (!row) return undefined;
      const isDecided = row.default_branch !== null && (await hasRunFor(store, row.id, row.default_branch));
      return { ...refOf(row), defaultBranch: isDecided ? (row.default_branch as BranchName) : undefined };
    },

    async ensureRepository(owner, name) {
      const row = await findOwner(store, owner);
      if (!row) throw new Error(`there is no owner ${owner}`);
      return refOf({ ...(await ensureRepository(store, row, name)), slug: owner });
    },

    setDefaultBranch: (repository, branch) => setDefaultBranch(store, repository.repositoryId, branch),

    async push(push) {
      const repository = await findRepository(store, push.repository.owner, push.repository.name);
      if (!repository) return { kind: "refused", message: "The repository was removed meanwhile." };
      if (repository.default_branch !== null && repository.default_branch !== push.branch) {
        return {
          kind: "accepted",
          note: `${push.branch} is not the deploy branch (${repository.default_branch}), so nothing is deployed.`,
        };
      }
      const trigger = {
        trigger: "push",
        owner_id: repository.owner_id,
        repository_id: repository.id,
        branch: push.branch,
        before_sha: push.before ?? null,
        commit_sha: push.commit,
        message: push.message,
        author: push.author,
        person: push.person,
      } as const;
      const run = await queue.enqueue(trigger, (within, { id }) =>
        audit.append(
          {
            actor: push.person,
            action: "push.receive",
            object: `${push.repository.owner}/${push.repository.name}@${push.commit}`,
            result: `run ${id}`,
            ownerId: repository.owner_id,
          },
          within,
        ),
      );
      return followRun(run.id, options);
    },
  };
}

function followRun(
  runId: string,
  { store, logs, feed, urls }: Parameters<typeof openPushGate>[0],
): PushVerdict {
  const ended = new AbortController();
  const outcome = runEnd(store, feed, runId).then(
    ({ everRan, ...end }) => {
      // The log of a run ends by itself, after its last line; that of one which never ran does not exist.
      setTimeout(() => ended.abort(), everRan ? LOG_END_MS : 0).unref();
      return end;
    },
    () => {
      ended.abort();
      return {
        succeeded: false,
        message: `What became of the run is not known; its page tells: ${urls.run(runId)}`,
      };
    },
  );
  return {
    kind: "run",
    runId,
    outcome,
    output: pushOutput(`run ${runId}: ${urls.run(runId)}`, runId, logs, ended.signal),
  };
}

/** A deploy branch stays open to choice until a push to it succeeded or may still do so. */
async function hasRunFor(store: Store, repositoryId: string, branch: string): Promise<boolean> {
  const run = await store
    .selectFrom("runs")
    .select("id")
    .where("repository_id", "=", repositoryId)
    .where("branch", "=", branch)
    .where("state", "in", ["queued", "running", "succeeded"])
    .limit(1)
    .executeTakeFirst();
  return run !== undefined;
}

/** The run's log as lines for the push output. A run that ends while it is still queued has no log: `ended` stops waiting for one. */
async function* pushOutput(
  first: string,
  runId: string,
  logs: LogStore,
  ended: AbortSignal,
): AsyncGenerator<string> {
  yield first;
  let cursor: string | undefined;
  const stream = { kind: "run", runId } as const;
  for await (const page of logs.follow(stream, { signal: ended })) {
    for (const line of page.lines) yield asOutput(line);
    cursor = page.cursor;
    if (page.ended) return;
  }
  const rest = await logs.read(stream, cursor === undefined ? {} : { cursor });
  for (const line of rest.lines) yield asOutput(line);
}

function asOutput(line: { readonly source: string; readonly text: string }): string {
  const text = sanitiseLogText(line.text);
  return line.source === "platform" ? text : `[${line.source}] ${text}`;
}

async function runEnd(
  store: Store,
  feed: RunFeed,
  runId: string,
): Promise<{ readonly succeeded: boolean; readonly message: string; readonly everRan: boolean }> {
  const never = new AbortController();
  for await (const _ of feed.changesOf(runId, never.signal)) {
    const run = await store
      .selectFrom("runs")
      .select(["state", "reason", "started_at", "commit_sha"])
      .where("id", "=", runId)
      .executeTakeFirstOrThrow();
    const everRan = run.started_at !== null;
    if (run.state === "succeeded")
      return {
        succeeded: true,
        message: `deployed ${shortCommit(CommitSha.parse(run.commit_sha))}`,
        everRan,
      };
    if (run.state !== "queued" && run.state !== "running") {
      // The reason is the last line of the log, where there is one.
      const message = everRan
        ? `${run.state}; what was live stays live`
        : `${run.state}: ${run.reason ?? ""}`;
      return { succeeded: false, message, everRan };
    }
  }
  throw new Error("unreachable: the feed was never aborted");
}
