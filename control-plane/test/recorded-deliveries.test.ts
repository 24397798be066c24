import { Agent, createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { join } from "node:path";
import { pino } from "pino";
import { describe, expect, test } from "vitest";
import { eventually } from "../../test/support/eventually.ts";
import { temporaryFolder } from "../../test/support/temporary-folder.ts";
import { openStoreAuditSink } from "../src/ports/audit-sink/store.ts";
import { openSqlQueue } from "../src/ports/queue/sql.ts";
import type { RemoteHost } from "../src/ports/source-host/remote-host.ts";
import { openSqliteStore } from "../src/ports/store/sqlite.ts";
import { RunFeed } from "../src/run-feed.ts";
import { openDeployHead } from "../src/webhooks/deploy-head.ts";
import { openFollowDelivery } from "../src/webhooks/follow-delivery.ts";
import { Inbox } from "../src/webhooks/inbox.ts";
import { openDeliveryReceiver } from "../src/webhooks/receive.ts";
import { startCloud, startDataCenter } from "./support/bitbucket-under-test.ts";
import { sendDelivery } from "./support/delivery-client.ts";
import {
  cloudDeliveries,
  type DocumentedDelivery,
  dataCenterDeliveries,
  gitLabDeliveries,
} from "./support/documented-deliveries.ts";
import { RECORDED } from "./support/fake-github/payloads.ts";
import { startGitHub } from "./support/fake-github/under-test.ts";
import { startGitLab } from "./support/fake-gitlab/host-under-test.ts";
import { addOwners } from "./support/owners.ts";
import { openScriptedLinks } from "./support/scripted-links.ts";

/** Brings all to the listener that is at `path`, works them off, and looks at how each ended. */
async function bringAll(
  host: RemoteHost,
  path: string,
  deliveries: readonly DocumentedDelivery[],
): Promise<readonly { readonly event: string; readonly state: string; readonly result: string | null }[]> {
  await using stack = new AsyncDisposableStack();
  const folder = stack.use(await temporaryFolder());
  const store = stack.adopt(await openSqliteStore(join(folder.path, "store.sqlite")), (it) => it.destroy());
  await addOwners(store);
  const logger = pino({ level: "silent" });
  const queue = openSqlQueue({ store, feed: new RunFeed() });
  const receiver = openDeliveryReceiver({
    store,
    hosts: { remote: [host] },
    onStored: () => undefined,
    dashboardUrl: "/dashboard/",
    logger,
  });
  const server = createServer((request, response) => void receiver.handle(request, response));
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  stack.defer(() => void server.close());
  const agent = new Agent({ keepAlive: true, maxSockets: 8 });
  stack.defer(() => agent.destroy());
  const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}${path}`;
  const rows = () => store.selectFrom("deliveries").selectAll().orderBy("id").execute();

  for (const { event, delivery } of deliveries) {
    const forged = Buffer.concat([delivery.body, Buffer.from(" ")]);
    const headers = { ...delivery.headers, "x-gitlab-token": "another" } as Record<string, string>;
    const refused = await sendDelivery(url, { headers, pieces: [forged] }, agent);
    expect(refused.status, `${event}, forged`).toBe(401);
  }
  expect(await rows()).toEqual([]);
  for (const { event, delivery } of deliveries) {
    const headers = delivery.headers as Record<string, string>;
    const { status } = await sendDelivery(url, { headers, pieces: [delivery.body] }, agent);
    expect(status, event).toBe(202);
  }

  stack.use(
    new Inbox({
      store,
      hosts: { find: () => host },
      follow: openFollowDelivery({
        store,
        queue,
        links: openScriptedLinks(store),
        memberships: { staleFor: async () => undefined },
        deployHead: openDeployHead(queue),
      }),
      audit: openStoreAuditSink(store),
      logger,
      limits: { pollMs: 20 },
    }),
  );
  await eventually(
    "all are worked off",
    async () => (await rows()).every(({ state }) => state !== "stored"),
    { withinMs: 60_000 },
  );
  const ends = await rows();
  expect(ends).toHaveLength(deliveries.length);
  // None of it is about what there is here; and none of it is passed over in silence.
  expect(ends.filter(({ state, result }) => state === "failed" || !result)).toEqual([]);
  expect(await store.selectFrom("runs").select("id").execute()).toEqual([]);
  return ends;
}

describe("what is forged is refused and leaves no trace; what is authentic is taken and comes to an end with a reason", () => {
  test("of all that GitHub recorded", async () => {
    await using it = await startGitHub();
    const recorded = RECORDED.flatMap(({ name, examples }) =>
      examples.map((payload) => ({ event: name, delivery: it.gitHub.sign(name, payload) })),
    );
    expect(recorded.length).toBeGreaterThan(200);
    await bringAll(it.host, "/github-event", recorded);
  }, 120_000);

  test("of all that GitLab documents", async () => {
    await using it = await startGitLab();
    const documented = gitLabDeliveries(it);
    expect(documented.length).toBeGreaterThan(50);
    await bringAll(it.host, "/gitlab-event", documented);
  });

  test("of all that Bitbucket Cloud documents", async () => {
    await using it = await startCloud();
    const { key } = await it.fake.addRepository({ isLinked: false });
    await bringAll(it.host, "/bitbucket-event", await cloudDeliveries(it.fake, key));
  });

  test("of all that Bitbucket Data Center documents", async () => {
    await using it = await startDataCenter();
    const { key } = await it.fake.addRepository({ isLinked: false });
    await bringAll(it.host, "/bitbucket-event", dataCenterDeliveries(it.fake, key));
  });
});
