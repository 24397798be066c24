import { KnownError } from "@openfaas-cloud/shared/known-error.ts";
import { BranchName, CommitSha } from "@openfaas-cloud/shared/names.ts";
import { sanitiseLogText } from "../log-store/sanitise.ts";
import type { BranchMoves, LivePush } from "./branch-moves.ts";
import type { HookConversation } from "./hook-conversation.ts";
import type { GitPerson, PushGate, PushVerdict } from "./push-gate.ts";
import type { Push, RepositoryRef } from "./source-host.ts";

/** Refs in one push; each branch among them may become a run. */
const MAX_REFS = 200;

/** What one push shows of its runs' output; all of it is in the runs' logs. */
const MAX_OUTPUT = 256 * 1024;
/** What a line counts for at least. */
const MIN_LINE_COST = 32;

export interface PushSession {
  readonly hooks: HookConversation;
  readonly repository: RepositoryRef;
  readonly person: GitPerson;
  readonly gate: PushGate;
  readonly moves: BranchMoves;
  /** Settles which branch HEAD names where nothing was pushed yet; the default branch from then on. */
  chooseDefaultBranch(pushed: readonly BranchName[]): Promise<BranchName | undefined>;
  /** The whole pack is here. */
  onReceived(): void;
  /** From now on the push is the platform's business, whether or not the client stays. */
  onTaken(): void;
  /** Nothing but the move of the branches is left to do. */
  onDecided(): void;
  onError(error: unknown): void;
}

/** Answers the hooks of one receive-pack until it ends; then sees to the branches it should have moved. */
export async function conductPush(session: PushSession, childEnded: Promise<void>): Promise<void> {
  const live: LivePush[] = [];
  try {
    await answerHooks(session, live);
  } finally {
    await childEnded;
    const ends = await Promise.allSettled(live.map((push) => push.end()));
    for (const end of ends) if (end.status === "rejected") session.onError(end.reason);
  }
}

async function answerHooks(session: PushSession, live: LivePush[]): Promise<void> {
  const { hooks } = session;
  let defaultBranch: BranchName | undefined;
  for (let message = await hooks.next(); message !== undefined; message = await hooks.next()) {
    const [head = "", ...rest] = message;
    try {
      if (head === "pre-receive") {
        session.onReceived();
        if (rest.length > MAX_REFS) {
          await refuse(
            hooks,
            `A push may carry at most ${MAX_REFS} branches and tags; this one has ${rest.length}.`,
          );
          continue;
        }
        defaultBranch = await session.chooseDefaultBranch(pushedBranches(rest));
        hooks.exit(0);
      } else {
        await decideRef(session, live, { head, details: rest, defaultBranch });
      }
    } catch (error) {
      session.onError(error);
      const reason = error instanceof KnownError ? error.message : "The platform could not take the push.";
      await refuse(hooks, `${reason} The branch has not moved: push again.`);
    }
  }
}

async function decideRef(
  session: PushSession,
  live: LivePush[],
  update: {
    readonly head: string;
    readonly details: readonly string[];
    readonly defaultBranch: BranchName | undefined;
  },
): Promise<void> {
  const { hooks } = session;
  const [, ref = "", before = "", after = ""] = update.head.split(" ");
  if (ref.startsWith("refs/tags/")) {
    await say(hooks, `${ref.slice("refs/tags/".length)}: the tag is kept. Tags are not deployed.`);
    return hooks.exit(0);
  }
  const name = ref.startsWith("refs/heads/") ? ref.slice("refs/heads/".length) : undefined;
  if (name === undefined) return refuse(hooks, `${ref}: only branches and tags can be pushed here.`);
  const branch = BranchName.safeParse(name);
  if (isZero(after)) {
    if (name === update.defaultBranch)
      return refuse(hooks, `${name}: this branch is the one that is deployed, so it cannot be deleted.`);
    await say(hooks, `${name}: deleted. What is deployed does not change.`);
    return hooks.exit(0);
  }
  if (!branch.success)
    return refuse(hooks, `${name}: this name cannot be used; letters, digits and . _ - / @ + # = can.`);
  const [object, author = "", subject = ""] = update.details;
  const commit = CommitSha.safeParse(after);
  if (!commit.success || object !== after) return refuse(hooks, `${name}: this is not a commit.`);

  await decidePush(session, live, {
    repository: session.repository,
    branch: branch.data,
    before: isZero(before) ? undefined : CommitSha.parse(before),
    commit: commit.data,
    message: sanitiseLogText(subject).slice(0, 500),
    author: sanitiseLogText(author).slice(0, 200),
    person: session.person.subject,
  });
}

async function decidePush(session: PushSession, live: LivePush[], push: Push): Promise<void> {
  const { hooks, gate, moves } = session;
  const move = await moves.enter(push);
  live.push(move);
  hooks.tell("keep");
  if ((await hooks.answer()) !== "kept")
    return refuse(hooks, `${push.branch}: somebody else moved the branch. Fetch, and push again.`);
  session.onTaken();
  const verdict = await gate.push(push);
  switch (verdict.kind) {
    case "refused":
      return refuse(hooks, verdict.message);
    case "accepted":
      await say(hooks, verdict.note);
      return finish(session, move, push);
    case "run":
      hooks.tell("stored");
      if (await showRun(session, verdict)) await finish(session, move, push);
  }
}

/** Shows what the run prints until it ends, and whether it ended well; false too where nobody is left to show it to. */
async function showRun(
  { hooks, onDecided }: PushSession,
  run: Extract<PushVerdict, { kind: "run" }>,
): Promise<boolean> {
  void run.outcome.then(onDecided);
  const lines = run.output[Symbol.asyncIterator]();
  let shown = 0;
  while (shown <= MAX_OUTPUT) {
    const line = await Promise.race([lines.next(), hooks.closed]);
    if (line === undefined || line.done) break;
    shown += Math.max(line.value.length, MIN_LINE_COST);
    await say(hooks, shown > MAX_OUTPUT ? "[there is more: see the run's log]" : line.value);
  }
  void lines.return?.();
  const outcome = await Promise.race([run.outcome, hooks.closed]);
  if (outcome === undefined) return false;
  if (outcome.succeeded) await say(hooks, outcome.message);
  else await refuse(hooks, outcome.message);
  return outcome.succeeded;
}

async function finish({ hooks }: PushSession, move: LivePush, push: Push): Promise<void> {
  if (move.release()) hooks.exit(0);
  else await refuse(hooks, `A newer push of ${push.branch} came meanwhile: the branch follows that one.`);
}

async function refuse(hooks: HookConversation, reason: string): Promise<void> {
  await say(hooks, reason);
  hooks.exit(1);
}

async function say(hooks: HookConversation, text: string): Promise<void> {
  for (const line of text.split("\n")) await hooks.say(sanitiseLogText(line));
}

function pushedBranches(updates: readonly string[]): BranchName[] {
  return updates.flatMap((update) => {
    const [, after = "", ref = ""] = update.split(" ");
    if (isZero(after) || !ref.startsWith("refs/heads/")) return [];
    const branch = BranchName.safeParse(ref.slice("refs/heads/".length));
    return branch.success ? [branch.data] : [];
  });
}

function isZero(object: string): boolean {
  return /^0+$/.test(object);
}
