import { randomBytes } from "node:crypto";
import { join } from "node:path";
import { must } from "@openfaas-cloud/shared/must.ts";
import { FunctionName } from "@openfaas-cloud/shared/names.ts";
import { pino } from "pino";
import { temporaryFolder } from "../../../test/support/temporary-folder.ts";
import { openReporter, type Reporter } from "../../src/pipeline/reporter.ts";
import type { CourierTimes } from "../../src/pipeline/reports/courier.ts";
import { StageFrame, type StageName } from "../../src/pipeline/stage.ts";
import { openStoreAuditSink } from "../../src/ports/audit-sink/store.ts";
import { openFsLogStore } from "../../src/ports/log-store/fs.ts";
import type { NewTrigger, Run, RunEnd } from "../../src/ports/queue/queue.ts";
import { openSqlQueue } from "../../src/ports/queue/sql.ts";
import { openEmbeddedSecretStore } from "../../src/ports/secret-store/embedded.ts";
import { openSqliteStore } from "../../src/ports/store/sqlite.ts";
import { RunFeed } from "../../src/run-feed.ts";
import { Sealing } from "../../src/sealing.ts";
import { Urls } from "../../src/urls.ts";
import { addOwners } from "./owners.ts";
import { RecordingHost } from "./recording-host.ts";

const HOLDER = "test";

/** Short enough for tests to wait for. */
export const QUICK: Partial<CourierTimes> = { intervalMs: 10, placeMs: 20, firstPauseMs: 10 };

/** A reporter over the real store, queue and logs, and a source host that keeps a ledger; runs are played by the test. */
export async function openReporting(times: Partial<CourierTimes> = QUICK) {
  const stack = new AsyncDisposableStack();
  const dir = stack.use(await temporaryFolder());
  const store = stack.adopt(await openSqliteStore(join(dir.path, "store.sqlite")), (it) => it.destroy());
  await addOwners(store);
  const logs = stack.use(openFsLogStore({ dataDir: join(dir.path, "logs") }));
  const feed = new RunFeed();
  const queue = openSqlQueue({ store, feed });
  const secrets = openEmbeddedSecretStore(store, new Sealing(Buffer.alloc(32)));
  const audit = openStoreAuditSink(store);
  const logger = pino({ level: "silent" });
  const urls = new Urls("http://localhost:1");
  const host = new RecordingHost();
  const ports = { store, queue, feed, logs, secrets, audit, logger, urls, sourceHost: host };
  let reporter: Reporter | undefined = openReporter(ports, times);
  stack.defer(async () => reporter?.[Symbol.asyncDispose]());

  return {
    ...ports,
    host,

    push: (trigger: Partial<NewTrigger> = {}) =>
      queue.enqueue({
        trigger: "push",
        owner_id: "owner-a",
        repository_id: "repository-a",
        branch: "main",
        before_sha: null,
        commit_sha: randomBytes(20).toString("hex"),
        message: "change",
        author: "a",
        person: "local",
        ...trigger,
      }),

    async claim(): Promise<Run> {
      return must(await queue.claim(HOLDER, []), "a run to claim");
    },

    /** Stages of a run under way; disposing of it stores them. */
    frameOf(run: Run) {
      const log = logs.open({ kind: "run", runId: run.id });
      const frame = new StageFrame({
        run,
        log,
        store,
        feed,
        logger,
        signal: new AbortController().signal,
      });
      return {
        log,
        /** Begins a stage. @returns how to end it. */
        begin(name: StageName, of?: string) {
          const { promise, resolve, reject } = Promise.withResolvers<void>();
          const done = frame
            .stage(
              name,
              () => promise,
              () => "done",
              of === undefined ? undefined : FunctionName.parse(of),
            )
            .catch(() => undefined);
          return {
            succeed() {
              resolve();
              return done;
            },
            fail(error: Error) {
              reject(error);
              return done;
            },
          };
        },
        [Symbol.asyncDispose]: () => frame[Symbol.asyncDispose](),
      };
    },

    /** As `executeRun` ends a run; `told` says whether the platform lives long enough to report it. */
    async end(run: Run, end: RunEnd, { told = true } = {}): Promise<void> {
      await queue.finish(run.id, HOLDER, end);
      await this.close(run, end, { told });
    },

    /** The rest of it, for a run that the queue ended. */
    async close(run: Run, end: RunEnd, { told = true } = {}): Promise<void> {
      if (!told) return;
      await logs.end({ kind: "run", runId: run.id });
      await must(reporter, "the reporter").ended(run, end);
    },

    async stop(): Promise<void> {
      await reporter?.[Symbol.asyncDispose]();
      reporter = undefined;
    },

    async restart(): Promise<void> {
      await this.stop();
      reporter = openReporter(ports, times);
    },

    async isReported(run: Run): Promise<boolean> {
      const row = await store
        .selectFrom("runs")
        .select("reported_at")
        .where("id", "=", run.id)
        .executeTakeFirst();
      return row?.reported_at != null;
    },

    [Symbol.asyncDispose]: () => stack.disposeAsync(),
  };
}
