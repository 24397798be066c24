import type { Logger } from "../../logger.ts";
import type { AuditSink } from "../../ports/audit-sink/audit-sink.ts";
import type { SecretStore } from "../../ports/secret-store/secret-store.ts";
import { getRepository } from "../../ports/store/repositories.ts";
import type { Store } from "../../ports/store/store.ts";
import { openSecretMask } from "./secret-mask.ts";

const SWEEP_MS = 60_000;
const MAX_SWEPT = 1_000;

export interface RunTrailPorts {
  readonly store: Store;
  readonly secrets: SecretStore;
  readonly audit: AuditSink;
  readonly logger: Logger;
}

/**
 * The ends of runs in the audit trail, each once: a mark on the run is set in the transaction of its event. What a crash or a
 * trail that could not be written left out is found by that, at the next start and every minute. Not in the transaction that
 * ends the run: what a reason quotes is masked first, which takes the owner's secrets and longer than a transaction may.
 */
export class RunTrail implements AsyncDisposable {
  readonly #ports: RunTrailPorts;
  readonly #timer: NodeJS.Timeout;
  #sweeping: Promise<void>;
  #isStopped = false;

  constructor(ports: RunTrailPorts, { sweepMs = SWEEP_MS }: { readonly sweepMs?: number | undefined } = {}) {
    this.#ports = ports;
    this.#sweeping = this.#sweep();
    this.#timer = setInterval(() => {
      this.#sweeping = this.#sweeping.then(() => this.#sweep());
    }, sweepMs).unref();
  }

  /** Records how the run ended, unless that was done. */
  async record(runId: string): Promise<void> {
    const { store, secrets, audit } = this.#ports;
    const run = await store
      .selectFrom("runs")
      .selectAll()
      .where("id", "=", runId)
      .where("finished_at", "is not", null)
      .where("end_recorded", "=", 0)
      .executeTakeFirst();
    if (!run) return;
    const { slug, name } = await getRepository(store, run.repository_id);
    // It may quote what a function printed, and the trail keeps it for good and tells it to others.
    const reason = run.reason && (await openSecretMask(secrets, run.owner_id))(run.reason);
    await store.transaction().execute(async (transaction) => {
      const marked = await transaction
        .updateTable("runs")
        .set({ end_recorded: 1 })
        .where("id", "=", runId)
        .where("end_recorded", "=", 0)
        .returning("id")
        .executeTakeFirst();
      if (!marked) return;
      await audit.append(
        {
          actor: run.person,
          action: "run.end",
          object: `${slug}/${name}@${run.commit_sha}`,
          result: reason ? `${run.state}: ${reason}` : run.state,
          ownerId: run.owner_id,
        },
        transaction,
      );
    });
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#isStopped = true;
    clearInterval(this.#timer);
    await this.#sweeping;
  }

  /** Never rejects. */
  async #sweep(): Promise<void> {
    try {
      const runs = await this.#ports.store
        .selectFrom("runs")
        .select("id")
        .where("end_recorded", "=", 0)
        .where("finished_at", "is not", null)
        .orderBy("id")
        .limit(MAX_SWEPT)
        .execute();
      for (const { id } of runs) {
        if (this.#isStopped) return;
        // One that cannot be told of keeps no other back.
        await this.record(id).catch((error: unknown) => this.#failed(error, id));
      }
    } catch (error) {
      this.#failed(error);
    }
  }

  #failed(error: unknown, run?: string): void {
    this.#ports.logger.error({ err: error, run }, "the end of a run could not be recorded; trying again");
  }
}
