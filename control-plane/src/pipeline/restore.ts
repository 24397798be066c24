import { Readable } from "node:stream";
import { setTimeout as delay } from "node:timers/promises";
import { KnownError } from "@openfaas-cloud/shared/known-error.ts";
import { FunctionName, OwnerSlug } from "@openfaas-cloud/shared/names.ts";
import type { Logger } from "../logger.ts";
import type { LogStore } from "../ports/log-store/log-store.ts";
import type { Runtime } from "../ports/runtime/runtime.ts";
import type { SecretStore } from "../ports/secret-store/secret-store.ts";
import { type Deployed, listDeployed } from "../ports/store/functions.ts";
import type { Store } from "../ports/store/store.ts";

const PARALLEL_STARTS = 4;
const FIRST_RETRY_MS = 2_000;
const LONGEST_RETRY_MS = 60_000;

interface RestorePorts {
  readonly store: Store;
  readonly runtime: Runtime;
  readonly secrets: SecretStore;
  readonly logs: LogStore;
  readonly logger: Logger;
}

/**
 * Makes the runtime run what is live and nothing else: what a machine that was switched off, or a crash between two
 * stages, left otherwise. Functions that do not start are tried again until they do or are no longer live.
 * @returns when every live function was tried once.
 */
export async function restore(ports: RestorePorts, signal: AbortSignal): Promise<void> {
  const live = await listDeployed(ports.store);
  const wanted = new Set(live.map(({ revision }) => revision.id));
  const running = new Set(ports.runtime.list().map(({ revisionId }) => revisionId));
  const leftOver = ports.runtime.list().filter(({ revisionId }) => !wanted.has(revisionId));
  await Promise.all(leftOver.map((revision) => ports.runtime.stop(revision, { graceMs: 5_000 })));
  await startAll(
    live.filter(({ revision }) => !running.has(revision.id)),
    ports,
    signal,
  );
}

/** Starts live functions, those that do not start again and again. @returns when each was tried once. */
export async function startAll(
  live: readonly Deployed[],
  ports: RestorePorts,
  signal: AbortSignal,
): Promise<void> {
  await Readable.from(live)
    .map(
      async (deployed: Deployed) => {
        if (!(await startOnce(deployed, ports, signal))) void keepTrying(deployed, ports, signal);
      },
      { concurrency: PARALLEL_STARTS },
    )
    .toArray();
}

/** Never rejects. */
async function keepTrying(deployed: Deployed, ports: RestorePorts, signal: AbortSignal): Promise<void> {
  for (let waitMs = FIRST_RETRY_MS; !signal.aborted; waitMs = Math.min(waitMs * 2, LONGEST_RETRY_MS)) {
    await delay(waitMs, undefined, { signal }).catch(() => undefined);
    if (signal.aborted) return;
    try {
      const [now] = await listDeployed(ports.store, { functionIds: [deployed.id] });
      if (now?.revision.id !== deployed.revision.id) return;
    } catch (error) {
      ports.logger.error({ err: error, function: deployed.name }, "whether to start it again is not known");
      continue;
    }
    if (await startOnce(deployed, ports, signal)) return;
  }
}

/** A run may have replaced the revision while it was starting, and found nothing of it to end. */
async function stopIfRetired({ id, revision, owner_id }: Deployed, ports: RestorePorts): Promise<void> {
  const [now] = await listDeployed(ports.store, { functionIds: [id] });
  if (now?.revision.id === revision.id) return;
  await ports.runtime.stop({ revisionId: revision.id, ownerId: owner_id }, { graceMs: 5_000 });
}

async function startOnce(deployed: Deployed, ports: RestorePorts, signal: AbortSignal): Promise<boolean> {
  const { revision } = deployed;
  const { parsed: spec } = revision;
  const log = ports.logs.open({ kind: "function", functionId: deployed.id });
  try {
    await ports.runtime.start(
      {
        revisionId: revision.id,
        functionId: deployed.id,
        ownerId: deployed.owner_id,
        owner: OwnerSlug.parse(deployed.slug),
        function: FunctionName.parse(deployed.name),
        artifact: { digest: revision.artifact_digest, reference: revision.artifact_reference },
        environment: spec.environment,
        secrets: await ports.secrets.reveal(deployed.owner_id, spec.secrets),
        memoryLimitBytes: spec.memoryLimitBytes,
        replicas: spec.replicas,
        healthPath: spec.healthPath,
        healthInitialDelayMs: spec.healthInitialDelayMs,
      },
      { log, signal },
    );
    await stopIfRetired(deployed, ports);
    return true;
  } catch (error) {
    const reason = error instanceof KnownError ? error.message : "an error of the platform";
    log.write("platform", `did not start again, trying later: ${reason}\n`);
    ports.logger.warn(
      { err: error, owner: deployed.slug, function: deployed.name },
      "a live function did not start again; trying later",
    );
    return false;
  }
}
