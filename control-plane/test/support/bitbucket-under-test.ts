import { Secret } from "@openfaas-cloud/shared/env.ts";
import { temporaryFolder } from "../../../test/support/temporary-folder.ts";
import { openBitbucketCloud } from "../../src/ports/source-host/bitbucket/cloud.ts";
import { openBitbucketDataCenter } from "../../src/ports/source-host/bitbucket/data-center.ts";
import type {
  BitbucketCloudConfig,
  BitbucketDataCenterConfig,
} from "../../src/ports/source-host/host-config.ts";
import type { RemoteHostUnderTest } from "../contracts/remote-host.ts";
import { FakeBitbucketCloud } from "./fake-bitbucket-cloud.ts";
import { FakeBitbucketDataCenter } from "./fake-bitbucket-data-center.ts";

export const PLATFORM = {
  webhookUrl: "http://system.localhost/bitbucket-event",
  redirectUri: "http://auth.system.localhost/sign-in/callback",
};
const OPTIONS = { webhookUrl: PLATFORM.webhookUrl, client: { tryMs: 1_000, firstPauseMs: 10 } };

/** The adapter, and a Bitbucket Cloud in which one repository is linked. */
export async function startCloud(
  options: { readonly workspaces?: readonly string[]; readonly email?: string } = {},
): Promise<RemoteHostUnderTest & { readonly fake: FakeBitbucketCloud }> {
  await using opened = new AsyncDisposableStack();
  const fake = opened.use(await FakeBitbucketCloud.open(PLATFORM));
  fake.email = options.email;
  const root = opened.use(await temporaryFolder()).path;
  const config: BitbucketCloudConfig = {
    kind: "bitbucket-cloud",
    url: fake.url,
    apiUrl: fake.url,
    token: new Secret(fake.token),
    email: options.email,
    workspaces: [...(options.workspaces ?? ["acme"])],
    webhookSecrets: fake.webhookSecrets.map((secret) => new Secret(secret)),
    oauth: { id: fake.client.id, secret: new Secret(fake.client.secret) },
  };
  const host = opened.use(await openBitbucketCloud(config, { ...OPTIONS, root }));
  const linked = await fake.addRepository();
  const close = opened.move();
  return { host, root, errors: [], linked, fake, [Symbol.asyncDispose]: () => close.disposeAsync() };
}

/** The adapter, and a Bitbucket Data Center in which one repository is linked. */
export async function startDataCenter(
  options: { readonly clientSecret?: string } = {},
): Promise<RemoteHostUnderTest & { readonly fake: FakeBitbucketDataCenter }> {
  await using opened = new AsyncDisposableStack();
  const fake = opened.use(await FakeBitbucketDataCenter.open(PLATFORM));
  const root = opened.use(await temporaryFolder()).path;
  const config: BitbucketDataCenterConfig = {
    kind: "bitbucket-datacenter",
    url: fake.url,
    token: new Secret(fake.token),
    webhookSecrets: fake.webhookSecrets.map((secret) => new Secret(secret)),
    oauth: { id: fake.client.id, secret: new Secret(options.clientSecret ?? fake.client.secret) },
  };
  const host = opened.use(await openBitbucketDataCenter(config, { ...OPTIONS, root }));
  const linked = await fake.addRepository();
  const close = opened.move();
  return { host, root, errors: [], linked, fake, [Symbol.asyncDispose]: () => close.disposeAsync() };
}
