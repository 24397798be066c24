import { randomBytes } from "node:crypto";
import { join } from "node:path";
import { OwnerSlug, RepositoryName } from "@openfaas-cloud/shared/names.ts";
import { CompiledQuery } from "kysely";
import { expect, it } from "vitest";
import { temporaryFolder } from "../../test/support/temporary-folder.ts";
import {
  findAccessToken,
  forgetTokensOfEdges,
  listAccessTokens,
  makeSignInCode,
  revokedIds,
  revokeSession,
} from "../src/access/credentials.ts";
import { OpenStreams } from "../src/access/open-streams.ts";
import { PersonGrants } from "../src/access/person-grants.ts";
import { Sessions } from "../src/access/sessions.ts";
import { openLogger } from "../src/logger.ts";
import { RunTrail } from "../src/pipeline/reports/run-trail.ts";
import { openStoreAuditSink } from "../src/ports/audit-sink/store.ts";
import { openEmbeddedSecretStore } from "../src/ports/secret-store/embedded.ts";
import { listAuditEvents } from "../src/ports/store/audit-events.ts";
import {
  countWaiting,
  listDue,
  listInstances,
  listUnsorted,
  removeOldDeliveries,
  storeDelivery,
} from "../src/ports/store/deliveries.ts";
import { namesOfRun } from "../src/ports/store/functions.ts";
import { ensureMember, findOwner, findOwnerBySource, ownersOf } from "../src/ports/store/owners.ts";
import { findRepository, findRepositoryBySource } from "../src/ports/store/repositories.ts";
import { openSqliteStore } from "../src/ports/store/sqlite.ts";
import type { Store } from "../src/ports/store/store.ts";
import { Sealing } from "../src/sealing.ts";
import { addOwners } from "./support/owners.ts";

const ADA = "git.test:ada";
const NOW = Date.now();

const sessionsIn = (store: Store) =>
  new Sessions({
    store,
    tokens: {
      keys: [],
      rotate: async () => undefined,
      issue: async () => "token",
      verify: async () => undefined,
    },
    routes: { publishSettings: async () => 1 } as unknown as ConstructorParameters<
      typeof Sessions
    >[0]["routes"],
    streams: new OpenStreams(),
    logger: openLogger("fatal"),
  });
const grantsIn = (store: Store) =>
  new PersonGrants({ store, sealing: new Sealing(randomBytes(32)), now: () => NOW });

/** What is done for requests, deliveries and every few seconds, whatever has gathered in the tables. */
const OFTEN: Readonly<Record<string, (store: Store) => Promise<unknown>>> = {
  "finds a session": (store) => sessionsIn(store).find("jti"),
  "begins and ends a session": async (store) => {
    const sessions = sessionsIn(store);
    await sessions.begin({ subject: "local", name: "local" }, { address: "", userAgent: "" });
    await sessions.endAll("local");
  },
  "sweeps sessions": (store) => sessionsIn(store).sweep(),
  "revokes a session": (store) => revokeSession(store, { jti: "jti", exp: NOW / 1000 }),
  "tells edges what is revoked": (store) => revokedIds(store),
  "finds an access token": (store) => findAccessToken(store, "hash"),
  "lists and replaces a person's tokens": async (store) => {
    await listAccessTokens(store, ADA);
    await forgetTokensOfEdges(store, ADA);
  },
  "makes a link to sign in": (store) => makeSignInCode(store, "local"),
  "finds the owners of a person": (store) => ownersOf(store, ADA),
  "finds an owner": async (store) => {
    await findOwner(store, "a");
    await findOwnerBySource(store, "git.test", "1");
  },
  "finds who is about at which host": async (store) => {
    await grantsIn(store).instances();
    await grantsIn(store).peopleAbout("git.test");
  },
  "finds whom a change is about": async (store) => {
    await grantsIn(store).concerned({ instance: "git.test", person: "ada" });
    await grantsIn(store).concerned({ instance: "git.test", owner: "1" });
    await grantsIn(store).concerned({ instance: "git.test" });
  },
  "appends to the audit trail": (store) =>
    openStoreAuditSink(store).append({ actor: ADA, action: "a", object: "b", result: "c" }),
  "shows an owner's audit trail, the newest first": (store) =>
    listAuditEvents(store, { ownerId: "owner-a", limit: 50, before: 1_000 }),
  "shows the whole audit trail, the newest first": (store) =>
    listAuditEvents(store, { limit: 50, before: 1_000 }),
  "stores a delivery, or finds that it came before": (store) =>
    storeDelivery(store, { instance: "git.test", deliveryId: "1", event: "push", body: Buffer.of() }, NOW),
  "takes deliveries up": async (store) => {
    await listInstances(store);
    await listUnsorted(store, 10);
    await listDue(store, { instance: "git.test", busyLanes: ["lane"], now: NOW, limit: 10 });
    await countWaiting(store);
  },
  "forgets old deliveries": (store) => removeOldDeliveries(store, NOW, 10),
  "finds a repository": async (store) => {
    await findRepositoryBySource(store, "git.test", "1");
    await findRepository(store, OwnerSlug.parse("a"), RepositoryName.parse("repo"));
  },
  "sweeps ends of runs into the audit trail": async (store) => {
    const secrets = openEmbeddedSecretStore(store, new Sealing(randomBytes(32)));
    const ports = { store, secrets, audit: openStoreAuditSink(store), logger: openLogger("fatal") };
    await new RunTrail(ports)[Symbol.asyncDispose]();
  },
  "finds what a run published": (store) => namesOfRun(store, { id: "run", repository_id: "repository-a" }),
};

it.each(Object.keys(OFTEN))("%s without reading a whole table", async (what) => {
  await using folder = await temporaryFolder();
  const store = await openSqliteStore(join(folder.path, "store.sqlite"));
  await addOwners(store);
  await ensureMember(store, { subject: "local", name: "local" }, "owner-a");
  const plans = await plansOf(store, OFTEN[what] ?? (async () => undefined));
  await store.destroy();
  expect(plans.length).toBeGreaterThan(0);
  expect(
    plans.flatMap(({ query, steps }) => steps.filter(readsAll).map((step) => `${step}: ${query}`)),
  ).toEqual([]);
});

/** An index of what waits is as long as that; the walk over ids from their end stops at its limit. */
const BOUNDED =
  /USING (COVERING )?INDEX (deliveries_(waiting|unsorted)|runs_unrecorded)|^SCAN audit_events$|^SCAN (looked_at|about|\(subquery-\d+\))$/;

function readsAll(step: string): boolean {
  return /^SCAN/.test(step) && !BOUNDED.test(step);
}

/** How SQLite goes about every query that this makes, with the values that it is made with. */
async function plansOf(store: Store, act: (store: Store) => Promise<unknown>) {
  const made: CompiledQuery[] = [];
  const watched = store.withPlugin({
    transformQuery: ({ node, queryId }) => {
      made.push(store.getExecutor().compileQuery(node, queryId));
      return node;
    },
    transformResult: async ({ result }) => result,
  });
  await act(watched);
  const plans: { readonly query: string; readonly steps: readonly string[] }[] = [];
  for (const { sql, parameters } of made) {
    const explain = CompiledQuery.raw(`explain query plan ${sql}`, [...parameters]);
    const { rows } = await store.executeQuery<{ detail: string }>(explain);
    plans.push({ query: sql, steps: rows.map(({ detail }) => detail) });
  }
  return plans;
}
