import { must } from "@openfaas-cloud/shared/must.ts";
import { MAX_REPOSITORY_NAME } from "@openfaas-cloud/shared/names.ts";
import { TRPCError, tracked } from "@trpc/server";
import { z } from "zod";
import type { LogPage, LogStore, LogStream } from "../ports/log-store/log-store.ts";
import type { NewTrigger, Run } from "../ports/queue/queue.ts";
import { namesOfRun } from "../ports/store/functions.ts";
import { findRun, type NamedRun, selectRuns } from "../ports/store/runs.ts";
import type { StageRow } from "../ports/store/schema.ts";
import { toLogPageView } from "./logs.ts";
import { type ApiPorts, ofOwner, ofOwners, ofRun, router } from "./procedure.ts";
import type { RunDetail, RunSummary, StageView } from "./views.ts";

const TERMINAL: ReadonlySet<Run["state"]> = new Set(["succeeded", "failed", "superseded", "cancelled"]);
const STAGE_ORDER: readonly StageRow["name"][] = ["checkout", "plan", "build", "deploy", "publish", "prune"];

export const runsRouter = router({
  list: ofOwners("viewer")
    .input(
      z.object({
        repository: z.string().max(MAX_REPOSITORY_NAME).optional(),
        limit: z.int().min(1).max(100).default(20),
        before: z.string().max(40).optional(),
      }),
    )
    .query(async ({ ctx, input }): Promise<{ runs: RunSummary[]; next: string | undefined }> => {
      const { owners } = ctx;
      if (owners.length === 0) return { runs: [], next: undefined };
      let query = selectRuns(ctx.ports.store)
        .where(
          "runs.owner_id",
          "in",
          owners.map(({ id }) => id),
        )
        .orderBy("runs.id", "desc")
        .limit(input.limit + 1);
      if (input.repository !== undefined) query = query.where("repositories.name", "=", input.repository);
      if (input.before !== undefined) query = query.where("runs.id", "<", input.before);
      const rows = await query.execute();
      const page = rows.slice(0, input.limit);
      return { runs: page.map(summary), next: rows.length > input.limit ? page.at(-1)?.id : undefined };
    }),

  get: ofRun("viewer").query(({ ctx }): Promise<RunDetail> => detail(ctx.run, ctx.ports)),

  ofCommit: ofOwner("viewer")
    .input(z.object({ repository: z.string().max(MAX_REPOSITORY_NAME), commit: z.string().max(64) }))
    .query(async ({ ctx, input }): Promise<{ id: string }> => {
      const run = await selectRuns(ctx.ports.store)
        .where("runs.owner_id", "=", ctx.owner.id)
        .where("repositories.name", "=", input.repository)
        .where("runs.commit_sha", "=", input.commit)
        .orderBy("runs.id", "desc")
        .executeTakeFirst();
      if (!run) throw new TRPCError({ code: "NOT_FOUND", message: "No run of this commit is known." });
      return { id: run.id };
    }),

  follow: ofRun("viewer").subscription(async function* ({ ctx, signal }) {
    const { ports } = ctx;
    const { id, owner_id } = ctx.run;
    for await (const _ of ports.feed.changesOf(id, must(signal, "signal of the subscription"))) {
      const run = must(await findRun(ports.store, id, [owner_id]), "the run that is followed");
      yield await detail(run, ports);
      if (TERMINAL.has(run.state)) return;
    }
  }),

  log: ofRun("viewer")
    .input(z.object({ lastEventId: z.string().max(100).nullish() }))
    .subscription(async function* ({ ctx, input, signal }) {
      const { logs } = ctx.ports;
      const { id, state } = ctx.run;
      const stream = { kind: "run", runId: id } as const;
      const from = input.lastEventId ? { cursor: input.lastEventId } : {};
      if (TERMINAL.has(state)) {
        // Read and not followed: the platform may have died between the end of the run and that of its log.
        for await (const page of pagesOf(stream, from, logs)) yield tracked(page.cursor, toLogPageView(page));
        return;
      }
      const pages = logs.follow(stream, { ...from, signal: must(signal, "signal of the subscription") });
      for await (const page of pages) yield tracked(page.cursor, toLogPageView(page));
    }),

  cancel: ofRun("developer").mutation(async ({ ctx }) => {
    const { run } = ctx;
    const reason = `Cancelled by ${ctx.person.name}. What was live stays live.`;
    const stopped = await ctx.ports.queue.stop(
      run.id,
      { state: "cancelled", kind: "cancelled", reason },
      (transaction) =>
        ctx.record({ action: "run.cancel", ...about(run), result: "asked to stop" }, transaction),
    );
    if (!stopped) throw new TRPCError({ code: "CONFLICT", message: `This run has ended: ${run.state}.` });
  }),

  redeploy: ofRun("developer").mutation(async ({ ctx }): Promise<{ id: string }> => {
    const { run } = ctx;
    const { id } = await ctx.ports.queue.enqueue(redeployOf(run, ctx.person.subject), (transaction, made) =>
      ctx.record({ action: "run.redeploy", ...about(run), result: `run ${made.id}` }, transaction),
    );
    return { id };
  }),
});

