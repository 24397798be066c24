import type { AllowedOwners } from "./access/allowed-owners.ts";
import type { Memberships } from "./access/memberships.ts";
import type { Logger } from "./logger.ts";
import { type ConfirmHead, openConfirmHead } from "./pipeline/confirm-head.ts";
import { Removal } from "./pipeline/removal.ts";
import { startAll } from "./pipeline/restore.ts";
import type { Retirement } from "./pipeline/retirement.ts";
import type { AuditSink } from "./ports/audit-sink/audit-sink.ts";
import type { Builder } from "./ports/builder/builder.ts";
import type { LogStore } from "./ports/log-store/log-store.ts";
import type { Queue } from "./ports/queue/queue.ts";
import type { Runtime } from "./ports/runtime/runtime.ts";
import type { SecretStore } from "./ports/secret-store/secret-store.ts";
import type { SourceHosts } from "./ports/source-host/source-hosts.ts";
import { countOwners } from "./ports/store/owners.ts";
import type { Store } from "./ports/store/store.ts";
import type { UsageSource } from "./ports/usage-source/usage-source.ts";
import type { LiveRoutes } from "./routes/live-routes.ts";
import type { RoutePublisher } from "./routes/route-publisher.ts";
import { openDeployHead } from "./webhooks/deploy-head.ts";
import { openFollowDelivery } from "./webhooks/follow-delivery.ts";
import { Inbox } from "./webhooks/inbox.ts";
import { openLinks } from "./webhooks/links.ts";
import { Reconcile } from "./webhooks/reconcile.ts";
import type { RemovalBrake } from "./webhooks/removal-brake.ts";

interface FollowingPorts {
  readonly store: Store;
  readonly queue: Queue;
  readonly logs: LogStore;
  readonly builder: Builder;
  readonly runtime: Runtime;
  readonly usage: UsageSource;
  readonly secrets: SecretStore;
  readonly audit: AuditSink;
  readonly routes: RoutePublisher;
  readonly liveRoutes: LiveRoutes;
  readonly retirement: Retirement;
  readonly hosts: SourceHosts;
  readonly memberships: Memberships;
  readonly allowedOwners: AllowedOwners;
  readonly brake: RemovalBrake;
  readonly logger: Logger;
}

/** What goes on at remote source hosts is followed: by what they deliver, and by asking them. */
export interface Following extends AsyncDisposable {
  readonly inbox: Inbox;
  readonly reconcile: Reconcile;
  readonly confirmHead: ConfirmHead;
}

/** Of the composition root: all that follows remote source hosts, from a stored delivery to what is deployed and taken away. */
export function followRemoteHosts(ports: FollowingPorts): Following {
  const { store, queue, runtime, routes, hosts, logger } = ports;
  const opened = new AsyncDisposableStack();
  const removal = opened.use(
    new Removal({
      ...ports,
      sourceHost: hosts,
      startAll: (live, signal) => startAll(live, ports, signal),
    }),
  );
  const links = openLinks({
    ...ports,
    isAllowed: (asked) => ports.allowedOwners.isAllowed(asked),
    mayEnrol: async (ownerId) => {
      if (runtime.isolation.kind === "sandboxed" || ownerId !== undefined) return undefined;
      return (await countOwners(store)) === 0 ? undefined : noSandbox(runtime.isolation.reason);
    },
    onOwnersChanged: () =>
      routes.publishSettings(async (current) => ({
        ...current,
        listOwners: (await countOwners(store)) === 1,
      })),
    settle: (repositoryIds) => removal.settle(repositoryIds),
  });
  const deployHead = openDeployHead(queue);
  const inbox = opened.use(
    new Inbox({ ...ports, follow: openFollowDelivery({ ...ports, links, deployHead }) }),
  );
  const reconcile = opened.use(
    new Reconcile({
      store,
      links,
      logger,
      deployHead: async (host, repository, signal) => {
        await deployHead(host, repository, { trigger: "reconcile", person: host.instance }, signal);
      },
    }),
  );
  for (const host of hosts.remote) reconcile.follow(host);
  return {
    inbox,
    reconcile,
    confirmHead: openConfirmHead({ store, hosts, deployHead }),
    [Symbol.asyncDispose]: () => opened.disposeAsync(),
  };
}

/** Where there is no sandbox, whoever else is served could do what the platform can. */
export function noSandbox(reason: string): string {
  return `Without a sandbox the platform serves one owner only. ${reason}`;
}
