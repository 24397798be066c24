import { must } from "@openfaas-cloud/shared/must.ts";
import { DURATION_BUCKETS_S } from "@openfaas-cloud/shared/route.ts";
import { TRPCError, tracked } from "@trpc/server";
import { z } from "zod";
import { replicasOf, stateOf } from "../function-state.ts";
import { EMBEDDED } from "../ports/source-host/source-host.ts";
import { type Deployed, findFunction, listDeployed } from "../ports/store/functions.ts";
import { getRepository } from "../ports/store/repositories.ts";
import type { OwnerRow } from "../ports/store/schema.ts";
import type { UsageMinute } from "../ports/usage-source/usage-source.ts";
import { toLogPageView } from "./logs.ts";
import { type ApiPorts, ofOwner, ofOwners, router } from "./procedure.ts";
import type { FunctionDetail, FunctionSummary, FunctionUsage, UsageBar, UsageWindow } from "./views.ts";

const HOUR = 60;
const DAY = 24 * HOUR;
const FunctionName = z.object({ name: z.string().max(63) });

/** For people who may see the functions of the owner that the input names. */
const ofFunction = ofOwner("viewer").input(FunctionName);

export const functionsRouter = router({
  list: ofOwners("viewer").query(async ({ ctx }): Promise<FunctionSummary[]> => {
    const { owners, ports } = ctx;
    if (owners.length === 0) return [];
    const deployed = await listDeployed(ports.store, { ownerIds: owners.map(({ id }) => id) });
    const totals = await ports.usage.totals(
      deployed.map(({ id }) => id),
      minuteNow() - DAY,
    );
    return deployed.map((one) => summary(one, totals.get(one.id) ?? 0, ports));
  }),

  get: ofFunction.query(async ({ ctx, input }): Promise<FunctionDetail> => {
    const { ports } = ctx;
    const deployed = await requireFunction(ctx.owner, input.name, ports);
    const repository = await getRepository(ports.store, deployed.repository_id);
    const run = await ports.store
      .selectFrom("runs")
      .select(["message", "author"])
      .where("id", "=", deployed.run_id)
      .executeTakeFirstOrThrow();
    const totals = await ports.usage.totals([deployed.id], minuteNow() - DAY);
    const { parsed } = deployed.revision;
    return {
      ...summary(deployed, totals.get(deployed.id) ?? 0, ports),
      language: parsed.lang,
      access: parsed.access,
      artifact: deployed.revision.artifact_digest,
      revision: deployed.revision.id,
      memoryLimitBytes: parsed.memoryLimitBytes,
      environment: Object.keys(parsed.environment).toSorted(),
      secrets: parsed.secrets,
      labels: parsed.labels,
      annotations: parsed.annotations,
      repositoryUrl: repository.web_url === "" ? undefined : repository.web_url,
      cloneUrl:
        repository.source_host === EMBEDDED
          ? ports.urls.clone(deployed.slug, deployed.repository)
          : undefined,
      commitMessage: run.message,
      commitAuthor: run.author,
      runId: deployed.run_id,
      replicaList: replicasOf(deployed, ports.runtime).map(({ id, state, restarts, lastExit }) => ({
        id,
        state,
        restarts,
        lastExit,
      })),
    };
  }),

  usage: ofFunction.query(async ({ ctx, input }): Promise<FunctionUsage> => {
    const { id } = await requireFunction(ctx.owner, input.name, ctx.ports);
    const now = minuteNow();
    const minutes = await ctx.ports.usage.minutes(id, now - DAY);
    const ofHour = minutes.filter(({ minute }) => minute > now - HOUR);
    return {
      hour: usageWindow(ofHour),
      day: usageWindow(minutes),
      lastHour: bars(ofHour, now, 5, HOUR / 5),
      lastDay: bars(minutes, now, HOUR, DAY / HOUR),
    };
  }),

  log: ofFunction
    .input(z.object({ lastEventId: z.string().max(100).nullish() }))
    .use(async ({ ctx, input, next }) => {
      const found = await findFunction(ctx.ports.store, ctx.owner.id, input.name);
      if (!found) throw missing(ctx.owner, input.name);
      return next({ ctx: { ...ctx, functionId: found.id } });
    })
    .subscription(async function* ({ ctx, input, signal }) {
      const from = input.lastEventId ? { cursor: input.lastEventId } : { tailLines: 200 };
      const pages = ctx.ports.logs.follow(
        { kind: "function", functionId: ctx.functionId },
        { ...from, signal: must(signal, "signal of the subscription") },
      );
      for await (const page of pages) yield tracked(page.cursor, toLogPageView(page));
    }),
});

