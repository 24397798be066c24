import { Agent, createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { join } from "node:path";
import { pino } from "pino";
import { expect, test } from "vitest";
import { eventually } from "../../test/support/eventually.ts";
import { temporaryFolder } from "../../test/support/temporary-folder.ts";
import { openStoreAuditSink } from "../src/ports/audit-sink/store.ts";
import { openSqlQueue } from "../src/ports/queue/sql.ts";
import { openSqliteStore } from "../src/ports/store/sqlite.ts";
import { RunFeed } from "../src/run-feed.ts";
import { openDeployHead } from "../src/webhooks/deploy-head.ts";
import { openFollowDelivery } from "../src/webhooks/follow-delivery.ts";
import { Inbox } from "../src/webhooks/inbox.ts";
import { openDeliveryReceiver } from "../src/webhooks/receive.ts";
import { sendDelivery } from "./support/delivery-client.ts";
import { RECORDED } from "./support/fake-github/payloads.ts";
import { startGitHub } from "./support/fake-github/under-test.ts";
import { addOwners } from "./support/owners.ts";
import { openScriptedLinks } from "./support/scripted-links.ts";

test("every delivery that GitHub recorded is taken by the listener, and comes to an end with a reason", async () => {
  await using stack = new AsyncDisposableStack();
  const { host, gitHub } = stack.use(await startGitHub());
  const { path } = stack.use(await temporaryFolder());
  const store = stack.adopt(await openSqliteStore(join(path, "store.sqlite")), (it) => it.destroy());
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
  const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}/github-event`;

  const recorded = RECORDED.flatMap(({ name, examples }) => examples.map((payload) => ({ name, payload })));
  expect(recorded.length).toBeGreaterThan(200);
  for (const { name, payload } of recorded) {
    const { headers, body } = gitHub.sign(name, payload);
    const { status } = await sendDelivery(url, { headers, pieces: [body] }, agent);
    expect(status, name).toBe(202);
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
  const rows = () => store.selectFrom("deliveries").selectAll().execute();
  await eventually(
    "all are worked off",
    async () => (await rows()).every(({ state }) => state !== "stored"),
    { withinMs: 60_000 },
  );
  const ends = await rows();
  expect(ends).toHaveLength(recorded.length);
  // None of it is about what there is here; and none of it is passed over in silence.
  expect(ends.filter(({ state, result }) => state === "failed" || !result)).toEqual([]);
  expect(await store.selectFrom("runs").select("id").execute()).toEqual([]);
}, 120_000);