function about(run: NamedRun) {
  return { object: `${run.slug}/${run.repository}@${run.commit_sha}`, ownerId: run.owner_id };
}

/** Everything that is there, the last page marked as the end. */
async function* pagesOf(
  stream: LogStream,
  from: { readonly cursor?: string },
  logs: LogStore,
): AsyncGenerator<LogPage> {
  let page = await logs.read(stream, from);
  while (!page.ended && page.lines.length > 0) {
    yield page;
    page = await logs.read(stream, { cursor: page.cursor });
  }
  yield { ...page, ended: true };
}

function redeployOf(run: Run, subject: string): NewTrigger {
  const { owner_id, repository_id, branch, commit_sha, message, author } = run;
  return {
    trigger: "redeploy",
    owner_id,
    repository_id,
    branch,
    // The branch is where it is; a redeploy moves nothing.
    before_sha: commit_sha,
    commit_sha,
    message,
    author,
    person: subject,
  };
}

function summary(run: NamedRun): RunSummary {
  return {
    id: run.id,
    owner: run.slug,
    repository: run.repository,
    branch: run.branch,
    commit: run.commit_sha,
    message: run.message,
    author: run.author,
    trigger: run.trigger,
    state: runState(run),
    reason: run.reason ?? undefined,
    createdAt: run.created_at,
    startedAt: run.started_at ?? undefined,
    finishedAt: run.finished_at ?? undefined,
  };
}

export function runState({ state, reason_kind }: Pick<Run, "state" | "reason_kind">): RunSummary["state"] {
  return state === "failed" && reason_kind === "nothing-to-deploy" ? "skipped" : state;
}

async function detail(run: NamedRun, ports: ApiPorts): Promise<RunDetail> {
  const stages = await ports.store.selectFrom("stages").selectAll().where("run_id", "=", run.id).execute();
  const functions = await namesOfRun(ports.store, run);
  return {
    ...summary(run),
    stages: stages.toSorted(byOrder).map((stage) => stageView(stage, run)),
    functions: functions.map((name) => ({ name, url: ports.urls.function(run.slug, name) })),
    ahead: run.state === "queued" ? await ports.queue.ahead(run) : undefined,
    ignoredKeys: JSON.parse(run.ignored_keys) as RunDetail["ignoredKeys"],
  };
}

function byOrder(a: StageRow, b: StageRow): number {
  return (
    STAGE_ORDER.indexOf(a.name) - STAGE_ORDER.indexOf(b.name) || a.function.localeCompare(b.function, "en")
  );
}

/** A stage whose platform died under it never said how it ended; the run does. */
function stageView(row: StageRow, run: Run): StageView {
  if (row.state === "running" && TERMINAL.has(run.state)) {
    const cut = {
      ...row,
      state: "failed",
      finished_at: run.finished_at,
      detail: "Stopped before its end.",
    } as const;
    return stageView(cut, run);
  }
  return {
    name: row.name,
    function: row.function === "" ? undefined : row.function,
    state: row.state,
    startedAt: row.started_at,
    finishedAt: row.finished_at ?? undefined,
    detail: row.detail ?? undefined,
  };
}
