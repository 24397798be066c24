import { join } from "node:path";
import { DEFAULT_ROUTE_LIMITS } from "@openfaas-cloud/shared/route.ts";
import { pino } from "pino";
import { describe, expect, it } from "vitest";
import { temporaryFolder } from "../../test/support/temporary-folder.ts";
import type { FunctionSpec } from "../src/function-spec.ts";
import type { RunningRevision, Runtime } from "../src/ports/runtime/runtime.ts";
import { openSqliteStore } from "../src/ports/store/sqlite.ts";
import { LiveRoutes } from "../src/routes/live-routes.ts";
import { RoutePublisher } from "../src/routes/route-publisher.ts";
import { addOwners } from "./support/owners.ts";

/** A store with `hello` of owner `a` live, and a runtime that runs whatever the test says. */
async function open() {
  const stack = new AsyncDisposableStack();
  const dir = stack.use(await temporaryFolder());
  const store = stack.adopt(await openSqliteStore(join(dir.path, "store.sqlite")), (it) => it.destroy());
  await addOwners(store);
  const running: RunningRevision[] = [];
  const listeners = new Set<(functionId: string) => void>();
  const runtime = {
    list: () => running,
    onChange: (listener: (functionId: string) => void) => {
      listeners.add(listener);
      return { [Symbol.dispose]: () => listeners.delete(listener) };
    },
  } satisfies Partial<Runtime> as unknown as Runtime;
  let reserving = { promise: Promise.resolve() };
  const settings = { keys: [], revoked: [], listOwners: true };
  const publisher = await RoutePublisher.open(
    { epoch: "e", next: 1, reserve: () => reserving.promise },
    settings,
    [],
  );
  const liveRoutes = stack.use(
    new LiveRoutes({ store, runtime, routes: publisher, logger: pino({ level: "silent" }) }),
  );
  const spec = { name: "hello", access: "public", replicas: 1 } as FunctionSpec;

  return {
    store,
    liveRoutes,
    publisher,
    /** What is published next has read the store already and then waits, for its version, until released. */
    async holdNextPublish() {
      for (let i = 0; i < 999; i++) {
        await publisher.publish({ settings: { ...settings, revoked: [String(i)] } });
      }
      const held = Promise.withResolvers<void>();
      reserving = held;
      return held.resolve;
    },
    /** Makes the revision live in the store; nobody is told. */
    async activate(revisionId: string, more: Partial<FunctionSpec> = {}) {
      await store
        .insertInto("revisions")
        .values({
          id: revisionId,
          function_id: "f",
          owner_id: "owner-a",
          run_id: "r",
          artifact_digest: "d",
          artifact_reference: "d",
          spec: JSON.stringify({ ...spec, ...more }),
          identity: revisionId,
          created_at: 0,
        })
        .execute();
      const row = {
        id: "f",
        owner_id: "owner-a",
        name: "hello",
        repository_id: "repository-a",
        branch: "main",
        active_revision_id: revisionId,
        generation: 1,
        commit_sha: "0".repeat(40),
        run_id: "r",
        deployed_at: 0,
      };
      await store
        .insertInto("functions")
        .values(row)
        .onConflict((conflict) => conflict.column("id").doUpdateSet(row))
        .execute();
    },
    setReplicas(revisionId: string, ...states: ("ready" | "backing-off")[]) {
      running.length = 0;
      const replicas = states.map((state, i) => ({
        id: `hello-${i}`,
        state,
        restarts: 0,
        lastExit: undefined,
        upstream: { id: `${revisionId}-${i}`, url: `http://127.0.0.1:${1000 + i}` },
      }));
      running.push({ revisionId, functionId: "f", ownerId: "owner-a", replicas });
      for (const listener of listeners) listener("f");
    },
    revisions: () => publisher.routes.map((route) => route.revision),
    upstreams: () => publisher.routes.flatMap((route) => route.upstreams.map(({ id }) => id)),
    [Symbol.asyncDispose]: () => stack.disposeAsync(),
  };
}

describe("live routes", () => {
  it("never go back to what a slow reader saw before the change", async () => {
    await using it = await open();
    await it.activate("old");
    const release = await it.holdNextPublish();
    const stale = it.liveRoutes.refresh();
    await it.activate("new");
    const fresh = it.liveRoutes.refresh(["f"]);
    // Were they not one after the other, the fresh one would be published now, and the stale one at its release.
    for (let i = 0; i < 20; i++) await it.store.selectFrom("functions").select("id").execute();
    release();
    await Promise.all([stale, fresh]);
    expect(it.revisions()).toEqual(["new"]);
  });

  it("take out what is gone, of those asked for only", async () => {
    await using it = await open();
    await it.activate("r1");
    await it.liveRoutes.refresh();
    await it.store.deleteFrom("functions").execute();
    await it.liveRoutes.refresh(["another"]);
    expect(it.revisions()).toEqual(["r1"]);
    await it.liveRoutes.refresh(["f"]);
    expect(it.revisions()).toEqual([]);
  });

  it("carry what the function asks of the edge, and the defaults for the rest", async () => {
    await using it = await open();
    await it.activate("r1");
    await it.liveRoutes.refresh();
    expect(it.publisher.routes[0]?.limits).toEqual(DEFAULT_ROUTE_LIMITS);
    const routeLimits = { maxConcurrency: 5, totalMs: null, rate: { perS: 2, burst: 4 } };
    await it.activate("r2", { routeLimits });
    await it.liveRoutes.refresh();
    expect(it.publisher.routes[0]?.limits).toEqual({ ...DEFAULT_ROUTE_LIMITS, ...routeLimits });
  });

  it("name the replicas that answer, and no other", async () => {
    await using it = await open();
    await it.activate("r1");
    it.setReplicas("r1", "ready", "backing-off");
    await it.liveRoutes.refresh();
    expect(it.upstreams()).toEqual(["r1-0"]);
    it.setReplicas("r1", "backing-off", "backing-off");
    await it.liveRoutes.refresh();
    expect(it.upstreams()).toEqual([]);
  });
});
