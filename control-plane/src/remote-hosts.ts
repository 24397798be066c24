import { join } from "node:path";
import type { GitHubPlace } from "./config.ts";
import { HostConfig, instanceOf } from "./ports/source-host/host-config.ts";
import type { RemoteHost } from "./ports/source-host/remote-host.ts";
import type { SourceHosts } from "./ports/source-host/source-hosts.ts";
import { readStoredHosts, storeHost } from "./ports/source-host/stored-hosts.ts";
import type { Queries, Store } from "./ports/store/store.ts";
import type { Sealing } from "./sealing.ts";
import type { Urls } from "./urls.ts";

interface RemoteHostOptions {
  readonly dataDir: string;
  readonly urls: Urls;
  readonly store: Store;
  readonly sealing: Sealing;
}

/** Of the composition root: the source hosts that the operator's file names, then those that were added from the dashboard. */
export async function openRemoteHosts(
  named: readonly HostConfig[],
  options: RemoteHostOptions,
): Promise<RemoteHost[]> {
  await using opened = new AsyncDisposableStack();
  const hosts: RemoteHost[] = [];
  const instances = new Set(named.map(instanceOf));
  const stored = await readStoredHosts(options.store, options.sealing);
  // The file is what the operator said last, where both name one.
  for (const config of [...named, ...stored.filter((it) => !instances.has(instanceOf(it)))])
    hosts.push(opened.use(await openRemoteHost(config, options)));
  opened.move();
  return hosts;
}

/** Adapters are loaded where there is a host of theirs: a platform without one does without 7 MiB of what they need. */
async function openRemoteHost(config: HostConfig, options: RemoteHostOptions): Promise<RemoteHost> {
  const root = join(options.dataDir, "clones", encodeURIComponent(instanceOf(config)));
  switch (config.kind) {
    case "github": {
      const { openGitHub } = await import("./ports/source-host/github/github.ts");
      return openGitHub(config, { root });
    }
    case "gitlab": {
      const { openGitLab } = await import("./ports/source-host/gitlab/gitlab.ts");
      return openGitLab(config, { root });
    }
    case "bitbucket-cloud": {
      const { openBitbucketCloud } = await import("./ports/source-host/bitbucket/cloud.ts");
      return openBitbucketCloud(config, { root, webhookUrl: options.urls.webhook(config.kind) });
    }
    case "bitbucket-datacenter": {
      const { openBitbucketDataCenter } = await import("./ports/source-host/bitbucket/data-center.ts");
      return openBitbucketDataCenter(config, { root, webhookUrl: options.urls.webhook(config.kind) });
    }
  }
}

/** Makes a GitHub App on the operator's behalf and goes on with it. */
export function openGitHubAppMaker(
  place: GitHubPlace,
  {
    hosts,
    onAdded,
    ...options
  }: RemoteHostOptions & {
    readonly hosts: SourceHosts;
    readonly onAdded: (host: RemoteHost) => void;
  },
): GitHubAppMaker {
  const { urls, store, sealing } = options;
  const creation = async () => {
    const { newGitHubApp } = await import("./ports/source-host/github/creation.ts");
    return newGitHubApp(place, {
      name: `OpenFaaS Cloud ${urls.systemHost}`,
      home: `${urls.system}/dashboard/`,
      webhook: urls.webhook("github"),
      created: urls.gitHubAppCreated,
      callback: urls.signInCallback,
      installed: `${urls.system}/dashboard/`,
    });
  };
  return {
    origin: new URL(place.url).origin,
    form: async (...asked) => (await creation()).form(...asked),
    async complete(code, also, signal) {
      const written = await (await creation()).convert(code, signal);
      const config = HostConfig.parse(written);
      // One that the operator's file names is none to be kept beside it.
      if (hosts.find(instanceOf(config)) !== undefined) return undefined;
      await using opened = new AsyncDisposableStack();
      // Before it is kept: one that does not open would keep the platform from its next start.
      const host = opened.use(await openRemoteHost(config, options));
      const isNew = await store.transaction().execute(async (transaction) => {
        if ((await storeHost(transaction, sealing, written)) === undefined) return false;
        await also(transaction, host.instance);
        return true;
      });
      if (!isNew) return undefined;
      opened.move();
      hosts.add(host);
      onAdded(host);
      return host;
    },
  };
}

export interface GitHubAppMaker {
  /** Where the form goes to. */
  readonly origin: string;
  /** What the browser posts, and where to. */
  form(
    state: string,
    organization: string | undefined,
  ): Promise<{ readonly action: string; readonly manifest: string }>;
  /**
   * Trades what GitHub sent the browser back with for the App, which counts from then on.
   * @param also writes more within the transaction that keeps the new source host.
   * @returns the new source host; `undefined` where that GitHub is one already.
   */
  complete(
    code: string,
    also: (transaction: Queries, instance: string) => Promise<void>,
    signal: AbortSignal,
  ): Promise<RemoteHost | undefined>;
}