async function requireFunction(owner: OwnerRow, name: string, ports: ApiPorts): Promise<Deployed> {
  const [deployed] = await listDeployed(ports.store, { ownerIds: [owner.id], name });
  if (!deployed) throw missing(owner, name);
  return deployed;
}

function missing(owner: OwnerRow, name: string): TRPCError {
  return new TRPCError({
    code: "NOT_FOUND",
    message: `${owner.slug} has no function ${name}. It may have been removed from its stack file, or its first push has not succeeded yet.`,
  });
}

function summary(deployed: Deployed, invocations: number, ports: ApiPorts): FunctionSummary {
  const replicas = replicasOf(deployed, ports.runtime);
  const ready = replicas.filter(({ state }) => state === "ready").length;
  return {
    id: deployed.id,
    owner: deployed.slug,
    name: deployed.name,
    url: ports.urls.function(deployed.slug, deployed.name),
    state: stateOf(deployed, replicas),
    replicas: { ready, wanted: deployed.revision.parsed.replicas },
    repository: deployed.repository,
    branch: deployed.branch,
    commit: deployed.commit_sha,
    deployedAt: deployed.deployed_at,
    invocations,
  };
}

function minuteNow(): number {
  return Math.floor(Date.now() / 60_000);
}

function usageWindow(minutes: readonly UsageMinute[]): UsageWindow {
  const counts = DURATION_BUCKETS_S.map((_, i) =>
    minutes.reduce((sum, { durationCounts }) => sum + (durationCounts[i] ?? 0), 0),
  );
  const slower = minutes.reduce((sum, { durationCounts }) => sum + (durationCounts.at(-1) ?? 0), 0);
  return {
    ...successAndFailure(minutes),
    p50Ms: quantileMs(counts, slower, 0.5),
    p95Ms: quantileMs(counts, slower, 0.95),
  };
}

function successAndFailure(minutes: readonly UsageMinute[]): { success: number; failure: number } {
  let success = 0;
  let failure = 0;
  for (const { codes } of minutes) {
    for (const [code, count] of Object.entries(codes)) {
      if (Number(code) < 400) success += count;
      else failure += count;
    }
  }
  return { success, failure };
}

/** Interpolated within its bucket, as Prometheus' histogram_quantile does; the last bound for what is beyond it. */
function quantileMs(counts: readonly number[], slower: number, quantile: number): number | undefined {
  const total = counts.reduce((sum, count) => sum + count, slower);
  if (total === 0) return undefined;
  const rank = quantile * total;
  let below = 0;
  for (const [i, count] of counts.entries()) {
    const upper = DURATION_BUCKETS_S[i] ?? 0;
    const lower = DURATION_BUCKETS_S[i - 1] ?? 0;
    if (count > 0 && below + count >= rank) {
      return 1000 * (lower + ((upper - lower) * (rank - below)) / count);
    }
    below += count;
  }
  return 1000 * (DURATION_BUCKETS_S.at(-1) ?? 0);
}

/** `count` bars of `width` minutes each, the last one ending now. */
function bars(minutes: readonly UsageMinute[], now: number, width: number, count: number): UsageBar[] {
  return Array.from({ length: count }, (_, i) => {
    const from = now + 1 - (count - i) * width;
    const within = minutes.filter(({ minute }) => minute >= from && minute < from + width);
    return { from: from * 60_000, ...successAndFailure(within) };
  });
}
