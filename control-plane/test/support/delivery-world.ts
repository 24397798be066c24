import { Agent, createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { join } from "node:path";
import { pino } from "pino";
import { eventually } from "../../../test/support/eventually.ts";
import { temporaryFolder } from "../../../test/support/temporary-folder.ts";
import type { Memberships } from "../../src/access/memberships.ts";
import { openStoreAuditSink } from "../../src/ports/audit-sink/store.ts";
import { openSqlQueue } from "../../src/ports/queue/sql.ts";
import { countOwners } from "../../src/ports/store/owners.ts";
import { findRepositoryBySource } from "../../src/ports/store/repositories.ts";
import { openSqliteStore } from "../../src/ports/store/sqlite.ts";
import { RunFeed } from "../../src/run-feed.ts";
import { openDeployHead } from "../../src/webhooks/deploy-head.ts";
import { openFollowDelivery } from "../../src/webhooks/follow-delivery.ts";
import { Inbox, type InboxLimits } from "../../src/webhooks/inbox.ts";
import { openDeliveryReceiver } from "../../src/webhooks/receive.ts";
import { type DeliveryAnswer, sendDelivery } from "./delivery-client.ts";
import { addOwners } from "./owners.ts";
import type { Fact, ScriptedHost } from "./scripted-host.ts";
import { openScriptedLinks } from "./scripted-links.ts";

const PATHS = {
  github: "/github-event",
  gitlab: "/gitlab-event",
  "bitbucket-cloud": "/bitbucket-event",
  "bitbucket-datacenter": "/bitbucket-event",
} as const;

export interface WorldOptions {
  readonly hosts: readonly ScriptedHost[];
  readonly limits?: Partial<InboxLimits>;
  readonly askMs?: number;
  readonly notEnrolled?: ReadonlySet<string>;
  /** Of the store, where it is to outlive this world. */
  readonly file?: string;
  /** Deliveries are received and not worked off. */
  readonly withoutInbox?: boolean;
}

/** Everything from a delivery's first byte to the run that it causes, over scripted hosts: real HTTP, real SQLite. */
export async function openDeliveryWorld({ hosts, ...options }: WorldOptions) {
  const stack = new AsyncDisposableStack();
  const file = options.file ?? join(stack.use(await temporaryFolder()).path, "store.sqlite");
  const store = stack.adopt(await openSqliteStore(file), (it) => it.destroy());
  if ((await countOwners(store)) === 0) await addOwners(store);
  let skewMs = 0;
  const now = () => Date.now() + skewMs;
  const feed = new RunFeed();
  const queue = openSqlQueue({ store, feed, now });
  const deployHead = openDeployHead(queue);
  const links = openScriptedLinks(store, options.notEnrolled);
  const stale: Parameters<Memberships["staleFor"]>[0][] = [];
  const memberships = { staleFor: async (who: (typeof stale)[number]) => void stale.push(who) };
  const byInstance = { find: (instance: string) => hosts.find((host) => host.instance === instance) };
  const logger = pino({ level: "silent" });
  const openInbox = () =>
    new Inbox({
      store,
      hosts: byInstance,
      follow: openFollowDelivery({
        ...{ store, queue, links, memberships, deployHead },
        ...(options.askMs === undefined ? {} : { askMs: options.askMs }),
      }),
      audit: openStoreAuditSink(store),
      logger,
      now,
      limits: { pollMs: 20, firstPauseMs: 5, longestPauseMs: 40, ...options.limits },
    });
  const inbox = options.withoutInbox ? undefined : stack.use(openInbox());
  const receiver = openDeliveryReceiver({
    ...{ store, logger, now, hosts: { remote: hosts }, dashboardUrl: "/dashboard/" },
    onStored: () => inbox?.wake(),
  });
  const server = createServer((request, response) => void receiver.handle(request, response));
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  stack.defer(() => void server.close());
  stack.defer(() => server.closeAllConnections());
  const agent = new Agent({ keepAlive: true, maxSockets: 20 });
  stack.defer(() => agent.destroy());
  const { port } = server.address() as AddressInfo;

  return {
    ...{ store, queue, feed, deployHead, stale },
    advance: (ms: number) => {
      skewMs += ms;
    },
    send(host: ScriptedHost, fact: Fact, id?: string): Promise<DeliveryAnswer> {
      const { body, headers } = host.deliver(fact, id);
      const url = `http://127.0.0.1:${port}${PATHS[host.kind]}`;
      return sendDelivery(url, { headers, pieces: [body] }, agent);
    },
    rows: () => store.selectFrom("deliveries").selectAll().orderBy("id").execute(),
    runs: () => store.selectFrom("runs").selectAll().orderBy("generation").execute(),
    audit: () => store.selectFrom("audit_events").selectAll().orderBy("id").execute(),
    /** The repository as the store has it. */
    find: (host: ScriptedHost, id: string) => findRepositoryBySource(store, host.instance, id),
    /** When everything that was stored has been worked off. @returns the newest row. */
    async quiet(withinMs = 10_000) {
      await eventually(
        "every delivery is worked off",
        async () => (await this.rows()).every(({ state }) => state !== "stored"),
        { withinMs },
      );
      return (await this.rows()).at(-1);
    },
    [Symbol.asyncDispose]: () => stack.disposeAsync(),
  };
}

export type DeliveryWorld = Awaited<ReturnType<typeof openDeliveryWorld>>;
