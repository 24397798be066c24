import { randomBytes } from "node:crypto";
import { request } from "node:http";
import { createServer } from "node:https";
import type { AddressInfo } from "node:net";
import { join } from "node:path";
import { pipeline } from "node:stream";
import { must } from "@openfaas-cloud/shared/must.ts";
import { expect, test } from "vitest";
import { part } from "../../test/support/parts.ts";
import { temporaryFolder } from "../../test/support/temporary-folder.ts";
import { HostUnavailable } from "../src/ports/source-host/host-errors.ts";
import type { RemoteHost } from "../src/ports/source-host/remote-host.ts";
import type { SourceHost } from "../src/ports/source-host/source-host.ts";
import { SourceHosts } from "../src/ports/source-host/source-hosts.ts";
import { readStoredHosts } from "../src/ports/source-host/stored-hosts.ts";
import { openSqliteStore } from "../src/ports/store/sqlite.ts";
import type { Queries } from "../src/ports/store/store.ts";
import { openGitHubAppMaker } from "../src/remote-hosts.ts";
import { Sealing } from "../src/sealing.ts";
import { Urls } from "../src/urls.ts";
import { selfSignedCertificate } from "./support/certificate.ts";
import { FakeGitHub } from "./support/fake-github/fake-github.ts";

const nothingMore = async () => undefined;

async function openMaker(place: { readonly url: string; readonly ca?: string }) {
  await using opened = new AsyncDisposableStack();
  const folder = opened.use(await temporaryFolder());
  const store = opened.adopt(await openSqliteStore(join(folder.path, "store.sqlite")), (it) => it.destroy());
  const sealing = new Sealing(randomBytes(32));
  const hosts = opened.use(new SourceHosts({} as SourceHost, []));
  const added: RemoteHost[] = [];
  const urls = new Urls("http://localhost");
  const maker = openGitHubAppMaker(
    { apiUrl: undefined, ca: undefined, ...place },
    { dataDir: folder.path, urls, store, sealing, hosts, onAdded: (host) => added.push(host) },
  );
  const closing = opened.move();
  return {
    hosts,
    added,
    complete: (code: string, also: (transaction: Queries, instance: string) => Promise<void> = nothingMore) =>
      maker.complete(code, also, signal()),
    stored: () => readStoredHosts(store, sealing),
    [Symbol.asyncDispose]: () => closing.disposeAsync(),
  };
}

/** As if the operator had clicked on GitHub's page. */
async function newCode(gitHub: FakeGitHub): Promise<string> {
  const manifest = JSON.stringify({
    name: "A platform",
    url: "http://localhost",
    hook_attributes: { url: "http://localhost/github-event", active: true },
    redirect_url: "http://localhost/created",
    callback_urls: ["http://localhost/callback"],
    default_permissions: {},
    default_events: [],
  });
  const created = await fetch(`${gitHub.url}/settings/apps/create`, {
    method: "POST",
    body: new URLSearchParams({ manifest, state: "a-state" }),
    redirect: "manual",
  });
  const back = new URL(must(created.headers.get("location"), "a way back"));
  return must(back.searchParams.get("code"), "a code");
}

test("a GitHub App that was made is kept together with what tells of it, or not at all", async () => {
  await using gitHub = await FakeGitHub.start();
  await using it = await openMaker({ url: gitHub.url });
  const full = new Error("the disk is full");
  await expect(it.complete(await newCode(gitHub), () => Promise.reject(full))).rejects.toBe(full);
  expect([await it.stored(), it.hosts.remote, it.added]).toEqual([[], [], []]);

  const told: string[] = [];
  const host = await it.complete(await newCode(gitHub), async (_, instance) => void told.push(instance));
  expect(told).toEqual([new URL(gitHub.url).host]);
  expect([it.hosts.remote, it.added]).toEqual([[host], [host]]);
  expect(await it.stored()).toMatchObject([{ kind: "github", url: gitHub.url }]);
  expect(await it.complete(await newCode(gitHub))).toBeUndefined();
});

part("openssl")("a GitHub with a certificate of its own", () => {
  test("has its App made, and is used, by the authority that the operator names", async () => {
    await using gitHub = await FakeGitHub.start();
    await using secure = await listenSecurely(gitHub.url);
    await using stranger = await openMaker({ url: secure.url });
    await expect(stranger.complete(await newCode(gitHub))).rejects.toBeInstanceOf(HostUnavailable);

    await using it = await openMaker({ url: secure.url, ca: secure.ca });
    const host = must(await it.complete(await newCode(gitHub)), "a host");
    expect(await host.listRepositories(signal())).toEqual([]);
    expect(await it.stored()).toMatchObject([{ url: secure.url, ca: secure.ca }]);
  });
});

/** The same server by TLS. */
async function listenSecurely(url: string) {
  const { cert, key } = await selfSignedCertificate();
  const server = createServer({ cert, key }, (incoming, outgoing) => {
    const { method, headers } = incoming;
    const onward = request(new URL(incoming.url ?? "/", url), { method, headers }, (answer) => {
      outgoing.writeHead(answer.statusCode ?? 502, answer.headers);
      pipeline(answer, outgoing, () => undefined);
    });
    pipeline(incoming, onward, () => undefined);
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  return {
    url: `https://127.0.0.1:${(server.address() as AddressInfo).port}`,
    ca: cert,
    async [Symbol.asyncDispose]() {
      server.closeAllConnections();
      await new Promise((resolve) => server.close(resolve));
    },
  };
}

function signal(): AbortSignal {
  return AbortSignal.timeout(10_000);
}
